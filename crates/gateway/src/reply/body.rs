//! The reply as a body that the server polls: the upstream, the clock, and what is ready to be said.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dialect::stream::Frame;
use domain::{Blame, Dialect, Fault, FaultKind};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;
use upstream::{Incoming, Pass};

use super::relay::Relay;
use super::{End, Tap};
use crate::alarm::Alarm;
use crate::bell::Listener;
use crate::flight::Opened;
use crate::mask::Masks;
use crate::trail::Trail;

/// A reply that was cut on purpose: the client must not take what it has for the whole.
#[derive(Debug)]
pub struct Cut(String);

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cut {}

/// What a response carries.
pub enum ReplyBody {
    /// Bytes that are there.
    Full(Bytes),
    /// A reply that is still arriving.
    Reply(Box<Reply<Trail>>),
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> ReplyBody {
        ReplyBody::Full(bytes)
    }
}

/// So many bytes may follow the last event of a reply.
const AFTER_THE_END: usize = 4 << 10;

/// So long the end of a reply may take after its last event.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// Where a reply comes from.
enum State {
    /// The status was settled before anything answered.
    Flying(BoxFuture<'static, Result<Opened, Fault>>),
    /// An answer that is passed on while it arrives.
    Arriving(Incoming, Box<Relay>),
    /// Everything that is to come is here; how it ends is known.
    Whole(std::vec::IntoIter<Frame>, End),
    /// Nothing more comes.
    Over,
}

/// A reply on its way to the client, and who watches it.
pub struct Reply<T: Tap> {
    state: State,
    ready: VecDeque<Bytes>,
    /// There until the end.
    tap: Option<T>,
    dialect: Dialect,
    request_id: Arc<str>,
    masks: Masks,
    keep_alive: Duration,
    idle: Duration,
    heard: Instant,
    said: Instant,
    alarm: Alarm,
    closed: Listener,
    cut: Option<Cut>,
    /// Whether what stands before the cut had its chance to go out.
    flushed: bool,
    /// What the breaker is told at the end.
    verdict: Option<Pass>,
}

/// How a reply is told.
pub struct Telling {
    /// The client's dialect.
    pub dialect: Dialect,
    /// The request's id.
    pub request_id: Arc<str>,
    /// What must not be said.
    pub masks: Masks,
    /// After how much silence a stream says that it is alive.
    pub keep_alive: Duration,
    /// After how much silence the upstream is given up.
    pub idle: Duration,
    /// What has timed the wait so far.
    pub alarm: Alarm,
    /// Hears that the gateway ends and cannot wait any longer.
    pub closed: Listener,
}

impl<T: Tap> Reply<T> {
    /// A reply whose beginning is there.
    pub fn opened(opened: Opened, telling: Telling, tap: T) -> Reply<T> {
        let mut reply = Reply::new(State::Over, telling, tap);
        reply.install(opened);
        reply
    }

    /// A streamed reply whose status is settled although nothing has answered yet.
    pub fn committed(
        flight: BoxFuture<'static, Result<Opened, Fault>>,
        telling: Telling,
        tap: T,
    ) -> Reply<T> {
        let mut reply = Reply::new(State::Flying(flight), telling, tap);
        reply.ready.push_back(alive(reply.dialect));
        reply
    }

    fn new(state: State, telling: Telling, tap: T) -> Reply<T> {
        let now = Instant::now();
        Reply {
            state,
            ready: VecDeque::new(),
            tap: Some(tap),
            dialect: telling.dialect,
            request_id: telling.request_id,
            masks: telling.masks,
            keep_alive: telling.keep_alive,
            idle: telling.idle,
            heard: now,
            said: now,
            alarm: telling.alarm,
            closed: telling.closed,
            cut: None,
            flushed: false,
            verdict: None,
        }
    }

