//! The bytes of one streamed reply in, frames out: whole events, as they arrived, with what was noticed in them.

use bytes::{Bytes, BytesMut};
use domain::{Dialect, Usage};

use crate::marks::{self, Marks};
use crate::{sse, usage};

/// The most of an unfinished event that is held back to be looked at whole. A longer one flows on unread.
const HOLD: usize = 256 << 10;

/// The last bytes of a long event, in which usage is still looked for.
const TAIL: usize = 16 << 10;

/// Some whole events (or a piece of one too long to hold), and what was noticed in them.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The bytes as they arrived.
    pub raw: Bytes,
    /// What a look showed. A frame with a fault, a hidden chunk or an end holds one event only.
    pub marks: Marks,
}

/// Cuts one reply into frames. One per attempt.
pub struct EventStream {
    dialect: Dialect,
    /// Chunks that only report usage come in a frame of their own.
    separate_usage: bool,
    held: BytesMut,
    /// How much of `held` is known to contain no end of an event.
    looked: usize,
    /// Inside an event too long to hold; its last bytes.
    long: Option<BytesMut>,
    usage: Option<Usage>,
    choices: u32,
    finished: u32,
    events: u64,
    terminal: bool,
    unfinished: bool,
    done: bool,
    /// Something followed the last event that is not part of the reply.
    past: bool,
}

impl EventStream {
    /// A reader for a reply of `choices` choices in this dialect.
    pub fn new(dialect: Dialect, choices: u32, separate_usage: bool) -> EventStream {
        EventStream {
            dialect,
            separate_usage,
            held: BytesMut::new(),
            looked: 0,
            long: None,
            usage: None,
            choices,
            finished: 0,
            events: 0,
            terminal: false,
            unfinished: false,
            done: false,
            past: false,
        }
    }

