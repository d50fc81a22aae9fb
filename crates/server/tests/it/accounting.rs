//! What is written down about each call: one line, and the truth.

use serde_json::{Value, json};
use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK};

#[tokio::test]
async fn every_call_is_one_line_with_what_operators_ask_for() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let request = Request::post("/v1/chat/completions")
        .header("x-request-id", "r-1")
        .json(ASK.replace("tiny", "vllm/tiny"));
    let response = gateway.send(&request).await;
    let line = gateway.line_of(&response).await;
    for (name, expect) in [
        ("level", json!("INFO")),
        ("method", json!("POST")),
        ("route", json!("/v1/chat/completions")),
        ("operation", json!("chat")),
        ("status", json!(200)),
        ("outcome", json!("complete")),
        ("provider", json!("vllm")),
        ("model", json!("tiny")),
        ("stream", json!(false)),
        ("input_tokens", json!(10)),
        ("output_tokens", json!(8)),
        ("estimated", json!(false)),
        ("attempts", json!(1)),
        ("auth", json!("no_key")),
        ("client", json!("127.0.0.1")),
        ("error", Value::Null),
    ] {
        assert_eq!(line[name], expect, "{name} in {line}");
    }
    for name in ["duration_ms", "first_byte_ms", "upstream_ms", "gateway_ms"] {
        assert!(line[name].as_f64().is_some_and(|ms| (0.0..10_000.0).contains(&ms)), "{name} in {line}");
    }
    let lines = gateway.log_text().lines().filter(|line| line.contains("\"r-1\"")).count();
    assert_eq!(lines, 1);
}

#[tokio::test]
async fn cached_and_reasoning_tokens_and_other_spellings_are_read() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for (path, ask, usage, expect) in [
        (
            "/v1/chat/completions",
            ASK,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4}}"#,
            (10, 5, 4),
        ),
        (
            "/v1/embeddings",
            r#"{"model":"tiny","input":"x"}"#,
            r#"{"prompt_tokens":3,"total_tokens":3}"#,
            (3, 0, 0),
        ),
        ("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#, r#"{"total_tokens":6}"#, (6, 0, 0)),
        (
            "/v1/responses",
            r#"{"model":"tiny","input":"x"}"#,
            r#"{"input_tokens":7,"output_tokens":2,"total_tokens":9,"input_tokens_details":{"cached_tokens":1}}"#,
            (7, 2, 1),
        ),
    ] {
        let reply = format!(r#"{{"choices":[{{"text":""}}],"output":[],"data":[{{}}],"usage":{usage}}}"#);
        upstream.on("POST", path).now(Reply::json(200, reply));
        let line = gateway.line_of(&gateway.post(path, ask).await).await;
        let seen = (&line["input_tokens"], &line["output_tokens"], &line["cached_tokens"]);
        assert_eq!(seen, (&json!(expect.0), &json!(expect.1), &json!(expect.2)), "{path} {usage}");
        assert_eq!(line["estimated"], false);
    }
}

#[tokio::test]
async fn what_nobody_reports_is_estimated_and_marked() {
    let upstream = vllm::engine().await;
    let reply = r#"{"choices":[{"message":{"content":"some words that were generated"}}]}"#;
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, reply));
    let gateway = TestGateway::before(&upstream).await;
    let line = gateway.line_of(&gateway.post("/v1/chat/completions", ASK).await).await;
    assert_eq!((&line["estimated"], &line["input_tokens"]), (&json!(true), &json!(ASK.len() / 4)), "{line}");
    assert!(line["output_tokens"].as_u64() > Some(0), "{line}");
}

#[tokio::test]
async fn what_cost_nothing_is_counted_as_nothing() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).no_retries().start().await;
    for (reply, status) in [
        (Reply::json(400, vllm::error(400, "BadRequestError", "x")), 400),
        (Reply::json(503, vllm::error(503, "X", "busy")), 503),
        (Reply::json(200, vllm::error(400, "BadRequestError", "x")), 400),
    ] {
        upstream.on("POST", "/v1/chat/completions").now(reply);
        let response = gateway.post("/v1/chat/completions", ASK).await;
        assert_eq!(response.status, status);
        let line = gateway.line_of(&response).await;
        assert_eq!(
            (&line["input_tokens"], &line["output_tokens"], &line["estimated"]),
            (&json!(0), &json!(0), &json!(false)),
            "{line}"
        );
        let level = if status < 500 { "INFO" } else { "WARN" };
        assert_eq!(line["level"], level, "{line}");
    }
}

#[tokio::test]
async fn what_a_broken_message_had_said_is_estimated_although_its_beginning_was_reported() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).no_retries().start().await;
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11,\"output_tokens\":0}}}\n\n";
    let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"tide\"}}\n\n";
    let last = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n";
    let ask = r#"{"model":"tiny","max_tokens":9,"messages":[],"stream":true}"#;
    for (text, output, estimated) in
        [(format!("{start}{delta}{delta}"), 3, true), (format!("{start}{delta}{delta}{last}"), 3, false)]
    {
        upstream.on("POST", "/v1/messages").now(Reply::sse().raw(text));
        let response = gateway.post("/v1/messages", ask).await;
        assert!(response.text().ends_with("}\n\n") && response.text().contains("event: error"), "{response}");
        let line = gateway.line_of(&response).await;
        let told = (&line["input_tokens"], &line["output_tokens"], &line["estimated"]);
        assert_eq!(told, (&json!(11), &json!(output), &json!(estimated)), "{line}");
        assert_eq!(line["outcome"], "failed");
    }
}
