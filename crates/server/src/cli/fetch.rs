//! Requests of our own to a gateway: for `health`, `models --url` and the demo's proof.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::{Bytes, BytesMut};
use domain::Secret;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use upstream::{Answer, Limits, OutBody, Outbound, Pool, PoolSettings, Target};

/// The most that is read of an answer.
const LARGEST: usize = 32 << 20;

/// Somebody to ask, by base URL.
pub(crate) struct Asker {
    pool: Pool,
    target: Arc<Target>,
    key: Option<HeaderValue>,
    limits: Limits,
}

impl Asker {
    /// Asks at this base URL, with this key if there is one; each question may take so long.
    pub(crate) fn new(base_url: &str, key: Option<&Secret>, patience: Duration) -> anyhow::Result<Asker> {
        let target = Target::parse(base_url).map_err(|error| anyhow!("{base_url}: {error}"))?;
        let key = key.map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))
                .context("the key holds characters that no header can carry")?;
            value.set_sensitive(true);
            Ok::<_, anyhow::Error>(value)
        });
        Ok(Asker {
            pool: Pool::new(PoolSettings::default()),
            target: Arc::new(target),
            key: key.transpose()?,
            limits: Limits { connect: patience, first_byte: patience, idle_pool: Duration::from_secs(1) },
        })
    }

    /// Asks the gateway that this machine's configuration names. Its certificate bears another name than the address at
    /// which it is asked, and may be a new one that it does not show yet; what is asked is whether it lives, and no secret
    /// goes along. So it is not checked.
    pub(crate) fn of_ourselves(base_url: &str, patience: Duration) -> anyhow::Result<Asker> {
        let mut asker = Asker::new(base_url, None, patience)?;
        if asker.target.tls() {
            asker.pool = Pool::new(PoolSettings { tls: Some(unchecked()?), ..PoolSettings::default() });
        }
        Ok(asker)
    }

    /// Gets a path below the base URL.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let answer = self.send(Method::GET, path, OutBody::Empty).await?;
        let status = answer.status;
        Ok((status, whole(answer).await?))
    }

    /// Posts JSON to a path below the base URL.
    pub(crate) async fn post(&self, path: &str, json: String) -> anyhow::Result<Answer> {
        self.send(Method::POST, path, OutBody::Segments([json.into()].into_iter().collect())).await
    }

    async fn send(&self, method: Method, path: &str, body: OutBody) -> anyhow::Result<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("ferrovia/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if matches!(body, OutBody::Segments(_)) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = &self.key {
            headers.insert(header::AUTHORIZATION, key.clone());
        }
        let path_and_query = format!("{}{path}", self.target.prefix()).into();
        let request = Outbound { method, path_and_query, fixed: None, headers, body };
        self.pool.send(&self.target, request, &self.limits).await.map_err(|error| anyhow!(error.sentence()))
    }
}

/// TLS that takes any certificate.
fn unchecked() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("aws-lc-rs has no suites for TLS 1.2 and 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate whose key its holder has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(answer: Answer) -> anyhow::Result<Bytes> {
    let mut body = answer.body;
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!(error.sentence()))?;
        if let Some(data) = frame.data_ref() {
            if read.len() + data.len() > LARGEST {
                bail!("the answer is larger than {LARGEST} bytes");
            }
            read.extend_from_slice(data);
        }
    }
    Ok(read.freeze())
}