    /// Takes the next bytes and appends the frames that they complete.
    pub fn push(&mut self, bytes: Bytes, out: &mut Vec<Frame>) {
        let bytes = if self.long.is_some() { self.rest_of_long_event(bytes, out) } else { bytes };
        if bytes.is_empty() {
            return;
        }
        let mut rest = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(&bytes);
            // an event that arrives in many small pieces is gathered where it lies
            if self.held.len() <= HOLD && sse::event_end(&self.held, self.looked).is_none() {
                self.looked = self.held.len();
                return;
            }
            std::mem::take(&mut self.held).freeze()
        };
        let mut run = Run::default();
        let mut from = std::mem::take(&mut self.looked);
        while !self.over() {
            let Some(length) = sse::event_end(&rest[run.length..], from) else { break };
            from = 0;
            let event = &rest[run.length..run.length + length];
            if self.follows_the_end(event) {
                self.past = true;
                break;
            }
            let seen = self.look(event);
            let alone = seen.fault.is_some() || seen.done || (seen.only_usage && self.separate_usage);
            if alone {
                run.flush(&mut rest, out);
                out.push(Frame { raw: rest.split_to(length), marks: seen });
            } else {
                run.add(length, &seen);
            }
        }
        run.flush(&mut rest, out);
        if !self.over() && !rest.is_empty() {
            self.hold(rest, out);
        }
    }

    fn hold(&mut self, rest: Bytes, out: &mut Vec<Frame>) {
        if rest.len() <= HOLD {
            self.looked = rest.len();
            self.held = BytesMut::from(&rest[..]);
            return;
        }
        if self.terminal {
            self.past = true;
            return;
        }
        let mut tail = BytesMut::with_capacity(TAIL * 2);
        tail.extend_from_slice(&rest[rest.len() - TAIL..]);
        // the head of the event says what it is; what it reports stands at its end
        let mut seen = marks::look_at_head(self.dialect, &rest[..TAIL]);
        self.note(&mut seen);
        self.long = Some(tail);
        out.push(Frame { raw: rest, marks: seen });
    }

    /// Passes on what belongs to the long event, and gives back what follows it.
    fn rest_of_long_event(&mut self, mut bytes: Bytes, out: &mut Vec<Frame>) -> Bytes {
        let Some(mut tail) = self.long.take() else { return bytes };
        let before = tail.len();
        tail.extend_from_slice(&bytes[..bytes.len().min(TAIL)]);
        // an end may straddle the two reads, so look in the joined bytes first
        let end = sse::event_end(&tail, before)
            .map(|end| end - before)
            .or_else(|| sse::event_end(&bytes, 0))
            .filter(|end| *end <= bytes.len());
        match end {
            Some(end) => {
                let raw = bytes.split_to(end);
                let mut last = tail;
                last.truncate(before);
                last.extend_from_slice(&raw[raw.len().saturating_sub(TAIL)..]);
                if let Some(found) = usage_near_the_end(&last) {
                    self.usage = Some(usage::later(self.usage, found));
                }
                out.push(Frame { raw, marks: Marks { usage: self.usage, ..Marks::default() } });
                bytes
            }
            None => {
                if bytes.len() >= TAIL {
                    tail.clear();
                    tail.extend_from_slice(&bytes[bytes.len() - TAIL..]);
                } else if tail.len() > TAIL {
                    let _ = tail.split_to(tail.len() - TAIL);
                }
                self.long = Some(tail);
                out.push(Frame { raw: bytes, marks: Marks::default() });
                Bytes::new()
            }
        }
    }

    /// Whether an event comes after the one that ends the reply. `[DONE]` may, and comments.
    fn follows_the_end(&self, event: &[u8]) -> bool {
        self.terminal && {
            let seen = marks::look(self.dialect, event);
            seen.events > 0 && !seen.done
        }
    }

    fn look(&mut self, event: &[u8]) -> Marks {
        let mut seen = marks::look(self.dialect, event);
        // the first event decides what the whole answer is, so that one is read to its end
        if self.events == 0 && seen.events > 0 && seen.fault.is_none() && self.dialect.streams() {
            seen.fault = marks::syntax_fault(event).map(Box::new);
        }
        self.note(&mut seen);
        seen
    }

    fn note(&mut self, seen: &mut Marks) {
        if let Some(now) = seen.usage {
            self.usage = Some(usage::later(self.usage, now));
            seen.usage = self.usage;
        }
        self.events += u64::from(seen.events);
        self.finished += seen.finished;
        self.terminal |= seen.terminal;
        self.unfinished |= seen.unfinished;
        self.done |= seen.done || (seen.terminal && self.dialect == Dialect::Messages);
    }

    /// Whether the reply had ended as its dialect says it ends, when its bytes stopped.
    ///
    /// Chat and completions: `[DONE]`, or every choice finished. Responses: its terminal event. Messages:
    /// `message_stop`. Transcriptions: `[DONE]`, the usage chunk, or the event with the whole text. Nobody knows how a
    /// foreign stream ends.
    pub fn complete(&self) -> bool {
        match self.dialect {
            Dialect::Chat | Dialect::Completions => self.done || self.finished >= self.choices.max(1),
            Dialect::Responses | Dialect::Messages => self.terminal,
            Dialect::Transcription => self.done || self.terminal,
            _ => true,
        }
    }

    /// Whether nothing more is worth waiting for: what follows the last marker is not part of the reply.
    pub fn over(&self) -> bool {
        self.done || self.past
    }

    /// What must be added after a complete reply: the `[DONE]` that the upstream left out. A reply that failed in its own
    /// words has none.
    pub fn missing_end(&self) -> Option<Bytes> {
        let says_done = matches!(self.dialect, Dialect::Chat | Dialect::Completions | Dialect::Responses);
        (says_done && !self.done && !self.unfinished && self.complete())
            .then(|| Bytes::from_static(b"data: [DONE]\n\n"))
    }

    /// What the stream ended in the middle of: bytes of an event that never became whole.
    pub fn leftover(&mut self) -> Bytes {
        self.looked = 0;
        std::mem::take(&mut self.held).freeze()
    }

    /// Whether an event is passing in pieces, so that nothing may be said in between.
    pub fn inside_an_event(&self) -> bool {
        self.long.is_some()
    }

    /// The usage reported so far.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// How many events with data there were.
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// Neighbouring plain events, which travel as one frame: how long they are, and what was noticed in them.
#[derive(Default)]
struct Run {
    length: usize,
    usage: Option<Usage>,
    terminal: bool,
    finished: u32,
    events: u32,
}

