//! The events of a streamed response.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::items::{self, CallItem};
use super::{About, status};
use crate::engine;
use crate::reply::Event;
use crate::script::Piece;
use crate::vllm::generation::{Generation, Step, Steps};
use crate::vllm::{json as wire, scored};

/// The item that is being written.
#[derive(Debug)]
enum Open {
    Reasoning { id: String, text: String },
    Message { id: String, text: String, logprobs: Vec<Value> },
    Call { call: CallItem, arguments: String },
}

/// The events of a stream, each made when it is asked for.
pub(super) struct Events {
    generation: Generation,
    steps: Steps,
    about: About,
    waiting: VecDeque<Event>,
    open: Option<Open>,
    output: Vec<Value>,
    number: usize,
    due: Instant,
    opened: bool,
    closed: bool,
}

impl Events {
    pub(super) fn new(generation: Generation, about: About) -> Self {
        Events {
            steps: generation.steps(),
            // what comes before the first token comes at once
            due: Instant::now(),
            generation,
            about,
            waiting: VecDeque::new(),
            open: None,
            output: Vec::new(),
            number: 0,
            opened: false,
            closed: false,
        }
    }

    /// Adds an event. Members are told in alphabetical order, then the number and the type, then `after`.
    fn push(&mut self, kind: &str, members: Value, after: Option<(&str, Value)>) {
        let mut data = match members {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        data.insert("sequence_number".to_owned(), json!(self.number));
        if let Some(text) = data.shift_remove("text") {
            data.insert("text".to_owned(), text);
        }
        data.insert("type".to_owned(), json!(kind));
        data.extend(after.map(|(name, value)| (name.to_owned(), value)));
        self.number += 1;
        let bytes = Bytes::from(format!("event: {kind}\ndata: {}\n\n", wire::event(&Value::Object(data))));
        self.waiting.push_back(Event { due: self.due, bytes });
    }

    fn push_response(&mut self, kind: &str, status: &'static str, with_usage: bool) {
        let response = self.about.response(&self.generation, status, self.output.clone(), with_usage);
        let response = serde_json::to_value(response).expect("plain data");
        self.push(kind, json!({"response": response}), None);
    }

    fn step(&mut self, step: Step) {
        self.due = step.due;
        let script = &self.generation.scripts[0];
        let pieces: Vec<(Piece<'static>, String)> = script
            .pieces(step.from, step.to)
            .into_iter()
            .map(|piece| match piece {
                Piece::Thought(text) => (Piece::Thought(""), text.to_owned()),
                Piece::Text(text) => (Piece::Text(""), text.to_owned()),
                Piece::Call(name) => (Piece::Call(""), name.to_owned()),
                Piece::Arguments(text) => (Piece::Arguments(""), text.to_owned()),
            })
            .collect();
        for (kind, text) in pieces {
            match kind {
                Piece::Thought(_) if self.about.hide_thought => {}
                Piece::Thought(_) => self.thought(&text),
                Piece::Text(_) => self.text(&text, step),
                Piece::Call(_) => self.call(&text),
                Piece::Arguments(_) => self.arguments(&text),
            }
        }
    }

    /// Where the current item stands in the output.
    fn at(&self) -> usize {
        self.output.len()
    }

    fn thought(&mut self, part: &str) {
        if !matches!(self.open, Some(Open::Reasoning { .. })) {
            self.close();
            let id = format!("rs_{}", engine::id());
            let item = items::reasoning(&id, None, Some("in_progress"));
            self.push("response.output_item.added", json!({"item": item, "output_index": self.at()}), None);
            let part = json!({"text": "", "type": "reasoning_text"});
            let added = json!({"content_index": 0, "item_id": id, "output_index": self.at(), "part": part});
            self.push("response.content_part.added", added, None);
            self.open = Some(Open::Reasoning { id, text: String::new() });
        }
        let at = self.at();
        if let Some(Open::Reasoning { id, text }) = &mut self.open {
            text.push_str(part);
            let delta = json!({"content_index": 0, "delta": part, "item_id": id, "output_index": at});
            self.push("response.reasoning_text.delta", delta, None);
        }
    }

    fn text(&mut self, part: &str, step: Step) {
        if !matches!(self.open, Some(Open::Message { .. })) {
            self.close();
            let id = format!("msg_{}", engine::id());
            let item = items::message(&id, None, "in_progress");
            self.push("response.output_item.added", json!({"item": item, "output_index": self.at()}), None);
            let part = items::text_part("", json!([]));
            let added = json!({"content_index": 0, "item_id": id, "output_index": self.at(), "part": part});
            self.push("response.content_part.added", added, None);
            self.open = Some(Open::Message { id, text: String::new(), logprobs: Vec::new() });
        }
        let at = self.at();
        let scores = self
            .about
            .logprobs
            .filter(|_| !self.about.hide_thought)
            .map(|top| scored::scores(&self.generation, 0, step.index, step.index + 1, top));
        if let Some(Open::Message { id, text, logprobs }) = &mut self.open {
            text.push_str(part);
            let mut told = json!([]);
            if let Some(scores) = &scores {
                if let Value::Array(scores) = scored::for_responses(scores, true) {
                    logprobs.extend(scores);
                }
                told = scored::for_responses(scores, false);
            }
            let delta = json!({"content_index": 0, "delta": part, "item_id": id, "logprobs": told, "output_index": at});
            self.push("response.output_text.delta", delta, None);
        }
    }

    fn call(&mut self, name: &str) {
        self.close();
        let call = CallItem::new(name, &self.about);
        let added = json!({"item": call.item("", "in_progress"), "output_index": self.at()});
        self.push("response.output_item.added", added, None);
        self.open = Some(Open::Call { call, arguments: String::new() });
    }

    fn arguments(&mut self, part: &str) {
        let at = self.at();
        let Some(Open::Call { call, arguments }) = &mut self.open else { return };
        arguments.push_str(part);
        // free text is told once its JSON is whole
        if !call.custom {
            let delta = json!({"delta": part, "item_id": call.id, "output_index": at});
            self.push("response.function_call_arguments.delta", delta, None);
        }
    }

    /// Ends the item that is open.
    fn close(&mut self) {
        let at = self.at();
        let item = match self.open.take() {
            None => return,
            Some(Open::Reasoning { id, text }) => {
                let whole = json!({"content_index": 0, "item_id": id, "output_index": at, "text": text});
                self.push("response.reasoning_text.done", whole, None);
                let part = json!({"text": text, "type": "reasoning_text"});
                let done = json!({"content_index": 0, "item_id": id, "output_index": at, "part": part});
                self.push("response.content_part.done", done, None);
                items::reasoning(&id, Some(&text), Some("completed"))
            }
            Some(Open::Message { id, text, logprobs }) => {
                let logprobs = if logprobs.is_empty() { Value::Null } else { Value::Array(logprobs) };
                let whole = json!({"content_index": 0, "item_id": id, "logprobs": [], "output_index": at, "text": text});
                self.push("response.output_text.done", whole, None);
                let part = items::text_part(&text, logprobs.clone());
                let done = json!({"content_index": 0, "item_id": id, "output_index": at, "part": part});
                self.push("response.content_part.done", done, None);
                items::message(&id, Some((&text, logprobs)), "completed")
            }
            Some(Open::Call { call, arguments }) if call.custom => {
                let input = items::free_text(&arguments);
                if !input.is_empty() {
                    let delta = json!({"delta": input, "item_id": call.id, "output_index": at});
                    self.push("response.custom_tool_call_input.delta", delta, None);
                }
                let whole = json!({"input": input, "item_id": call.id, "output_index": at});
                self.push("response.custom_tool_call_input.done", whole, None);
                call.item(&arguments, "completed")
            }
            Some(Open::Call { call, arguments }) => {
                let whole = json!({"arguments": arguments, "item_id": call.id, "output_index": at});
                self.push("response.function_call_arguments.done", whole, Some(("name", json!(call.name))));
                call.item(&arguments, "completed")
            }
        };
        self.push("response.output_item.done", json!({"item": item, "output_index": at}), None);
        self.output.push(item);
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if !std::mem::replace(&mut self.opened, true) {
                self.push_response("response.created", "in_progress", false);
                self.push_response("response.in_progress", "in_progress", false);
            } else if let Some(step) = self.steps.next(&self.generation) {
                self.step(step);
            } else if !std::mem::replace(&mut self.closed, true) {
                self.close();
                self.push_response("response.completed", status(&self.generation), true);
            } else {
                return None;
            }
        }
    }
}