    fn install(&mut self, opened: Opened) {
        self.verdict = opened.verdict;
        let taps = &mut self.tap;
        let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
        let Some((incoming, mut relay)) = opened.rest else {
            opened.frames.iter().for_each(tap);
            let end = opened.told.map_or(End::Complete, |fault| End::Failed(*fault));
            self.state = State::Whole(opened.frames.into_iter(), end);
            return;
        };
        self.heard = Instant::now();
        let end = relay.begin(opened.frames, &mut tap, &mut self.ready);
        let cuts = !relay.tells_failures();
        self.state = State::Arriving(incoming, relay);
        match end {
            Some(end) => self.over(&end, cuts),
            None => self.stop_at_the_end(),
        }
    }

    /// Ends a reply of which the last byte is known to be here: a server that has sent as many as it declared, or that
    /// was asked for a head only, polls no more.
    fn stop_at_the_end(&mut self) {
        if matches!(&self.state, State::Arriving(incoming, _) if incoming.is_end_stream()) {
            self.stop(None);
        }
    }

    /// Ends the reply: tells the taps, lets go of the upstream.
    fn finish(&mut self, end: &End) {
        if let (State::Arriving(incoming, _), End::Complete) =
            (std::mem::replace(&mut self.state, State::Over), end)
        {
            read_the_end(incoming);
        }
        self.alarm.stop();
        match (self.verdict.take(), end) {
            (Some(pass), End::Complete) => pass.succeed(),
            (Some(pass), End::Failed(fault)) if fault.blame == Blame::Upstream => pass.fail(),
            _ => {}
        }
        if let Some(tap) = self.tap.take() {
            tap.end(end);
        }
    }

    /// Ends a stream with an error event.
    fn fail(&mut self, mut fault: Fault) {
        self.masks.fault(&mut fault);
        self.ready.push_back(dialect::fault::event(self.dialect, &fault, &self.request_id, 0));
        self.finish(&End::Failed(fault));
    }

    /// Takes the next piece of the upstream's answer.
    fn take(&mut self, bytes: Bytes) {
        self.heard = Instant::now();
        let State::Arriving(_, relay) = &mut self.state else { return };
        let taps = &mut self.tap;
        let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
        let cuts = !relay.tells_failures();
        if let Some(end) = relay.hear(bytes, &mut tap, &mut self.ready) {
            self.over(&end, cuts);
        }
    }

    /// The upstream's answer stopped: at its end, or because of a fault.
    fn stop(&mut self, fault: Option<Fault>) {
        let State::Arriving(incoming, relay) = std::mem::replace(&mut self.state, State::Over) else {
            self.over(&fault.map_or(End::Complete, End::Failed), true);
            return;
        };
        drop(incoming);
        let taps = &mut self.tap;
        let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
        let cuts = !relay.tells_failures();
        let end = relay.close(fault, &mut tap, &mut self.ready);
        self.over(&end, cuts);
    }

    /// Ends the reply; one whose failure could not be told is cut.
    fn over(&mut self, end: &End, cuts: bool) {
        if let End::Failed(fault) = end
            && cuts
        {
            self.cut = Some(Cut(self.masks.text(fault.message.clone())));
        }
        self.finish(end);
    }

