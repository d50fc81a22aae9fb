//! What a test client got back: status, headers, body, when each part came, and how it ended.

use std::fmt;
use std::time::{Duration, Instant};

use crate::sse::{self, Event};
use crate::wire::{self, Fields};

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As its framing promised: the whole length, the last chunk, or the close of a body without either.
    Clean,
    /// The server closed (FIN) before the body was whole.
    Cut,
    /// The server reset the connection (RST) before the body was whole.
    Reset,
}

/// A response as it came over the wire.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The words after it.
    pub reason: String,
    /// Header fields in order and in the case in which they were sent.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
    /// The fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub ended: Ended,
    /// When the head had arrived.
    pub head_at: Instant,
    /// When the end was seen.
    pub ended_at: Instant,
    /// After which body lengths we paused to read more, and when those bytes had arrived.
    pub(crate) arrivals: Vec<(usize, Instant)>,
}

impl Response {
    /// The first value of a header, any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::find(&self.headers, name)
    }

    /// Every value of a header, any case.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        let same = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether the response ended as its framing promised.
    pub fn is_whole(&self) -> bool {
        self.ended == Ended::Clean
    }

    /// The body as text, with a mark where it is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON; the message shows the response.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("a response body that is not JSON ({error}):\n{self}"))
    }

    /// The body as server-sent events, comments kept, an unfinished last block marked.
    pub fn events(&self) -> Vec<Event> {
        sse::parse(&self.body)
    }

    /// The events, each with the time at which its last byte had arrived.
    pub fn timed_events(&self) -> Vec<(Instant, Event)> {
        self.events().into_iter().map(|event| (self.arrival(event.range.end), event)).collect()
    }

    /// When the first `bytes` bytes of the body had arrived.
    pub fn arrival(&self, bytes: usize) -> Instant {
        arrival(&self.arrivals, bytes).unwrap_or(self.ended_at)
    }
}

pub(crate) fn arrival(arrivals: &[(usize, Instant)], bytes: usize) -> Option<Instant> {
    arrivals.iter().find(|(length, _)| *length >= bytes).map(|(_, at)| *at)
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.status, self.reason)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        writeln!(f, "\n{}\n({:?}, {} bytes of body)", self.text(), self.ended, self.body.len())
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoResponse {
    /// The server closed the connection before a whole head; with what had come of it.
    Closed(Vec<u8>),
    /// The server reset the connection before a whole head; with what had come of it.
    Reset(Vec<u8>),
    /// What came is not HTTP/1.1; says why.
    Malformed(String),
    /// The time ran out; says what had come until then.
    TimedOut(Duration, String),
}

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let so_far = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            NoResponse::Closed(bytes) => {
                write!(f, "the server closed before a response: {:?}", so_far(bytes))
            }
            NoResponse::Reset(bytes) => write!(f, "the server reset before a response: {:?}", so_far(bytes)),
            NoResponse::Malformed(why) => write!(f, "the response is not HTTP/1.1: {why}"),
            NoResponse::TimedOut(limit, so_far) => write!(f, "no end within {limit:?}; so far: {so_far}"),
        }
    }
}

impl std::error::Error for NoResponse {}

/// The head of a response of which the body may still be coming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The words after it.
    pub reason: String,
    /// Header fields in order and in the case in which they were sent.
    pub headers: Vec<(String, String)>,
    /// When the head had arrived.
    pub at: Instant,
}

impl ResponseHead {
    pub(crate) fn read(start: &str, headers: Fields) -> Result<ResponseHead, wire::Malformed> {
        let bad = || wire::Malformed(format!("a status line that is none: {start:?}"));
        let rest = start.strip_prefix("HTTP/1.1 ").or(start.strip_prefix("HTTP/1.0 ")).ok_or_else(bad)?;
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        let status = code.parse().ok().filter(|status| digits && *status >= 100).ok_or_else(bad)?;
        Ok(ResponseHead { status, reason: reason.to_owned(), headers, at: Instant::now() })
    }

    /// The first value of a header, any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::find(&self.headers, name)
    }
}
