//! An answer before it leaves: its status, its headers, and a body that may have to wait for the model.

use std::fmt;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, SERVER, VARY,
};

use crate::scheduler::Admission;

/// What events are sent as.
pub(crate) const EVENTS: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

/// An answer, ready to leave.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The content type.
    pub(crate) kind: Option<&'static str>,
    pub(crate) content: Content,
    /// A header that goes before the body's own: `allow`, `location`.
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
    /// uvicorn's cross-origin layer marks what passes through it.
    pub(crate) vary: Vary,
    /// The software that answers, if it says so.
    pub(crate) server: Option<&'static str>,
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
    Whole(Bytes),
    /// A stream of events, each with its moment.
    Events(Events),
    /// Made once the model begins with the request.
    Later {
        streamed: bool,
        make: Make,
    },
}

/// Makes a body when the request is let into the batch.
pub(crate) type Make = Box<dyn FnOnce(Admission) -> Content + Send>;

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
            Content::Whole(bytes) => write!(out, "Whole({bytes:?})"),
            Content::Events(_) => out.write_str("Events"),
            Content::Later { streamed, .. } => write!(out, "Later(streamed: {streamed})"),
        }
    }
}

impl Content {
    /// Events in order.
    pub(crate) fn events(events: impl Iterator<Item = Event> + Send + 'static) -> Self {
        Content::Events(Box::new(events))
    }

    /// Whether it leaves piece by piece.
    pub(crate) fn streamed(&self) -> bool {
        matches!(self, Content::Events(_) | Content::Later { streamed: true, .. })
    }

    /// The same with another body in the place of a whole one, or other events in the place of its own.
    pub(crate) fn edited(self, edit: impl FnOnce(Content) -> Content + Send + 'static) -> Self {
        match self {
            Content::Later { streamed, make } => {
                Content::Later { streamed, make: Box::new(move |admission| edit(make(admission))) }
            }
            now => edit(now),
        }
    }
}

impl Reply {
    /// An answer with a body of some kind.
    pub(crate) fn new(status: StatusCode, kind: Option<&'static str>, content: Content) -> Self {
        Reply { status, kind, content, extra: Vec::new(), vary: Vary::Origin, server: Some("uvicorn") }
    }

    /// A status and nothing else.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Reply::new(status, None, Content::Empty)
    }

    /// A JSON text.
    pub(crate) fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Self {
        Reply::new(status, Some(JSON), Content::Whole(bytes.into()))
    }

    /// Some other text.
    pub(crate) fn text(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        Reply::new(status, Some(kind), Content::Whole(bytes.into()))
    }

    /// A stream. Its head leaves at once, as vLLM's does, even while the request waits for the model.
    pub(crate) fn stream<E: Iterator<Item = Event> + Send + 'static>(
        make: impl FnOnce(Admission) -> E + Send + 'static,
    ) -> Self {
        let make = Box::new(move |admission| Content::events(make(admission)));
        Reply::new(StatusCode::OK, Some(EVENTS), Content::Later { streamed: true, make })
    }

    /// A JSON text that is known once the model has begun.
    pub(crate) fn later(make: impl FnOnce(Admission) -> Vec<u8> + Send + 'static) -> Self {
        let make = Box::new(move |admission| Content::Whole(make(admission).into()));
        Reply::new(StatusCode::OK, Some(JSON), Content::Later { streamed: false, make })
    }

    /// The same with a header.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.extra.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        self
    }

    /// The same under another name of the software, as something that is no uvicorn answers.
    pub(crate) fn from(mut self, server: Option<&'static str>) -> Self {
        (self.server, self.vary) = (server, Vary::Absent);
        self
    }

    /// The headers, in the order in which uvicorn writes them.
    pub(crate) fn headers(&self) -> HeaderMap {
        let length = match &self.content {
            Content::Empty => Some(0),
            Content::Whole(bytes) => Some(bytes.len()),
            Content::Events(_) | Content::Later { .. } => None,
        };
        let mut headers = HeaderMap::new();
        let date = httpdate::fmt_http_date(SystemTime::now());
        headers.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
        headers.extend(self.server.map(|server| (SERVER, HeaderValue::from_static(server))));
        let before = self.extra.iter().filter(|(name, _)| *name != LOCATION);
        for (name, value) in before {
            headers.append(name.clone(), value.clone());
        }
        headers.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
        headers.extend(self.kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        headers.extend(self.extra.iter().filter(|(name, _)| *name == LOCATION).cloned());
        if self.vary == Vary::Origin {
            headers.insert(VARY, HeaderValue::from_static("Origin"));
        }
        headers
    }
}
