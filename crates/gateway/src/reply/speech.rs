//! What the client is told, given what the upstream said: pure, so that a story of a call is a test.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dialect::json::top_level::{Progress, TopLevel};
use dialect::stream::{EventStream, Frame};
use dialect::{fault, reply, sse, usage};
use domain::{Dialect, Fault, FaultKind, Operation};

use super::End;
use crate::mask::Masks;

/// Members that only an answer has: an `error` beside one of them is part of the answer.
const OF_AN_ANSWER: [&str; 5] = ["choices", "data", "results", "output", "content"];

/// A streamed reply, retold: hidden usage left out, an error put into the client's words, a missing end added.
pub struct Speech {
    stream: EventStream,
    dialect: Dialect,
    request_id: Arc<str>,
    /// The client did not ask for the usage chunk that we asked for.
    hide_usage: bool,
    /// A failure that the upstream told in the client's own dialect.
    told: Option<Fault>,
    /// Events with data that were passed on.
    passed: u64,
    masks: Masks,
    /// Room for the frames of one piece, kept from one to the next.
    frames: Vec<Frame>,
}

impl Speech {
    /// Retells a stream that may have been read a little already.
    pub fn new(
        stream: EventStream,
        dialect: Dialect,
        request_id: Arc<str>,
        hide_usage: bool,
        masks: Masks,
    ) -> Speech {
        Speech { stream, dialect, request_id, hide_usage, told: None, passed: 0, masks, frames: Vec::new() }
    }

