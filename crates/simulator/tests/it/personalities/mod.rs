//! Engines other than vLLM.

mod llamacpp;
mod ollama;
mod sglang;

use serde_json::{Value, json};
use simulator::{Fault, Personality, Running, Settings};

use crate::client::{Answer, engine_with, post, send};

const CHAT: &str = "/v1/chat/completions";

async fn played_by(personality: Personality, change: impl FnOnce(&mut Settings)) -> Running {
    engine_with(|settings| {
        *settings = settings.clone().played_by(personality);
        change(settings);
    })
    .await
}

fn asking(stream: bool) -> Value {
    json!({"model": "sim", "messages": [{"role": "user", "content": "Hello there"}], "stream": stream,
        "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }})
}

fn weather(stream: bool) -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = asking(stream);
    body["messages"][0]["content"] = json!("What is the weather in Paris?");
    body["tools"] =
        json!([{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]);
    body
}

/// What a stream says in one member of its deltas.
fn said(events: &[Value], member: &str) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"][member].as_str()).collect()
}

fn finish(events: &[Value]) -> Option<&str> {
    events.iter().find_map(|event| event["choices"][0]["finish_reason"].as_str())
}

/// The arguments of the calls of a stream.
fn arguments(events: &[Value]) -> String {
    let calls = events.iter().filter_map(|event| {
        event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
    });
    calls.collect()
}

/// Method, path, status.
async fn statuses(engine: &Running, expected: &[(&str, &str, u16)]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (method, path, status) in expected {
        let answer = send(engine, method, path, &[("content-type", "application/json")], "{}").await;
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.body);
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn every_personality_streams_what_it_says_whole() {
    for personality in Personality::ALL {
        let engine = played_by(personality, |settings| settings.models[0].reasoning = true).await;
        let whole = post(&engine, CHAT, &asking(false)).await.json();
        let stream = post(&engine, CHAT, &asking(true)).await;
        let events = stream.events();
        let message = &whole["choices"][0]["message"];
        let text = message["content"].as_str().unwrap();
        assert!(!text.is_empty());
        assert_eq!(said(&events, "content"), text, "{personality}");
        let thought = match personality {
            Personality::Vllm | Personality::Ollama => "reasoning",
            Personality::Sglang | Personality::LlamaCpp => "reasoning_content",
        };
        assert_eq!(said(&events, thought), message[thought].as_str().unwrap(), "{personality}");
        assert_eq!(finish(&events), whole["choices"][0]["finish_reason"].as_str(), "{personality}");
        assert_eq!(events.last().unwrap(), "[DONE]", "{personality}");
        let usage = &events[events.len() - 2];
        assert_eq!(usage["choices"], json!([]), "{personality}");
        for member in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert_eq!(usage["usage"][member], whole["usage"][member], "{personality}");
        }
        let mut plain = asking(true);
        plain.as_object_mut().unwrap().shift_remove("stream_options");
        let events = post(&engine, CHAT, &plain).await.events();
        let told = events.iter().any(|event| event["usage"].is_object());
        assert!(!told, "{personality}");
    }
}

#[tokio::test]
async fn every_personality_calls_tools() {
    for personality in Personality::ALL {
        let engine = played_by(personality, |_| ()).await;
        let whole = post(&engine, CHAT, &weather(false)).await.json();
        let call = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["name"], "get_weather", "{personality}");
        let told: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(told, json!({"city": "Paris"}), "{personality}");
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls", "{personality}");
        let events = post(&engine, CHAT, &weather(true)).await.events();
        let told: Value = serde_json::from_str(&arguments(&events)).unwrap();
        assert_eq!(told, json!({"city": "Paris"}), "{personality}");
        assert_eq!(finish(&events), Some("tool_calls"), "{personality}");
    }
}

#[tokio::test]
async fn every_personality_completes_and_embeds() {
    for personality in Personality::ALL {
        let engine = played_by(personality, |settings| {
            if personality == Personality::LlamaCpp {
                settings.models[0].tasks = simulator::Tasks::EMBED;
            }
        })
        .await;
        let embedding = json!({"model": "sim", "input": ["one", "two"]});
        let list = post(&engine, "/v1/embeddings", &embedding).await.json();
        assert_eq!(list["data"][1]["embedding"].as_array().unwrap().len(), 384, "{personality}");
        let engine = played_by(personality, |_| ()).await;
        let mut body = json!({"model": "sim", "prompt": "Once", "max_tokens": 9});
        let whole = post(&engine, "/v1/completions", &body).await.json();
        body["stream"] = json!(true);
        let events = post(&engine, "/v1/completions", &body).await.events();
        let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap(), "{personality}");
        assert_eq!(whole["object"], "text_completion", "{personality}");
    }
}

#[tokio::test]
async fn every_personality_meets_every_fault() {
    for personality in Personality::ALL {
        let engine = played_by(personality, |_| ()).await;
        for fault in Fault::ALL {
            for stream in [false, true] {
                let headers = [("content-type", "application/json"), ("x-simulate-fault", fault.name())];
                let connection =
                    crate::client::begin(&engine, "POST", CHAT, &headers, &asking(stream).to_string()).await;
                drop(connection);
            }
            assert_eq!(post(&engine, CHAT, &asking(false)).await.status, 200, "{personality}: {fault}");
        }
        let fault = [("content-type", "application/json"), ("x-simulate-fault", "status:503")];
        let refused = send(&engine, "POST", CHAT, &fault, &asking(false).to_string()).await;
        assert_eq!(refused.status, 503, "{personality}");
        let told = refused.json();
        match personality {
            Personality::Vllm => assert_eq!(told["error"]["type"], "ServiceUnavailableError"),
            Personality::Sglang => assert_eq!(told["object"], "error"),
            Personality::LlamaCpp => assert_eq!(told["error"]["type"], "unavailable_error"),
            Personality::Ollama => assert_eq!(told["error"]["type"], "api_error"),
        }
        let first = [("content-type", "application/json"), ("x-simulate-fault", "huge-event:1")];
        let huge = send(&engine, "POST", CHAT, &first, &asking(true).to_string()).await;
        assert!(huge.body.len() > 1 << 20, "{personality}");
    }
}

#[test]
fn a_personality_is_found_by_its_name() {
    for personality in Personality::ALL {
        assert_eq!(personality.name().parse(), Ok(personality));
        assert_eq!(serde_json::to_value(personality).unwrap(), personality.name());
    }
    assert!("tgi".parse::<Personality>().unwrap_err().contains("ollama"));
    let settings = Settings::default().played_by(Personality::Ollama);
    assert_eq!((settings.personality, settings.version.as_str()), (Personality::Ollama, "0.17.0"));
}
