//! What a fake upstream has seen, and waiting for more of it.

use std::fmt::Write as _;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::wire::{self, Fields, Head};

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method, as sent.
    pub method: String,
    /// The request target, as sent: usually path and query.
    pub target: String,
    /// The version, as sent: `HTTP/1.1`.
    pub version: String,
    /// Header fields in the order and case in which they were sent, values without surrounding blanks.
    pub headers: Vec<(String, String)>,
    /// The body so far, out of its chunks.
    pub body: Vec<u8>,
    /// The fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Whether the whole body has arrived.
    pub complete: bool,
    /// Which connection it came on, counted from 1 in the order of accepting.
    pub connection: u64,
    /// When its head had arrived.
    pub at: Instant,
}

impl Received {
    pub(super) fn new(head: Head, connection: u64) -> Result<Received, wire::Malformed> {
        let Head { start, fields } = head;
        let mut words = start.split(' ');
        let (method, target, version) = match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(version), None) => (method, target, version),
            _ => return Err(wire::Malformed(format!("a request line that is not three words: {start:?}"))),
        };
        if method.is_empty() || !method.bytes().all(wire::is_token) || target.is_empty() {
            return Err(wire::Malformed(format!("a request line without method and target: {start:?}")));
        }
        if version != "HTTP/1.1" && version != "HTTP/1.0" {
            return Err(wire::Malformed(format!("a version that is not HTTP/1.x: {start:?}")));
        }
        Ok(Received {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            headers: fields,
            body: Vec::new(),
            trailers: Fields::new(),
            complete: false,
            connection,
            at: Instant::now(),
        })
    }

    /// The first value of a header, any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::find(&self.headers, name)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the request's body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON; the message shows it.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("a request body that is not JSON ({error}): {:?}", String::from_utf8_lossy(&self.body))
        })
    }
}

/// A request and what became of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) received: Received,
    pub(super) written: u64,
    pub(super) hangup: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) expired: bool,
}

/// Everything a fake upstream has seen.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) requests: Vec<Seen>,
    pub(super) malformed: Vec<String>,
    pub(super) accepted: usize,
    pub(super) open: usize,
}

impl Log {
    /// The `n`-th request, counted from 1.
    pub(super) fn request(&self, n: usize) -> Option<&Seen> {
        self.requests.get(n.checked_sub(1)?)
    }

    /// What happened so far, for the message of a test that waits in vain.
    pub(super) fn story(&self) -> String {
        let mut story = format!("{} connections accepted, {} open, requests seen:", self.accepted, self.open);
        if self.requests.is_empty() {
            story.push_str(" none");
        }
        for (index, seen) in self.requests.iter().enumerate() {
            let Received { method, target, connection, body, complete, .. } = &seen.received;
            let state = match (complete, seen.hangup, seen.answered, seen.expired) {
                (_, Some(_), _, _) => "client left",
                (_, _, Some(_), _) => "answered",
                (_, _, _, true) => "its time was up",
                (true, ..) => "being answered",
                (false, ..) => "body not whole",
            };
            let (n, size) = (index + 1, body.len());
            let _ = write!(
                story,
                "\n  {n}. {method} {target} on connection {connection}, body {size} B: {state}"
            );
        }
        for why in &self.malformed {
            let _ = write!(story, "\n  malformed: {why}");
        }
        story
    }
}

/// The log, shared, with a signal at every change.
#[derive(Debug, Default)]
pub(super) struct Book {
    log: Mutex<Log>,
    changed: watch::Sender<()>,
}

impl Book {
    pub(super) fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log.lock())
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&mut Log) -> T) -> T {
        let result = write(&mut self.log.lock());
        self.changed.send_replace(());
        result
    }

    /// Changes what is known of the request with this index.
    pub(super) fn note(&self, index: usize, note: impl FnOnce(&mut Seen)) {
        self.write(|log| note(&mut log.requests[index]));
    }

    /// Waits until `probe` finds what it looks for.
    pub(super) async fn wait<T>(&self, mut probe: impl FnMut(&Log) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            if let Some(found) = self.read(&mut probe) {
                return found;
            }
            changes.changed().await.expect("the book holds the sender");
        }
    }
}
