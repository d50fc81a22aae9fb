//! TLS, against a server whose certificate the test makes.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use upstream::{ConnectFault, Pool, PoolSettings, SendError, Target};

use crate::server::*;

struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    /// A client's settings that trust this server and no other.
    trust: Arc<ClientConfig>,
}

impl Secure {
    async fn for_names(names: &[&str]) -> Secure {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("certificate");
        let certificate = made.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("key");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("certificate and key");
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("root");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Secure { listener, acceptor: TlsAcceptor::from(Arc::new(server)), trust: Arc::new(client) }
    }

    fn target(&self, host: &str) -> Arc<Target> {
        let port = self.listener.local_addr().expect("address").port();
        Arc::new(Target::parse(&format!("https://{host}:{port}")).expect("url"))
    }

    fn pool(&self) -> Pool {
        Pool::new(PoolSettings { tls: Some(self.trust.clone()), ..PoolSettings::default() })
    }

    async fn accept(&self) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Peer::new(self.acceptor.accept(stream).await?))
    }
}

#[tokio::test]
async fn an_encrypted_connection_carries_requests_and_is_reused() {
    let secure = Secure::for_names(&["localhost"]).await;
    let (target, pool) = (secure.target("localhost"), secure.pool());
    let big = "x".repeat(300_000);
    let client = async {
        for round in 0..3 {
            let answer = send(&pool, &target, post(&big)).await.expect("answer");
            assert_eq!(answer.reused, round > 0);
            assert_eq!(text(answer).await.expect("body"), "ok");
        }
    };
    let server = async {
        let mut peer = secure.accept().await.expect("handshake");
        let session = peer.stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(session.server_name(), Some("localhost"));
        for _ in 0..3 {
            assert!(peer.serve().await.body == big.as_bytes());
        }
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_certificate_for_an_address_is_accepted_under_that_address() {
    let secure = Secure::for_names(&["127.0.0.1"]).await;
    let (target, pool) = (secure.target("127.0.0.1"), secure.pool());
    let client = async { text(send(&pool, &target, get()).await.expect("answer")).await.expect("body") };
    let server = async { secure.accept().await.expect("handshake").serve().await };
    both(client, server).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let secure = Secure::for_names(&["elsewhere.test"]).await;
    let (target, pool) = (secure.target("localhost"), secure.pool());
    let (result, handshake) = both(send(&pool, &target, get()), secure.accept()).await;
    assert!(handshake.is_err());
    let error = result.expect_err("refused");
    assert!(matches!(error, SendError::Connect { fault: ConnectFault::Tls, .. }), "{error:?}");
    assert!(error.sentence().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_by_default() {
    let secure = Secure::for_names(&["localhost"]).await;
    let target = secure.target("localhost");
    let pool = pool();
    let (result, handshake) = both(send(&pool, &target, get()), secure.accept()).await;
    assert!(handshake.is_err());
    let error = result.expect_err("refused");
    assert!(matches!(error, SendError::Connect { fault: ConnectFault::Tls, .. }), "{error:?}");
}

#[tokio::test]
async fn https_to_a_server_without_tls_fails_as_tls() {
    let (listener, plain) = listen().await;
    let target = Arc::new(Target::parse(&format!("https://127.0.0.1:{}", plain.port())).expect("url"));
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        peer.closed().await;
    };
    let (result, _) = both(send(&pool, &target, get()), server).await;
    let error = result.expect_err("no tls");
    assert!(matches!(error, SendError::Connect { fault: ConnectFault::Tls, .. }), "{error:?}");
}

#[tokio::test]
async fn leaving_an_encrypted_answer_closes_its_connection() {
    let secure = Secure::for_names(&["localhost"]).await;
    let (target, pool) = (secure.target("localhost"), secure.pool());
    let client = async {
        let answer = send(&pool, &target, post("{}")).await.expect("answer");
        let left = std::time::Instant::now();
        drop(answer);
        left
    };
    let server = async {
        let mut peer = secure.accept().await.expect("handshake");
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
        peer.closed().await
    };
    let (left, closed) = both(client, server).await;
    assert!(closed.duration_since(left).as_millis() < 100);
}

#[tokio::test]
async fn an_encrypted_connection_closed_while_idle_is_replaced() {
    let secure = Secure::for_names(&["localhost"]).await;
    let (target, pool) = (secure.target("localhost"), secure.pool());
    let client = async {
        for _ in 0..3 {
            let answer = send(&pool, &target, post("{}")).await.expect("answer");
            text(answer).await.expect("body");
        }
    };
    let server = async {
        for _ in 0..3 {
            secure.accept().await.expect("handshake").serve().await;
        }
    };
    both(client, server).await;
}
