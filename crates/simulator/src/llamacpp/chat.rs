//! Chats and completions.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{about, from};
use crate::engine::Engine;
use crate::openai::{Began, Call, Spelling, stream};
use crate::reply::Reply;
use crate::script::Piece;

const EVENTS: &str = "text/event-stream";

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn usage(began: &Began) -> Value {
    let (prompt, output) = began.tokens();
    json!({"completion_tokens": output, "prompt_tokens": prompt, "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": began.generation.cached}})
}

fn timings(began: &Began) -> Value {
    let ((prompt, output), (reading, writing)) = (began.tokens(), began.times());
    let read = prompt - began.generation.cached;
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let each = |time, count: usize| milliseconds(time) / count.max(1) as f64;
    let rate = |time: std::time::Duration, count: usize| count as f64 / time.as_secs_f64().max(1e-6);
    json!({"cache_n": began.generation.cached, "prompt_n": read, "prompt_ms": milliseconds(reading),
        "prompt_per_token_ms": each(reading, read), "prompt_per_second": rate(reading, read),
        "predicted_n": output, "predicted_ms": milliseconds(writing),
        "predicted_per_token_ms": each(writing, output), "predicted_per_second": rate(writing, output)})
}

/// Answers a chat.
pub(super) fn chat(engine: &Engine, call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let build = about::build(engine).to_owned();
    let id = format!("chatcmpl-{}", random());
    let begin = move |admission| Began::new(prepared, admission, model, id, include_usage);
    if streamed {
        let reply =
            Reply::stream(move |admission| stream(begin(admission), Chat { build, called: Vec::new() }));
        return from(Reply { kind: Some(EVENTS), ..reply });
    }
    from(Reply::later(move |admission| {
        let began = begin(admission);
        let choices = (0..began.generation.scripts.len()).map(|sequence| {
            let whole = began.whole(sequence);
            let called = whole.call.is_some();
            let mut message = json!({"role": "assistant", "content": whole.text});
            if let Some(thought) = whole.thought {
                message["reasoning_content"] = json!(thought);
            }
            if let Some((name, arguments)) = whole.call {
                let function = json!({"name": name, "arguments": arguments});
                message["tool_calls"] = json!([{"type": "function", "function": function, "id": random()}]);
            }
            json!({"finish_reason": began.finish(sequence, called), "index": sequence, "message": message})
        });
        let choices: Vec<Value> = choices.collect();
        let answer = json!({"choices": choices, "created": began.created, "model": began.model,
            "system_fingerprint": build, "object": "chat.completion", "usage": usage(&began), "id": began.id,
            "timings": timings(&began)});
        answer.to_string().into_bytes()
    }))
}

/// A chat as events.
struct Chat {
    build: String,
    /// The sequences that have called a tool.
    called: Vec<usize>,
}

impl Chat {
    fn chunk(&self, began: &Began, choices: &Value) -> Value {
        json!({"choices": choices, "created": began.created, "id": began.id, "model": began.model,
            "system_fingerprint": self.build, "object": "chat.completion.chunk"})
    }

    fn delta(&self, began: &Began, sequence: usize, delta: &Value) -> Vec<Bytes> {
        let chunk = self.chunk(began, &json!([{"finish_reason": null, "index": sequence, "delta": delta}]));
        vec![format!("data: {chunk}\n\n").into()]
    }
}

impl Spelling for Chat {
    fn open(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        self.delta(began, sequence, &json!({"role": "assistant", "content": null}))
    }

    fn piece(&mut self, began: &Began, sequence: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let delta = match piece {
            Piece::Thought(text) => json!({"reasoning_content": text}),
            Piece::Text(text) => json!({"content": text}),
            Piece::Call(name) => {
                self.called.push(sequence);
                let function = json!({"name": name, "arguments": ""});
                json!({"tool_calls": [{"index": 0, "id": random(), "type": "function", "function": function}]})
            }
            Piece::Arguments(text) => json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}),
        };
        self.delta(began, sequence, &delta)
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        let reason = began.finish(sequence, self.called.contains(&sequence));
        let mut chunk =
            self.chunk(began, &json!([{"finish_reason": reason, "index": sequence, "delta": {}}]));
        chunk["timings"] = timings(began);
        vec![format!("data: {chunk}\n\n").into()]
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        let mut events: Vec<Bytes> = Vec::new();
        if began.include_usage {
            let mut chunk = self.chunk(began, &json!([]));
            chunk["usage"] = usage(began);
            chunk["timings"] = timings(began);
            events.push(format!("data: {chunk}\n\n").into());
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }
}

/// Answers a completion.
pub(super) fn completion(engine: &Engine, call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let build = about::build(engine).to_owned();
    let id = format!("chatcmpl-{}", random());
    let begin = move |admission| Began::new(prepared, admission, model, id, include_usage);
    if streamed {
        let reply = Reply::stream(move |admission| stream(begin(admission), Completion { build }));
        return from(Reply { kind: Some(EVENTS), ..reply });
    }
    from(Reply::later(move |admission| {
        let began = begin(admission);
        let choices = (0..began.generation.scripts.len()).map(|sequence| {
            json!({"text": began.generation.scripts[sequence].raw(), "index": sequence, "logprobs": null,
                "finish_reason": began.finish(sequence, false)})
        });
        let choices: Vec<Value> = choices.collect();
        let answer = json!({"choices": choices, "created": began.created, "model": began.model,
            "system_fingerprint": build, "object": "text_completion", "usage": usage(&began), "id": began.id,
            "timings": timings(&began)});
        answer.to_string().into_bytes()
    }))
}

struct Completion {
    build: String,
}

impl Completion {
    fn chunk(&self, began: &Began, text: &str, reason: Option<&str>) -> Vec<Bytes> {
        let choices = json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": reason}]);
        let chunk = json!({"choices": choices, "created": began.created, "model": began.model,
            "system_fingerprint": self.build, "object": "text_completion", "id": began.id});
        vec![format!("data: {chunk}\n\n").into()]
    }
}

impl Spelling for Completion {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let Piece::Text(text) = piece else { return Vec::new() };
        self.chunk(began, text, None)
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        self.chunk(began, "", Some(began.finish(sequence, false)))
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        let mut events: Vec<Bytes> = Vec::new();
        if began.include_usage {
            let chunk = json!({"choices": [], "created": began.created, "model": began.model,
                "system_fingerprint": self.build, "object": "text_completion", "id": began.id,
                "usage": usage(began), "timings": timings(began)});
            events.push(format!("data: {chunk}\n\n").into());
        }
        events.push(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }
}
