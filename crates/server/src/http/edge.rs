//! The clocks of one client connection: how long a head may take, a body may pause, a client may stop reading, and how
//! long nothing at all may happen.
//!
//! hyper has one clock for heads, which also runs while a connection is idle. Here the socket knows which phase its
//! connection is in, told by the bodies that pass, and gives up by the clock of that phase. A connection of HTTP/2 is in
//! several phases at a time: here it has the clocks of heads and of writing, the others are in [`h2`](super::h2).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gateway::ReplyBody;
use gateway::alarm::Alarm;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::heads::{Heads, PREFACE};
use super::linger::Lingering;

/// How long a client may take for what. `None`: for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the first byte of a request to the end of its head.
    pub(crate) head: Option<Duration>,
    /// Between two pieces of a request's body.
    pub(crate) body: Option<Duration>,
    /// Between two requests.
    pub(crate) idle: Option<Duration>,
    /// For taking one piece of a reply.
    pub(crate) write: Option<Duration>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing: between two requests.
    Idle,
    /// A head has begun to arrive.
    Head,
    /// A body is arriving.
    Body,
    /// The request is here; the reply is made or sent.
    Reply,
}

/// Where a connection is, shared by its socket and the bodies that pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    /// The present request's body was let go before its end.
    unread: AtomicBool,
}

impl Phases {
    fn now(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Body,
            _ => Phase::Reply,
        }
    }

    fn set(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// A request's head is complete: its body, and what of it is let go before its end.
    pub(crate) fn request(&self, body: Incoming) -> (Arriving, Leftover) {
        let whole = body.is_end_stream();
        self.set(if whole { Phase::Reply } else { Phase::Body });
        self.0.unread.store(false, Ordering::Relaxed);
        let (sender, leftover) = (!whole).then(oneshot::channel).unzip();
        (Arriving { body: Some(body), phases: self.clone(), leftover: sender }, Leftover(leftover))
    }

    /// Reads what is left of a short body that was let go, so that another request can follow it. A client that waits
    /// to be asked for it is not asked.
    pub(crate) async fn finish(&self, leftover: Leftover, waits_to_be_asked: bool) {
        let Some(mut body) = leftover.0.and_then(|mut leftover| leftover.try_recv().ok()) else { return };
        if waits_to_be_asked || body.size_hint().upper().is_none_or(|length| length > SHORT) {
            return;
        }
        let reading = async {
            while let Some(piece) = body.frame().await {
                piece?;
            }
            Ok::<(), hyper::Error>(())
        };
        if let Ok(Ok(())) = tokio::time::timeout(SOON, reading).await {
            self.0.unread.store(false, Ordering::Relaxed);
        }
    }

    /// Whether its body was let go before its end: nothing can follow it on this connection.
    pub(crate) fn left_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    /// Its reply is on its way.
    pub(crate) fn reply(&self, body: ReplyBody) -> Leaving {
        Leaving { body, phases: self.clone() }
    }
}

/// A body of at most this many bytes is read although nobody needs it.
const SHORT: u64 = 16 << 10;

/// If it comes so soon.
const SOON: Duration = Duration::from_millis(200);

/// What was let go of a request's body before its end, once it is.
pub(crate) struct Leftover(Option<oneshot::Receiver<Incoming>>);

/// A request's body, which tells when it has arrived.
pub(crate) struct Arriving {
    /// There until it is let go.
    body: Option<Incoming>,
    phases: Phases,
    /// Where it goes if it is let go before its end. `None`: its end was seen.
    leftover: Option<oneshot::Sender<Incoming>>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let (Some(leftover), Some(body)) = (self.leftover.take(), self.body.take()) {
            self.phases.0.unread.store(true, Ordering::Relaxed);
            if self.phases.now() == Phase::Body {
                self.phases.set(Phase::Reply);
            }
            // nobody waits for it where the reply has begun already
            let _ = leftover.send(body);
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && body.is_end_stream()) {
            self.leftover = None;
            self.phases.set(Phase::Reply);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// A reply's body, which tells when it is gone.
pub(crate) struct Leaving {
    body: ReplyBody,
    phases: Phases,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.phases.set(Phase::Idle);
    }
}

impl Body for Leaving {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's socket with its clocks.
pub(crate) struct Edge<S> {
    stream: S,
    phases: Phases,
    patience: Patience,
    /// When the present wait began, and in which phase.
    waiting: Option<(Phase, Instant)>,
    read_alarm: Alarm,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
    write_alarm: Alarm,
    /// What is still to come of a request that was answered before it had arrived.
    lingering: Option<Lingering>,
    begun: Begun,
    /// There if HTTP/2 is spoken.
    heads: Option<Box<Heads>>,
}

/// The first bytes of a connection, read to see what is spoken and not yet given on.
#[derive(Default)]
struct Begun {
    bytes: [u8; PREFACE.len()],
    from: usize,
    to: usize,
}

impl<S> Edge<S> {
    /// A socket, and where to tell its phase.
    pub(crate) fn new(stream: S, patience: Patience) -> (Edge<S>, Phases) {
        let phases = Phases::default();
        let edge = Edge {
            stream,
            phases: phases.clone(),
            patience,
            waiting: None,
            read_alarm: Alarm::default(),
            stalled: None,
            write_alarm: Alarm::default(),
            lingering: None,
            begun: Begun::default(),
            heads: None,
        };
        (edge, phases)
    }