    /// Takes the next bytes; what the client gets is appended to `out`. `Some` when the reply is over.
    pub fn hear(
        &mut self,
        bytes: Bytes,
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> Option<End> {
        let mut frames = std::mem::take(&mut self.frames);
        self.stream.push(bytes, &mut frames);
        let end = self.pass(&mut frames, tap, out);
        frames.clear();
        self.frames = frames;
        end
    }

    /// Passes frames on. `Some` when the reply is over.
    pub fn pass(
        &mut self,
        frames: &mut [Frame],
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> Option<End> {
        for frame in frames {
            tap(frame);
            let raw = std::mem::take(&mut frame.raw);
            match frame.marks.fault.take() {
                // the dialect has its own word for a failed reply, and the upstream used it
                Some(mut fault) if frame.marks.terminal => {
                    self.masks.fault(&mut fault);
                    self.told = Some(*fault);
                    out.push_back(self.masks.bytes(&raw).map_or(raw, Bytes::from));
                    continue;
                }
                Some(fault) => return Some(self.fail(*fault, out)),
                // Responses and Messages have an end of their own, which must come first
                None if frame.marks.done && !self.stream.complete() => {
                    return Some(self.fail(incomplete(), out));
                }
                None => {}
            }
            self.passed += u64::from(frame.marks.events);
            if !(self.hide_usage && frame.marks.only_usage) {
                out.push_back(raw);
            }
        }
        if !self.stream.over() {
            return None;
        }
        out.extend(self.stream.missing_end());
        Some(self.over())
    }

    /// The upstream's bytes stopped: at their end, or because of `cut`.
    pub fn close(
        &mut self,
        cut: Option<Fault>,
        tap: &mut dyn FnMut(&Frame),
        out: &mut VecDeque<Bytes>,
    ) -> End {
        if let Some(end) = self.finish_last_event(tap, out) {
            return end;
        }
        if self.stream.complete() {
            out.extend(self.stream.missing_end());
            return self.over();
        }
        let fault = cut.unwrap_or_else(incomplete);
        let fault = if fault.code.is_some() { fault } else { fault.code("stream_incomplete") };
        self.fail(fault, out)
    }

    fn finish_last_event(&mut self, tap: &mut dyn FnMut(&Frame), out: &mut VecDeque<Bytes>) -> Option<End> {
        let event = last_event(&mut self.stream)?;
        self.hear(event, tap, out)
    }

    fn over(&mut self) -> End {
        match self.told.take() {
            Some(fault) => End::Failed(fault),
            None => End::Complete,
        }
    }

    /// Tells the client of a failure: one error event, no finish, no `[DONE]`.
    fn fail(&mut self, mut fault: Fault, out: &mut VecDeque<Bytes>) -> End {
        self.masks.fault(&mut fault);
        out.push_back(fault::event(self.dialect, &fault, &self.request_id, self.passed));
        End::Failed(fault)
    }

    /// Whether something may be said in between: not inside an event that is passing in pieces.
    pub fn between_events(&self) -> bool {
        !self.stream.inside_an_event()
    }
}

/// The fault of a stream that ended too early.
fn incomplete() -> Fault {
    Fault::new(FaultKind::Broken, "the upstream's stream ended before the reply was complete")
        .code("stream_incomplete")
}

/// The event in which a stream's bytes stopped, if nothing but its blank line is missing: an upstream may leave that out
/// at the end, or stop inside `[DONE]`.
pub(crate) fn last_event(stream: &mut EventStream) -> Option<Bytes> {
    let rest = stream.leftover();
    let data = sse::read(&rest).data?;
    let whole =
        data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
    let ending: &[u8] = if rest.ends_with(b"\n") { b"\n" } else { b"\n\n" };
    whole.then(|| [&rest[..], ending].concat().into())
}

/// A large JSON reply, retold while it passes: a member added before its last brace, usage noticed. One that turns out
/// to be no answer never gets its last brace.
pub struct Recital {
    top: TopLevel,
    /// What it answers.
    asked: (Operation, Dialect),
    /// The member to add, name and value, unless the reply has it.
    member: Option<Bytes>,
    /// Bytes that arrived while the reply was judged, and were not part of what it was judged by.
    pub later: Bytes,
}

impl Recital {
    /// Retells a JSON object, adding the `provider` member if there is one to add.
    pub fn new(operation: Operation, dialect: Dialect, provider: Option<&Bytes>) -> Recital {
        let member = provider.map(|kind| Bytes::from([b"\"provider\":", &kind[..]].concat()));
        let expected = reply::expected(operation, dialect).filter(|name| !OF_AN_ANSWER.contains(name));
        let noticed: Vec<_> = ["provider"].into_iter().chain(OF_AN_ANSWER).chain(expected).collect();
        let top = TopLevel::new(&["usage", "error", "object"], &noticed);
        Recital { top, asked: (operation, dialect), member, later: Bytes::new() }
    }

    /// Takes the next bytes and gives what goes on. A reply that is no JSON object, or whose last brace shows that it was
    /// no answer, is a fault.
    pub fn hear(&mut self, bytes: Bytes, out: &mut VecDeque<Bytes>) -> Result<(), Fault> {
        match self.top.push(&bytes) {
            Progress::Broken => {
                Err(Fault::new(FaultKind::Broken, "the upstream's reply is not a JSON object"))
            }
            Progress::Closes { at } => {
                let member = self.member.take().filter(|_| !self.top.has("provider"));
                out.extend((at > 0).then(|| bytes.slice(..at)));
                self.judge()?;
                if let Some(member) = member {
                    if self.top.has_members() {
                        out.push_back(Bytes::from_static(b","));
                    }
                    out.push_back(member);
                }
                out.push_back(bytes.slice(at..));
                out.retain(|piece| !piece.is_empty());
                Ok(())
            }
            _ => {
                out.push_back(bytes);
                Ok(())
            }
        }
    }

    /// Whether what has passed shows an error, finished or not, and nothing that an answer has.
    pub fn shows_an_error(&self) -> bool {
        // `null`, `""` and `{}` are no errors
        let empty = |error: &Bytes| !error.starts_with(b"{") && !error.starts_with(b"\"") || error.len() == 2;
        let error = self.top.has("error") && !self.top.value("error").is_some_and(empty);
        let object = self.top.value("object").is_some_and(|object| &object[..] == b"\"error\"");
        let has = |name: &&str| self.top.beginning(name).is_some_and(|raw| !raw.starts_with(b"null"));
        (error || object) && !OF_AN_ANSWER.iter().any(has)
    }

    /// The whole reply has passed: whether it was an answer.
    fn judge(&self) -> Result<(), Fault> {
        if self.shows_an_error() {
            let error = self.top.value("error").map(|error| [b"{\"error\":", &error[..], b"}"].concat());
            let meant =
                error.and_then(|error| fault::in_reply(&error)).map(|fault| fault::status(&fault).as_u16());
            let meant = meant.map(|status| format!(" ({status})")).unwrap_or_default();
            let message = format!("the upstream's reply turned out to be an error{meant}");
            return Err(Fault::new(FaultKind::Broken, message));
        }
        reply::judge_large(self.asked.0, self.asked.1, |name| self.top.beginning(name))
    }

    /// The usage reported, if it has passed.
    pub fn usage(&self) -> Option<domain::Usage> {
        usage::read(self.top.value("usage")?)
    }

    /// The reply is over: whether it was whole.
    pub fn close(self) -> Result<(), Fault> {
        self.top.finish().map(|_| ()).map_err(|_| {
            Fault::new(FaultKind::Broken, "the upstream's reply was cut off").code("response_incomplete")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(dialect: Dialect, hide: bool, pieces: &[&str]) -> (String, End) {
        let mut speech =
            Speech::new(EventStream::new(dialect, 1, hide), dialect, "r1".into(), hide, Masks::default());
        let mut out = VecDeque::new();
        let mut end = None;
        for piece in pieces {
            end = speech.hear(Bytes::copy_from_slice(piece.as_bytes()), &mut |_| {}, &mut out);
            if end.is_some() {
                break;
            }
        }
        let end = end.unwrap_or_else(|| speech.close(None, &mut |_| {}, &mut out));
        let text = out.iter().map(|b| std::str::from_utf8(b).expect("text")).collect();
        (text, end)
    }

    const FIRST: &str =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    const LAST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn a_plain_stream_is_told_byte_for_byte() {
        let (text, end) = tell(Dialect::Chat, false, &[FIRST, LAST, USAGE, DONE]);
        assert_eq!(text, [FIRST, LAST, USAGE, DONE].concat());
        assert!(matches!(end, End::Complete));
    }

    #[test]
    fn usage_that_was_not_asked_for_is_hidden() {
        let whole = [FIRST, LAST, USAGE, DONE].concat();
        assert_eq!(tell(Dialect::Chat, true, &[&whole]).0, [FIRST, LAST, DONE].concat());
    }

    #[test]
    fn a_missing_or_half_written_end_is_repaired() {
        for rest in ["", "data: [DONE]", "data: [DONE]\n", "data: [DO"] {
            let (text, end) = tell(Dialect::Chat, false, &[FIRST, LAST, rest]);
            assert_eq!(text, [FIRST, LAST, DONE].concat(), "{rest:?}");
            assert!(matches!(end, End::Complete));
        }
        let unfinished = LAST.trim_end();
        assert_eq!(tell(Dialect::Chat, false, &[FIRST, unfinished]).0, [FIRST, LAST, DONE].concat());
    }

    #[test]
    fn a_stream_that_stops_early_never_ends_cleanly() {
        for rest in ["", "data: {\"choices\":[{\"ind", ": comment\n\n"] {
            let (text, end) = tell(Dialect::Chat, false, &[FIRST, rest]);
            assert!(text.ends_with("\"code\":\"stream_incomplete\"}}\n\n"), "{text}");
            assert!(!text.contains("[DONE]"));
            assert!(matches!(end, End::Failed(_)));
        }
    }

    #[test]
    fn a_late_error_is_told_in_the_clients_dialect() {
        let error = "data: {\"error\":{\"message\":\"out of memory\",\"type\":\"InternalServerError\",\"code\":500}}\n\n";
        let (text, end) = tell(Dialect::Chat, false, &[FIRST, error, DONE]);
        assert!(text.starts_with(FIRST) && text.contains("out of memory") && !text.contains("[DONE]"));
        assert!(text.contains("\"type\":\"provider_error\""));
        assert!(matches!(end, End::Failed(_)));
    }

    #[test]
    fn a_response_that_failed_in_its_own_words_is_not_retold() {
        let failed = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n";
        let (text, end) = tell(Dialect::Responses, false, &[failed]);
        assert_eq!(text, failed);
        assert!(matches!(end, End::Failed(_)));
    }

    #[test]
    fn done_alone_does_not_end_a_dialect_that_has_its_own_end() {
        for dialect in [Dialect::Responses, Dialect::Messages] {
            let first = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
            let (text, end) = tell(dialect, false, &[first, DONE]);
            assert!(
                text.starts_with(first) && text.contains("event: error") && !text.contains("[DONE]"),
                "{text}"
            );
            assert!(matches!(end, End::Failed(_)));
        }
    }

    #[test]
    fn an_event_that_is_no_object_ends_the_stream_once() {
        let (text, end) = tell(Dialect::Chat, false, &[FIRST, "data: {not json}\n\n", LAST, DONE]);
        assert!(text.starts_with(FIRST) && text.ends_with("\"code\":\"stream_incomplete\"}}\n\n"), "{text}");
        assert!(!text.contains("not json") && text.matches("data:").count() == 2);
        assert!(matches!(end, End::Failed(_)));
    }

    #[test]
    fn a_member_is_added_before_the_last_brace_wherever_the_cuts_are() {
        let json = "{\"data\":[{\"a\":\"}\"}],\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2}} \n";
        let expect = "{\"data\":[{\"a\":\"}\"}],\"usage\":{\"prompt_tokens\":2,\"total_tokens\":2},\"provider\":\"vllm\"} \n";
        for cut in 0..json.len() {
            let mut recital =
                Recital::new(Operation::Embed, Dialect::Embeddings, Some(&Bytes::from_static(b"\"vllm\"")));
            let mut out = VecDeque::new();
            for piece in [&json[..cut], &json[cut..]] {
                recital.hear(Bytes::copy_from_slice(piece.as_bytes()), &mut out).expect("an object");
            }
            let text: Vec<u8> = out.iter().flat_map(|b| b.to_vec()).collect();
            assert_eq!(String::from_utf8(text).expect("text"), expect, "{cut}");
            assert_eq!(recital.usage().map(|u| u.input), Some(2));
            recital.close().expect("whole");
        }
    }

    #[test]
    fn a_large_reply_that_is_cut_off_is_no_success() {
        let recital = || Recital::new(Operation::Embed, Dialect::Embeddings, None);
        let mut cut = recital();
        cut.hear(Bytes::from_static(b"{\"data\":[1,"), &mut VecDeque::new()).expect("so far");
        assert!(cut.close().is_err());
        assert!(recital().hear(Bytes::from_static(b"<html>"), &mut VecDeque::new()).is_err());
    }

    #[test]
    fn a_large_reply_that_turns_out_to_be_no_answer_never_gets_its_last_brace() {
        for (operation, dialect, json) in [
            (Operation::Embed, Dialect::Embeddings, "{\"id\":\"x\",\"error\":{\"message\":\"boom\"}}"),
            (Operation::Embed, Dialect::Embeddings, "{\"id\":\"x\",\"data\":null,\"error\":\"boom\"}"),
            (Operation::Generate, Dialect::Chat, "{\"id\":\"x\",\"object\":\"error\",\"message\":\"boom\"}"),
            (Operation::Generate, Dialect::Chat, "{\"id\":\"x\",\"usage\":null}"),
            (Operation::Generate, Dialect::Chat, "{\"id\":\"x\",\"choices\": [ ]}"),
            (Operation::Tokenize, Dialect::Vllm, "{\"id\":\"x\",\"tokens\":null}"),
        ] {
            for cut in 0..json.len() {
                let mut recital = Recital::new(operation, dialect, Some(&Bytes::from_static(b"\"vllm\"")));
                let mut out = VecDeque::new();
                let first = recital.hear(Bytes::from(json[..cut].to_owned()), &mut out);
                let fault = first.and_then(|()| recital.hear(Bytes::from(json[cut..].to_owned()), &mut out));
                assert_eq!(fault.expect_err(json).kind, FaultKind::Broken);
                let text: Vec<u8> = out.iter().flat_map(|b| b.to_vec()).collect();
                assert_eq!(String::from_utf8(text).expect("text"), json[..json.len() - 1], "{cut}");
            }
        }
    }
}
