//! What a [`FakeUpstream`](crate::FakeUpstream) answers: a [`Reply`] is a head, then steps in order.
//!
//! Bytes on the wire are exactly those of the script. A reply with a body at hand is sent with
//! `content-length`; [`Reply::sse`] and [`Reply::chunked`] use chunks, one per write.

mod head;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::gate::Gate;
use crate::transcript::Side;
use crate::wire::Fields;

/// One thing a reply does after its head.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write(Vec<u8>),
    Forever(Vec<u8>, Duration),
    Pause(Duration),
    Gate(Gate),
    End,
    Stall,
    Reset,
    HalfClose,
    Close,
}

/// How the body is delimited on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimiting {
    /// `content-length` of all that the steps write.
    Length,
    /// `content-length` of this figure, true or not.
    Declared(u64),
    Chunked,
    UntilClose,
    /// No head is written at all: the steps are the whole wire image.
    Verbatim,
}

/// Where the bytes of a body are cut into writes.
#[derive(Debug, Clone)]
pub(crate) enum Cut {
    AsWritten,
    Every(usize),
    At(Vec<usize>),
}

/// A scripted answer. Build one with a constructor, add steps in the order in which they happen.
///
/// ```
/// # use testkit::Reply;
/// # use std::time::Duration;
/// let busy = Reply::status(503).header("retry-after", "1");
/// let cut_off = Reply::sse().event(r#"{"id":1}"#).pause(Duration::from_millis(5)).raw("data: [DO").reset();
/// ```
#[derive(Debug, Clone)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Fields,
    pub(crate) trailers: Fields,
    pub(crate) delimiting: Delimiting,
    pub(crate) before_head: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    pub(crate) cut: Cut,
    pub(crate) cut_head: Option<usize>,
    pub(crate) pace: Duration,
    pub(crate) truncated: bool,
    pub(crate) closing: bool,
    pub(crate) early: bool,
}

impl Reply {
    fn new(status: u16, delimiting: Delimiting) -> Reply {
        Reply {
            status,
            reason: None,
            content_type: None,
            headers: Vec::new(),
            trailers: Vec::new(),
            delimiting,
            before_head: Vec::new(),
            steps: Vec::new(),
            cut: Cut::AsWritten,
            cut_head: None,
            pace: Duration::ZERO,
            truncated: false,
            closing: false,
            early: false,
        }
    }

    /// A reply with an empty body.
    pub fn status(status: u16) -> Reply {
        Reply::new(status, Delimiting::Length)
    }

    /// A body of any content type.
    pub fn bytes(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Reply {
        Reply::status(status).content_type(content_type).raw(body)
    }

    /// A JSON body, sent as it is written here.
    pub fn json(status: u16, body: impl AsRef<[u8]>) -> Reply {
        Reply::bytes(status, "application/json", body)
    }

    /// A plain text body.
    pub fn text(status: u16, body: impl AsRef<[u8]>) -> Reply {
        Reply::bytes(status, "text/plain; charset=utf-8", body)
    }

    /// An HTML body, as a proxy in between would send.
    pub fn html(status: u16, body: impl AsRef<[u8]>) -> Reply {
        Reply::bytes(status, "text/html", body)
    }

    /// An event stream with status 200, in chunks, that ends well unless a later step says otherwise.
    pub fn sse() -> Reply {
        Reply::new(200, Delimiting::Chunked).content_type("text/event-stream; charset=utf-8")
    }

    /// Exactly these bytes instead of a head and a body: half a head, nonsense, HTTP/1.0, interim replies.
    /// The connection is closed afterwards, unless another ending is added.
    pub fn wire(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::new(0, Delimiting::Verbatim).raw(bytes)
    }

    /// Closes the connection without a byte; [`Reply::stall`] or [`Reply::reset`] make it stay silent or reset.
    pub fn no_response() -> Reply {
        Reply::new(0, Delimiting::Verbatim)
    }

    /// The reply that a transcript's `<<< upstream` tells: status and content type from its head line,
    /// its headers and its body. An event stream goes in chunks, all else by length.
    ///
    /// # Panics
    /// When the head line does not begin with a status.
    pub fn from_side(side: &Side) -> Reply {
        let content_type = side.content_type();
        let streamed = content_type.is_some_and(|kind| kind.starts_with("text/event-stream"));
        let delimiting = if streamed { Delimiting::Chunked } else { Delimiting::Length };
        let mut reply = Reply::new(side.status(), delimiting);
        reply.content_type = content_type.map(str::to_owned);
        let own = |name: &str| name.eq_ignore_ascii_case("content-type");
        reply.headers = side.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
        if side.body.is_empty() { reply } else { reply.raw(&side.body) }
    }

    // --- the head

    /// Adds a header. Names are sent in the case given, in the order given; repeating one sends it twice.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        if name.eq_ignore_ascii_case("content-type") {
            self.content_type = Some(value.to_owned());
        } else {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Replaces the content type; `""` sends none.
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Reply {
        self.content_type = Some(content_type.to_owned()).filter(|kind| !kind.is_empty());
        self
    }

    /// Replaces the status, for instance of an event stream.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Reply {
        self.status = status;
        self
    }