    /// From now on with the clocks of HTTP/2.
    pub(crate) fn many_at_a_time(mut self) -> Edge<S> {
        self.heads = Some(Box::new(Heads::new()));
        self
    }

    /// Nothing came: whether it is time to give up.
    fn wait_for_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(heads) = &self.heads {
            let (Some(limit), Some(since)) = (self.patience.head, heads.since()) else {
                return Poll::Pending;
            };
            let what = "a request's head did not arrive in time";
            return self
                .read_alarm
                .due(since + limit, cx)
                .map(|()| io::Error::new(io::ErrorKind::TimedOut, what));
        }
        let phase = self.phases.now();
        let (limit, what) = match phase {
            Phase::Idle => (self.patience.idle, "no request came"),
            Phase::Head => (self.patience.head, "the request's head did not arrive in time"),
            Phase::Body => (self.patience.body, "the request's body did not arrive in time"),
            Phase::Reply => (None, ""),
        };
        let Some(limit) = limit else {
            self.waiting = None;
            return Poll::Pending;
        };
        let since = match self.waiting {
            Some((same, since)) if same == phase => since,
            _ => {
                let now = Instant::now();
                self.waiting = Some((phase, now));
                now
            }
        };
        self.read_alarm.due(since + limit, cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, what))
    }

