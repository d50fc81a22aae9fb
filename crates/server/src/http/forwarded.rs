//! Who a client is when a proxy stands before us: its word is taken only if the operator trusts it.
//!
//! Each proxy adds at the right what it saw. So the headers are read from the right, through proxies that are trusted, up
//! to the first address that is not: that one was seen by a proxy of ours. What stands left of it anybody may have
//! written.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trusted(Vec<IpNet>);

impl Trusted {
    /// Those in these networks.
    pub(crate) fn new(networks: Vec<IpNet>) -> Trusted {
        Trusted(networks)
    }

    /// The client's address, given who is at the other end of the connection.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(peer) {
            return peer;
        }
        if headers.contains_key(FORWARDED_FOR) {
            let lines = headers.get_all(FORWARDED_FOR).iter().rev();
            self.walk(
                peer,
                lines.map(|line| line.to_str().ok().map(|line| line.split(',').map(place).collect())),
            )
        } else {
            let lines = headers.get_all(FORWARDED).iter().rev();
            self.walk(peer, lines.map(|line| line.to_str().ok().and_then(elements)))
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Goes from hop to hop, the last line first and each from its end. What is no address ends the walk: what a proxy did
    /// not say cannot be read from what stands left of it.
    fn walk(&self, peer: IpAddr, lines: impl Iterator<Item = Option<Vec<Option<IpAddr>>>>) -> IpAddr {
        let mut last = peer;
        for line in lines {
            let Some(hops) = line else { return last };
            for hop in hops.into_iter().rev() {
                let Some(hop) = hop else { return last };
                last = hop;
                if !self.trusts(hop) {
                    return hop;
                }
            }
        }
        last
    }
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn place(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let with_port = || text.parse::<SocketAddr>().ok().map(|place| place.ip());
    let address = text.parse().ok().or_else(bracketed).or_else(with_port)?;
    Some(IpAddr::to_canonical(&address))
}

/// The `for` of each element of a `Forwarded` line (RFC 7239, 4), `None` where it is no address. A line that is not
/// written as it should be says nothing at all: where one quote is missing, elements begin and end elsewhere.
fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut all = Vec::new();
    let mut rest = line;
    loop {
        let mut named = None;
        loop {
            let (name, after) = token(rest.trim_start_matches([' ', '\t']))?;
            let (value, after) = value(after.strip_prefix('=')?)?;
            if name.eq_ignore_ascii_case("for") && named.replace(value).is_some() {
                return None;
            }
            rest = after.trim_start_matches([' ', '\t']);
            match rest.strip_prefix(';') {
                Some(next) => rest = next,
                None => break,
            }
        }
        all.push(named.and_then(|node| place(&node)));
        if rest.is_empty() {
            return Some(all);
        }
        rest = rest.strip_prefix(',')?;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let end = text.bytes().position(|b| !fits(b)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusted() -> Trusted {
        Trusted::new(["10.0.0.0/8", "::1/128"].iter().filter_map(|text| text.parse().ok()).collect())
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    fn check(peer: &str, lines: &[(&'static str, &str)], expect: &str) {
        let found = trusted().client(peer.parse().expect("an address"), &headers(lines));
        assert_eq!(found.to_string(), expect, "{peer} {lines:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        const XFF: &str = "x-forwarded-for";
        check("192.0.2.9", &[(XFF, "203.0.113.1")], "192.0.2.9");
        check("10.1.1.1", &[], "10.1.1.1");
        check("10.1.1.1", &[(XFF, "203.0.113.1")], "203.0.113.1");
        check("::ffff:10.1.1.1", &[(XFF, "203.0.113.1")], "203.0.113.1");
        check("::1", &[(XFF, "6.6.6.6, 203.0.113.1 ,10.2.2.2")], "203.0.113.1");
        check("::1", &[(XFF, "6.6.6.6"), (XFF, "203.0.113.1"), (XFF, "10.2.2.2")], "203.0.113.1");
        check("10.1.1.1", &[(XFF, "10.3.3.3, 10.2.2.2")], "10.3.3.3");
        for (written, read) in [
            ("203.0.113.1:4711", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
        ] {
            check("10.1.1.1", &[(XFF, written)], read);
        }
        for garbage in ["unknown", "", "203.0.113.1:x", "fe80::1%eth0", "<script>", "1.2.3", "[10.2.2.2]"] {
            check("10.1.1.1", &[(XFF, &format!("6.6.6.6, {garbage}, 10.2.2.2"))], "10.2.2.2");
            check("10.1.1.1", &[(XFF, &format!("6.6.6.6, {garbage}"))], "10.1.1.1");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_the_usual_one_is_missing() {
        const STANDARD: &str = "forwarded";
        check("10.1.1.1", &[(STANDARD, "for=203.0.113.1")], "203.0.113.1");
        check("192.0.2.9", &[(STANDARD, "for=203.0.113.1")], "192.0.2.9");
        check("10.1.1.1", &[(STANDARD, "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.1")], "203.0.113.1");
        check("10.1.1.1", &[(STANDARD, "For=\"[2001:db8::1]:4711\";proto=https;by=10.1.1.1")], "2001:db8::1");
        check(
            "10.1.1.1",
            &[(STANDARD, "for=6.6.6.6, proto=http;for=203.0.113.1, for=10.2.2.2")],
            "203.0.113.1",
        );
        check("10.1.1.1", &[(STANDARD, "for=\"203.0.113.1:80\";host=\"a,b\\\"c\"")], "203.0.113.1");
        for garbage in ["for=unknown", "for=_hidden", "proto=http"] {
            check("10.1.1.1", &[(STANDARD, &format!("for=6.6.6.6, {garbage}, for=10.2.2.2"))], "10.2.2.2");
        }
        for broken in [
            "for",
            "for=\"6.6.6.6",
            "for=6.6.6.6;",
            "for=6.6.6.6;;x=y",
            "for=6.6.6.6;for=7.7.7.7",
            ",for=6.6.6.6",
        ] {
            check("10.1.1.1", &[(STANDARD, broken)], "10.1.1.1");
        }
    }

    /// What a client may send to look like somebody else: addresses, quotes, separators, in any order.
    fn forgery() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("6.6.6.6".to_owned()),
            Just("for=6.6.6.6".to_owned()),
            Just("for=\"[2001:db8::6]\"".to_owned()),
            Just("10.2.2.2".to_owned()),
            Just("for=10.2.2.2".to_owned()),
            "[,;=\" \\\\:a-z\\[\\]0-9.]{0,12}",
        ];
        proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn a_client_never_chooses_its_address(
            lines in proptest::collection::vec(forgery(), 0..4),
            joined in any::<bool>(),
            standard in any::<bool>(),
            more in prop_oneof![Just(""), Just(";proto=https"), Just(";by=\"[::1]:80\";host=\"a\\\"b\"")],
        ) {
            let client: IpAddr = "203.0.113.1".parse().expect("an address");
            let proxy: IpAddr = "10.1.1.1".parse().expect("an address");
            let (name, seen) = match standard {
                true => ("forwarded", format!("for={client}{more}")),
                false => ("x-forwarded-for", client.to_string()),
            };
            let mut lines = lines;
            match lines.last_mut().filter(|_| joined) {
                Some(last) => *last = format!("{last}, {seen}"),
                None => lines.push(seen),
            }
            let lines: Vec<_> = lines.iter().map(|line| (name, line.as_str())).collect();
            // straight to us: nothing it says counts
            prop_assert_eq!(trusted().client(client, &headers(&lines)), client);
            // through a proxy: the address that the proxy saw, or none but the proxy's own
            let found = trusted().client(proxy, &headers(&lines));
            prop_assert!(found == client || (found == proxy && standard), "{} for {:?}", found, lines);
        }
    }
}
