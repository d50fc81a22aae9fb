//! What may be noticed in one event of a stream without decoding it: usage, errors, the terminal marker.
//!
//! A mark is first *searched* in the bytes. A JSON string cannot contain an unescaped quote, so a generated text never
//! looks like a member; only where the search hits is the event decoded, to be sure.

use std::sync::LazyLock;

use domain::{Dialect, Fault, FaultKind, Usage};
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::json::words;
use crate::{fault, sse, usage};

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static TRANSCRIBED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"transcript.text.done\""));
static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"response."));

/// What a look at one event, or at a run of them, showed.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Usage so far, if it was reported.
    pub usage: Option<Usage>,
    /// The event tells of a failure.
    pub fault: Option<Box<Fault>>,
    /// The event that ends a reply of this dialect (`response.completed`, `message_stop`).
    pub terminal: bool,
    /// The event that ends the reply says that it did not come to its end (`response.failed`).
    pub unfinished: bool,
    /// The text `[DONE]`, which ends what OpenAI's streams say.
    pub done: bool,
    /// The chunk is there only to report usage: it has no choices.
    pub only_usage: bool,
    /// Choices that finished here.
    pub finished: u32,
    /// Events that carry data; comments do not count.
    pub events: u32,
}

/// Looks at one whole event.
pub fn look(dialect: Dialect, event: &[u8]) -> Marks {
    let mut marks = Marks { events: 1, ..Marks::default() };
    if !is_framed(event) && !unusual(dialect, event, &mut marks) {
        return marks;
    }
    look_into(dialect, event, &mut marks);
    marks
}

/// Looks at the beginning of an event that is too long to be seen whole: what it is, not whether it is in order.
pub(crate) fn look_at_head(dialect: Dialect, head: &[u8]) -> Marks {
    let mut marks = Marks { events: 1, ..Marks::default() };
    look_into(dialect, head, &mut marks);
    Marks { fault: None, ..marks }
}

fn look_into(dialect: Dialect, event: &[u8], marks: &mut Marks) {
    match dialect {
        Dialect::Chat | Dialect::Completions => chunk(event, marks),
        Dialect::Responses => responses(event, marks),
        Dialect::Messages => messages(event, marks),
        Dialect::Transcription => transcription(event, marks),
        _ => foreign(event, marks),
    }
}

/// Whether an event is what nearly all are: perhaps a name, then one JSON object, as far as its first and last bytes
/// show. Decides nothing alone, but is quick.
fn is_framed(event: &[u8]) -> bool {
    let line = match event.strip_prefix(b"event:") {
        Some(rest) => &rest[memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)..],
        None => event,
    };
    line.strip_prefix(b"data:").is_some_and(looks_like_an_object)
}

/// Whether bytes begin and end as a JSON object does.
fn looks_like_an_object(data: &[u8]) -> bool {
    let Some(inside) = data.trim_ascii().strip_prefix(b"{") else { return false };
    inside.ends_with(b"}") && matches!(inside.trim_ascii_start().first(), Some(b'"' | b'}'))
}

/// Looks at an event that is not framed as most are. False if there is nothing more to see in it.
fn unusual(dialect: Dialect, event: &[u8], marks: &mut Marks) -> bool {
    let read = sse::read(event);
    let Some(data) = &read.data else {
        // llama.cpp's own field for a failure
        marks.fault =
            sse::value(event, b"error").and_then(|error| fault::in_event(b"error", error)).map(Box::new);
        marks.events = u32::from(marks.fault.is_some());
        return false;
    };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        marks.done = true;
        marks.events = 0;
        return false;
    }
    if !dialect.streams() || looks_like_an_object(data) {
        return true;
    }
    if data.is_empty() && read.name != b"error" {
        marks.events = 0;
    } else {
        marks.fault = Some(Box::new(broken()));
    }
    false
}

/// The fault of an event that should be a JSON object and is not.
fn broken() -> Fault {
    let message = "failed to unmarshal response: an event of the stream is not a JSON object";
    Fault::new(FaultKind::Broken, message).code("stream_incomplete")
}

/// The fault of an event whose data is not JSON, read to its end. Not for every event.
pub(crate) fn syntax_fault(event: &[u8]) -> Option<Fault> {
    let data = sse::read(event).data?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_err().then(broken)
}

