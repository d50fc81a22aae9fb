//! Streams on their way through: every event as it came, the usage chunk only for who asked.

use serde_json::{Value, json};
use testkit::{Gate, Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK_PLAIN_STREAM, ASK_STREAM, DELTA, FIRST, LAST, USAGE, events};

#[tokio::test]
async fn the_usage_option_is_spliced_in_beside_its_siblings() {
    let upstream = vllm::streaming(vllm::stream()).await;
    let gateway = TestGateway::before(&upstream).await;
    for (sent, received) in [
        (
            r#"{"model":"tiny","stream":true,"messages":[]}"#,
            r#"{"model":"tiny","stream":true,"messages":[],"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"tiny","stream_options":{ "chunk" : 1.0, "x":2 },"stream":true,"messages":[]}"#,
            r#"{"model":"tiny","stream_options":{ "chunk" : 1.0, "x":2 ,"include_usage":true},"stream":true,"messages":[]}"#,
        ),
        (
            r#"{"model":"tiny","stream_options":{"include_usage":false, "x":2},"stream":true,"messages":[]}"#,
            r#"{"model":"tiny","stream_options":{"include_usage":true, "x":2},"stream":true,"messages":[]}"#,
        ),
    ] {
        let response = gateway.post("/v1/chat/completions", sent).await;
        assert_eq!(response.header("x-ferrovia-changes"), Some("request.stream_options"), "{response}");
        let seen = upstream.requests().pop().unwrap();
        let (seen, wanted): (Value, Value) = (seen.json(), serde_json::from_str(received).unwrap());
        assert_eq!(seen, wanted);
    }
    // every other byte of the request stays
    let sent = "{ \"stream\" : true,\"big\":1.00, \"model\":\"tiny\",\"messages\":[ ] }";
    gateway.post("/v1/chat/completions", sent).await;
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(
        seen.text().replace(",\"stream_options\":{\"include_usage\":true}", ""),
        sent,
        "{}",
        seen.text()
    );
}

#[tokio::test]
async fn the_usage_chunk_is_hidden_unless_it_was_asked_for() {
    let upstream = vllm::streaming(vllm::stream()).await;
    let gateway = TestGateway::before(&upstream).await;
    let plain = gateway.post("/v1/chat/completions", ASK_PLAIN_STREAM).await;
    assert_eq!(plain.text(), events(&[FIRST, DELTA, LAST, "[DONE]"]));
    let asked = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(asked.text(), events(&[FIRST, DELTA, LAST, USAGE, "[DONE]"]));
    assert_eq!(asked.header("x-ferrovia-changes"), None, "{asked}");
    for response in [plain, asked] {
        assert!(
            response.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")),
            "{response}"
        );
        let line = gateway.line_of(&response).await;
        assert_eq!(
            (&line["input_tokens"], &line["output_tokens"], &line["estimated"]),
            (&json!(10), &json!(8), &json!(false))
        );
        assert_eq!(line["outcome"], "complete");
    }
}