    /// The client takes nothing: whether it is time to give up.
    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(limit) = self.patience.write else { return Poll::Pending };
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let what = "the client stopped reading its reply";
        self.write_alarm.due(since + limit, cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, what))
    }

    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.stalled = None;
                Poll::Ready(done)
            }
            Poll::Pending => self.wait_for_room(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> Edge<S> {
    /// Reads until it is clear whether HTTP/2 is spoken (RFC 9113, 3.4). What was read is read again.
    pub(crate) async fn begins_http2(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            loop {
                let mut piece = [0; PREFACE.len()];
                let from = self.begun.to;
                let mut buf = ReadBuf::new(&mut piece[from..]);
                ready!(self.read(cx, &mut buf))?;
                let some = buf.filled().len();
                let to = from + some;
                self.begun.bytes[from..to].copy_from_slice(&piece[from..to]);
                self.begun.to = to;
                if some == 0 || self.begun.bytes[..to] != PREFACE[..to] {
                    return Poll::Ready(Ok(false));
                }
                if to == PREFACE.len() {
                    return Poll::Ready(Ok(true));
                }
            }
        })
        .await
    }

    /// Gives on what was read before, and what has arrived meanwhile: who reads a head wants it whole.
    fn read_again(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) {
        let Begun { bytes, from, to } = &mut self.begun;
        let some = (*to - *from).min(buf.remaining());
        buf.put_slice(&bytes[*from..*from + some]);
        *from += some;
        if let Some(heads) = &mut self.heads {
            heads.hear(&buf.filled()[buf.filled().len() - some..], Instant::now());
        }
        if buf.remaining() > 0 {
            // an end or a fault is met again
            let _ = self.read(cx, buf);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let edge = self;
        let before = buf.filled().len();
        match Pin::new(&mut edge.stream).poll_read(cx, buf) {
            Poll::Ready(read) if edge.heads.is_some() => {
                if let Some(heads) = &mut edge.heads {
                    heads.hear(&buf.filled()[before..], Instant::now());
                }
                Poll::Ready(read)
            }
            Poll::Ready(read) => {
                match edge.phases.now() {
                    Phase::Idle if buf.filled().len() > before => {
                        edge.phases.set(Phase::Head);
                        // its clock begins when it is waited for, which is now if this was not all of it
                        edge.waiting = None;
                    }
                    // a head's clock runs from its first byte: a byte now and then does not wind it up again
                    Phase::Head => {}
                    _ => edge.waiting = None,
                }
                Poll::Ready(read)
            }
            Poll::Pending => edge.wait_for_bytes(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Edge<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begun.from < self.begun.to && buf.remaining() > 0 {
            self.read_again(cx, buf);
            return Poll::Ready(Ok(()));
        }
        self.read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Edge<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        ready!(self.wrote(polled, cx))?;
        // the reply is out, and hyper may not ask for more before something comes: the next clock begins here
        if self.heads.is_none()
            && self.phases.now() == Phase::Idle
            && let Poll::Ready(error) = self.wait_for_bytes(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let edge = &mut *self;
        if edge.lingering.is_none() {
            ready!(Pin::new(&mut edge.stream).poll_shutdown(cx))?;
            // a body, or a head that was none
            if edge.heads.is_some() || (!edge.phases.left_unread() && edge.phases.now() != Phase::Head) {
                return Poll::Ready(Ok(()));
            }
        }
        edge.lingering.get_or_insert_with(Lingering::begin).poll(&mut edge.stream, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn patience() -> Patience {
        let seconds = |n| Some(Duration::from_secs(n));
        Patience { head: seconds(10), body: seconds(30), idle: seconds(75), write: seconds(5) }
    }

    #[tokio::test]
    async fn what_was_read_to_see_what_is_spoken_is_read_again() {
        for (sent, http2) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more"[..], true),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"P", false),
            (b"", false),
            (b"POST /v1/chat/completions HTTP/1.1\r\n", false),
        ] {
            for piece in [1, 5, 100] {
                let (mut client, server) = tokio::io::duplex(8);
                let (mut edge, _phases) = Edge::new(server, patience());
                let send = async {
                    for piece in sent.chunks(piece) {
                        client.write_all(piece).await.expect("the edge reads");
                    }
                    drop(client);
                };
                let read = async {
                    assert_eq!(edge.begins_http2().await.expect("a connection"), http2, "{sent:?}");
                    let mut edge = if http2 { edge.many_at_a_time() } else { edge };
                    let mut read = Vec::new();
                    edge.read_to_end(&mut read).await.expect("a connection");
                    read
                };
                let ((), read) = tokio::join!(send, read);
                assert_eq!(read, sent);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_of_http2_has_its_time_and_silence_between_heads_is_none() {
        let (mut client, server) = tokio::io::duplex(256);
        let (edge, _phases) = Edge::new(server, patience());
        let mut edge = edge.many_at_a_time();
        client.write_all(&PREFACE).await.expect("the edge reads");
        client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("the edge reads");
        let mut room = [0; 64];
        edge.read_exact(&mut room[..33]).await.expect("what was sent");
        let silent = tokio::time::timeout(Duration::from_secs(3600), edge.read_u8()).await;
        assert!(silent.is_err(), "no clock runs");
        // a HEADERS frame that says that more of the head follows, which never does
        client.write_all(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]).await.expect("the edge reads");
        edge.read_exact(&mut room[..10]).await.expect("what was sent");
        let began = Instant::now();
        let error = edge.read_u8().await.expect_err("the head stays away");
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_more_time_than_a_slow_head() {
        let (_client, server) = tokio::io::duplex(64);
        let (mut edge, _phases) = Edge::new(server, patience());
        let began = Instant::now();
        let error = edge.read_u8().await.expect_err("nothing comes");
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 75));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_keep_a_head_alive() {
        let (mut client, server) = tokio::io::duplex(64);
        let (mut edge, _phases) = Edge::new(server, patience());
        let drip = tokio::spawn(async move {
            loop {
                if client.write_all(b"x").await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let began = Instant::now();
        let error = loop {
            if let Err(error) = edge.read_u8().await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((10..=11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        drop(edge);
        drip.await.expect("the dripping ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_given_up() {
        let (client, server) = tokio::io::duplex(16);
        let (mut edge, phases) = Edge::new(server, patience());
        phases.set(Phase::Reply);
        let began = Instant::now();
        let error = edge.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 5));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_an_early_answer_is_read_but_not_for_ever() {
        // a client that sends on and never closes
        let (mut client, server) = tokio::io::duplex(64);
        let (mut edge, phases) = Edge::new(server, patience());
        phases.0.unread.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let (closed, sent) = tokio::join!(edge.shutdown(), client.write_all(&[0; 100_000]));
        closed.expect("the socket can be closed");
        sent.expect("every byte is taken");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        // one that closes is not waited for, nor is one whose request was read
        let (client, server) = tokio::io::duplex(64);
        let (mut edge, phases) = Edge::new(server, patience());
        phases.0.unread.store(true, Ordering::Relaxed);
        drop(client);
        let began = Instant::now();
        edge.shutdown().await.expect("the socket can be closed");
        let (_client, server) = tokio::io::duplex(64);
        let (mut edge, _phases) = Edge::new(server, patience());
        edge.shutdown().await.expect("the socket can be closed");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_may_take_as_long_as_it_takes() {
        let (_client, server) = tokio::io::duplex(16);
        let (mut edge, phases) = Edge::new(server, patience());
        phases.set(Phase::Reply);
        let waiting = tokio::time::timeout(Duration::from_secs(3600), edge.read_u8()).await;
        assert!(waiting.is_err(), "no clock runs");
    }
}
