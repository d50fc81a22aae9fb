//! The reply as a body that the server polls: the upstream, the clock, and what is ready to be said.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dialect::marks::Marks;
use dialect::stream::{EventStream, Frame};
use domain::{Dialect, Fault, FaultKind};
use futures_util::future::BoxFuture;
use http_body::{Body, SizeHint};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Sleep};
use upstream::Incoming;

use super::speech::{Recital, Speech};
use super::{End, Tap};
use crate::flight::{Opened, Source};
use crate::mask::Masks;

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
    Reply(Box<Reply>),
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> ReplyBody {
        ReplyBody::Full(bytes)
    }
}

/// Where a reply comes from.
enum State {
    /// The status was settled before anything answered.
    Flying(BoxFuture<'static, Result<Opened, Fault>>),
    /// Server-sent events.
    Events(Incoming, Speech),
    /// A JSON reply too large to be read whole.
    Large(Incoming, Option<Recital>),
    /// Somebody else's bytes.
    Opaque(Incoming, Watch),
    /// Everything that is to come is ready.
    Whole,
    /// Nothing more comes.
    Over,
}

/// What looks for usage in bytes that are not ours.
pub enum Watch {
    /// Nobody asked.
    Nothing,
    /// Server-sent events.
    Events(EventStream),
    /// A JSON object.
    Json(Box<dialect::json::top_level::TopLevel>),
}

/// A reply on its way to the client.
pub struct Reply {
    state: State,
    ready: VecDeque<Bytes>,
    taps: Vec<Box<dyn Tap>>,
    dialect: Dialect,
    request_id: String,
    masks: Masks,
    keep_alive: Duration,
    idle: Duration,
    heard: Instant,
    said: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    closing: Arc<Notify>,
    closed: Option<Pin<Box<OwnedNotified>>>,
    cut: Option<Cut>,
}

/// How a reply is told.
pub struct Telling {
    /// The client's dialect.
    pub dialect: Dialect,
    /// The request's id.
    pub request_id: String,
    /// What must not be said.
    pub masks: Masks,
    /// After how much silence a stream says that it is alive.
    pub keep_alive: Duration,
    /// After how much silence the upstream is given up.
    pub idle: Duration,
    /// Rung when the gateway ends and cannot wait any longer.
    pub closing: Arc<Notify>,
}

impl Reply {
    /// A reply whose beginning is there.
    pub fn opened(opened: Opened, telling: Telling, taps: Vec<Box<dyn Tap>>) -> Reply {
        let mut reply = Reply::new(State::Over, telling, taps);
        reply.install(opened);
        reply
    }

    /// A streamed reply whose status is settled although nothing has answered yet.
    pub fn committed(
        flight: BoxFuture<'static, Result<Opened, Fault>>,
        telling: Telling,
        taps: Vec<Box<dyn Tap>>,
    ) -> Reply {
        let mut reply = Reply::new(State::Flying(flight), telling, taps);
        reply.ready.push_back(alive(reply.dialect));
        reply
    }

    fn new(state: State, telling: Telling, taps: Vec<Box<dyn Tap>>) -> Reply {
        let now = Instant::now();
        Reply {
            state,
            ready: VecDeque::new(),
            taps,
            dialect: telling.dialect,
            request_id: telling.request_id,
            masks: telling.masks,
            keep_alive: telling.keep_alive,
            idle: telling.idle,
            heard: now,
            said: now,
            timer: None,
            closing: telling.closing,
            closed: None,
            cut: None,
        }
    }

    fn install(&mut self, opened: Opened) {
        self.heard = Instant::now();
        match opened.source {
            Source::Whole { pieces, usage } => {
                self.ready.extend(pieces);
                for piece in &self.ready {
                    let frame = Frame { raw: piece.clone(), marks: Marks { usage, ..Marks::default() } };
                    self.taps.iter_mut().for_each(|tap| tap.see(&frame));
                }
                self.state = State::Whole;
            }
            Source::Events { frames, incoming, mut speech } => {
                let taps = &mut self.taps;
                let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
                let end = speech.pass(frames, &mut tap, &mut self.ready);
                self.state = State::Events(incoming, speech);
                if let Some(end) = end {
                    self.finish(&end);
                }
            }
            Source::Large { pieces, incoming, recital } => {
                for piece in &pieces {
                    self.show(piece, None);
                }
                self.ready.extend(pieces);
                self.state = State::Large(incoming, Some(recital));
            }
            Source::Opaque { incoming, watch } => self.state = State::Opaque(incoming, watch),
        }
    }

    /// Shows the taps a piece that is not made of events.
    fn show(&mut self, piece: &Bytes, usage: Option<domain::Usage>) {
        let frame = Frame { raw: piece.clone(), marks: Marks { usage, ..Marks::default() } };
        self.taps.iter_mut().for_each(|tap| tap.see(&frame));
    }

    /// Ends the reply: tells the taps, lets go of the upstream.
    fn finish(&mut self, end: &End) {
        self.state = State::Over;
        self.timer = None;
        self.closed = None;
        for tap in self.taps.drain(..) {
            tap.end(end);
        }
    }

    /// Ends a stream with an error event.
    fn fail(&mut self, mut fault: Fault) {
        fault.message = self.masks.text(fault.message);
        self.ready.push_back(dialect::fault::event(self.dialect, &fault, &self.request_id, 0));
        self.finish(&End::Failed(fault));
    }

