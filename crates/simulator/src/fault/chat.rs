//! Thoughts under other names, in chat answers.

use serde_json::{Map, Value, json};

use super::Fault;
use super::sse::{chunk, data, event};
use crate::reply::{Event, Events};

/// What a model thinks that thinks nothing by itself.
const THOUGHT: [&str; 2] = ["One moment", ", let me see."];

/// What carries a thought in a message or a delta: both names, or neither.
fn take_thought(part: &mut Map<String, Value>) -> Option<String> {
    let names = ["reasoning", "reasoning_content"];
    let found = names.map(|name| part.shift_remove(name));
    found.into_iter().flatten().find_map(|thought| thought.as_str().map(str::to_owned))
}

fn put_thought(part: &mut Map<String, Value>, fault: Fault, thought: &str) {
    if fault != Fault::ReasoningOld {
        part.insert("reasoning".to_owned(), json!(thought));
    }
    if fault != Fault::ReasoningNew {
        part.insert("reasoning_content".to_owned(), json!(thought));
    }
}

/// A whole answer with its thought under other names.
pub(super) fn rename_whole(whole: &mut Value, fault: Fault) {
    let Some(Value::Object(message)) = whole.pointer_mut("/choices/0/message") else { return };
    let thought = take_thought(message).unwrap_or_else(|| THOUGHT.concat());
    if fault == Fault::ReasoningInline {
        let text = message.get("content").and_then(Value::as_str).unwrap_or_default();
        let text = format!("<think>\n{thought}\n</think>\n\n{text}");
        message.insert("content".to_owned(), json!(text));
    } else {
        put_thought(message, fault, &thought);
    }
}

/// A stream with its thoughts under other names.
pub(super) fn rename(events: Events, fault: Fault) -> Events {
    let mut stream = Renamed { fault, number: 0, open: false };
    Box::new(events.flat_map(move |event| stream.next(event)))
}

struct Renamed {
    fault: Fault,
    number: usize,
    /// A thought has begun in the text and has not ended.
    open: bool,
}

impl Renamed {
    fn next(&mut self, original: Event) -> Vec<Event> {
        let Some(mut value) = data(&original.bytes) else { return vec![original] };
        let number = self.number;
        self.number += 1;
        let Some(Value::Object(delta)) = value.pointer_mut("/choices/0/delta") else { return vec![original] };
        let thought = take_thought(delta);
        let deltas: Vec<Value> = match thought {
            Some(thought) => vec![self.thought(&thought)],
            // the event after the one that names the role: a model that thinks would have begun
            None if number == 1 => {
                let mut deltas: Vec<Value> = THOUGHT.iter().map(|thought| self.thought(thought)).collect();
                deltas.extend(self.close());
                return self.written(&original, &value, &deltas, true);
            }
            None => self.close().into_iter().collect(),
        };
        let rest = value.pointer("/choices/0/delta").and_then(Value::as_object);
        let rest = rest.is_some_and(|rest| !rest.is_empty()) || deltas.is_empty();
        self.written(&original, &value, &deltas, rest)
    }

    /// New events, and the original behind them where something is left of it.
    fn written(&self, original: &Event, value: &Value, deltas: &[Value], rest: bool) -> Vec<Event> {
        let new = deltas.iter().map(|delta| event(&chunk(value, delta, None)));
        let rest = rest.then(|| event(value));
        new.chain(rest).map(|bytes| Event { due: original.due, bytes }).collect()
    }

    fn thought(&mut self, thought: &str) -> Value {
        if self.fault == Fault::ReasoningInline {
            let opening = if std::mem::replace(&mut self.open, true) { "" } else { "<think>\n" };
            return json!({"content": format!("{opening}{thought}")});
        }
        let mut delta = Map::new();
        put_thought(&mut delta, self.fault, thought);
        Value::Object(delta)
    }

    fn close(&mut self) -> Option<Value> {
        std::mem::take(&mut self.open).then(|| json!({"content": "\n</think>\n\n"}))
    }
}
