//! How the bytes of one answer are passed on, whatever they are. Pure: it is given pieces and asks nobody.

use std::collections::VecDeque;

use bytes::Bytes;
use dialect::json::top_level::TopLevel;
use dialect::marks::Marks;
use dialect::stream::{EventStream, Frame};
use domain::Fault;

use super::End;
use super::speech::{Recital, Speech};

/// An answer on its way through. What the client gets is appended to `out`, what taps are to see is shown to `tap`.
pub enum Relay {
    /// Server-sent events in a dialect of ours.
    Events(Speech),
    /// A JSON reply too large to be read whole.
    Large(Recital),
    /// Somebody else's bytes.
    Opaque(Watch),
}

/// What looks for usage in bytes that are not ours.
pub enum Watch {
    /// Nobody asked.
    Nothing,
    /// Server-sent events.
    Events(EventStream),
    /// A JSON object.
    Json(Box<TopLevel>),
}

impl Relay {
    /// Passes on what was heard while the answer was judged. `Some` when the reply is over.
    pub fn begin(
        &mut self,
        mut frames: Vec<Frame>,
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> Option<End> {
        if let Relay::Events(speech) = self {
            return speech.pass(&mut frames, tap, out);
        }
        for frame in frames {
            tap(&frame);
            out.push_back(frame.raw);
        }
        match self {
            Relay::Large(recital) if !recital.later.is_empty() => {
                let later = std::mem::take(&mut recital.later);
                self.hear(later, tap, out)
            }
            _ => None,
        }
    }

    /// Takes the next piece. `Some` when the reply is over.
    pub fn hear(
        &mut self,
        bytes: Bytes,
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> Option<End> {
        match self {
            Relay::Events(speech) => speech.hear(bytes, tap, out),
            Relay::Large(recital) => {
                tap(&Frame { raw: bytes.clone(), marks: Marks::default() });
                recital.hear(bytes, out).err().map(End::Failed)
            }
            Relay::Opaque(watch) => {
                let usage = watch.look(&bytes);
                tap(&Frame { raw: bytes.clone(), marks: Marks { usage, ..Marks::default() } });
                out.push_back(bytes);
                None
            }
        }
    }

    /// The pieces stopped: at their end, or because of `cut`.
    pub fn close(
        self: Box<Self>,
        cut: Option<Fault>,
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> End {
        let whole = match *self {
            Relay::Events(mut speech) => return speech.close(cut, tap, out),
            Relay::Large(recital) => {
                let marks = Marks { usage: recital.usage(), ..Marks::default() };
                tap(&Frame { raw: Bytes::new(), marks });
                recital.close()
            }
            Relay::Opaque(_) => Ok(()),
        };
        match cut.map_or(whole, Err) {
            Ok(()) => End::Complete,
            Err(fault) => End::Failed(fault),
        }
    }

    /// Whether a failure can be told inside: where it cannot, the body is cut so that nobody takes it for whole.
    pub fn tells_failures(&self) -> bool {
        matches!(self, Relay::Events(_))
    }

    /// Whether something of ours may be said now.
    pub fn between_events(&self) -> bool {
        matches!(self, Relay::Events(speech) if speech.between_events())
    }
}

impl Watch {
    /// Looks at the next piece; gives the usage known by now.
    fn look(&mut self, bytes: &Bytes) -> Option<domain::Usage> {
        match self {
            Watch::Nothing => None,
            Watch::Events(stream) => {
                stream.push(bytes.clone(), &mut Vec::new());
                stream.usage()
            }
            Watch::Json(top) => {
                let _ = top.push(bytes);
                dialect::usage::read(top.value("usage")?)
            }
        }
    }
}
