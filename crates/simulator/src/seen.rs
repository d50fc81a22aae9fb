//! What came in, kept for whoever wants to check it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use crate::fault::Injection;

/// How much the kept bodies may weigh together.
const BODIES: usize = 64 << 20;

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The headers, as sent.
    pub headers: HeaderMap,
    /// The body, at most its first [`crate::Settings::remembered_body`] bytes.
    pub body: Bytes,
    /// How long the body was.
    pub body_length: usize,
    /// What [`Seen::hash`] makes of all of it.
    pub body_hash: u64,
    /// The model that it names, in JSON or in a form.
    pub model: Option<String>,
    /// When its head had arrived.
    pub at: Instant,
    /// The status answered, once it is.
    pub status: Option<u16>,
    /// The headers answered, but for those of a framing that a fault chose.
    pub answer: HeaderMap,
    /// How it ended; `None` while it is under way.
    pub ended: Option<Ending>,
    /// The fault that it met.
    pub fault: Option<Injection>,
    /// The connection it came on, counted from 1 since the engine's start.
    pub connection: u64,
    /// The body that was handed to the connection, before any framing; at most [`crate::Settings::recorded`] bytes
    /// of it.
    pub sent: Vec<u8>,
}

impl Seen {
    /// A number that is the same for the same bytes alone, as far as chance goes.
    pub fn hash(bytes: &[u8]) -> u64 {
        crate::seed::hash(bytes.iter().copied())
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer was handed to the connection.
    Completed,
    /// The client left first.
    Aborted {
        /// How long after the request's arrival that was noticed.
        after: Duration,
        /// When it was noticed.
        at: Instant,
    },
    /// The request did not arrive whole.
    Failed,
    /// A fault that was asked for ended the answer before its time.
    Cut {
        /// When it did.
        at: Instant,
    },
}

/// One entry, still being written.
pub(crate) type Entry = Arc<Mutex<Seen>>;

/// The last requests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<(Entry, usize)>,
    weight: usize,
    limit: usize,
    /// The longest body that is kept whole.
    body: usize,
}

impl Ring {
    pub(crate) fn new(limit: usize, body: usize) -> Self {
        Ring { limit, body, ..Ring::default() }
    }

    /// Takes a request in and lets the oldest go where there are too many.
    pub(crate) fn push(&mut self, mut seen: Seen) -> Entry {
        if seen.body.len() > self.body {
            // a copy, because a slice would keep all of it alive
            seen.body = Bytes::copy_from_slice(&seen.body[..self.body]);
        }
        let weight = seen.body.len();
        let entry = Arc::new(Mutex::new(seen));
        if self.limit > 0 {
            self.weight += weight;
            self.entries.push_back((Arc::clone(&entry), weight));
        }
        while self.entries.len() > self.limit || self.weight > BODIES {
            let Some((_, weight)) = self.entries.pop_front() else { break };
            self.weight -= weight;
        }
        entry
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.entries.iter().map(|(entry, _)| entry.lock().clone()).collect()
    }
}
