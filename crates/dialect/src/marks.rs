//! What may be noticed in one event of a stream without decoding it: usage, errors, the terminal marker.
//!
//! A mark is first *searched* in the bytes. A JSON string cannot contain an unescaped quote, so a generated text never
//! looks like a member; only where the search hits is the event decoded, to be sure.

use std::sync::LazyLock;

use domain::{Dialect, Fault, Usage};
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::{fault, sse, usage};

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"response."));

/// What a look at one event, or at a run of them, showed.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Usage so far, if it was reported.
    pub usage: Option<Usage>,
    /// The event tells of a failure.
    pub fault: Option<Fault>,
    /// The event that ends a reply of this dialect (`response.completed`, `message_stop`).
    pub terminal: bool,
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
    if event.first() == Some(&b':') && sse::read(event).data.is_none() {
        return Marks::default();
    }
    let mut marks = Marks { events: 1, ..Marks::default() };
    if is_done(event) {
        marks.done = true;
        marks.events = 0;
        return marks;
    }
    match dialect {
        Dialect::Chat | Dialect::Completions => chunk(event, &mut marks),
        Dialect::Responses => responses(event, &mut marks),
        Dialect::Messages => messages(event, &mut marks),
        _ => foreign(event, &mut marks),
    }
    marks
}

fn is_done(event: &[u8]) -> bool {
    event.strip_prefix(b"data:").is_some_and(|rest| rest.trim_ascii() == b"[DONE]")
}

/// Whether a value other than `null` may follow one of the member names that `finder` looks for.
fn has_value(finder: &Finder<'_>, name: usize, bytes: &[u8]) -> bool {
    finder.find_iter(bytes).any(|at| {
        let rest = bytes[at + name..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
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
    let usage = has_value(&USAGE, 7, event);
    let finish = has_value(&FINISH, 15, event);
    // both `"error": {…}` and `"object": "error"`
    let error = ERROR.find(event).is_some() || event.starts_with(b"event: error");
    if !(usage || finish || error) {
        return;
    }
    let event = sse::read(event);
    let Some(data) = event.data else { return };
    if error {
        marks.fault = fault::in_event(event.name, &data);
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else { return };
    marks.usage = chunk.usage.and_then(|raw| usage::read(raw.get().as_bytes()));
    marks.only_usage = marks.usage.is_some() && chunk.choices.as_ref().is_some_and(Vec::is_empty);
    let ended = |choice: &&Choice| choice.finish_reason.as_ref().is_some_and(|reason| !reason.is_null());
    marks.finished = chunk.choices.iter().flatten().filter(ended).count() as u32;
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
    match responses_name(event) {
        b"response.completed"
        | b"response.incomplete"
        | b"response.failed"
        | b"response.cancelled"
        | b"response.done" => {
            marks.terminal = true;
            let event = sse::read(event);
            let Some(data) = &event.data else { return };
            let Ok(parsed) = serde_json::from_slice::<ResponsesEvent<'_>>(data) else { return };
            let Some(response) = parsed.response else { return };
            marks.usage = response.usage.and_then(|raw| usage::read(raw.get().as_bytes()));
            if let Some(error) = response.error.filter(|error| !error.is_null()) {
                let wrapped = serde_json::json!({ "error": error });
                marks.fault = fault::in_event(b"error", wrapped.to_string().as_bytes());
            }
        }
        // a failure of the engine before it could speak Responses: vLLM sends it without a name
        b"error" | b"" if ERROR.find(event).is_some() => {
            let event = sse::read(event);
            marks.fault = event.data.as_deref().and_then(|data| fault::in_event(event.name, data));
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
            marks.usage = raw.and_then(|raw| usage::read(raw.get().as_bytes()));
        }
        _ if ERROR.find(data).is_some() => marks.fault = fault::in_event(event.name, data),
        _ => {}
    }
}

/// An event of nobody's dialect: usage in any of the places where the known ones put it.
fn foreign(event: &[u8], marks: &mut Marks) {
    if !has_value(&USAGE, 7, event) {
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
    fn comments_and_pings_are_no_events() {
        assert_eq!(look(Dialect::Chat, b": keep-alive\n\n").events, 0);
        assert_eq!(look(Dialect::Messages, b"event: ping\ndata: {\"type\": \"ping\"}\n\n").events, 0);
    }
}
