//! Hearing an answer piece by piece until it can be judged. Pure: what an answer is must not depend on where the network
//! cut it.

use std::collections::VecDeque;
use std::mem;

use bytes::{Bytes, BytesMut};
use dialect::stream::{EventStream, Frame};
use domain::{Dialect, Fault, FaultKind, Operation};

use crate::reply::speech::{Recital, last_event};

/// Replies up to this many bytes are read whole and judged; larger ones by so much of them.
pub(super) const JUDGED: usize = 32 << 10;

/// An error up to this many bytes is read whole.
const ERROR: usize = 1 << 20;

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
    /// Something that does not say what it is, until its first bytes show whether it is a stream.
    Unlabelled(EventStream, Gathered),
    /// Something that is no stream although one was asked for.
    NoStream(Gathered),
    /// A whole JSON reply although a stream was asked for, to be told as one.
    Whole(Gathered),
    /// A reply in the client's own dialect: what it answers, and the `provider` member that it gets.
    Reply(Gathered, (Operation, Dialect), Option<Bytes>),
    /// One that is too large to be read whole.
    Large(Box<Large>),
    /// A reply that must be rewritten.
    Rerank(Gathered),
    /// A text that is no JSON, and may be.
    Text(Gathered),
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
            Heard::Unlabelled(_, gathered) => {
                let too_long = gathered.take(bytes);
                let is_stream = gathered.begins_a_stream().or(too_long.then_some(false));
                return is_stream.into_iter().for_each(|is_stream| self.settle(is_stream));
            }
            Heard::Reply(gathered, asked, member) => {
                if !gathered.take(bytes) {
                    return;
                }
                let large = Large::begin(
                    Recital::new(asked.0, asked.1, member.as_ref()),
                    mem::take(gathered).bytes(),
                );
                let enough = large.enough();
                self.heard = Heard::Large(Box::new(large));
                enough
            }
            Heard::Large(large) => {
                large.take(&bytes);
                large.enough()
            }
            Heard::NoStream(gathered)
            | Heard::Whole(gathered)
            | Heard::Rerank(gathered)
            | Heard::Text(gathered) => gathered.take(bytes),
        };
    }

    /// What did not say what it is has shown it.
    fn settle(&mut self, is_stream: bool) {
        self.heard = match mem::replace(&mut self.heard, Heard::Nothing) {
            Heard::Unlabelled(mut stream, gathered) if is_stream => {
                let mut frames = Vec::new();
                stream.push(gathered.bytes(), &mut frames);
                self.enough = frames.iter().any(says_something);
                Heard::Stream(stream, frames)
            }
            Heard::Unlabelled(_, gathered) => {
                self.enough = gathered.is_too_long();
                Heard::NoStream(gathered)
            }
            other => other,
        };
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) {
        self.settle(false);
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
    recital: Recital,
    /// What it is judged by.
    first: Bytes,
    /// How that is retold.
    pieces: VecDeque<Bytes>,
    /// What came with it, or after it in the case of an error.
    later: BytesMut,
    is_error: bool,
    broken: Option<Fault>,
}

impl Large {
    fn begin(mut recital: Recital, mut bytes: Bytes) -> Large {
        let first = bytes.split_to(JUDGED);
        let mut pieces = VecDeque::new();
        let broken = recital.hear(first.clone(), &mut pieces).err();
        let is_error = recital.shows_an_error();
        Large { recital, first, pieces, later: BytesMut::from(&bytes[..]), is_error, broken }
    }

    fn take(&mut self, bytes: &Bytes) {
        self.later.extend_from_slice(bytes);
    }

    fn enough(&self) -> bool {
        !self.is_error || self.later.len() > ERROR
    }

    /// What it is: an answer, in the pieces that go on and what retells the rest, or the fault that shows by now.
    pub(super) fn judge(self) -> Result<(VecDeque<Bytes>, Recital), Fault> {
        let Large { mut recital, first, pieces, later, is_error, broken } = self;
        if is_error {
            if later.len() > ERROR {
                return Err(Fault::new(FaultKind::Broken, "provider returned an error too large to be read"));
            }
            let whole = [&first[..], &later[..]].concat();
            if let Some(mut fault) = dialect::fault::in_reply(&whole) {
                dialect::fault::shorten(&mut fault.message);
                return Err(fault);
            }
            if serde_json::from_slice::<serde::de::IgnoredAny>(&whole).is_err() {
                return Err(Fault::new(FaultKind::Broken, "provider returned an error that was cut off"));
            }
        }
        if let Some(fault) = broken {
            return Err(fault);
        }
        recital.later = later.freeze();
        Ok((pieces, recital))
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

    /// Whether it begins as server-sent events do; `None` while that is open.
    fn begins_a_stream(&self) -> Option<bool> {
        let bytes = self.first.iter().chain(&self.rest).copied();
        let begin: Vec<u8> = bytes.skip_while(u8::is_ascii_whitespace).take(6).collect();
        let fields: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
        if fields.iter().any(|field| begin.starts_with(field)) {
            return Some(true);
        }
        let open = fields.iter().any(|field| field.starts_with(&begin));
        if open { None } else { Some(false) }
    }

    /// All of it.
    pub(super) fn bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { [&self.first[..], &self.rest[..]].concat().into() }
    }
}
