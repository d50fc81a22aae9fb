//! Clients of the listener that testkit's plain ones are not: HTTP/2 frame by frame, and TLS with a certificate of the
//! test's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Request, Response, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest that anything here is waited for.
const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {LIMIT:?}"))
}

/// A certificate for `localhost` and 127.0.0.1, signed by itself.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Certificate {
    pub(crate) fn new() -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names of a certificate");
        let certificate = params.self_signed(&key).expect("a certificate");
        Certificate { der: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_pem() }
    }

    /// Writes `cert.pem` and `key.pem` into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(folder.join("cert.pem"), &self.pem).expect("the folder can be written");
        std::fs::write(folder.join("key.pem"), &self.key).expect("the folder can be written");
    }

    /// A TLS connection whose server shows this certificate; it may speak these protocols.
    pub(crate) async fn connect(
        &self,
        address: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        shake(&self.client(alpn), address).await
    }

    /// A client that trusts this certificate alone, and remembers its sessions.
    pub(crate) fn client(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// A TLS connection of this client.
pub(crate) async fn shake(client: &TlsConnector, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    within("a TLS handshake", client.connect(name, stream)).await
}

/// Sends bytes and reads to the end of the connection.
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.expect("the server reads");
    let mut said = Vec::new();
    // a server that hangs up without a word of farewell has said what it has said
    let _ = within("the end of the connection", stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// One request under way.
pub(crate) struct Asked {
    response: ResponseFuture,
    /// Its body, as far as it is not sent.
    pub(crate) body: SendStream<Bytes>,
}

impl Http2 {
    /// By prior knowledge, without TLS.
    pub(crate) async fn plain(address: &str) -> Http2 {
        Http2::with(&Builder::new(), TcpStream::connect(address).await.expect("a connection")).await
    }

    /// On any connection, with settings of one's own.
    pub(crate) async fn with<S>(settings: &Builder, stream: S) -> Http2
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) =
            within("the beginning of HTTP/2", settings.handshake(stream)).await.expect("HTTP/2 is spoken");
        Http2 { send, driver: tokio::spawn(connection) }
    }

    /// Begins a request; the body is sent whole, unless there is none yet.
    pub(crate) async fn begin(&mut self, request: http::request::Builder, body: Option<&str>) -> Asked {
        let mut send =
            within("room for a stream", self.send.clone().ready()).await.expect("the connection is open");
        let request = request.body(()).expect("a request");
        let (response, mut sending) = send.send_request(request, false).expect("the connection is open");
        if let Some(body) = body {
            sending.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("the stream is open");
        }
        Asked { response, body: sending }
    }

    /// Posts JSON.
    pub(crate) async fn post(&mut self, path: &str, id: &str, body: &str) -> Asked {
        self.begin(post(path, id), Some(body)).await
    }

    /// Asks for a path, and reads the answer.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.begin(Request::get(format!("http://gateway{path}")), Some("")).await.whole().await
    }

    /// How many requests the server takes at a time.
    pub(crate) fn most_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(self) -> Result<(), h2::Error> {
        let Http2 { send, driver } = self;
        let ended = within("the end of the connection", driver).await.expect("the driver does not panic");
        drop(send);
        ended
    }
}

/// A request that posts JSON.
pub(crate) fn post(path: &str, id: &str) -> http::request::Builder {
    Request::post(format!("http://gateway{path}"))
        .header("content-type", "application/json")
        .header("x-request-id", id)
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Asked {
    /// The head of the answer.
    pub(crate) async fn head(&mut self) -> Response<RecvStream> {
        within("a response", &mut self.response).await.expect("there is a response")
    }

    /// The whole answer.
    pub(crate) async fn whole(mut self) -> Answer {
        let (head, mut body) = self.head().await.into_parts();
        let text = rest(&mut body).await.expect("the answer is whole");
        Answer { status: head.status, headers: head.headers, text }
    }

    /// Gives the request up.
    pub(crate) fn reset(mut self) {
        self.body.send_reset(h2::Reason::CANCEL);
    }
}

/// The next piece of a body; the window stays open.
pub(crate) async fn piece(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = within("a piece of a body", body.data()).await?;
    if let Ok(piece) = &piece {
        let _ = body.flow_control().release_capacity(piece.len());
    }
    Some(piece)
}

/// What is left of a body.
pub(crate) async fn rest(body: &mut RecvStream) -> Result<String, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = piece(body).await {
        all.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}