    /// Takes the next piece of the upstream's answer.
    fn take(&mut self, bytes: Bytes) {
        self.heard = Instant::now();
        let taps = &mut self.taps;
        let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
        let end = match &mut self.state {
            State::Events(_, speech) => speech.hear(bytes, &mut tap, &mut self.ready),
            State::Large(_, Some(recital)) => {
                let frame = Frame { raw: bytes.clone(), marks: Marks::default() };
                tap(&frame);
                recital.hear(bytes, &mut self.ready).err().map(|fault| {
                    self.cut = Some(Cut(fault.message.clone()));
                    End::Failed(fault)
                })
            }
            State::Opaque(_, watch) => {
                let mut marks = Marks::default();
                match watch {
                    Watch::Nothing => {}
                    Watch::Events(stream) => {
                        stream.push(bytes.clone(), &mut Vec::new());
                        marks.usage = stream.usage();
                    }
                    Watch::Json(top) => {
                        let _ = top.push(&bytes);
                        marks.usage = top.value("usage").and_then(|raw| dialect::usage::read(raw));
                    }
                }
                tap(&Frame { raw: bytes.clone(), marks });
                self.ready.push_back(bytes);
                None
            }
            _ => None,
        };
        if let Some(end) = end {
            self.finish(&end);
        }
    }

    /// The upstream's answer stopped: at its end, or because of a fault.
    fn stop(&mut self, fault: Option<Fault>) {
        let end = match &mut self.state {
            State::Events(_, speech) => {
                let taps = &mut self.taps;
                let mut tap = |frame: &Frame| taps.iter_mut().for_each(|tap| tap.see(frame));
                speech.close(fault, &mut tap, &mut self.ready)
            }
            State::Large(_, recital) => {
                let usage = recital.as_ref().and_then(Recital::usage);
                let whole = recital.take().map_or(Ok(()), Recital::close);
                let frame = Frame { raw: Bytes::new(), marks: Marks { usage, ..Marks::default() } };
                self.taps.iter_mut().for_each(|tap| tap.see(&frame));
                self.cut_unless(fault.map_or(whole, Err))
            }
            _ => self.cut_unless(fault.map_or(Ok(()), Err)),
        };
        self.finish(&end);
    }

    fn cut_unless(&mut self, whole: Result<(), Fault>) -> End {
        match whole {
            Ok(()) => End::Complete,
            Err(fault) => {
                self.cut = Some(Cut(fault.message.clone()));
                End::Failed(fault)
            }
        }
    }

    /// Looks at the clock: says that we are alive, or gives the upstream up. True if something is ready.
    fn look_at_the_clock(&mut self, cx: &mut Context<'_>) -> bool {
        let closing = &self.closing;
        let closed = self.closed.get_or_insert_with(|| Box::pin(closing.clone().notified_owned()));
        if closed.as_mut().poll(cx).is_ready() {
            let fault = Fault::new(FaultKind::Unavailable, "the gateway is shutting down").code("server_shutdown");
            match self.state {
                State::Flying(_) => self.fail(fault),
                _ => self.stop(Some(fault)),
            }
            return true;
        }
        let events = match &self.state {
            State::Flying(_) => true,
            State::Events(_, speech) => speech.between_events(),
            _ => false,
        };
        let waits_for_bytes = !matches!(self.state, State::Flying(_));
        if self.timer.is_none() {
            // what was said until now needed no clock
            self.said = Instant::now();
        }
        loop {
            let alive_at = events.then(|| self.said + self.keep_alive);
            let idle_at = waits_for_bytes.then(|| self.heard + self.idle);
            let Some(due) = [alive_at, idle_at].into_iter().flatten().min() else { return false };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                // activity since then only moved the time back: the timer is set again when it fires
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
            let next = [events.then(|| self.said + self.keep_alive), idle_at].into_iter().flatten().min();
            if let (Some(timer), Some(next)) = (self.timer.as_mut(), next) {
                timer.as_mut().reset(next);
            }
            if !self.ready.is_empty() {
                return true;
            }
        }
    }
}

/// What says that a stream is alive: a comment, or Anthropic's own event for it.
fn alive(dialect: Dialect) -> Bytes {
    match dialect {
        Dialect::Messages => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        _ => Bytes::from_static(b": keep-alive\n\n"),
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Cut>>> {
        let reply = &mut *self;
        loop {
            if let Some(bytes) = reply.ready.pop_front() {
                if reply.timer.is_some() {
                    reply.said = Instant::now();
                }
                // the last piece of a whole reply: nobody may poll again
                if reply.ready.is_empty() && matches!(reply.state, State::Whole) {
                    reply.finish(&End::Complete);
                }
                return Poll::Ready(Some(Ok(http_body::Frame::data(bytes))));
            }
            let polled = match &mut reply.state {
                State::Over => {
                    return Poll::Ready(reply.cut.take().map(Err));
                }
                State::Whole => {
                    reply.finish(&End::Complete);
                    continue;
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
                State::Events(incoming, _) | State::Large(incoming, _) | State::Opaque(incoming, _) => {
                    Pin::new(incoming).poll_frame(cx)
                }
            };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        reply.take(bytes);
                    }
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
        match self.state {
            State::Whole => SizeHint::with_exact(self.ready.iter().map(|b| b.len() as u64).sum()),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.taps.is_empty() {
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
