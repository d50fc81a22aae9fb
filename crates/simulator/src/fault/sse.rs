//! Server-sent events and whole answers as JSON: found, edited, written.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Dialect;
use crate::reply::{Event, Events};

/// What ends a stream in the dialects that end it with a word.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// The data of an event, if it is JSON.
pub(super) fn data(event: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(event).ok()?;
    let data = text.lines().find_map(|line| line.strip_prefix("data: "))?;
    serde_json::from_str(data).ok()
}

/// The same event with other data.
pub(super) fn with_data(event: &[u8], data: &Value) -> Bytes {
    let text = String::from_utf8_lossy(event);
    let name = text.lines().find(|line| line.starts_with("event: "));
    let name = name.map(|name| format!("{name}\n")).unwrap_or_default();
    Bytes::from(format!("{name}data: {data}\n\n"))
}

/// The same events, each with its data edited; those without JSON stay.
pub(super) fn edit_each(events: Events, mut edit: impl FnMut(&mut Value) + Send + 'static) -> Events {
    Box::new(events.map(move |event| match data(&event.bytes) {
        Some(mut value) => {
            edit(&mut value);
            Event { bytes: with_data(&event.bytes, &value), ..event }
        }
        None => event,
    }))
}

/// The text that an event carries.
pub(super) fn text_of(dialect: Dialect, event: &mut Value) -> Option<&mut Value> {
    let text = match dialect {
        Dialect::Chat | Dialect::Transcription => event.pointer_mut("/choices/0/delta/content"),
        Dialect::Completions => event.pointer_mut("/choices/0/text"),
        Dialect::Responses if event["type"] == "response.output_text.delta" => event.get_mut("delta"),
        Dialect::Messages => event.pointer_mut("/delta/text"),
        Dialect::Responses | Dialect::Other => None,
    };
    text.filter(|text| text.as_str().is_some_and(|text| !text.is_empty()))
}

/// The text that a whole answer carries.
pub(super) fn text_of_whole(dialect: Dialect, whole: &mut Value) -> Option<&mut Value> {
    let text = match dialect {
        Dialect::Chat => whole.pointer_mut("/choices/0/message/content"),
        Dialect::Completions => whole.pointer_mut("/choices/0/text"),
        Dialect::Transcription => whole.get_mut("text"),
        Dialect::Responses => {
            let items = whole.get_mut("output")?.as_array_mut()?.iter_mut();
            items
                .filter(|item| item["type"] == "message")
                .find_map(|item| item.pointer_mut("/content/0/text"))
        }
        Dialect::Messages => {
            whole.get_mut("content")?.as_array_mut()?.iter_mut().find_map(|block| block.get_mut("text"))
        }
        Dialect::Other => None,
    };
    text.filter(|text| text.is_string())
}

/// Whether an event gives the reason why the answer ends.
pub(super) fn finishes(dialect: Dialect, event: &Value) -> bool {
    match dialect {
        Dialect::Chat | Dialect::Completions | Dialect::Transcription => {
            event.pointer("/choices/0/finish_reason").is_some_and(Value::is_string)
        }
        Dialect::Responses => {
            ["response.completed", "response.incomplete"].iter().any(|name| event["type"] == *name)
        }
        Dialect::Messages => event["type"] == "message_delta",
        Dialect::Other => false,
    }
}

/// Another event of the same chat stream.
pub(super) fn chunk(like: &Value, delta: &Value, finish: Option<&str>) -> Value {
    let mut chunk = json!({});
    for member in ["id", "object", "created", "model"] {
        chunk[member] = like[member].clone();
    }
    chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    chunk
}

/// An event with this data.
pub(super) fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
