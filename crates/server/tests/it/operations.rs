//! The other operations: each native to engines that have its route, at the root or under `/v1`.

use serde_json::json;
use testkit::Reply;

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

#[tokio::test]
async fn vllms_own_operations_find_their_route_and_remember_it() {
    for (front, needed, first, second) in [
        ("/v1/score", r#""text_1":"a","text_2":"b""#, "/v1/score", "/score"),
        ("/v1/classify", r#""input":"x""#, "/classify", "/v1/classify"),
        ("/v1/pooling", r#""input":"x""#, "/pooling", "/v1/pooling"),
        ("/v1/tokenize", r#""prompt":"x""#, "/tokenize", "/v1/tokenize"),
        ("/v1/detokenize", r#""tokens":[1]"#, "/detokenize", "/v1/detokenize"),
    ] {
        let body = format!("{{\"model\":\"tiny\",{needed}}}");
        let upstream = vllm::engine().await;
        // an answer to each of them
        let reply = r#"{"data":[],"tokens":[],"prompt":"","x":1}"#;
        upstream.on("POST", second).then(Reply::json(200, reply));
        let gateway = TestGateway::before(&upstream).await;
        for _ in 0..2 {
            let response = gateway.post(front, &body).await;
            assert_eq!((response.status, response.text().as_str()), (200, reply), "{front}");
        }
        let paths: Vec<_> = upstream.requests()[PROBES..].iter().map(|r| r.path().to_owned()).collect();
        assert_eq!(paths, [first, second, second], "{front}");
    }
}

#[tokio::test]
async fn native_fronts_go_to_their_own_routes_with_the_model_renamed() {
    let upstream = vllm::engine().await;
    for route in
        ["/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/completions"]
    {
        // an answer to each of them
        upstream.on("POST", route).then(Reply::json(
            200,
            r#"{"choices":[{"text":""}],"output":[],"content":[],"data":[{}],"input_tokens":4,"usage":{"input_tokens":4,"output_tokens":2}}"#,
        ));
    }
    let gateway = TestGateway::before(&upstream).await;
    for (path, body) in [
        (
            "/v1/responses",
            json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "own": 1}]}], "previous_response_id": "r"}),
        ),
        ("/v1/messages", json!({"max_tokens": 5, "messages": [], "thinking": {"type": "enabled"}})),
        ("/v1/messages/count_tokens", json!({"messages": [], "tools": []})),
        ("/v1/embeddings", json!({"input": [[1, 2], [3]], "dimensions": 8})),
        ("/v1/completions", json!({"prompt": ["a", "b"], "suffix": "c"})),
    ] {
        let mut sent = body.clone();
        sent["model"] = json!("vllm/tiny");
        let response = gateway.post(path, sent.to_string()).await;
        assert_eq!(response.status, 200, "{path}: {response}");
        let received = upstream.requests().pop().unwrap();
        sent["model"] = json!("tiny");
        assert_eq!((received.path(), received.json()), (path, sent), "{path}");
        assert_eq!(received.query(), None);
        let line = gateway.line_of(&response).await;
        assert_eq!(
            (&line["route"], &line["model"], &line["provider"]),
            (&json!(path), &json!("tiny"), &json!("vllm"))
        );
    }
}

#[tokio::test]
async fn messages_reach_the_upstream_with_anthropics_headers_and_no_key_of_the_clients() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/messages").then(Reply::json(200, r#"{"type":"message","content":[]}"#));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    let request = testkit::Request::post("/v1/messages?beta=true")
        .header("x-api-key", "sk-master")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "a,b")
        .json(r#"{"model":"tiny","max_tokens":5,"messages":[]}"#);
    let response = gateway.send(&request).await;
    assert_eq!(response.status, 200, "{response}");
    let received = upstream.requests().pop().unwrap();
    assert_eq!(
        (received.header("anthropic-version"), received.header("anthropic-beta")),
        (Some("2023-06-01"), Some("a,b"))
    );
    assert_eq!((received.header("x-api-key"), received.header("authorization")), (None, None));
    assert_eq!(received.target, "/v1/messages");
}

#[tokio::test]
async fn tools_reasoning_and_structured_output_pass_untouched_both_ways() {
    let reply = json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null, "reasoning": "hm", "reasoning_content": "hm",
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}}],
        "prompt_logprobs": null, "kv_transfer_params": null, "usage": {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}})
    .to_string();
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, &reply));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_PROVIDER_MEMBER", "false").start().await;
    let ask = json!({"model": "tiny", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto", "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}, "guided_json": {}, "chat_template_kwargs": {"x": 1},
        "temperature": 0.7, "max_tokens": 5, "top_k": 3})
    .to_string();
    let response = gateway.post("/v1/chat/completions", &ask).await;
    assert_eq!(upstream.requests().pop().unwrap().text(), ask);
    assert_eq!(response.text(), reply);
}