/// Whether a member with a value other than `null` may follow, if what precedes is a name.
fn has_value(behind_name: &[u8]) -> bool {
    let value = behind_name.trim_ascii_start().strip_prefix(b":");
    value.is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
}

/// What a chunk may hold that somebody must be told of, as far as names in quotes show it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Named {
    usage: bool,
    finish: bool,
    /// Both `"error": {…}` and `"object": "error"`.
    error: bool,
}

impl Named {
    /// Goes over a chunk once.
    fn find(chunk: &[u8]) -> Named {
        let mut named = Named::default();
        let mut at = words::quoted(chunk, 0, *b"ufe");
        while at < chunk.len() {
            let rest = &chunk[at..];
            if let Some(behind) = rest.strip_prefix(b"\"usage\"") {
                named.usage |= has_value(behind);
            } else if let Some(behind) = rest.strip_prefix(b"\"finish_reason\"") {
                named.finish |= has_value(behind);
            } else {
                named.error |= rest.starts_with(b"\"error\"");
            }
            at = words::quoted(chunk, at + 1, *b"ufe");
        }
        named
    }
}

/// A chunk of chat or text completions.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Chunk<'a> {
    choices: Option<Vec<Choice>>,
    #[serde(borrow)]
    usage: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    finish_reason: Option<serde_json::Value>,
}

fn chunk(event: &[u8], marks: &mut Marks) {
    let mut named = Named::find(event);
    // the blank behind a field's colon may be missing
    named.error |=
        event.strip_prefix(b"event:").is_some_and(|name| name.trim_ascii_start().starts_with(b"error"));
    if named == Named::default() {
        return;
    }
    let event = sse::read(event);
    let Some(data) = event.data else { return };
    if named.error {
        marks.fault = fault::in_event(event.name, &data).map(Box::new);
    }
    let chunk = match serde_json::from_slice::<Chunk<'_>>(&data) {
        Ok(chunk) => chunk,
        Err(error) => {
            if error.is_syntax() || error.is_eof() {
                marks.fault = Some(Box::new(broken()));
            }
            return;
        }
    };
    marks.usage = chunk.usage.and_then(|raw| usage::read_checked(raw.get().as_bytes()));
    marks.only_usage = marks.usage.is_some() && chunk.choices.as_ref().is_some_and(Vec::is_empty);
    let ended = |choice: &&Choice| choice.finish_reason.as_ref().is_some_and(|reason| !reason.is_null());
    marks.finished = chunk.choices.iter().flatten().filter(ended).count() as u32;
}

/// An event of a transcription: a chunk as vLLM writes it, or one of OpenAI's events, of which the last has all the text.
///
/// vLLM cuts long audio and finishes each cut, so a finished choice ends nothing; its usage chunk and `[DONE]` do.
fn transcription(event: &[u8], marks: &mut Marks) {
    chunk(event, marks);
    marks.finished = 0;
    marks.terminal = std::mem::take(&mut marks.only_usage);
    if marks.fault.is_none() && TRANSCRIBED.find(event).is_some() {
        let data = sse::read(event).data.unwrap_or_default();
        let kind = serde_json::from_slice::<Typed>(&data).ok().and_then(|typed| typed.r#type);
        marks.terminal |= kind.as_deref() == Some("transcript.text.done");
    }
}

/// An event that says what it is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Typed {
    r#type: Option<String>,
}

/// An event of a Responses stream, as far as it ends one.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponsesEvent<'a> {
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    usage: Option<&'a serde_json::value::RawValue>,
    error: Option<serde_json::Value>,
}

/// The name of a Responses event: its `event:` line, or the first `"response.…"` in its data.
fn responses_name(event: &[u8]) -> &[u8] {
    let name = sse::read(&event[..event.len().min(256)]).name;
    if !name.is_empty() {
        return name;
    }
    let Some(at) = RESPONSE.find(event) else { return b"" };
    let rest = &event[at + 1..];
    &rest[..memchr::memchr(b'"', rest).unwrap_or(0)]
}