    /// Looks at the clock: says that we are alive, or gives the upstream up. True if something is ready.
    fn look_at_the_clock(&mut self, cx: &mut Context<'_>) -> bool {
        if self.closed.poll_unpin(cx).is_ready() {
            match self.state {
                State::Flying(_) => self.fail(shutting_down()),
                _ => self.stop(Some(shutting_down())),
            }
            return true;
        }
        let events = match &self.state {
            State::Flying(_) => true,
            State::Arriving(_, relay) => relay.between_events(),
            _ => false,
        };
        let waits_for_bytes = !matches!(self.state, State::Flying(_));
        if !self.alarm.is_set() {
            // what was said until now needed no clock
            self.said = Instant::now();
        }
        loop {
            let alive_at = events.then(|| self.said + self.keep_alive);
            let idle_at = waits_for_bytes.then(|| self.heard + self.idle);
            let Some(due) = [alive_at, idle_at].into_iter().flatten().min() else { return false };
            if self.alarm.due(due, cx).is_pending() {
                return false;
            }
            let now = Instant::now();
            if idle_at.is_some_and(|at| now >= at) {
                let message = format!("the upstream sent nothing for {} s", self.idle.as_secs_f64());
                self.stop(Some(Fault::new(FaultKind::TimedOut, message)));
                return true;
            }
            if alive_at.is_some_and(|at| now >= at) {
                self.ready.push_back(alive(self.dialect));
                self.said = now;
            }
            if !self.ready.is_empty() {
                return true;
            }
        }
    }
}

/// What those are told who are not finished when the gateway can wait no longer.
pub(crate) fn shutting_down() -> Fault {
    Fault::new(FaultKind::Unavailable, "the gateway is shutting down").code("server_shutdown")
}

/// Reads what follows the last event of a whole reply, which should be nothing but its end, so that the connection can
/// be used again. An upstream that has more to say than that is not listened to.
fn read_the_end(mut incoming: Incoming) {
    let mut end = Box::pin(async move {
        let mut extra = 0;
        while let Some(Ok(frame)) = incoming.frame().await {
            extra += frame.data_ref().map_or(0, Bytes::len);
            if extra > AFTER_THE_END {
                break;
            }
        }
    });
    // mostly it has arrived with the last event
    if end.as_mut().now_or_never().is_none() {
        tokio::spawn(tokio::time::timeout(END_PATIENCE, end));
    }
}

/// What says that a stream is alive: a comment, or Anthropic's own event for it.
fn alive(dialect: Dialect) -> Bytes {
    match dialect {
        Dialect::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        _ => Bytes::from_static(b": keep-alive\n\n"),
    }
}

impl<T: Tap> Body for Reply<T> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Cut>>> {
        let reply = &mut *self;
        loop {
            if let Some(bytes) = reply.ready.pop_front() {
                if reply.alarm.is_set() {
                    reply.said = Instant::now();
                }
                return Poll::Ready(Some(Ok(http_body::Frame::data(bytes))));
            }
            let polled = match &mut reply.state {
                State::Over => {
                    // an error drops what the server has not written yet, the head perhaps: it writes when it waits
                    if reply.cut.is_some() && !std::mem::replace(&mut reply.flushed, true) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    return Poll::Ready(reply.cut.take().map(Err));
                }
                State::Whole(frames, end) => {
                    let frame = frames.next();
                    if frames.as_slice().is_empty() {
                        // after the last piece nobody may poll again
                        let end = end.clone();
                        reply.finish(&end);
                    }
                    let Some(frame) = frame else { continue };
                    return Poll::Ready(Some(Ok(http_body::Frame::data(frame.raw))));
                }
                State::Flying(flight) => match flight.as_mut().poll(cx) {
                    Poll::Ready(Ok(opened)) => {
                        reply.install(opened);
                        continue;
                    }
                    Poll::Ready(Err(fault)) => {
                        reply.fail(fault);
                        continue;
                    }
                    Poll::Pending => Poll::Pending,
                },
                State::Arriving(incoming, _) => Pin::new(incoming).poll_frame(cx),
            };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        reply.take(bytes);
                    }
                    reply.stop_at_the_end();
                }
                Poll::Ready(Some(Err(error))) => {
                    reply.stop(Some(Fault::new(FaultKind::Broken, error.sentence())));
                }
                Poll::Ready(None) => reply.stop(None),
                Poll::Pending if reply.look_at_the_clock(cx) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over) && self.ready.is_empty() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole(frames, _) => {
                let frames = frames.as_slice().iter().map(|frame| &frame.raw);
                SizeHint::with_exact(frames.chain(&self.ready).map(|bytes| bytes.len() as u64).sum())
            }
            _ => SizeHint::default(),
        }
    }
}

impl<T: Tap> Drop for Reply<T> {
    fn drop(&mut self) {
        if self.tap.is_some() {
            self.finish(&End::ClientGone);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Cut>>> {
        match &mut *self {
            ReplyBody::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            ReplyBody::Full(bytes) => Poll::Ready(Some(Ok(http_body::Frame::data(std::mem::take(bytes))))),
            ReplyBody::Reply(reply) => Pin::new(reply.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Full(bytes) => bytes.is_empty(),
            ReplyBody::Reply(reply) => reply.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            ReplyBody::Reply(reply) => reply.size_hint(),
        }
    }
}
