//! The events of a streamed message.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{signature, stop, usage};
use crate::reply::Event;
use crate::script::Piece;
use crate::vllm::generation::{Generation, Step, Steps};
use crate::vllm::{chat, json as wire};

/// Which kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    ToolUse,
}

/// The events of a stream, each made when it is asked for.
pub(super) struct Events {
    generation: Generation,
    steps: Steps,
    id: String,
    model: String,
    details: bool,
    waiting: VecDeque<Event>,
    open: Option<Open>,
    index: usize,
    called: bool,
    opened: bool,
    closed: bool,
}

impl Events {
    pub(super) fn new(generation: Generation, id: String, model: String, details: bool) -> Self {
        Events {
            steps: generation.steps(),
            generation,
            id,
            model,
            details,
            waiting: VecDeque::new(),
            open: None,
            index: 0,
            called: false,
            opened: false,
            closed: false,
        }
    }

    fn push(&mut self, due: Instant, name: &str, data: &Value) {
        let bytes = Bytes::from(format!("event: {name}\ndata: {}\n\n", wire::event(data)));
        self.waiting.push_back(Event { due, bytes });
    }

    fn start(&mut self) {
        let message = json!({"type": "message_start", "message": {"id": self.id, "type": "message",
            "role": "assistant", "content": [], "model": self.model, "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": self.generation.work.prompt_tokens, "output_tokens": 0}}});
        self.push(self.generation.pace.token(0), "message_start", &message);
    }

    fn step(&mut self, step: Step) {
        // owned, because the events are written into the same struct
        let pieces: Vec<(Open, &'static str, &'static str, String)> = self.generation.scripts[step.sequence]
            .pieces(step.from, step.to)
            .into_iter()
            .map(|piece| match piece {
                Piece::Thought(text) => (Open::Thinking, "thinking_delta", "thinking", text.to_owned()),
                Piece::Text(text) => (Open::Text, "text_delta", "text", text.to_owned()),
                Piece::Call(name) => (Open::ToolUse, "", "", name.to_owned()),
                Piece::Arguments(text) => {
                    (Open::ToolUse, "input_json_delta", "partial_json", text.to_owned())
                }
            })
            .collect();
        for (kind, delta, member, text) in pieces {
            if self.open != Some(kind) {
                self.stop_block(step.due);
                let block = match kind {
                    Open::Thinking => json!({"type": "thinking", "thinking": ""}),
                    Open::Text => json!({"type": "text", "text": ""}),
                    Open::ToolUse => {
                        self.called = true;
                        json!({"type": "tool_use", "id": chat::call_id(), "name": text, "input": {}})
                    }
                };
                let start =
                    json!({"type": "content_block_start", "content_block": block, "index": self.index});
                self.push(step.due, "content_block_start", &start);
                self.open = Some(kind);
            }
            if !delta.is_empty() {
                let delta = json!({"type": delta, member: text});
                let event = json!({"type": "content_block_delta", "delta": delta, "index": self.index});
                self.push(step.due, "content_block_delta", &event);
            }
        }
    }

    fn stop_block(&mut self, due: Instant) {
        let Some(open) = self.open.take() else { return };
        if open == Open::Thinking {
            let delta = json!({"type": "signature_delta", "signature": signature()});
            let event = json!({"type": "content_block_delta", "delta": delta, "index": self.index});
            self.push(due, "content_block_delta", &event);
        }
        self.push(due, "content_block_stop", &json!({"type": "content_block_stop", "index": self.index}));
        self.index += 1;
    }

    fn end(&mut self) {
        let due = self.generation.done();
        self.stop_block(due);
        let (reason, sequence) = stop(&self.generation.scripts[0], self.called);
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        let usage = usage(&self.generation, self.details);
        self.push(due, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}));
        self.push(due, "message_stop", &json!({"type": "message_stop"}));
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
                self.start();
            } else if let Some(step) = self.steps.next(&self.generation) {
                self.step(step);
            } else if !std::mem::replace(&mut self.closed, true) {
                self.end();
            } else {
                return None;
            }
        }
    }
}
