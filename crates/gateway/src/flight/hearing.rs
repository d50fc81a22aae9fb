//! Hearing an answer piece by piece until it can be judged. Pure: what an answer is must not depend on where the network
//! cut it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use dialect::json::top_level::MAX_VALUE;
use dialect::stream::{EventStream, Frame};
use domain::{Fault, FaultKind};

use crate::reply::speech::{Recital, last_event};

/// Replies up to this many bytes are read whole and judged; larger ones by so much of them.
pub(super) const JUDGED: usize = 32 << 10;

/// The pieces of an answer with a success status, taken until it can be judged.
pub(crate) struct Hearing {
    pub(super) heard: Heard,
    /// Enough was heard.
    enough: bool,
}

/// What was heard so far, by what it seems to be.
pub(super) enum Heard {
    /// Bytes that are not looked at.
    Nothing,
    /// A stream, until its first event.
    Stream(EventStream, Vec<Frame>),
    /// Something that is no stream although one was asked for.
    NoStream(Gathered),
    /// A reply in the client's own dialect, and the `provider` member that it gets.
    Reply(Gathered, Option<&'static str>),
    /// One that is too large to be read whole.
    Large(Large),
    /// A reply that must be rewritten.
    Rerank(Gathered),
}

impl Hearing {
    /// Nothing was heard yet.
    pub(super) fn new(heard: Heard) -> Hearing {
        Hearing { enough: matches!(heard, Heard::Nothing), heard }
    }

    /// Whether it can be judged now.
    pub(crate) fn enough(&self) -> bool {
        self.enough
    }

    /// Takes the next piece.
    pub(crate) fn take(&mut self, bytes: Bytes) {
        self.enough = match &mut self.heard {
            Heard::Nothing => true,
            Heard::Stream(stream, frames) => {
                let before = frames.len();
                stream.push(bytes, frames);
                frames[before..].iter().any(says_something)
            }
            Heard::Reply(gathered, member) => {
                if !gathered.take(bytes) {
                    return;
                }
                let large = Large::begin(*member, std::mem::take(gathered).bytes());
                let enough = large.enough();
                self.heard = Heard::Large(large);
                enough
            }
            Heard::Large(large) => {
                large.take(bytes);
                large.enough()
            }
            Heard::NoStream(gathered) | Heard::Rerank(gathered) => gathered.take(bytes),
        };
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) {
        self.enough = true;
        // an event without its blank line may still be an error, or the whole answer
        if let Heard::Stream(stream, frames) = &mut self.heard
            && let Some(event) = last_event(stream)
        {
            stream.push(event, frames);
        }
    }
}

/// Whether a frame says more than that the upstream is alive.
pub(super) fn says_something(frame: &Frame) -> bool {
    frame.marks.events > 0 || frame.marks.done
}

/// A reply too large to be read whole. Its first bytes decide what it is, wherever it was cut into pieces; if they show
/// an error, that is read to its end.
pub(super) struct Large {
    pub(super) recital: Recital,
    pub(super) pieces: VecDeque<Bytes>,
    heard: usize,
    is_error: bool,
    broken: bool,
}

impl Large {
    fn begin(member: Option<&'static str>, mut bytes: Bytes) -> Large {
        let recital = Recital::new(member);
        let mut large = Large { recital, pieces: VecDeque::new(), heard: 0, is_error: false, broken: false };
        large.take(bytes.split_to(JUDGED));
        large.is_error = large.recital.shows_an_error();
        large.take(bytes);
        large
    }

    fn take(&mut self, bytes: Bytes) {
        self.heard += bytes.len();
        self.broken |= self.recital.hear(bytes, &mut self.pieces).is_err();
    }

    fn enough(&self) -> bool {
        let told = !self.is_error || self.recital.value("error").is_some();
        self.broken || told || self.heard > JUDGED + MAX_VALUE
    }

    /// What is wrong with it, if that shows by now.
    pub(super) fn fault(&self) -> Option<Fault> {
        if self.broken {
            return Some(Fault::new(
                FaultKind::Broken,
                "provider returned a large reply that is no JSON object",
            ));
        }
        if !self.is_error {
            return None;
        }
        let Some(error) = self.recital.value("error") else {
            return Some(Fault::new(FaultKind::Broken, "provider returned an error too large to be read"));
        };
        dialect::fault::in_reply(&[b"{\"error\":", &error[..], b"}"].concat())
    }
}

/// Pieces put together, up to a limit and the piece that passes it. What came in one piece is not copied.
#[derive(Default)]
pub(super) struct Gathered {
    first: Bytes,
    rest: BytesMut,
    limit: usize,
}

impl Gathered {
    /// Nothing yet.
    pub(super) fn up_to(limit: usize) -> Gathered {
        Gathered { first: Bytes::new(), rest: BytesMut::new(), limit }
    }

    /// True when there is more than the limit.
    fn take(&mut self, bytes: Bytes) -> bool {
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.rest.extend_from_slice(&bytes);
        }
        self.is_too_long()
    }

    /// Whether there is more than the limit.
    pub(super) fn is_too_long(&self) -> bool {
        self.first.len() + self.rest.len() > self.limit
    }

    /// All of it.
    pub(super) fn bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { [&self.first[..], &self.rest[..]].concat().into() }
    }
}
