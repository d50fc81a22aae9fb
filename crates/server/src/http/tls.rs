//! TLS on the listener: rustls, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, resumption by tickets.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Larger files are not certificates.
const LARGEST_FILE: u64 = 1 << 20;

/// Encrypted bytes that wait for a client, on one connection.
const BUFFER: usize = 16 << 10;

/// A certificate that ends so soon is warned about.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a TLS client sends first: the type of a handshake record.
const HANDSHAKE: u8 = 22;

/// What a client is told that speaks plain HTTP to a listener with TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 40\r\nconnection: close\r\n\r\nthis port speaks TLS; use https:// here\n";

/// Opens connections with the certificate of the day.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

/// What is shown to clients. Handshakes that begin after a change show the new one.
struct Certificate(ArcSwap<CertifiedKey>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// With this certificate.
    pub(crate) fn new(certificate: CertifiedKey) -> anyhow::Result<Tls> {
        let certificate = Arc::new(Certificate(ArcSwap::from_pointee(certificate)));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("aws-lc-rs has no suites for TLS 1.2 and 1.3")?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().context("no keys for session tickets can be made")?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// Shows another certificate from now on.
    pub(crate) fn show(&self, certificate: CertifiedKey) {
        self.certificate.0.store(Arc::new(certificate));
    }

    /// Shakes hands. A client that speaks plain HTTP is told so.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let shaking = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                return Err(refuse(stream, first[0]).await);
            }
            self.acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER))).await
        };
        tokio::time::timeout(limit, shaking).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake did not end in time"))
        })
    }
}

/// Tells a client that speaks no TLS, if it speaks HTTP.
async fn refuse(mut stream: TcpStream, first: u8) -> io::Error {
    if first.is_ascii_uppercase() {
        // what lies unread when a socket closes turns the answer into a reset
        let mut unread = [0; 4096];
        let _ = stream.try_read(&mut unread);
        let _ = stream.write_all(PLAIN).await;
        let _ = stream.shutdown().await;
    }
    io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads certificate and key. The error names setting, file and fix.
pub(crate) fn read(settings: &config::Tls) -> anyhow::Result<CertifiedKey> {
    let (chain, key) =
        (certificates(Path::new(&settings.cert_file))?, private_key(Path::new(&settings.key_file))?);
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => anyhow!(
            "server.tls: the private key in {} does not belong to the first certificate in {}; name a pair \
             (FERROVIA_TLS_CERT_FILE, FERROVIA_TLS_KEY_FILE), the server's own certificate first in its file",
            settings.key_file,
            settings.cert_file
        ),
        Error::InvalidCertificate(_) => anyhow!(
            "server.tls.cert_file: the first certificate in {} is not one that can be used ({error}); \
             name an X.509 certificate in PEM form (FERROVIA_TLS_CERT_FILE)",
            settings.cert_file
        ),
        _ => anyhow!(
            "server.tls.key_file: the private key in {} cannot be used ({error}); \
             name an RSA, ECDSA or Ed25519 key in PEM form (FERROVIA_TLS_KEY_FILE)",
            settings.key_file
        ),
    })
}

/// The certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    const SETTING: &str = "server.tls.cert_file";
    let text = bytes_of(path, SETTING, "FERROVIA_TLS_CERT_FILE")?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| {
        anyhow!(
            "{SETTING}: {} is not PEM ({error}); name a PEM file (FERROVIA_TLS_CERT_FILE)",
            path.display()
        )
    })?;
    if chain.is_empty() {
        bail!(
            "{SETTING}: {} holds no certificate; name a PEM file with a section BEGIN CERTIFICATE (FERROVIA_TLS_CERT_FILE)",
            path.display()
        );
    }
    Ok(chain)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    const SETTING: &str = "server.tls.key_file";
    let text = bytes_of(path, SETTING, "FERROVIA_TLS_KEY_FILE")?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
        let problem = if encrypted {
            "holds an encrypted key; write it without a passphrase"
        } else {
            "holds no private key; name a PEM file with a section BEGIN PRIVATE KEY"
        };
        anyhow!("{SETTING}: {} {problem} (FERROVIA_TLS_KEY_FILE)", path.display())
    })
}

fn bytes_of(path: &Path, setting: &str, variable: &str) -> anyhow::Result<Vec<u8>> {
    let read = std::fs::metadata(path).and_then(|found| {
        if found.len() > LARGEST_FILE {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        std::fs::read(path)
    });
    read.map_err(|error| {
        anyhow!(
            "{setting}: {} cannot be read ({error}); name a PEM file that this user may read ({variable})",
            path.display()
        )
    })
}

/// When a certificate ends, if that can be found out. Nothing here reads X.509 but the verifier, which says it of a
/// certificate that is over: it is asked at the end of time.
pub(crate) fn ends(certificate: &CertifiedKey) -> Option<Timestamp> {
    const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);
    let own = certificate.cert.first()?;
    let mut roots = RootCertStore::empty();
    roots.add(own.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(own, &[], &name, &[], UnixTime::since_unix_epoch(END_OF_TIME)) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Timestamp::from_second(i64::try_from(not_after.as_secs()).ok()?).ok()
        }
        _ => None,
    }
}

/// Warns of a certificate that is over, or soon will be.
pub(crate) fn warn_of_the_end(certificate: &CertifiedKey, file: &str) {
    let Some(ends) = ends(certificate) else { return };
    let left = ends.duration_since(Timestamp::now());
    if left.is_negative() {
        tracing::warn!(%ends, file, "the certificate has expired: clients refuse it; put a new one in its place");
    } else if left.unsigned_abs() < SOON {
        tracing::warn!(%ends, file, "the certificate expires soon; put a new one in its place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn pair(until: i32) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(until, 1, 2);
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn read_both(certificate: &str, key: &str) -> anyhow::Result<CertifiedKey> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("cert.pem"), certificate).expect("written");
        std::fs::write(path("key.pem"), key).expect("written");
        read(&config::Tls { cert_file: path("cert.pem"), key_file: path("key.pem") })
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let (certificate, key) = pair(2031);
        let read = read_both(&certificate, &key).expect("a pair");
        assert_eq!(ends(&read).map(|end| end.to_string()).as_deref(), Some("2031-01-02T00:00:00Z"));
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let ((certificate, key), (_, foreign)) = (pair(2031), pair(2031));
        let refusal = |certificate: &str, key: &str| match read_both(certificate, key) {
            Ok(_) => panic!("it was taken"),
            Err(error) => format!("{error:#}"),
        };
        for (said, parts) in [
            (refusal(&certificate, &foreign), ["does not belong", "key.pem"]),
            (refusal("", &key), ["server.tls.cert_file", "holds no certificate"]),
            (refusal(&certificate, ""), ["server.tls.key_file", "holds no private key"]),
            (refusal(&certificate, &certificate), ["server.tls.key_file", "holds no private key"]),
            (
                refusal(&certificate, &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
                ["server.tls.key_file", "without a passphrase"],
            ),
        ] {
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
            assert!(!said.contains("BEGIN EC"), "{said}");
        }
        let missing =
            read(&config::Tls { cert_file: "/nowhere/c.pem".into(), key_file: "/nowhere/k.pem".into() });
        let said = missing.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said.contains("/nowhere/c.pem cannot be read") && said.contains("FERROVIA_TLS_CERT_FILE"),
            "{said}"
        );
    }
}
