//! One line for each call, written by somebody else: a call hands its entry over and goes on.
//!
//! The hand-over is bounded. When entries come faster than they are written, the newest are left out and counted; the
//! figures of every call are in the metrics as well.

mod line;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};

pub use line::Lines;

/// What one call came to.
#[derive(Clone, Debug)]
pub struct CallEntry {
    /// When it ended.
    pub timestamp: Timestamp,
    /// `INFO`, or `WARN` where an upstream or the gateway failed.
    pub level: &'static str,
    /// The request's id.
    pub request_id: Arc<str>,
    /// The trace id of its `traceparent`.
    pub trace_id: Option<String>,
    /// HTTP method.
    pub method: http::Method,
    /// The route's template.
    pub route: &'static str,
    /// What was asked.
    pub operation: Option<&'static str>,
    /// The status that the client got; 499 if it left before.
    pub status: u16,
    /// `complete`, `refused`, `failed` or `client_gone`.
    pub outcome: &'static str,
    /// The instance.
    pub provider: Option<domain::ProviderName>,
    /// The model, as the instance spells it, or as the client did if nobody has it.
    pub model: Option<domain::ModelName>,
    /// Whether the answer was a stream.
    pub stream: bool,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Tokens of the prompt that a cache served.
    pub cached_tokens: u64,
    /// Seconds of audio heard, where audio was.
    pub audio_seconds: u64,
    /// The upstream did not report; the figures are our estimate.
    pub estimated: bool,
    /// Requests sent upstream.
    pub attempts: u32,
    /// From the head of the request to the end of the reply.
    pub duration: Duration,
    /// From the head of the request to the first piece of the reply.
    pub first_byte: Option<Duration>,
    /// Spent waiting for upstreams, to the first piece of the reply.
    pub upstream: Duration,
    /// The gateway's own share of the time to the head of the reply.
    pub gateway: Duration,
    /// How the caller showed who it is.
    pub auth: &'static str,
    /// The caller's user path.
    pub user_path: Option<String>,
    /// The client's address.
    pub client: Option<std::net::IpAddr>,
    /// What went wrong.
    pub error: Option<String>,
    /// The same for programs.
    pub error_code: Option<String>,
    /// The upstream's status, where it answered with a refusal.
    pub upstream_status: Option<u16>,
}

/// So many entries wait to be written at most.
const WAITING: usize = 65_536;

/// Entries on their way from calls to a writer.
#[derive(Default)]
pub struct CallLog {
    waiting: Mutex<Waiting>,
    some: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Whether somebody writes.
    open: bool,
    entries: Vec<CallEntry>,
    left_out: u64,
}

impl CallLog {
    /// Begins to take entries. Without it they are let go.
    pub fn open(&self) {
        self.waiting.lock().open = true;
    }

    /// Stops taking entries, and lets the writer finish.
    pub fn close(&self) {
        self.waiting.lock().open = false;
        self.some.notify_all();
    }

    /// Whether entries are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.waiting.lock().open
    }

    /// Hands an entry over. Never waits for the writer.
    pub(crate) fn write(&self, entry: CallEntry) {
        let mut waiting = self.waiting.lock();
        if waiting.entries.len() >= WAITING {
            waiting.left_out += 1;
            return;
        }
        waiting.entries.push(entry);
        if waiting.entries.len() == 1 {
            self.some.notify_one();
        }
    }

    /// Waits for entries and takes them all, with the number of those that were left out. `None` when the log is closed
    /// and empty.
    pub fn take(&self, into: &mut Vec<CallEntry>) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        while waiting.entries.is_empty() {
            if !waiting.open {
                return None;
            }
            self.some.wait(&mut waiting);
        }
        into.clear();
        std::mem::swap(&mut waiting.entries, into);
        Some(std::mem::take(&mut waiting.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str) -> CallEntry {
        CallEntry {
            timestamp: Timestamp::UNIX_EPOCH,
            level: "INFO",
            request_id: id.into(),
            trace_id: None,
            method: http::Method::POST,
            route: "/v1/models",
            operation: None,
            status: 200,
            outcome: "complete",
            provider: None,
            model: None,
            stream: false,
            input_tokens: 1,
            output_tokens: 2,
            cached_tokens: 0,
            audio_seconds: 0,
            estimated: false,
            attempts: 1,
            duration: Duration::from_micros(1500),
            first_byte: None,
            upstream: Duration::from_millis(1),
            gateway: Duration::from_micros(500),
            auth: "no_key",
            user_path: None,
            client: None,
            error: None,
            error_code: None,
            upstream_status: None,
        }
    }

    #[test]
    fn what_was_handed_over_before_the_end_is_written() {
        let log = CallLog::default();
        log.open();
        log.write(entry("a"));
        log.write(entry("b"));
        log.close();
        let mut taken = Vec::new();
        assert_eq!(log.take(&mut taken), Some(0));
        assert_eq!(taken.iter().map(|e| &*e.request_id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(log.take(&mut taken), None);
    }

    #[test]
    fn more_than_can_wait_is_counted() {
        let log = CallLog::default();
        log.open();
        for _ in 0..WAITING + 3 {
            log.write(entry("x"));
        }
        let mut taken = Vec::new();
        assert_eq!(log.take(&mut taken), Some(3));
        assert_eq!(taken.len(), WAITING);
    }
}
