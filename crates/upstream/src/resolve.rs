//! Names to addresses, remembered for half a minute.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{net::lookup_host, sync::Mutex as Turn, time::Instant};

/// How long an answer is used. The system's resolver does not tell the records' own time.
const KEEP: Duration = Duration::from_secs(30);

/// More names than this are not remembered at once; there are as many as configured upstreams.
const MOST: usize = 1024;

/// A cache of names. Callers of one name share one lookup.
#[derive(Default)]
pub(crate) struct Names {
    entries: Mutex<HashMap<String, Arc<Turn<Option<Known>>>>>,
}

struct Known {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

impl Names {
    /// The addresses of a name, the families alternating, so that a broken family costs one attempt.
    ///
    /// If the resolver fails, the last known addresses are used once more.
    pub(crate) async fn find(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        let entry = self.entry(host);
        let mut known = entry.lock().await;
        if let Some(known) = &*known
            && Instant::now() < known.until
        {
            return Ok(known.addresses.clone());
        }
        let found: io::Result<Vec<IpAddr>> =
            lookup_host((host, 0)).await.map(|found| found.map(|address| address.ip()).collect());
        match (found, &*known) {
            (Ok(found), _) if !found.is_empty() => {
                let addresses: Arc<[IpAddr]> = alternate(found).into();
                *known = Some(Known { addresses: addresses.clone(), until: Instant::now() + KEEP });
                Ok(addresses)
            }
            (_, Some(old)) => {
                tracing::warn!(host, "name lookup failed; using the addresses known before");
                Ok(old.addresses.clone())
            }
            (Ok(_), None) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")),
            (Err(error), None) => Err(error),
        }
    }

    /// The addresses of a name did not work: look it up again next time.
    pub(crate) fn doubt(&self, host: &str) {
        let entry = self.entries.lock().get(host).cloned();
        // Somebody looking it up right now brings news anyway.
        if let Some(entry) = entry
            && let Ok(mut known) = entry.try_lock()
            && let Some(known) = &mut *known
        {
            known.until = Instant::now();
        }
    }

    fn entry(&self, host: &str) -> Arc<Turn<Option<Known>>> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(host) {
            return entry.clone();
        }
        if entries.len() >= MOST {
            entries.clear();
        }
        entries.entry(host.to_owned()).or_default().clone()
    }
}

/// Families in turn, beginning with the resolver's first choice; each keeps its order (RFC 8305 4).
fn alternate(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = found.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(first.len() + second.len());
    loop {
        let pair = (first.next(), second.next());
        order.extend(pair.0);
        order.extend(pair.1);
        if pair == (None, None) {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("address");
        let found = vec![ip("::1"), ip("::2"), ip("::3"), ip("1.1.1.1")];
        assert_eq!(alternate(found), [ip("::1"), ip("1.1.1.1"), ip("::2"), ip("::3")]);
        assert_eq!(alternate(vec![ip("1.1.1.1")]), [ip("1.1.1.1")]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_remembered() {
        let names = Names::default();
        let first = names.find("localhost").await.expect("localhost");
        let second = names.find("localhost").await.expect("localhost");
        assert!(Arc::ptr_eq(&first, &second));
        names.doubt("localhost");
        let third = names.find("localhost").await.expect("localhost");
        assert!(!Arc::ptr_eq(&first, &third));
    }

    #[tokio::test]
    async fn known_addresses_outlive_a_failing_resolver() {
        let names = Names::default();
        let ip: IpAddr = "10.1.2.3".parse().expect("address");
        let old = Known { addresses: Arc::from([ip]), until: Instant::now() };
        // No resolver has an answer for a name with an empty label.
        *names.entry("bad..name").lock().await = Some(old);
        assert_eq!(*names.find("bad..name").await.expect("remembered"), [ip]);
        assert!(names.find("other..bad").await.is_err());
    }

    #[tokio::test]
    async fn the_number_of_names_is_bounded() {
        let names = Names::default();
        for n in 0..3 * MOST {
            names.entry(&format!("host-{n}"));
        }
        assert!(names.entries.lock().len() <= MOST);
    }
}