fn responses(event: &[u8], marks: &mut Marks) {
    let name = responses_name(event);
    match name {
        b"response.completed"
        | b"response.incomplete"
        | b"response.failed"
        | b"response.cancelled"
        | b"response.done" => {
            let failed = name == b"response.failed";
            marks.terminal = true;
            marks.unfinished = failed || name == b"response.cancelled";
            let event = sse::read(event);
            let response = event.data.as_deref().and_then(|data| {
                serde_json::from_slice::<ResponsesEvent<'_>>(data).ok().and_then(|parsed| parsed.response)
            });
            let response = response.unwrap_or_default();
            marks.usage = response.usage.and_then(|raw| usage::read_checked(raw.get().as_bytes()));
            let error = response.error.filter(|error| !error.is_null());
            if failed || error.is_some() {
                let error = error.unwrap_or_else(|| serde_json::json!({ "message": "the response failed" }));
                let wrapped = serde_json::json!({ "error": error });
                marks.fault = fault::in_event(b"error", wrapped.to_string().as_bytes()).map(Box::new);
            }
        }
        // a failure of the engine before it could speak Responses: vLLM sends it without a name
        b"" if ERROR.find(event).is_none() => {}
        b"error" | b"" => {
            let event = sse::read(event);
            let fault = event.data.as_deref().and_then(|data| fault::in_event(event.name, data));
            marks.fault = fault.map(Box::new);
        }
        _ => {}
    }
}

/// An event of a Messages stream, as far as it tells usage.
#[derive(Deserialize, Default)]
#[serde(default)]
struct MessagesEvent<'a> {
    #[serde(borrow)]
    usage: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    usage: Option<&'a serde_json::value::RawValue>,
}

fn messages(event: &[u8], marks: &mut Marks) {
    let event_name = sse::read(&event[..event.len().min(64)]).name;
    if event_name == b"content_block_delta" {
        return;
    }
    if event_name == b"ping" {
        marks.events = 0;
        return;
    }
    let event = sse::read(event);
    let Some(data) = &event.data else { return };
    match event_name {
        b"message_stop" => marks.terminal = true,
        b"message_start" | b"message_delta" => {
            let Ok(parsed) = serde_json::from_slice::<MessagesEvent<'_>>(data) else { return };
            let raw = parsed.usage.or(parsed.message.and_then(|m| m.usage));
            marks.usage = raw.and_then(|raw| usage::read_checked(raw.get().as_bytes()));
        }
        b"error" => marks.fault = fault::in_event(event.name, data).map(Box::new),
        _ if ERROR.find(data).is_some() => marks.fault = fault::in_event(event.name, data).map(Box::new),
        _ => {}
    }
}

