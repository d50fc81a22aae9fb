//! Tool calls as parsers get them wrong, in chat answers.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::sse::{self, DONE, chunk, data, event};
use super::{Asked, Dialect, Fault};
use crate::reply::{Event, Events};
use crate::schema::Filler;

const ID: &str = "chatcmpl-tool-0f1e2d3c4b5a6978";
const OTHER_ID: &str = "chatcmpl-tool-8796a5b4c3d2e1f0";

/// A call that goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Call {
    fault: Fault,
    name: String,
    arguments: Map<String, Value>,
}

impl Call {
    /// A call of the first tool on offer, or of one that nobody offered.
    pub(super) fn new(fault: Fault, asked: &Asked) -> Self {
        let filled = asked.tool().and_then(|(name, schema)| {
            let arguments = Filler::new(schema, 7, asked.said()).fill().ok()?;
            Some((name.to_owned(), arguments.as_object()?.clone()))
        });
        let (name, mut arguments) = filled.unwrap_or_else(|| {
            let arguments = [("city", json!("Paris")), ("days", json!(3)), ("detailed", json!(true))];
            let arguments = arguments.into_iter().map(|(name, value)| (name.to_owned(), value));
            ("get_weather".to_owned(), arguments.collect())
        });
        if fault == Fault::ToolWrongTypes {
            for value in arguments.values_mut() {
                *value = match &*value {
                    Value::String(text) => json!([text]),
                    other => json!(other.to_string()),
                };
            }
        }
        Call { fault, name, arguments }
    }

    /// The arguments as they are told.
    fn told(&self) -> Value {
        if self.fault == Fault::ToolObject {
            return Value::Object(self.arguments.clone());
        }
        let text = Value::Object(self.arguments.clone()).to_string();
        let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        json!(if self.fault == Fault::ToolCut { &text[..half] } else { &text })
    }

    fn call(&self, id: &str) -> Value {
        let function = json!({"name": self.name, "arguments": self.told()});
        let mut call = json!({"id": id, "type": "function", "function": function});
        if self.fault == Fault::ToolMissingId
            && let Value::Object(members) = &mut call
        {
            members.shift_remove("id");
        }
        call
    }

    fn ids(&self) -> &'static [&'static str] {
        match self.fault {
            Fault::ToolFinishWithoutCall | Fault::ToolInContent => &[],
            Fault::ToolSameIndex => &[ID, OTHER_ID],
            _ => &[ID],
        }
    }

    fn content(&self) -> Value {
        match self.fault {
            Fault::ToolInContent => {
                let call = json!({"name": self.name, "arguments": self.arguments});
                json!(format!("<tool_call>\n{call}\n</tool_call>"))
            }
            Fault::ToolContentEmpty => json!(""),
            _ => Value::Null,
        }
    }

    fn finish(&self) -> &'static str {
        match self.fault {
            Fault::ToolFinishStop | Fault::ToolInContent => "stop",
            _ => "tool_calls",
        }
    }

    /// Puts the call into a whole answer.
    pub(super) fn put(&self, whole: &mut Value) {
        let finish = self.finish();
        let Some(choice) = whole.pointer_mut("/choices/0") else { return };
        choice["finish_reason"] = json!(finish);
        let message = &mut choice["message"];
        message["content"] = self.content();
        let calls: Vec<Value> = self.ids().iter().map(|id| self.call(id)).collect();
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
    }

    /// The deltas of the call as a stream.
    fn deltas(&self) -> Vec<Value> {
        if self.ids().is_empty() {
            let content = self.content();
            return if content.is_null() { Vec::new() } else { vec![json!({"content": content})] };
        }
        let mut deltas = Vec::new();
        for id in self.ids() {
            let mut call = self.call(id);
            call["index"] = json!(0);
            let arguments = call["function"]["arguments"].take();
            let mut push = |call: Value| {
                let mut delta = json!({"tool_calls": [call]});
                match self.fault {
                    Fault::ToolContentNull => delta["content"] = Value::Null,
                    Fault::ToolContentEmpty => delta["content"] = json!(""),
                    _ => {}
                }
                deltas.push(delta);
            };
            match &arguments {
                Value::String(text) if self.fault != Fault::ToolOneDelta => {
                    if let Some(function) = call["function"].as_object_mut() {
                        function.shift_remove("arguments");
                    }
                    push(call);
                    let characters: Vec<char> = text.chars().collect();
                    for piece in characters.chunks(5) {
                        let piece: String = piece.iter().collect();
                        push(json!({"index": 0, "function": {"arguments": piece}}));
                    }
                }
                _ => {
                    call["function"]["arguments"] = arguments;
                    push(call);
                }
            }
        }
        deltas
    }

    /// A stream that names the role as the engine does, and then calls.
    pub(super) fn stream(self, mut events: Events) -> Events {
        let mut waiting: Option<VecDeque<Event>> = None;
        Box::new(std::iter::from_fn(move || match &mut waiting {
            Some(waiting) => waiting.pop_front(),
            None => {
                let first = events.next()?;
                let Some(like) = data(&first.bytes) else { return Some(first) };
                let due = first.due;
                let deltas = self.deltas();
                let finish = chunk(&like, &json!({}), Some(self.finish()));
                let chunks = deltas.iter().map(|delta| chunk(&like, delta, None)).chain([finish]);
                let chunks = chunks.map(|chunk| event(&chunk)).chain([DONE.into()]);
                waiting = Some(chunks.map(|bytes| Event { due, bytes }).collect());
                Some(first)
            }
        }))
    }
}

/// The stop string that swallows text.
const STOP: &str = "\n\n";

/// A whole answer without its last word.
pub(super) fn lose_last_word(whole: &mut Value) {
    let Some(choice) = whole.pointer_mut("/choices/0") else { return };
    choice["finish_reason"] = json!("stop");
    choice["stop_reason"] = json!(STOP);
    if let Some(Value::String(text)) = choice.pointer_mut("/message/content") {
        let end = text.trim_end().rfind(' ').unwrap_or(0);
        text.truncate(end);
    }
}

/// A stream without its last piece of text.
pub(super) fn lose_last_piece(events: Events) -> Events {
    let mut events = events;
    let mut held: Option<Event> = None;
    let mut waiting: VecDeque<Event> = VecDeque::new();
    Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(event) = waiting.pop_front() {
                return Some(event);
            }
            let Some(next) = events.next() else { return held.take() };
            let Some(mut value) = data(&next.bytes) else { return Some(next) };
            if sse::finishes(Dialect::Chat, &value) {
                if sse::text_of(Dialect::Chat, &mut value).is_none() {
                    held = None;
                }
                value["choices"][0]["delta"] = json!({"content": ""});
                value["choices"][0]["finish_reason"] = json!("stop");
                value["choices"][0]["stop_reason"] = json!(STOP);
                waiting.extend(held.take());
                waiting.push_back(Event { bytes: event(&value), ..next });
            } else if sse::text_of(Dialect::Chat, &mut value).is_some() {
                waiting.extend(held.replace(next));
            } else {
                return Some(next);
            }
        }
    }))
}
