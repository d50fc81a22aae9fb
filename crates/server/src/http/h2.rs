//! One HTTP/2 connection: many requests at a time, each with clocks of its own.
//!
//! hyper asks a reply's body for more only when the client's window has room. A client that opens no window for one
//! stream therefore shows as a piece that was handed out and not followed by another question; hyper itself would wait
//! for ever. Every stream runs in a task that watches for it ([`Streams`]), and ends that stream alone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gateway::ReplyBody;
use gateway::alarm::Alarm;
use gateway::inbound::BodyError;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until};

use super::edge::{Edge, Patience};
use super::{Front, answer_stream};
use crate::shutdown::Drain;

/// Requests at a time on one connection.
const MOST_STREAMS: u32 = 256;

/// Request bytes that a client may send ahead of their being read: for one stream, and for all of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// Reply bytes that one stream may have waiting in the connection.
const SEND_BUFFER: usize = 64 << 10;

/// A piece of a reply is cut to this: what is handed out is buffered whole, whatever the window.
const PIECE: usize = 16 << 10;

/// Streams that a client may open and reset before they are looked at, and faults of its own that are answered by a
/// reset. One more ends the connection: nobody needs so many but to keep us busy.
const RESETS_WAITING: usize = 20;
const RESETS_OF_OURS: usize = 128;

/// A connection on which nothing comes is asked whether it lives, and so long it may take to say so.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// A client that was told to go, and has no stream left, gets so long to close.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves one connection to its end. It is told to go when nothing happened on it for long, or when the drain begins;
/// streams under way may finish.
pub(super) async fn serve<S>(
    edge: Edge<S>,
    peer: std::net::SocketAddr,
    front: Arc<Front>,
    patience: Patience,
    max_head: usize,
    drain: Drain,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::new(patience.write, drain.clone());
    let service = service_fn(move |request| answer_stream(front.clone(), request, peer, patience.body));
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_WAITING)
        .max_local_error_reset_streams(RESETS_OF_OURS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_PATIENCE)
        // counted differently from ours; a head is measured when it is here, and this bound lies above
        .max_header_list_size(u32::try_from(max_head.saturating_mul(2)).unwrap_or(u32::MAX));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(edge), service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = streams.empty_for(patience.idle) => {}
        () = drain.begun() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = streams.empty_for(Some(FAREWELL)) => Ok(()),
    }
}

/// Runs the streams of one connection, and knows how many there are.
#[derive(Clone)]
struct Streams(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// How long a client may leave a piece of a reply untaken.
    write: Option<Duration>,
    /// A stream outlives a connection that breaks, by as long as it takes to tell how it ended.
    drain: Drain,
}

struct State {
    open: usize,
    /// When the last one ended, or the connection began.
    emptied: Instant,
}

impl Streams {
    fn new(write: Option<Duration>, drain: Drain) -> Streams {
        let state = Mutex::new(State { open: 0, emptied: Instant::now() });
        Streams(Arc::new(Shared { state, write, drain }))
    }

    /// Waits until there has been no stream for so long, from now on. `None`: for ever.
    async fn empty_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let asked = Instant::now();
        loop {
            let since = {
                let state = self.0.state.lock();
                (state.open == 0).then(|| state.emptied.max(asked))
            };
            match since {
                None => sleep(limit).await,
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
            }
        }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let open = Open::one_more(self);
        let pace = Arc::new(Pace::new());
        tokio::spawn(async move {
            let limit = open.streams.0.write;
            tokio::select! {
                biased;
                () = PACE.scope(pace.clone(), stream) => {}
                // dropping the stream resets it, and lets go of its upstream
                () = pace.stalled_for(limit) => tracing::debug!("a client stopped reading one of its replies"),
            }
            drop(open);
        });
    }
}

/// A stream that is counted.
struct Open {
    streams: Streams,
    _drain: Drain,
}

impl Open {
    fn one_more(streams: &Streams) -> Open {
        streams.0.state.lock().open += 1;
        Open { streams: streams.clone(), _drain: streams.0.drain.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.streams.0.state.lock();
        state.open -= 1;
        state.emptied = Instant::now();
    }
}

tokio::task_local! {
    /// Of the stream whose task this is.
    static PACE: Arc<Pace>;
}

/// Whether a client takes what one stream has for it.
struct Pace {
    began: Instant,
    /// When the piece was handed out that nobody asked a next one for, in microseconds after the beginning, and one
    /// more. 0: nothing waits.
    handed: AtomicU64,
}

impl Pace {
    fn new() -> Pace {
        Pace { began: Instant::now(), handed: AtomicU64::new(0) }
    }