/// An event of nobody's dialect: usage in any of the places where the known ones put it.
fn foreign(event: &[u8], marks: &mut Marks) {
    if !USAGE.find_iter(event).any(|at| has_value(&event[at + 7..])) {
        return;
    }
    let event = sse::read(event);
    let Some(data) = &event.data else { return };
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let places = [value.get("usage"), value.pointer("/response/usage"), value.pointer("/message/usage")];
    marks.usage = places.into_iter().flatten().find_map(|v| usage::read(v.to_string().as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_chunk_shows_nothing() {
        let marks = look(
            Dialect::Chat,
            b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"usage\\\": {1}\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        );
        assert!(marks.usage.is_none() && marks.fault.is_none() && !marks.only_usage && marks.finished == 0);
        assert_eq!(marks.events, 1);
    }

    #[test]
    fn usage_and_finish_are_found_with_and_without_spaces() {
        let marks = look(
            Dialect::Chat,
            b"data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2}}\n\n",
        );
        assert!(marks.only_usage);
        assert_eq!(marks.usage.map(|u| (u.input, u.output)), Some((3, 2)));
        let marks = look(
            Dialect::Chat,
            b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\": \"stop\"}]}\n\n",
        );
        assert_eq!(marks.finished, 1);
    }

    #[test]
    fn the_end_of_every_dialect_is_known() {
        assert!(look(Dialect::Chat, b"data: [DONE]\n\n").done);
        assert!(look(Dialect::Chat, b"data:[DONE]\r\n\r\n").done);
        assert!(
            look(Dialect::Messages, b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n").terminal
        );
        let marks = look(
            Dialect::Responses,
            b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
        );
        assert!(marks.terminal);
        assert_eq!(marks.usage.map(|u| (u.input, u.output)), Some((1, 2)));
        assert!(
            look(Dialect::Responses, b"data: {\"type\":\"response.incomplete\",\"response\":{}}\n\n")
                .terminal
        );
        assert!(
            !look(
                Dialect::Responses,
                b"event: response.output_text.delta\ndata: {\"delta\":\"response.completed\"}\n\n"
            )
            .terminal
        );
    }

    #[test]
    fn a_transcription_ends_with_its_usage_or_its_whole_text() {
        let look = |event: &str| look(Dialect::Transcription, event.as_bytes());
        let chunk = look(
            "data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\" a\"},\"finish_reason\":\"stop\"}]}\n\n",
        );
        assert!(!chunk.terminal && chunk.finished == 0, "the next cut of the audio may follow");
        let usage = look(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n",
        );
        assert!(usage.terminal && !usage.only_usage);
        assert_eq!(usage.usage.map(|u| (u.input, u.output)), Some((9, 2)));
        let done = look(
            "data: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":4,\"output_tokens\":1}}\n\n",
        );
        assert!(done.terminal);
        assert_eq!(done.usage.map(|u| u.input), Some(4));
        let delta =
            look("data: {\"type\":\"transcript.text.delta\",\"delta\":\"\\\"transcript.text.done\\\"\"}\n\n");
        assert!(!delta.terminal);
        assert!(look("data: {\"error\":{\"message\":\"x\",\"code\":500}}\n\n").fault.is_some());
    }

    #[test]
    fn failures_are_seen_wherever_they_stand() {
        assert!(
            look(Dialect::Chat, b"data: {\"error\":{\"message\":\"x\",\"code\":500}}\n\n").fault.is_some()
        );
        assert!(look(Dialect::Chat, b"data: {\"object\":\"error\",\"message\":\"x\"}\n\n").fault.is_some());
        assert!(look(Dialect::Messages, b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}\n\n").fault.is_some());
        let failed = look(
            Dialect::Responses,
            b"event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n",
        );
        assert!(failed.terminal && failed.fault.is_some());
    }

    #[test]
    fn an_event_that_is_no_json_object_is_a_failure() {
        let failed = |dialect, event: &str| {
            let marks = look(dialect, event.as_bytes());
            marks.fault.is_some_and(|f| {
                f.kind == FaultKind::Broken && f.code.as_deref() == Some("stream_incomplete")
            })
        };
        for dialect in [Dialect::Chat, Dialect::Completions, Dialect::Responses, Dialect::Messages] {
            for event in [
                "data: {not json}\n\n",
                "data: boom\n\n",
                "data: [1]\n\n",
                "data: {\"a\":1\n\n",
                "event: error\ndata:\n\n",
                "event: x\nid: 1\ndata: null\n\n",
            ] {
                assert!(failed(dialect, event), "{dialect:?} {event}");
            }
            for event in [
                "data: {\"a\":1}\n\n",
                "data: {}\n\n",
                "data:\n\n",
                "id: 4\ndata: { \"a\": 1 }\nretry: 3\n\n",
                "event: x\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n",
                "event: x\rdata: {\"a\":1}\r\r",
                ": {\n\n",
                "data: [DONE]\n\n",
            ] {
                assert!(!failed(dialect, event), "{dialect:?} {event}");
            }
        }
        assert!(failed(Dialect::Chat, "data: {\"choices\":[{\"finish_reason\":\"stop\"}}\n\n"));
        assert!(!failed(Dialect::Foreign, "data: boom\n\n"));
    }

    #[test]
    fn llama_cpps_own_error_field_is_an_error() {
        let marks = look(
            Dialect::Chat,
            b"error: {\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}\n\n",
        );
        let fault = marks.fault.expect("an error");
        assert_eq!((fault.kind, &*fault.message), (FaultKind::Refused(503), "Loading model"));
    }

    #[test]
    fn a_response_that_failed_without_saying_why_failed_all_the_same() {
        let marks =
            look(Dialect::Responses, b"event: response.failed\ndata: {\"response\":{\"error\":null}}\n\n");
        assert!(marks.terminal && marks.unfinished && marks.fault.is_some());
        let marks = look(
            Dialect::Responses,
            b"event: response.incomplete\ndata: {\"response\":{\"error\":null}}\n\n",
        );
        assert!(marks.terminal && !marks.unfinished && marks.fault.is_none());
    }

    #[test]
    fn comments_and_pings_are_no_events() {
        assert_eq!(look(Dialect::Chat, b": keep-alive\n\n").events, 0);
        assert_eq!(look(Dialect::Messages, b"event: ping\ndata: {\"type\": \"ping\"}\n\n").events, 0);
    }
}
