//! Ollama's own routes: lines of JSON, durations in nanoseconds, arguments as objects.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::moment::rfc3339;
use super::{JSON, from, openai_dialect};
use crate::openai::{Began, Call, Embedded, Spelling, stream};
use crate::reply::Reply;
use crate::script::Piece;

const LINES: &str = "application/x-ndjson";

/// A request in the words of OpenAI's dialect.
pub(super) fn translated(body: &Value) -> Value {
    let mut asked = body.clone();
    let Value::Object(members) = &mut asked else { return asked };
    let options = members.shift_remove("options");
    let format = members.shift_remove("format");
    let think = members.shift_remove("think");
    // these routes stream unless they are told not to
    members.entry("stream").or_insert(Value::Bool(true));
    if let Some(Value::Object(options)) = options {
        for (theirs, ours) in [
            ("num_predict", "max_tokens"),
            ("temperature", "temperature"),
            ("top_p", "top_p"),
            ("seed", "seed"),
            ("stop", "stop"),
        ] {
            // negative: as many as there are
            let value =
                options.get(theirs).filter(|value| theirs != "num_predict" || value.as_i64() > Some(0));
            members.extend(value.map(|value| (ours.to_owned(), value.clone())));
        }
    }
    match format {
        Some(Value::String(json)) if json == "json" => {
            members.insert("response_format".to_owned(), json!({"type": "json_object"}));
        }
        Some(schema @ Value::Object(_)) => {
            let format = json!({"type": "json_schema", "json_schema": {"name": "format", "schema": schema}});
            members.insert("response_format".to_owned(), format);
        }
        _ => {}
    }
    if think == Some(Value::Bool(false)) {
        members.insert("chat_template_kwargs".to_owned(), json!({"enable_thinking": false}));
    }
    asked
}

/// The end of an answer: why, and how long everything took.
fn ending(began: &Began, mut line: Value) -> Value {
    let ((prompt, output), (reading, writing)) = (began.tokens(), began.times());
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    line["done"] = json!(true);
    line["done_reason"] = json!(began.finish(0, false));
    line["total_duration"] = json!(nanoseconds(began.at.elapsed()));
    line["load_duration"] = json!(0);
    line["prompt_eval_count"] = json!(prompt);
    line["prompt_eval_duration"] = json!(nanoseconds(reading));
    line["eval_count"] = json!(output);
    line["eval_duration"] = json!(nanoseconds(writing));
    line
}

fn line(began: &Began, member: &str, said: Value) -> Value {
    json!({"model": began.model, "created_at": rfc3339(SystemTime::now()), member: said, "done": false})
}

fn written(line: &Value) -> Vec<Bytes> {
    vec![format!("{line}\n").into()]
}

fn tool_calls(name: &str, arguments: &str) -> Value {
    let arguments: Value = serde_json::from_str(arguments).unwrap_or(Value::Object(Map::new()));
    json!([{"id": openai_dialect::call_id(), "function": {"index": 0, "name": name, "arguments": arguments}}])
}

/// Answers `/api/chat`.
pub(super) fn chat(call: Call) -> Reply {
    let Call { prepared, stream: streamed, model, .. } = call;
    let begin = move |admission| Began::new(prepared, admission, model, String::new(), false);
    if streamed {
        let reply = Reply::stream(move |admission| stream(begin(admission), Chat::default()));
        return from(Reply { kind: Some(LINES), ..reply });
    }
    let reply = Reply::later(move |admission| {
        let began = begin(admission);
        let whole = began.whole(0);
        let mut message = json!({"role": "assistant", "content": whole.text.unwrap_or_default()});
        if let Some(thought) = whole.thought {
            message["thinking"] = json!(thought);
        }
        if let Some((name, arguments)) = whole.call {
            message["tool_calls"] = tool_calls(&name, &arguments);
        }
        ending(&began, line(&began, "message", message)).to_string().into_bytes()
    });
    from(Reply { kind: Some(JSON), ..reply })
}

/// A chat as lines.
#[derive(Default)]
struct Chat {
    /// The call that is being made, told once it is whole.
    call: Option<(String, String)>,
}

impl Spelling for Chat {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let message = match piece {
            Piece::Thought(text) => json!({"role": "assistant", "content": "", "thinking": text}),
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
        written(&line(began, "message", message))
    }

    fn finish(&mut self, began: &Began, _: usize) -> Vec<Bytes> {
        let mut lines = Vec::new();
        if let Some((name, arguments)) = self.call.take() {
            let calls = tool_calls(&name, &arguments);
            let message = json!({"role": "assistant", "content": "", "tool_calls": calls});
            lines = written(&line(began, "message", message));
        }
        let last = line(began, "message", json!({"role": "assistant", "content": ""}));
        lines.extend(written(&ending(began, last)));
        lines
    }

    fn close(&mut self, _: &Began) -> Vec<Bytes> {
        Vec::new()
    }
}

/// Answers `/api/generate`.
pub(super) fn generate(call: Call) -> Reply {
    let Call { prepared, stream: streamed, model, .. } = call;
    let begin = move |admission| Began::new(prepared, admission, model, String::new(), false);
    if streamed {
        let reply = Reply::stream(move |admission| stream(begin(admission), Generate));
        return from(Reply { kind: Some(LINES), ..reply });
    }
    let reply = Reply::later(move |admission| {
        let began = begin(admission);
        let text = json!(began.generation.scripts[0].raw());
        ending(&began, line(&began, "response", text)).to_string().into_bytes()
    });
    from(Reply { kind: Some(JSON), ..reply })
}

struct Generate;

impl Spelling for Generate {
    fn open(&mut self, _: &Began, _: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn piece(&mut self, began: &Began, _: usize, piece: Piece<'_>) -> Vec<Bytes> {
        let Piece::Text(text) = piece else { return Vec::new() };
        written(&line(began, "response", json!(text)))
    }

    fn finish(&mut self, began: &Began, _: usize) -> Vec<Bytes> {
        written(&ending(began, line(began, "response", json!(""))))
    }

    fn close(&mut self, _: &Began) -> Vec<Bytes> {
        Vec::new()
    }
}

/// The answer of `/api/embed`.
pub(super) fn embedded(embedded: &Embedded) -> Value {
    json!({"model": embedded.model, "embeddings": embedded.vectors, "total_duration": 0, "load_duration": 0,
        "prompt_eval_count": embedded.tokens})
}
