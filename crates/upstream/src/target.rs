//! Where an instance lives: what its base URL says, parsed once.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;

/// One upstream address: scheme, host, port and path prefix.
///
/// Idle connections are pooled per `Target` value, not per address: two instances with the same base
/// URL never share a connection.
pub struct Target {
    id: u64,
    host: String,
    ip: Option<IpAddr>,
    port: u16,
    tls: Option<ServerName<'static>>,
    host_header: HeaderValue,
    prefix: String,
}

/// Why a base URL cannot be used. The text names the fault and never repeats credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No `http://` or `https://` in front.
    #[error("the base URL must begin with http:// or https://")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("the base URL names no host")]
    Host,
    /// `user:password@` in the URL.
    #[error("the base URL holds credentials before an @; remove them and set the provider's key instead")]
    Credentials,
    /// A `?query` or `#fragment`, which could not be joined with a request's path.
    #[error("the base URL must end with its path: remove everything from the ? or # on")]
    Query,
    /// Not a URL at all.
    #[error("the base URL is malformed: {0}")]
    Malformed(String),
}

impl Target {
    /// Reads a base URL such as `http://gpu-1:8000/v1`. A trailing slash does not matter.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating what may be secret in it.
    pub fn parse(base_url: &str) -> Result<Target, InvalidUrl> {
        let text = base_url.trim();
        // `get`, not a slice: the eighth byte may sit inside a character.
        let lead = |n: usize| text.get(..n).unwrap_or("").to_ascii_lowercase();
        let secure = match (lead(7).as_str(), lead(8).as_str()) {
            ("http://", _) => false,
            (_, "https://") => true,
            _ => return Err(InvalidUrl::Scheme),
        };
        let rest = &text[if secure { 8 } else { 7 }..];
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if rest[..authority_end].contains('@') {
            return Err(InvalidUrl::Credentials);
        }
        if rest[..authority_end].is_empty() {
            return Err(InvalidUrl::Host);
        }
        if rest.contains(['?', '#']) {
            return Err(InvalidUrl::Query);
        }
        let uri: Uri =
            text.parse().map_err(|e: http::uri::InvalidUri| InvalidUrl::Malformed(e.to_string()))?;
        let authority = uri.authority().ok_or(InvalidUrl::Host)?;
        let bracketed = authority.host();
        let host = bracketed.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(InvalidUrl::Host);
        }
        let usual = if secure { 443 } else { 80 };
        let port =
            match authority.as_str()[bracketed.len()..].strip_prefix(':') {
                None => usual,
                Some(digits) => digits.parse().ok().filter(|&port| port != 0).ok_or_else(|| {
                    InvalidUrl::Malformed("the port is not a number from 1 to 65535".into())
                })?,
            };
        let host_text = if port == usual { bracketed.to_owned() } else { format!("{bracketed}:{port}") };
        let host_header = HeaderValue::try_from(host_text)
            .map_err(|_| InvalidUrl::Malformed("the host has characters that no header may hold".into()))?;
        let tls = match secure {
            false => None,
            true => Some(
                ServerName::try_from(host.clone())
                    .map_err(|_| InvalidUrl::Malformed("the host is not a DNS name or IP address".into()))?,
            ),
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Target {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            ip: host.parse().ok(),
            host,
            port,
            tls,
            host_header,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Distinguishes this target from every other one of the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether connections are encrypted (`https`).
    pub fn tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, the scheme's own if the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The `host` header: with the port unless it is the scheme's own.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// The path of the base URL without its trailing slash: empty, or `/v1`, or `/team/a/v1`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    pub(crate) fn server_name(&self) -> Option<&ServerName<'static>> {
        self.tls.as_ref()
    }

    /// `host:port`, as error sentences name the place.
    pub(crate) fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls() { "https" } else { "http" };
        write!(f, "Target({scheme}://{}{})", self.place(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (bool, String, u16, String, String) {
        let t = Target::parse(url).expect(url);
        let header = t.host_header().to_str().expect("ascii").to_owned();
        (t.tls(), t.host().to_owned(), t.port(), header, t.prefix().to_owned())
    }

    #[test]
    fn a_base_url_becomes_its_parts() {
        let own = |a: bool, b: &str, c: u16, d: &str, e: &str| (a, b.into(), c, d.into(), e.into());
        assert_eq!(read("http://gpu-1:8000/v1/"), own(false, "gpu-1", 8000, "gpu-1:8000", "/v1"));
        assert_eq!(read("http://gpu-1"), own(false, "gpu-1", 80, "gpu-1", ""));
        assert_eq!(
            read(" HTTPS://api.example.com/ "),
            own(true, "api.example.com", 443, "api.example.com", "")
        );
        assert_eq!(read("https://x:443/a/b//"), own(true, "x", 443, "x", "/a/b"));
        assert_eq!(read("http://[::1]:9000/p"), own(false, "::1", 9000, "[::1]:9000", "/p"));
        assert_eq!(read("https://127.0.0.1:8443"), own(true, "127.0.0.1", 8443, "127.0.0.1:8443", ""));
    }

    #[test]
    fn a_wrong_base_url_is_refused_by_its_fault() {
        let fault = |url: &str| Target::parse(url).err();
        assert_eq!(fault("localhost:8000"), Some(InvalidUrl::Scheme));
        assert_eq!(fault("ftp://x"), Some(InvalidUrl::Scheme));
        assert_eq!(fault(""), Some(InvalidUrl::Scheme));
        assert_eq!(fault("httpé://x"), Some(InvalidUrl::Scheme));
        assert_eq!(fault("http://"), Some(InvalidUrl::Host));
        assert_eq!(fault("http:///v1"), Some(InvalidUrl::Host));
        assert_eq!(fault("http://x/v1?key=1"), Some(InvalidUrl::Query));
        assert_eq!(fault("http://x/#top"), Some(InvalidUrl::Query));
        assert!(matches!(fault("http://x:0/"), Some(InvalidUrl::Malformed(_))));
        assert!(matches!(fault("http://x:99999/"), Some(InvalidUrl::Malformed(_))));
        assert!(matches!(fault("http://a b/"), Some(InvalidUrl::Malformed(_))));
    }

    #[test]
    fn credentials_in_a_base_url_are_refused_and_not_repeated() {
        let fault = Target::parse("https://me:hunter2@host/v1").expect_err("credentials");
        assert_eq!(fault, InvalidUrl::Credentials);
        assert!(!fault.to_string().contains("hunter2"));
        // An @ in the path is no credential.
        assert_eq!(Target::parse("http://host/@team").expect("path").prefix(), "/@team");
    }

    #[test]
    fn no_two_targets_share_an_id() {
        let one = Target::parse("http://x").expect("url");
        let two = Target::parse("http://x").expect("url");
        assert_ne!(one.id(), two.id());
    }
}
