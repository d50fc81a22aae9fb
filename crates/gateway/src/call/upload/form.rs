//! A form on its way through: its pieces in the order in which they came, with the model's name apart.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dialect::multipart::{Piece, Scanner};
use domain::Fault;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use upstream::{BoxError, OutBody};

use super::fields::Fields;
use super::spool::Spool;
use super::{flawed, next};
use crate::call;
use crate::inbound::InboundBody;

/// Where some of a form's bytes are.
#[derive(Debug)]
enum Place {
    Memory(Bytes),
    /// From here on, so many.
    Spool(u64, u64),
    /// The model's name, in its place.
    Model,
}

/// A form that was read, or as much of it as came before its file.
#[derive(Debug, Default)]
pub struct Form {
    places: Vec<Place>,
    /// What is to be the next place in memory. Put together, because a body may come in pieces of a byte each, of which
    /// every one would cost a hundred.
    gathered: BytesMut,
    model: Vec<u8>,
    in_memory: usize,
    spool: Option<Arc<Spool>>,
    rest: Option<Rest>,
    /// The length of everything as the client wrote it, if something is still arriving.
    length: Option<u64>,
    /// Nothing was still arriving when the form was understood.
    all_read: bool,
    /// The format that the answer is asked for in.
    pub(super) format: Option<String>,
    /// Whether a stream is wished for was said.
    pub(super) said_stream: bool,
}

impl Form {
    pub(super) fn in_memory(&self) -> usize {
        self.in_memory
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.in_memory += bytes.len();
        self.gathered.extend_from_slice(bytes);
    }

    /// What was gathered has its place.
    fn settle(&mut self) {
        if !self.gathered.is_empty() {
            self.places.push(Place::Memory(self.gathered.split().freeze()));
        }
    }

    pub(super) fn add_model(&mut self, bytes: &[u8]) {
        self.settle();
        if self.model.is_empty() {
            self.places.push(Place::Model);
        }
        self.model.extend_from_slice(bytes);
    }

    pub(super) fn add_spooled(&mut self, from: u64, length: u64) {
        self.settle();
        match self.places.last_mut() {
            Some(Place::Spool(_, before)) => *before += length,
            _ => self.places.push(Place::Spool(from, length)),
        }
    }

    /// That was all of it.
    pub(super) fn end(&mut self, spool: Option<Spool>) {
        self.settle();
        self.spool = spool.map(Arc::new);
        self.all_read = true;
    }

    /// The rest comes later.
    pub(super) fn follow(&mut self, rest: Rest, length: Option<u64>) {
        self.settle();
        self.rest = Some(rest);
        self.length = length;
    }

    /// The model as the client wrote it.
    pub(crate) fn model(&self) -> &[u8] {
        &self.model
    }

    /// Whether it can be sent more than once.
    pub(crate) fn replayable(&self) -> bool {
        self.all_read
    }

    /// How many bytes it has, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        if !self.all_read {
            return self.length;
        }
        let sizes = self.places.iter().map(|place| match place {
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Spool(_, length) => *length,
            Place::Model => self.model.len() as u64,
        });
        Some(sizes.sum())
    }

    /// Whether the answer may be a text that is no JSON. Unknown where the field may still come.
    pub(crate) fn takes_text(&self) -> bool {
        match self.format.as_deref() {
            Some(format) => matches!(format, "text" | "srt" | "vtt"),
            None => !self.all_read,
        }
    }

    /// Whether a stream may have been asked for where nobody could see it yet.
    pub(crate) fn may_stream(&self) -> bool {
        !self.said_stream && !self.all_read
    }

    /// The body as it goes out, with this name for the model. What is still arriving goes with the first one.
    pub(crate) fn body(&mut self, model: &str) -> OutBody {
        let name = Bytes::copy_from_slice(model.as_bytes());
        let length = self.length().map(|length| length - self.model.len() as u64 + name.len() as u64);
        let mut segments = Vec::with_capacity(self.places.len());
        let mut parts = Vec::new();
        for place in &self.places {
            match place {
                Place::Memory(bytes) => segments.push(bytes.clone()),
                Place::Model => segments.push(name.clone()),
                Place::Spool(from, length) => {
                    parts.push(pieces(std::mem::take(&mut segments)));
                    let spool = self.spool.as_ref().expect("what was spooled is kept");
                    parts.push(spool.read(*from, *length).boxed());
                }
            }
        }
        if parts.is_empty() && self.rest.is_none() {
            return OutBody::Segments(segments.into());
        }
        parts.push(pieces(segments));
        parts.extend(self.rest.take().map(Rest::arrive));
        let body = StreamBody::new(stream::iter(parts).flatten());
        OutBody::Stream { body: BodyExt::boxed_unsync(body), length }
    }
}

type Pieces = stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

fn pieces(segments: Vec<Bytes>) -> Pieces {
    stream::iter(segments.into_iter().map(|bytes| Ok(Frame::data(bytes)))).boxed()
}

/// The part of a form that is still arriving, watched while it passes.
pub(super) struct Rest {
    source: InboundBody,
    scanner: Scanner,
    fields: Fields,
    /// So many more bytes are taken.
    room: usize,
    limit: usize,
    /// Looked at, and not passed on yet.
    ready: VecDeque<Bytes>,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl Rest {
    /// What comes from this source, of which so many bytes were `read` before.
    pub(super) fn new(
        source: InboundBody,
        scanner: Scanner,
        fields: Fields,
        read: usize,
        limit: usize,
    ) -> Rest {
        let room = limit.saturating_sub(read);
        Rest { source, scanner, fields, room, limit, ready: VecDeque::new() }
    }

    fn arrive(self) -> Pieces {
        stream::try_unfold(self, |mut rest| async move {
            let piece = rest.piece().await.map_err(|fault| Box::new(Refused(fault)) as BoxError)?;
            Ok(piece.map(|piece| (Frame::data(piece), rest)))
        })
        .boxed()
    }

    /// The next bytes, once they are known to be part of a form that is as it was understood to be.
    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(Some(ready));
            }
            let Some(data) = next(&mut self.source).await? else {
                self.scanner.finish().map_err(|flaw| flawed(&flaw))?;
                return Ok(None);
            };
            self.room = self.room.checked_sub(data.len()).ok_or_else(|| call::too_large(self.limit))?;
            let mut pieces = Vec::new();
            self.scanner.push(data, &mut pieces).map_err(|flaw| flawed(&flaw))?;
            for piece in pieces {
                self.fields.see(&piece)?;
                if let Piece::Frame(bytes) | Piece::Data(bytes) = piece {
                    self.ready.push_back(bytes);
                }
            }
        }
    }
}

/// Why the rest of a form does not go on.
#[derive(Debug)]
struct Refused(Fault);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Refused {}

/// The fault because of which a form that was still arriving did not go on.
pub(crate) fn refused<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Fault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Refused(fault)) = error.downcast_ref() {
            return Some(fault);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_came_byte_by_byte_costs_no_more_than_its_bytes() {
        let mut form = Form::default();
        for _ in 0..10_000 {
            form.add(b"a");
        }
        form.add_model(b"m");
        form.add_model(b"n");
        for _ in 0..10_000 {
            form.add(b"b");
        }
        form.end(None);
        assert_eq!((form.places.len(), form.length(), form.model()), (3, Some(20_002), &b"mn"[..]));
        let OutBody::Segments(segments) = form.body("model") else { panic!("it is all in memory") };
        assert_eq!(segments.concat(), [&b"a".repeat(10_000)[..], b"model", &b"b".repeat(10_000)].concat());
    }
}
