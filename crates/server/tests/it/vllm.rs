//! A vLLM server as far as these tests need one: what it says of itself, and what it answers when all is well.

use serde_json::json;
use testkit::{FakeUpstream, Reply};

/// How many requests an instance is asked before its first call: models, version, routes.
pub(crate) const PROBES: usize = 3;

/// The one model that a server has unless a test says otherwise.
pub(crate) const MODEL: &str = "tiny";

/// A chat request for it, without a prefix: nothing of it needs changing.
pub(crate) const ASK: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;

/// The same, streamed, with usage asked for: nothing of it needs changing.
pub(crate) const ASK_STREAM: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}"#;

/// The same, streamed, as most clients ask.
pub(crate) const ASK_PLAIN_STREAM: &str =
    r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

/// A whole chat reply.
pub(crate) const REPLY: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"tiny","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"total_tokens":18,"completion_tokens":8}}"#;

/// The first event of a streamed one.
pub(crate) const FIRST: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;

/// One with text.
pub(crate) const DELTA: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}"#;

/// The one that finishes the choice.
pub(crate) const LAST: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]}"#;

/// The one that reports usage.
pub(crate) const USAGE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[],"usage":{"prompt_tokens":10,"total_tokens":18,"completion_tokens":8}}"#;

/// An error as vLLM writes it.
pub(crate) fn error(status: u16, kind: &str, message: &str) -> String {
    json!({"error": {"message": message, "type": kind, "param": null, "code": status}}).to_string()
}

/// A server with one model that knows its version and answers nothing else yet.
pub(crate) async fn engine() -> FakeUpstream {
    engine_with(&[MODEL]).await
}

/// A server with these models.
pub(crate) async fn engine_with(models: &[&str]) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    describe(&upstream, models);
    upstream
}

/// Lets an upstream say what it is.
pub(crate) fn describe(upstream: &FakeUpstream, models: &[&str]) {
    upstream.on("GET", "/v1/models").now(listing(models));
    upstream.on("GET", "/version").now(Reply::json(200, r#"{"version":"0.32.0"}"#));
}

/// The list of models as vLLM writes it.
pub(crate) fn listing(models: &[&str]) -> Reply {
    let data: Vec<_> = models
        .iter()
        .map(|id| {
            json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "vllm", "root": format!("org/{id}"),
                "parent": null, "max_model_len": 4096, "permission": [{"id": "modelperm-1", "object": "model_permission"}]})
        })
        .collect();
    Reply::json(200, json!({"object": "list", "data": data}).to_string())
}

/// A server that answers chat, whole.
pub(crate) async fn talking() -> FakeUpstream {
    let upstream = engine().await;
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, REPLY));
    upstream
}

/// A server that streams chat with this reply.
pub(crate) async fn streaming(reply: Reply) -> FakeUpstream {
    let upstream = engine().await;
    upstream.on("POST", "/v1/chat/completions").then(reply);
    upstream
}

/// A whole stream, with usage.
pub(crate) fn stream() -> Reply {
    Reply::sse().event(FIRST).event(DELTA).event(LAST).event(USAGE).done()
}

/// The bytes of some events.
pub(crate) fn events(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}
