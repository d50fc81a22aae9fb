//! A gateway that somebody else has started, pointed at the mock upstream, and named by its URL and process id.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};

/// How to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// How it is called in results.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What stands before `/v1` in its paths.
    pub base: String,
    /// Its process; children count too.
    pub pid: u32,
    /// The key that it wants.
    pub key: Option<String>,
    /// What stands before the mock's model names.
    pub model_prefix: String,
}

impl External {
    /// Reads `http://127.0.0.1:8080` or `http://localhost:8080/base`. Only this machine: what runs elsewhere has no
    /// process id here, and is not ours to put under load.
    pub fn parse(url: &str) -> anyhow::Result<External> {
        let rest = url.strip_prefix("http://").with_context(|| {
            format!("--url {url}: write http://127.0.0.1:<port>; TLS is measured nowhere here")
        })?;
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let local = authority.replacen("localhost", "127.0.0.1", 1);
        let address: SocketAddr =
            local.parse().ok().with_context(|| format!("--url {url}: `{authority}` is not address:port"))?;
        if !IpAddr::is_loopback(&address.ip()) {
            bail!("--url {url}: only what listens on loopback is measured");
        }
        let base = base.trim_matches('/').trim_end_matches("v1").trim_end_matches('/');
        Ok(External {
            name: format!("port {}", address.port()),
            address,
            base: if base.is_empty() { String::new() } else { format!("/{base}") },
            pid: 0,
            key: None,
            model_prefix: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_an_address_and_a_base() {
        for (url, base) in [
            ("http://127.0.0.1:8080", ""),
            ("http://localhost:8080/", ""),
            ("http://localhost:8080/v1", ""),
            ("http://127.0.0.1:8080/ai/v1/", "/ai"),
        ] {
            let external = External::parse(url).unwrap();
            assert_eq!((external.address.port(), external.base.as_str()), (8080, base), "{url}");
        }
    }

    #[test]
    fn only_this_machine_is_measured() {
        for (url, part) in [
            ("http://192.0.2.1:80", "only what listens on loopback"),
            ("https://127.0.0.1:80", "write http://"),
            ("http://example.com", "is not address:port"),
        ] {
            assert!(External::parse(url).unwrap_err().to_string().contains(part), "{url}");
        }
    }
}