impl Run {
    fn add(&mut self, length: usize, seen: &Marks) {
        self.length += length;
        self.usage = seen.usage.or(self.usage);
        self.terminal |= seen.terminal;
        self.finished += seen.finished;
        self.events += seen.events;
    }

    /// Takes the run off the bytes that it begins.
    fn flush(&mut self, rest: &mut Bytes, out: &mut Vec<Frame>) {
        let Run { length, usage, terminal, finished, events } = std::mem::take(self);
        if length > 0 {
            let marks = Marks { usage, terminal, finished, events, ..Marks::default() };
            out.push(Frame { raw: rest.split_to(length), marks });
        }
    }
}

fn usage_near_the_end(bytes: &[u8]) -> Option<Usage> {
    let at = memchr::memmem::rfind(bytes, b"\"usage\"")?;
    let rest = bytes[at + 7..].trim_ascii_start().strip_prefix(b":")?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&serde_json::value::RawValue>();
    usage::read_checked(values.next()?.ok()?.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}\"},\"finish_reason\":null}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n\
        data: [DONE]\n\n";

    fn run(text: &[u8], cuts: &[usize], choices: u32) -> (Vec<u8>, Vec<Vec<u8>>, EventStream) {
        let mut stream = EventStream::new(Dialect::Chat, choices, true);
        let (mut frames, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            stream.push(Bytes::copy_from_slice(&text[at..cut]), &mut frames);
            at = cut;
        }
        let shown = frames.iter().filter(|f| !f.marks.only_usage).flat_map(|f| f.raw.to_vec()).collect();
        let hidden = frames.iter().filter(|f| f.marks.only_usage).map(|f| f.raw.to_vec()).collect();
        (shown, hidden, stream)
    }

    #[test]
    fn any_chunking_gives_the_same_bytes_and_marks() {
        let text = CHAT.as_bytes();
        for cut in 0..text.len() {
            for other in [cut, (cut + 7).min(text.len()), text.len()] {
                let (shown, hidden, stream) = run(text, &[cut, other], 1);
                assert_eq!(hidden.len(), 1, "{cut} {other}");
                assert_eq!(shown.len() + hidden[0].len(), text.len(), "{cut} {other}");
                assert!(stream.complete() && stream.over() && stream.missing_end().is_none());
                assert_eq!(stream.usage().map(|u| (u.input, u.output)), Some((3, 2)));
                assert_eq!(stream.events(), 4);
            }
        }
        let every: Vec<usize> = (0..text.len()).collect();
        assert_eq!(run(text, &every, 1).0, run(text, &[], 1).0);
    }

    #[test]
    fn a_reply_without_its_end_is_not_complete() {
        let text = CHAT.as_bytes();
        let before_finish = CHAT.find("data: {\"choices\":[{\"index\":0,\"delta\":{},").expect("there");
        let (_, _, stream) = run(&text[..before_finish], &[], 1);
        assert!(!stream.complete());
        let before_done = CHAT.find("data: [DONE]").expect("there");
        let (_, _, stream) = run(&text[..before_done], &[], 1);
        assert!(stream.complete());
        assert_eq!(stream.missing_end().as_deref(), Some(&b"data: [DONE]\n\n"[..]));
        let (_, _, stream) = run(&text[..before_done], &[], 2);
        assert!(!stream.complete(), "one of two choices finished");
    }

    #[test]
    fn only_a_response_that_was_completed_gets_its_done() {
        for (name, gets) in [
            ("response.completed", true),
            ("response.incomplete", true),
            ("response.failed", false),
            ("response.cancelled", false),
        ] {
            let mut stream = EventStream::new(Dialect::Responses, 1, false);
            let event = format!("event: {name}\ndata: {{\"response\":{{}}}}\n\n");
            stream.push(Bytes::from(event), &mut Vec::new());
            assert!(stream.complete());
            assert_eq!(stream.missing_end().is_some(), gets, "{name}");
        }
    }

    #[test]
    fn the_first_event_is_read_to_its_end() {
        let mut frames = Vec::new();
        let mut stream = EventStream::new(Dialect::Chat, 1, false);
        stream.push(Bytes::from_static(b"data: {\"choices\":[}\n\n"), &mut frames);
        assert!(frames[0].marks.fault.is_some());
    }

    #[test]
    fn what_follows_the_end_is_not_part_of_the_reply() {
        let text = format!("{CHAT}data: [DONE]\n\ndata: {{\"late\":1}}\n\n");
        let (shown, hidden, _) = run(text.as_bytes(), &[], 1);
        assert_eq!(shown.len() + hidden[0].len(), CHAT.len());
    }

    #[test]
    fn what_follows_the_last_event_of_a_response_is_not_part_of_it() {
        let last = "event: response.completed\ndata: {\"response\":{}}\n\n";
        let late = "event: response.output_text.delta\ndata: {\"delta\":\"late\"}\n\n";
        let huge = format!(
            "event: response.output_text.delta\ndata: {{\"delta\":\"{}\"}}\n\n",
            "x".repeat(2 * HOLD)
        );
        for more in [last, late, &huge] {
            let text = format!("{last}: comment\n\n{more}");
            for size in [1_000, 1 << 20] {
                let mut stream = EventStream::new(Dialect::Responses, 1, false);
                let mut frames = Vec::new();
                for piece in text.as_bytes().chunks(size) {
                    stream.push(Bytes::copy_from_slice(piece), &mut frames);
                }
                let shown: usize = frames.iter().map(|frame| frame.raw.len()).sum();
                assert_eq!(shown, last.len() + ": comment\n\n".len());
                assert!(stream.over() && stream.missing_end().is_some());
            }
        }
        let mut stream = EventStream::new(Dialect::Responses, 1, false);
        let mut frames = Vec::new();
        stream.push(Bytes::from(format!("{last}data: [DONE]\n\n{late}")), &mut frames);
        assert!(stream.over() && stream.missing_end().is_none());
        assert_eq!(
            frames.iter().map(|frame| frame.raw.len()).sum::<usize>(),
            last.len() + "data: [DONE]\n\n".len()
        );
    }

    #[test]
    fn an_event_too_long_to_hold_flows_on_and_its_usage_is_found() {
        let long = format!(
            "event: response.completed\ndata: {{\"response\":{{\"text\":\"{}\",\"usage\":{{\"input_tokens\":1,\"output_tokens\":9}}}}}}\n\n",
            "x".repeat(700_000)
        );
        for size in [1 << 10, 100_000, 300_000, 800_000] {
            let mut stream = EventStream::new(Dialect::Responses, 1, false);
            let mut frames = Vec::new();
            for piece in long.as_bytes().chunks(size) {
                stream.push(Bytes::copy_from_slice(piece), &mut frames);
                assert!(stream.held.len() <= HOLD);
            }
            stream.push(Bytes::from_static(b"data: [DONE]\n\n"), &mut frames);
            let bytes: usize = frames.iter().map(|f| f.raw.len()).sum();
            assert_eq!(bytes, long.len() + 14, "{size}");
            assert_eq!(stream.usage().map(|u| u.output), Some(9), "{size}");
            assert!(stream.complete() && stream.over());
        }
    }
}
