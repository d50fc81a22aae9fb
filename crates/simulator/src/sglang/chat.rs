//! Chats, completions and SGLang's own `/generate`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::openai::{Began, Call, Spelling, stream};
use crate::reply::Reply;
use crate::script::{Finish, Piece};
use crate::{engine, tokens};

const DONE: &[u8] = b"data: [DONE]\n\n";

fn id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Answers a chat.
pub(super) fn chat(call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let begin = move |admission| Began::new(prepared, admission, model, id(), include_usage);
    if streamed {
        return Reply::stream(move |admission| stream(begin(admission), Chat::default()));
    }
    Reply::later(move |admission| {
        let began = begin(admission);
        let choices = (0..began.generation.scripts.len()).map(|sequence| {
            let whole = began.whole(sequence);
            let called = whole.call.is_some();
            let calls = whole.call.map(|(name, arguments)| {
                json!([{"id": call_id(), "index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}])
            });
            let message = json!({"role": "assistant", "content": whole.text, "reasoning_content": whole.thought, "tool_calls": calls});
            json!({"index": sequence, "message": message, "logprobs": null,
                "finish_reason": began.finish(sequence, called), "matched_stop": matched(&began, sequence)})
        });
        let choices: Vec<Value> = choices.collect();
        let answer = json!({"id": began.id, "object": "chat.completion", "created": began.created,
            "model": began.model, "choices": choices, "usage": usage(&began), "metadata": {"weight_version": "default"}});
        answer.to_string().into_bytes()
    })
}

fn call_id() -> String {
    format!("call_{}{}", engine::id(), &engine::id()[..8])
}

/// What ended the answer: a token, a text, or nothing but the limit.
fn matched(began: &Began, sequence: usize) -> Value {
    match began.generation.scripts[sequence].finish() {
        Finish::Stop => json!(tokens::END),
        Finish::StopText(text) => json!(text),
        Finish::StopToken(token) => json!(token),
        Finish::Length => Value::Null,
    }
}

fn usage(began: &Began) -> Value {
    let (prompt, output) = began.tokens();
    let details = began.generation.details().then(|| json!({"cached_tokens": began.generation.cached}));
    json!({"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output,
        "prompt_tokens_details": details, "reasoning_tokens": began.generation.thought_tokens()})
}

/// A chat as events.
#[derive(Default)]
struct Chat {
    /// The sequences that have called a tool.
    called: Vec<usize>,
}

impl Chat {
    fn chunk(began: &Began, choices: &Value, usage: &Value) -> Vec<Bytes> {
        let chunk = json!({"id": began.id, "object": "chat.completion.chunk", "created": began.created,
            "model": began.model, "choices": choices, "usage": usage});
        vec![format!("data: {chunk}\n\n").into()]
    }

    fn delta(began: &Began, sequence: usize, said: (&str, Value)) -> Vec<Bytes> {
        let mut delta = json!({"role": null, "content": null, "reasoning_content": null, "tool_calls": null});
        delta[said.0] = said.1;
        let choice = json!([{"index": sequence, "delta": delta, "logprobs": null, "finish_reason": null, "matched_stop": null}]);
        Chat::chunk(began, &choice, &Value::Null)
    }
}

impl Spelling for Chat {
    fn open(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        let delta =
            json!({"role": "assistant", "content": "", "reasoning_content": null, "tool_calls": null});
        let choice = json!([{"index": sequence, "delta": delta, "logprobs": null, "finish_reason": null, "matched_stop": null}]);
        Chat::chunk(began, &choice, &Value::Null)
    }

    fn piece(&mut self, began: &Began, sequence: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let call = |id: Option<String>, name: Option<&str>, arguments: &str| json!([{"id": id, "index": 0, "type": "function", "function": {"name": name, "arguments": arguments}}]);
        let said = match piece {
            Piece::Thought(text) => ("reasoning_content", json!(text)),
            Piece::Text(text) => ("content", json!(text)),
            Piece::Call(name) => {
                self.called.push(sequence);
                ("tool_calls", call(Some(call_id()), Some(name), ""))
            }
            Piece::Arguments(text) => ("tool_calls", call(None, None, text)),
        };
        Chat::delta(began, sequence, said)
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        let delta = json!({"role": null, "content": null, "reasoning_content": null, "tool_calls": null});
        let reason = began.finish(sequence, self.called.contains(&sequence));
        let choice = json!([{"index": sequence, "delta": delta, "logprobs": null, "finish_reason": reason,
            "matched_stop": matched(began, sequence)}]);
        Chat::chunk(began, &choice, &Value::Null)
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        let mut events = Vec::new();
        if began.include_usage {
            events = Chat::chunk(began, &json!([]), &usage(began));
        }
        events.push(Bytes::from_static(DONE));
        events
    }
}

/// Answers a completion.
pub(super) fn completion(call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let begin = move |admission| Began::new(prepared, admission, model, id(), include_usage);
    if streamed {
        return Reply::stream(move |admission| stream(begin(admission), Completion));
    }
    Reply::later(move |admission| {
        let began = begin(admission);
        let choices = (0..began.generation.scripts.len()).map(|sequence| {
            json!({"index": sequence, "text": began.generation.scripts[sequence].raw(), "logprobs": null,
                "finish_reason": began.finish(sequence, false), "matched_stop": matched(&began, sequence)})
        });
        let choices: Vec<Value> = choices.collect();
        let answer = json!({"id": began.id, "object": "text_completion", "created": began.created,
            "model": began.model, "choices": choices, "usage": usage(&began), "metadata": {"weight_version": "default"}});
        answer.to_string().into_bytes()
    })
}

struct Completion;

impl Completion {
    fn chunk(began: &Began, choices: &Value, usage: &Value) -> Vec<Bytes> {
        let chunk = json!({"id": began.id, "object": "text_completion", "created": began.created,
            "model": began.model, "choices": choices, "usage": usage});
        vec![format!("data: {chunk}\n\n").into()]
    }
}

impl Spelling for Completion {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, sequence: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let Piece::Text(text) = piece else { return Vec::new() };
        let choice = json!([{"index": sequence, "text": text, "logprobs": null, "finish_reason": null, "matched_stop": null}]);
        Completion::chunk(began, &choice, &Value::Null)
    }

    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes> {
        let reason = began.finish(sequence, false);
        let choice = json!([{"index": sequence, "text": "", "logprobs": null, "finish_reason": reason,
            "matched_stop": matched(began, sequence)}]);
        Completion::chunk(began, &choice, &Value::Null)
    }

    fn close(&mut self, began: &Began) -> Vec<Bytes> {
        let mut events = Vec::new();
        if began.include_usage {
            events = Completion::chunk(began, &json!([]), &usage(began));
        }
        events.push(Bytes::from_static(DONE));
        events
    }
}

/// Answers `/generate`, whose stream repeats all of the text in every event.
pub(super) fn generate(call: Call) -> Reply {
    let Call { prepared, stream: streamed, include_usage, model } = call;
    let begin = move |admission| Began::new(prepared, admission, model, id(), include_usage);
    if streamed {
        return Reply::stream(move |admission| stream(begin(admission), Native { said: String::new() }));
    }
    Reply::later(move |admission| {
        let began = begin(admission);
        native(&began, began.generation.scripts[0].raw(), true).to_string().into_bytes()
    })
}

fn native(began: &Began, text: &str, ended: bool) -> Value {
    let (prompt, output) = began.tokens();
    let reason = match began.generation.scripts[0].finish() {
        _ if !ended => Value::Null,
        Finish::Length => json!({"type": "length", "length": output}),
        _ => json!({"type": "stop", "matched": matched(began, 0)}),
    };
    let latency = began.at.elapsed().as_secs_f64();
    json!({"text": text, "meta_info": {"id": began.id, "finish_reason": reason, "prompt_tokens": prompt,
        "weight_version": "default", "completion_tokens": output, "cached_tokens": began.generation.cached,
        "e2e_latency": latency}})
}

struct Native {
    said: String,
}

impl Spelling for Native {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let Piece::Text(text) = piece else { return Vec::new() };
        self.said.push_str(text);
        vec![format!("data: {}\n\n", native(began, &self.said, false)).into()]
    }

    fn finish(&mut self, began: &Began, _: usize) -> Vec<Bytes> {
        vec![format!("data: {}\n\n", native(began, &self.said, true)).into()]
    }

    fn close(&mut self, _: &Began) -> Vec<Bytes> {
        vec![Bytes::from_static(DONE)]
    }
}
