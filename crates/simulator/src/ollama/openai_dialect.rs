//! Chats and completions in OpenAI's dialect.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{JSON, from};
use crate::engine;
use crate::openai::{Began, Call, Spelling, stream};
use crate::reply::Reply;
use crate::script::Piece;

const EVENTS: &str = "text/event-stream";

pub(super) fn call_id() -> String {
    format!("call_{}", &engine::id()[..8])
}

fn id(prefix: &str) -> String {
    format!("{prefix}-{}", u16::from_str_radix(&engine::id()[..4], 16).unwrap_or(0) % 1_000)
}

fn usage(began: &Began) -> Value {
    let (prompt, output) = began.tokens();
    json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output})
}

fn tool_calls(name: &str, arguments: &str) -> Value {
    json!([{"id": call_id(), "index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}])
}

/// Answers a chat.
pub(super) fn chat(call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let begin = move |admission| Began::new(prepared, admission, model, id("chatcmpl"), include_usage);
    if streamed {
        let reply = Reply::stream(move |admission| stream(begin(admission), Chat::default()));
        return from(Reply { kind: Some(EVENTS), ..reply });
    }
    let reply = Reply::later(move |admission| {
        let began = begin(admission);
        let whole = began.whole(0);
        let mut message = json!({"role": "assistant", "content": whole.text.unwrap_or_default()});
        if let Some(thought) = whole.thought {
            message["reasoning"] = json!(thought);
        }
        let called = whole.call.is_some();
        if let Some((name, arguments)) = whole.call {
            message["tool_calls"] = tool_calls(&name, &arguments);
        }
        let choice = json!({"index": 0, "message": message, "finish_reason": began.finish(0, called)});
        let answer = json!({"id": began.id, "object": "chat.completion", "created": began.created,
            "model": began.model, "system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage(&began)});
        answer.to_string().into_bytes()
    });
    from(Reply { kind: Some(JSON), ..reply })
}

/// A chat as events.
#[derive(Default)]
struct Chat {
    /// The call that is being made, told once it is whole.
    call: Option<(String, String)>,
}

fn chunk(began: &Began, object: &str, choices: &Value) -> Value {
    json!({"id": began.id, "object": object, "created": began.created, "model": began.model,
        "system_fingerprint": "fp_ollama", "choices": choices})
}

fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

impl Chat {
    fn delta(began: &Began, delta: &Value, reason: Option<&str>) -> Bytes {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        event(&chunk(began, "chat.completion.chunk", &choices))
    }
}

impl Spelling for Chat {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let delta = match piece {
            Piece::Thought(text) => json!({"role": "assistant", "content": "", "reasoning": text}),
            Piece::Text(text) => json!({"role": "assistant", "content": text}),
            Piece::Call(name) => {
                self.call = Some((name.to_owned(), String::new()));
                return Vec::new();
            }
            Piece::Arguments(text) => {
                if let Some((_, arguments)) = &mut self.call {
                    arguments.push_str(text);
                }
                return Vec::new();
            }
        };
        vec![Chat::delta(began, &delta, None)]
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        let mut events = Vec::new();
        let call = self.call.take();
        if let Some((name, arguments)) = &call {
            let calls = tool_calls(name, arguments);
            let delta = json!({"role": "assistant", "content": "", "tool_calls": calls});
            events.push(Chat::delta(began, &delta, None));
        }
        let reason = began.finish(sequence, call.is_some());
        events.push(Chat::delta(began, &json!({"role": "assistant", "content": ""}), Some(reason)));
        events
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        close(began, "chat.completion.chunk")
    }
}

fn close(began: &Began, object: &str) -> Vec<Bytes> {
    let mut events = Vec::new();
    if began.include_usage {
        let mut chunk = chunk(began, object, &json!([]));
        chunk["usage"] = usage(began);
        events.push(event(&chunk));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// Answers a completion.
pub(super) fn completion(call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let begin = move |admission| Began::new(prepared, admission, model, id("cmpl"), include_usage);
    if streamed {
        let reply = Reply::stream(move |admission| stream(begin(admission), Completion));
        return from(Reply { kind: Some(EVENTS), ..reply });
    }
    let reply = Reply::later(move |admission| {
        let began = begin(admission);
        let text = began.generation.scripts[0].raw();
        let choices = json!([{"text": text, "index": 0, "finish_reason": began.finish(0, false)}]);
        let mut answer = chunk(&began, "text_completion", &choices);
        answer["usage"] = usage(&began);
        answer.to_string().into_bytes()
    });
    from(Reply { kind: Some(JSON), ..reply })
}

struct Completion;

impl Completion {
    fn event(began: &Began, text: &str, reason: Option<&str>) -> Vec<Bytes> {
        let choices = json!([{"text": text, "index": 0, "finish_reason": reason}]);
        vec![event(&chunk(began, "text_completion", &choices))]
    }
}

impl Spelling for Completion {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let Piece::Text(text) = piece else { return Vec::new() };
        Completion::event(began, text, None)
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        Completion::event(began, "", Some(began.finish(sequence, false)))
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        close(began, "text_completion")
    }
}
