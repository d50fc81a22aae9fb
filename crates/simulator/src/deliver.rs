//! The one door through which every answer leaves. A fault that an engine should have is injected here.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION, SERVER, VARY};
use http::{Response, StatusCode};
use http_body::Frame;
use tokio::time::Sleep;

use crate::engine::Ticket;

/// An answer, ready to leave.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
    /// A header that goes before the body's own: `allow`, `location`.
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
    /// uvicorn's cross-origin layer marks what passes through it.
    pub(crate) vary: Vary,
    /// Not before this moment: the tokens have to be there first.
    pub(crate) ready: Option<Instant>,
}

/// What `vary` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vary {
    /// Nothing: the answer came before the cross-origin layer.
    Absent,
    Origin,
    /// The answer to a preflight, where `extra` brings its own.
    Preflight,
}

/// The body.
pub(crate) enum Content {
    Empty,
    Whole {
        kind: &'static str,
        bytes: Bytes,
    },
    /// A stream of events, each with its moment.
    Events(Events),
}

/// Events in order; the list may be as lazy as it likes.
pub(crate) type Events = Box<dyn Iterator<Item = Event> + Send>;

/// Some bytes that leave together, at a given moment.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) due: Instant,
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Empty => out.write_str("Empty"),
            Content::Whole { bytes, .. } => write!(out, "Whole({bytes:?})"),
            Content::Events(_) => out.write_str("Events"),
        }
    }
}

impl Reply {
    fn new(status: StatusCode, content: Content) -> Self {
        Reply { status, content, extra: Vec::new(), vary: Vary::Origin, ready: None }
    }

    /// A status and nothing else.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Reply::new(status, Content::Empty)
    }

    /// A JSON text.
    pub(crate) fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Self {
        Reply::new(status, Content::Whole { kind: "application/json", bytes: bytes.into() })
    }

    /// Some other text.
    pub(crate) fn text(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        Reply::new(status, Content::Whole { kind, bytes: bytes.into() })
    }

    /// A stream. Its head leaves at once, as vLLM's does, even while the prompt is still being read.
    pub(crate) fn events(events: impl Iterator<Item = Event> + Send + 'static) -> Self {
        Reply::new(StatusCode::OK, Content::Events(Box::new(events)))
    }

    /// The same, not before a moment.
    pub(crate) fn at(mut self, ready: Instant) -> Self {
        self.ready = Some(ready);
        self
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.extra.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        self
    }
}

/// Sends an answer: waits for its moment, writes the head as uvicorn does, and hands out the body in time.
pub(crate) async fn deliver(reply: Reply, ticket: Ticket) -> Response<Body> {
    if let Some(ready) = reply.ready.filter(|ready| *ready > Instant::now()) {
        // when the client leaves meanwhile, this future is dropped, and the ticket with it
        tokio::time::sleep_until(ready.into()).await;
    }
    ticket.answered(reply.status.as_u16());
    let mut response = Response::new(Body::new(reply.content, ticket));
    *response.status_mut() = reply.status;
    let (kind, length) = match &response.body().content {
        Content::Empty => (None, Some(0)),
        Content::Whole { kind, bytes } => (Some(*kind), Some(bytes.len())),
        Content::Events(_) => (Some("text/event-stream; charset=utf-8"), None),
    };
    let headers = response.headers_mut();
    let date = httpdate::fmt_http_date(SystemTime::now());
    headers.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
    headers.insert(SERVER, HeaderValue::from_static("uvicorn"));
    let (before, after): (Vec<_>, Vec<_>) = reply.extra.into_iter().partition(|(name, _)| *name != LOCATION);
    headers.extend(before);
    headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
    headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
    headers.extend(after);
    if reply.vary == Vary::Origin {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// A body on its way out. Its ticket is completed with its last byte.
pub(crate) struct Body {
    content: Content,
    ended: bool,
    next: Option<Event>,
    sleep: Option<Pin<Box<Sleep>>>,
    ticket: Ticket,
}

impl Body {
    fn new(content: Content, ticket: Ticket) -> Self {
        Body { content, ended: false, next: None, sleep: None, ticket }
    }

    fn end(&mut self) {
        self.content = Content::Empty;
        self.ended = true;
        self.ticket.complete();
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = &mut *self;
        let events = match &mut body.content {
            Content::Empty => {
                body.end();
                return Poll::Ready(None);
            }
            Content::Whole { bytes, .. } => {
                let bytes = std::mem::take(bytes);
                body.end();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Content::Events(events) => events,
        };
        let Some(event) = body.next.take().or_else(|| events.next()) else {
            body.end();
            return Poll::Ready(None);
        };
        if event.due > Instant::now() {
            let due = event.due.into();
            let sleep = body.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                body.next = Some(event);
                return Poll::Pending;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(event.bytes))))
    }

    fn is_end_stream(&self) -> bool {
        // not for a body that is empty from the start: hyper would move its content-length behind all else
        self.ended
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.content {
            Content::Empty => http_body::SizeHint::with_exact(0),
            Content::Whole { bytes, .. } => http_body::SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) => http_body::SizeHint::default(),
        }
    }
}
