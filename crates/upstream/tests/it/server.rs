//! A server's side of one connection, and the requests that the tests send to it.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use upstream::{
    Answer, BodyError, BoxError, Limits, OutBody, Outbound, Pool, PoolSettings, SendError, Target,
};

/// Longer than anything here should take; what waits this long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(10);

pub(crate) const LIMITS: Limits = Limits { connect: LONG, first_byte: LONG, idle_pool: LONG };

/// A response without a body's worth of surprises.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) fn pool() -> Pool {
    Pool::new(PoolSettings::default())
}

pub(crate) async fn listen() -> (TcpListener, Arc<Target>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let target = target(listener.local_addr().expect("address"));
    (listener, target)
}

pub(crate) fn target(address: SocketAddr) -> Arc<Target> {
    Arc::new(Target::parse(&format!("http://{address}/base")).expect("url"))
}

pub(crate) async fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    let (stream, _) = timeout(LONG, listener.accept()).await.expect("a connection in time").expect("accept");
    Peer::new(stream)
}

/// Nobody connects, though somebody could have.
pub(crate) async fn nobody(listener: &TcpListener) {
    let got = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(got.is_err(), "a connection that should not be");
}

/// One connection, from the server's side.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    unread: Vec<u8>,
}

/// A request as it arrived.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Peer<S> {
        Peer { stream, unread: Vec::new() }
    }

    /// More bytes, or the close if there are none.
    async fn more(&mut self) -> Option<()> {
        self.unread.reserve(256 << 10);
        let read = timeout(LONG, self.stream.read_buf(&mut self.unread)).await.expect("bytes in time");
        matches!(read, Ok(n) if n > 0).then_some(())
    }

    async fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark) {
                let rest = self.unread.split_off(at + mark.len());
                return Some(std::mem::replace(&mut self.unread, rest));
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.more().await?;
        }
        let rest = self.unread.split_off(length);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    /// The request's head alone.
    pub(crate) async fn head(&mut self) -> Option<Received> {
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).expect("ascii head");
        Some(Received { head, body: Vec::new() })
    }

    /// One whole request; `None` if the connection is closed instead.
    pub(crate) async fn request(&mut self) -> Option<Received> {
        let mut got = self.head().await?;
        if let Some(length) = got.header("content-length") {
            let length = length.parse().expect("a number");
            got.body = self.exactly(length).await?;
        } else if got.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = String::from_utf8(self.until(b"\r\n").await?).expect("a size");
                let size = usize::from_str_radix(line.trim(), 16).expect("hexadecimal");
                let chunk = self.exactly(size + 2).await?;
                got.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        Some(got)
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("write");
        self.stream.flush().await.expect("flush");
    }

    /// One request answered with [`OK`].
    pub(crate) async fn serve(&mut self) -> Received {
        let got = self.request().await.expect("a request");
        self.say(OK).await;
        got
    }

    /// Waits for the client's close and says when it came. What else arrives is thrown away.
    pub(crate) async fn closed(&mut self) -> Instant {
        loop {
            self.unread.clear();
            if self.more().await.is_none() {
                return Instant::now();
            }
        }
    }
}

/// A request with a body in memory.
pub(crate) fn post(body: &str) -> Outbound {
    with_body(OutBody::Segments([Bytes::copy_from_slice(body.as_bytes())].into_iter().collect()))
}

pub(crate) fn get() -> Outbound {
    Outbound { method: Method::GET, ..with_body(OutBody::Empty) }
}

pub(crate) fn with_body(body: OutBody) -> Outbound {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().expect("value"));
    Outbound { method: Method::POST, path_and_query: "/base/v1/x?y=1".into(), fixed: None, headers, body }
}

/// A request whose body comes from a channel, piece by piece.
pub(crate) fn streamed(
    length: Option<u64>,
) -> (tokio::sync::mpsc::Sender<Result<Bytes, BoxError>>, Outbound) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Result<Bytes, BoxError>>(1);
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, from_stream(pieces, length))
}

pub(crate) fn from_stream(
    pieces: impl futures_util::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    length: Option<u64>,
) -> Outbound {
    use futures_util::TryStreamExt;
    let body = http_body_util::StreamBody::new(pieces.map_ok(http_body::Frame::data)).boxed_unsync();
    with_body(OutBody::Stream { body, length })
}

pub(crate) async fn send(pool: &Pool, target: &Arc<Target>, request: Outbound) -> Result<Answer, SendError> {
    timeout(LONG, pool.send(target, request, &LIMITS)).await.expect("an answer in time")
}

/// The whole body, which returns the connection to the pool.
pub(crate) async fn text(answer: Answer) -> Result<String, BodyError> {
    let body = timeout(LONG, answer.body.collect()).await.expect("a body in time")?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

/// Runs both sides of an exchange.
pub(crate) async fn both<A, B>(client: impl Future<Output = A>, server: impl Future<Output = B>) -> (A, B) {
    timeout(LONG, futures_util::future::join(client, server)).await.expect("both in time")
}