    /// Replaces the words after the status.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Reply {
        self.reason = Some(reason.to_owned());
        self
    }

    /// Sends the body in chunks.
    #[must_use]
    pub fn chunked(mut self) -> Reply {
        self.delimiting = Delimiting::Chunked;
        self
    }

    /// Sends neither length nor chunks: the body ends where the connection does.
    #[must_use]
    pub fn until_close(mut self) -> Reply {
        self.delimiting = Delimiting::UntilClose;
        self
    }

    /// Declares `length` bytes of body, true or not. A body that is longer or shorter is followed by a close.
    #[must_use]
    pub fn wrong_length(mut self, length: u64) -> Reply {
        self.delimiting = Delimiting::Declared(length);
        self
    }

    /// A field after the last chunk (chunked replies only).
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Reply {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says `connection: close`, ends the body properly, closes.
    #[must_use]
    pub fn connection_close(mut self) -> Reply {
        self.closing = true;
        self
    }

    // --- before the head

    /// Says nothing for this long before the head.
    #[must_use]
    pub fn before_head(mut self, pause: Duration) -> Reply {
        self.before_head.push(Step::Pause(pause));
        self
    }

    /// Says nothing before the head until the gate opens.
    #[must_use]
    pub fn gate_before_head(mut self, gate: &Gate) -> Reply {
        self.before_head.push(Step::Gate(gate.clone()));
        self
    }

    /// Answers as soon as the request's head is there, while its body is still coming. Only for replies that
    /// are queued as they are, not for computed ones or routes that look at the body.
    #[must_use]
    pub fn early(mut self) -> Reply {
        self.early = true;
        self
    }

    // --- the body, in order

    /// Writes these bytes.
    #[must_use]
    pub fn raw(self, bytes: impl AsRef<[u8]>) -> Reply {
        let bytes = bytes.as_ref().to_vec();
        if bytes.is_empty() { self } else { self.step(Step::Write(bytes)) }
    }

    /// Writes `data: …` and a blank line; each line of `data` becomes one data field.
    #[must_use]
    pub fn event(self, data: &str) -> Reply {
        self.raw(data_fields(data) + "\n")
    }

    /// Writes `event: name`, then as [`Reply::event`].
    #[must_use]
    pub fn named_event(self, name: &str, data: &str) -> Reply {
        self.raw(format!("event: {name}\n{}\n", data_fields(data)))
    }

    /// Writes `data: [DONE]` and a blank line.
    #[must_use]
    pub fn done(self) -> Reply {
        self.event("[DONE]")
    }

    /// Writes `: text` and a blank line.
    #[must_use]
    pub fn comment(self, text: &str) -> Reply {
        self.raw(format!(": {text}\n\n"))
    }

    /// Writes `bytes` again and again, `pause` apart, until the client leaves or the connection's time is up.
    #[must_use]
    pub fn forever(self, bytes: impl AsRef<[u8]>, pause: Duration) -> Reply {
        self.step(Step::Forever(bytes.as_ref().to_vec(), pause))
    }

    /// Waits before what follows.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Reply {
        self.step(Step::Pause(pause))
    }

    /// Waits before what follows until the gate opens.
    #[must_use]
    pub fn gate(self, gate: &Gate) -> Reply {
        self.step(Step::Gate(gate.clone()))
    }

    /// Ends the body properly now (last chunk, trailers), so that a close or reset may follow a whole reply,
    /// as when a kept-alive connection dies.
    #[must_use]
    pub fn end(self) -> Reply {
        self.step(Step::End)
    }

    // --- how it is written

    /// Cuts the body into writes of `bytes` each, across steps, without regard for events. Of a chunked body
    /// each write is a chunk.
    ///
    /// # Panics
    /// When `bytes` is 0.
    #[must_use]
    pub fn cut_into(mut self, bytes: usize) -> Reply {
        assert!(bytes > 0, "writes of 0 bytes never end");
        self.cut = Cut::Every(bytes);
        self
    }

    /// Cuts the body into writes at these offsets.
    #[must_use]
    pub fn cut_at(mut self, offsets: &[usize]) -> Reply {
        self.cut = Cut::At(offsets.to_vec());
        self
    }

    /// Cuts the head into writes of `bytes` each.
    ///
    /// # Panics
    /// When `bytes` is 0.
    #[must_use]
    pub fn cut_head_into(mut self, bytes: usize) -> Reply {
        assert!(bytes > 0, "writes of 0 bytes never end");
        self.cut_head = Some(bytes);
        self
    }

    /// Waits this long between two cut writes, so that the other side sees them apart.
    #[must_use]
    pub fn pace(mut self, pause: Duration) -> Reply {
        self.pace = pause;
        self
    }

    // --- how it ends

    /// Says nothing more and keeps the connection open until the client leaves.
    #[must_use]
    pub fn stall(self) -> Reply {
        self.step(Step::Stall)
    }

    /// Resets the connection (RST).
    #[must_use]
    pub fn reset(self) -> Reply {
        self.step(Step::Reset)
    }

    /// Closes our direction (FIN), body finished or not, and goes on reading until the client closes its own.
    #[must_use]
    pub fn half_close(self) -> Reply {
        self.step(Step::HalfClose)
    }

    /// Closes the connection (FIN) without ending the body. A body by length is whole all the same if all of
    /// it was written; a chunked one is cut off unless [`Reply::end`] came before.
    #[must_use]
    pub fn close(self) -> Reply {
        self.step(Step::Close)
    }

    /// Writes only the first `bytes` of the body as it is so far, while the head declares it whole; then
    /// closes, or does what steps added after this say.
    ///
    /// # Panics
    /// When the body so far is not longer than that: nothing would be truncated.
    #[must_use]
    pub fn truncate_after(mut self, bytes: usize) -> Reply {
        let whole = self.written();
        assert!(bytes < whole, "cannot truncate {whole} bytes after {bytes}: nothing would be missing");
        if self.delimiting == Delimiting::Length {
            self.delimiting = Delimiting::Declared(whole as u64);
        }
        let mut left = bytes;
        let mut kept = Vec::new();
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Write(mut written) if written.len() >= left => {
                    written.truncate(left);
                    kept.push(Step::Write(written));
                    break;
                }
                step => {
                    left -= if let Step::Write(written) = &step { written.len() } else { 0 };
                    kept.push(step);
                }
            }
        }
        self.steps = kept;
        self.truncated = true;
        self
    }

    fn step(mut self, step: Step) -> Reply {
        self.steps.push(step);
        self
    }
}

fn data_fields(data: &str) -> String {
    data.split('\n').map(|line| format!("data: {line}\n")).collect()
}
