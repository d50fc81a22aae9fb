//! What a look at an event notices by searching bytes is what decoding it whole would have shown.
//!
//! Input: a line with the dialect's letter and, behind a blank, the event's name; then its data. A `-` behind the letter
//! leaves out the blanks after the colons.

use dialect::{fault, marks, usage};
use domain::{Dialect, Usage};
use serde_json::Value;

use crate::{dialect, headed, truth};

pub(crate) fn run(input: &[u8]) {
    let (head, data) = headed(input);
    let dialect = dialect(head.first());
    // whatever it is: no panic
    marks::look(dialect, input);
    let name = head.iter().position(|byte| *byte == b' ').map_or(&b""[..], |at| &head[at + 1..]);
    let blank: &[u8] = if head.get(1) == Some(&b'-') { b"" } else { b" " };
    let Some(object) = truth::plain_object(data) else { return };
    let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if data.iter().any(breaks) || name.iter().any(breaks) || name.starts_with(b" ") {
        return;
    }
    let mut event = Vec::new();
    if !name.is_empty() {
        event.extend_from_slice(&[b"event:", blank, name, b"\n"].concat());
    }
    event.extend_from_slice(&[b"data:", blank, data, b"\n\n"].concat());
    let seen = marks::look(dialect, &event);
    match dialect {
        Dialect::Chat | Dialect::Completions => chunk(&object, &seen),
        Dialect::Responses => response(&object, name, &seen),
        Dialect::Messages => message(&object, name, &seen),
        _ => {}
    }
    let says_response = dialect == Dialect::Responses && contains(data, b"\"response.");
    let anonymous = name.is_empty() || name == b"error";
    let has_other_names = matches!(dialect, Dialect::Responses | Dialect::Messages) && !anonymous;
    if dialect.streams() && !says_response && !has_other_names && fault::in_event(name, data).is_some() {
        assert!(seen.fault.is_some(), "the fault is overlooked");
    }
}

/// Usage in an object's member, as decoding finds it.
fn usage_of(object: &Value) -> Option<Usage> {
    usage::read(object.get("usage").filter(|value| value.is_object())?.to_string().as_bytes())
}

fn chunk(object: &Value, seen: &marks::Marks) {
    let choices = match object.get("choices") {
        None | Some(Value::Null) => None,
        Some(Value::Array(choices)) if choices.iter().all(Value::is_object) => Some(choices),
        Some(_) => return,
    };
    let usage = usage_of(object);
    assert_eq!(seen.usage, usage);
    let ended = |choice: &&Value| choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
    assert_eq!(seen.finished as usize, choices.into_iter().flatten().filter(ended).count());
    assert_eq!(seen.only_usage, usage.is_some() && choices.is_some_and(Vec::is_empty));
    assert!(!seen.done && !seen.terminal && seen.events == 1);
}

fn response(object: &Value, name: &[u8], seen: &marks::Marks) {
    let ends = matches!(
        name,
        b"response.completed"
            | b"response.incomplete"
            | b"response.failed"
            | b"response.cancelled"
            | b"response.done"
    );
    if name.is_empty() {
        return;
    }
    assert_eq!(seen.terminal, ends);
    let Some(response) = object.get("response").filter(|response| ends && response.is_object()) else {
        return;
    };
    if response.get("error").is_none() {
        assert_eq!(seen.usage, usage_of(response));
        assert_eq!(seen.fault.is_some(), name == b"response.failed");
    }
}

fn message(object: &Value, name: &[u8], seen: &marks::Marks) {
    assert_eq!(seen.terminal, name == b"message_stop");
    if name != b"message_delta" || object.get("message").is_some() {
        return;
    }
    assert_eq!(seen.usage, usage_of(object));
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