#[tokio::test]
async fn text_completions_are_counted_like_chat_and_responses_are_left_alone() {
    let upstream = vllm::engine().await;
    let chunk = r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":"length"}]}"#;
    let usage = r#"{"object":"text_completion","choices":[],"usage":{"prompt_tokens":3,"total_tokens":4,"completion_tokens":1}}"#;
    upstream.on("POST", "/v1/completions").then(Reply::sse().event(chunk).event(usage).done());
    let completed = r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":5,"output_tokens":6,"total_tokens":11}}}"#;
    upstream.on("POST", "/v1/responses").then(Reply::sse().named_event("response.completed", completed));
    let gateway = TestGateway::before(&upstream).await;
    let text = gateway.post("/v1/completions", r#"{"model":"tiny","prompt":"x","stream":true}"#).await;
    assert_eq!(text.text(), events(&[chunk, "[DONE]"]));
    assert_eq!(upstream.requests().pop().unwrap().json()["stream_options"], json!({"include_usage": true}));
    assert_eq!(gateway.line_of(&text).await["input_tokens"], 3);
    let ask = r#"{"model":"tiny","input":"x","stream":true}"#;
    let responses = gateway.post("/v1/responses", ask).await;
    assert_eq!(upstream.requests().pop().unwrap().text(), ask);
    let line = gateway.line_of(&responses).await;
    assert_eq!((&line["input_tokens"], &line["output_tokens"]), (&json!(5), &json!(6)), "{line}");
}

#[tokio::test]
async fn usage_need_not_be_asked_for() {
    let upstream = vllm::streaming(Reply::sse().event(FIRST).event(DELTA).event(LAST).done()).await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("ENFORCE_RETURNING_USAGE_DATA", "false")
        .start()
        .await;
    let response = gateway.post("/v1/chat/completions", ASK_PLAIN_STREAM).await;
    assert_eq!(upstream.requests().pop().unwrap().text(), ASK_PLAIN_STREAM);
    assert_eq!(response.text(), events(&[FIRST, DELTA, LAST, "[DONE]"]));
    let line = gateway.line_of(&response).await;
    assert_eq!((&line["estimated"], &line["output_tokens"]), (&json!(true), &json!(3)), "{line}");
}

#[tokio::test]
async fn usage_null_and_events_of_every_form_pass_as_they_are() {
    let with_null = FIRST.replace("\"choices\"", "\"usage\":null,\"choices\"");
    let odd = format!(
        ": comment\n\nid: 7\nretry: 10\ndata: {with_null}\r\n\r\ndata:{DELTA}\n\nevent: x\ndata: {{\"a\":\ndata: 1}}\n\ndata: {LAST}\n\ndata: [DONE]\n\n"
    );
    for size in [1, 7, 64, 100_000] {
        let upstream = vllm::streaming(Reply::sse().raw(&odd).cut_into(size)).await;
        let gateway = TestGateway::before(&upstream).await;
        let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
        assert_eq!(response.text(), odd, "cut into {size}");
    }
}

#[tokio::test]
async fn the_first_event_reaches_the_client_before_the_second_exists() {
    let gate = Gate::new();
    let upstream = vllm::streaming(Reply::sse().event(FIRST).gate(&gate).event(LAST).done()).await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/v1/chat/completions").json(ASK_STREAM)).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().1.data.as_deref(), Some(FIRST));
    gate.open();
    assert_eq!(client.response().await.text(), events(&[FIRST, LAST, "[DONE]"]));
}

#[tokio::test]
async fn an_event_of_a_megabyte_passes() {
    let long = FIRST.replace("\"content\":\"\"", &format!("\"content\":\"{}\"", "x".repeat(1 << 20)));
    let upstream =
        vllm::streaming(Reply::sse().event(&long).event(LAST).event(USAGE).done().cut_into(30_000)).await;
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/v1/chat/completions", ASK_PLAIN_STREAM).await;
    assert!(response.text() == events(&[&long, LAST, "[DONE]"]), "{} bytes", response.body.len());
    assert_eq!(gateway.line_of(&response).await["output_tokens"], 8);
}

#[tokio::test]
async fn streams_share_one_connection_too() {
    let upstream = vllm::streaming(vllm::stream()).await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_THREADS", "1").start().await;
    let before = upstream.connections();
    let mut client = gateway.connect().await;
    for n in 1..=5 {
        let response = client.exchange(&Request::post("/v1/chat/completions").json(ASK_PLAIN_STREAM)).await;
        assert_eq!(response.text(), events(&[FIRST, DELTA, LAST, "[DONE]"]));
        upstream.wait_for_answered(vllm::PROBES + n).await;
    }
    assert!(
        upstream.connections() <= before + 1,
        "{} connections for five streams",
        upstream.connections() - before
    );
}

#[tokio::test]
async fn usage_beside_choices_is_shown_as_it_came() {
    let both =
        DELTA.replace("\"choices\"", "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1},\"choices\"");
    let upstream =
        vllm::streaming(Reply::sse().event(FIRST).event(&both).event(LAST).event(USAGE).done()).await;
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/v1/chat/completions", ASK_PLAIN_STREAM).await;
    assert_eq!(response.text(), events(&[FIRST, &both, LAST, "[DONE]"]));
    assert_eq!(gateway.line_of(&response).await["output_tokens"], 8, "the last report counts");
}
