//! TLS settings for providers.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// TLS 1.2 and 1.3 with the machine's trusted certificates, or Mozilla's where the machine has none
/// (a bare container), speaking HTTP/1.1.
///
/// Reads files: call it where blocking for some milliseconds is allowed.
pub fn default_tls() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some trusted certificates of this machine could not be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(native.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "trusted certificates that rustls cannot use");
    }
    if roots.is_empty() {
        tracing::info!("this machine has no trusted certificates; using those built in");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs offers suites for every default version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_speaks_only_http_1_1() {
        assert_eq!(default_tls().alpn_protocols, [b"http/1.1".to_vec()]);
    }
}