    fn hand(&self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.handed.store(micros + 1, Ordering::Relaxed);
    }

    fn taken(&self) {
        self.handed.store(0, Ordering::Relaxed);
    }

    /// Waits until a piece has been left untaken for so long.
    async fn stalled_for(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            match self.handed.load(Ordering::Relaxed).checked_sub(1) {
                // one that is handed out meanwhile is looked at before its time is over
                None => sleep(limit).await,
                Some(micros) => {
                    let at = self.began + Duration::from_micros(micros) + limit;
                    if Instant::now() >= at {
                        return;
                    }
                    sleep_until(at).await;
                }
            }
        }
    }
}

/// A request's body on its stream, which may not pause for too long.
pub(super) struct Arriving {
    body: Incoming,
    limit: Option<Duration>,
    /// Since when nothing comes.
    silent: Option<Instant>,
    alarm: Alarm,
}

impl Arriving {
    pub(super) fn new(body: Incoming, limit: Option<Duration>) -> Arriving {
        Arriving { body, limit, silent: None, alarm: Alarm::default() }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let arriving = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut arriving.body).poll_frame(cx) {
            arriving.silent = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(limit) = arriving.limit else { return Poll::Pending };
        let since = *arriving.silent.get_or_insert_with(Instant::now);
        ready!(arriving.alarm.due(since + limit, cx));
        let what = "the request's body did not arrive in time";
        Poll::Ready(Some(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, what).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A reply's body on its stream: in pieces that are not too large, and told apart from what the client has taken.
pub(super) struct Leaving {
    body: ReplyBody,
    /// What is left of a large piece.
    rest: Bytes,
    pace: Option<Arc<Pace>>,
}

impl Leaving {
    /// The reply of the stream whose task this is.
    pub(super) fn new(body: ReplyBody) -> Leaving {
        Leaving { body, rest: Bytes::new(), pace: PACE.try_with(Arc::clone).ok() }
    }
}

impl Body for Leaving {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let leaving = &mut *self;
        if let Some(pace) = &leaving.pace {
            pace.taken();
        }
        if leaving.rest.is_empty() {
            match ready!(Pin::new(&mut leaving.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => leaving.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = leaving.rest.len().min(PIECE);
        let piece = leaving.rest.split_to(length);
        if let Some(pace) = &leaving.pace {
            pace.hand();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_nobody_takes_is_noticed_at_its_time() {
        let pace = Pace::new();
        let limit = Duration::from_secs(5);
        // pieces that are taken, and a long wait for the next one, are no stall
        let busy = async {
            for _ in 0..3 {
                pace.hand();
                sleep(Duration::from_secs(4)).await;
                pace.taken();
                sleep(Duration::from_secs(60)).await;
            }
            pace.hand();
            Instant::now()
        };
        let (handed, stalled) = tokio::join!(busy, async {
            pace.stalled_for(Some(limit)).await;
            Instant::now()
        });
        assert_eq!(stalled - handed, limit);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_empty_from_the_end_of_its_last_stream() {
        let (drain, _ending) = crate::shutdown::pair();
        let streams = Streams::new(None, drain);
        let began = Instant::now();
        let open = Open::one_more(&streams);
        let busy = async {
            sleep(Duration::from_secs(100)).await;
            drop(open);
        };
        tokio::join!(busy, streams.empty_for(Some(Duration::from_secs(75))));
        assert_eq!(began.elapsed(), Duration::from_secs(175));
    }

    #[tokio::test]
    async fn a_large_piece_is_cut_and_nothing_of_it_is_lost() {
        let text: Bytes = (0..=255u8).cycle().take(100_000).collect::<Vec<_>>().into();
        let mut leaving = Leaving::new(ReplyBody::from(text.clone()));
        assert_eq!(leaving.size_hint().exact(), Some(100_000));
        let mut got = Vec::new();
        while let Some(Ok(frame)) = leaving.frame().await {
            let piece = frame.into_data().expect("data");
            assert!(piece.len() <= PIECE);
            got.extend_from_slice(&piece);
            assert_eq!(leaving.size_hint().exact(), Some(100_000 - got.len() as u64));
            assert_eq!(leaving.is_end_stream(), got.len() == 100_000);
        }
        assert_eq!(got, text);
    }
}
