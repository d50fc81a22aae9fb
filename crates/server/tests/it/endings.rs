//! How streams end: told truthfully, once, in the client's dialect.

use serde_json::json;
use testkit::{Reply, Response};

use crate::envelope::{anthropic, openai};
use crate::gateway::TestGateway;
use crate::vllm::{self, ASK_STREAM, DELTA, FIRST, LAST, USAGE, events};

/// A stream's last event, which must say that it is not whole.
#[track_caller]
fn incomplete(response: &Response) {
    assert_eq!((response.status, response.is_whole()), (200, true), "{response}");
    assert!(!response.text().contains("[DONE]"), "{response}");
    let events = response.events();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.data.as_deref().is_some_and(|data| data.contains("\"error\":{")))
        .collect();
    assert_eq!(told.len(), 1, "one error event: {response}");
    let last = events.last().expect("there is an event");
    assert_eq!(last.range, told[0].range, "nothing follows it: {response}");
    assert!(last.complete);
}

#[tokio::test]
async fn a_truncated_stream_ends_with_one_error_event() {
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("CIRCUIT_BREAKER_ENABLED", "false").start().await;
    let whole = events(&[FIRST, DELTA]);
    let begun = || Reply::sse().raw(&whole);
    for reply in [
        begun(),
        begun().close(),
        begun().reset(),
        begun().half_close(),
        begun().raw("data: {\"choices\":[{\"ind"),
        begun().raw("data: {\"choices\":[{\"ind").close(),
        begun().raw("data:"),
        begun().comment("almost"),
        begun().until_close(),
        begun().raw("zz\r\n").close(),
    ] {
        upstream.on("POST", "/v1/chat/completions").now(reply.clone());
        let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
        incomplete(&response);
        assert!(response.text().starts_with(&whole), "{reply:?}: {response}");
        let error = openai(&response.events().last().unwrap().json());
        assert_eq!(
            (error.kind.as_str(), error.code.as_deref()),
            ("provider_error", Some("stream_incomplete")),
            "{reply:?}"
        );
        let line = gateway.line_of(&response).await;
        assert_eq!(
            (&line["outcome"], &line["error_code"]),
            (&json!("failed"), &json!("stream_incomplete")),
            "{line}"
        );
        assert_eq!((&line["estimated"], &line["output_tokens"]), (&json!(true), &json!(2)), "{line}");
    }
}

#[tokio::test]
async fn every_dialect_tells_of_the_truncation_in_its_own_words() {
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("CIRCUIT_BREAKER_ENABLED", "false").start().await;

    let created = r#"{"type":"response.created","sequence_number":0,"response":{"id":"r"}}"#;
    upstream.on("POST", "/v1/responses").then(Reply::sse().named_event("response.created", created));
    let response = gateway.post("/v1/responses", r#"{"model":"tiny","input":"x","stream":true}"#).await;
    incomplete(&response);
    let event = response.events().pop().unwrap();
    let data = event.json();
    assert_eq!(
        (event.name.as_deref(), &data["type"], &data["code"]),
        (Some("error"), &json!("error"), &json!("stream_incomplete"))
    );
    assert_eq!(data["sequence_number"], 1, "{data}");

    let start = r#"{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#;
    upstream.on("POST", "/v1/messages").then(Reply::sse().named_event("message_start", start));
    let response =
        gateway.post("/v1/messages", r#"{"model":"tiny","max_tokens":9,"messages":[],"stream":true}"#).await;
    incomplete(&response);
    let event = response.events().pop().unwrap();
    assert_eq!(event.name.as_deref(), Some("error"));
    assert_eq!(anthropic(&event.json()).kind, "api_error");
    let line = gateway.line_of(&response).await;
    assert_eq!(
        (&line["input_tokens"], &line["estimated"]),
        (&json!(3), &json!(false)),
        "it had reported: {line}"
    );

    let text = r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":null}]}"#;
    upstream.on("POST", "/v1/completions").then(Reply::sse().event(text));
    let response = gateway.post("/v1/completions", r#"{"model":"tiny","prompt":"x","stream":true}"#).await;
    incomplete(&response);
    assert_eq!(openai(&response.events().pop().unwrap().json()).code.as_deref(), Some("stream_incomplete"));
}

#[tokio::test]
async fn a_missing_done_is_added_after_a_whole_reply() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let whole = events(&[FIRST, LAST, USAGE]);
    let expect = format!("{whole}data: [DONE]\n\n");
    for ending in [
        "",
        "data: [DONE]",
        "data: [DONE]\n",
        "data: [DONE]\n\n",
        "data: [DONE]\r\n\r\n",
        "data:[DONE]\n\n",
        "data: [DO",
        ": bye\n\n",
    ] {
        upstream.on("POST", "/v1/chat/completions").now(Reply::sse().raw(format!("{whole}{ending}")));
        let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
        assert!(response.is_whole());
        let said = response
            .text()
            .replace(": bye\n\n", "")
            .replace("data:[DONE]", "data: [DONE]")
            .replace("\r\n", "\n");
        assert_eq!(said, expect, "{ending:?}");
        assert_eq!(gateway.line_of(&response).await["outcome"], "complete", "{ending:?}");
    }
    // the finishing event itself may lack its blank line
    upstream.on("POST", "/v1/chat/completions").now(Reply::sse().raw(events(&[FIRST, LAST]).trim_end()));
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text(), events(&[FIRST, LAST, "[DONE]"]));
}

#[tokio::test]
async fn every_choice_must_have_finished() {
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("CIRCUIT_BREAKER_ENABLED", "false").start().await;
    let second = LAST.replace("\"index\":0", "\"index\":1");
    let ask = ASK_STREAM.replace("\"stream\":true", "\"stream\":true,\"n\":2");
    upstream.on("POST", "/v1/chat/completions").now(Reply::sse().event(FIRST).event(LAST));
    incomplete(&gateway.post("/v1/chat/completions", &ask).await);
    upstream.on("POST", "/v1/chat/completions").now(Reply::sse().event(FIRST).event(LAST).event(&second));
    let response = gateway.post("/v1/chat/completions", &ask).await;
    assert_eq!(response.text(), events(&[FIRST, LAST, &second, "[DONE]"]));
}

#[tokio::test]
async fn responses_and_messages_end_as_they_end() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let ask = r#"{"model":"tiny","input":"x","stream":true}"#;
    for kind in ["response.completed", "response.incomplete"] {
        let data = format!(
            r#"{{"type":"{kind}","response":{{"id":"r","usage":{{"input_tokens":1,"output_tokens":2}}}}}}"#
        );
        let said = format!("event: {kind}\ndata: {data}\n\n");
        for done in ["", "data: [DONE]\n\n"] {
            upstream.on("POST", "/v1/responses").now(Reply::sse().raw(format!("{said}{done}")));
            let response = gateway.post("/v1/responses", ask).await;
            assert_eq!(response.text(), format!("{said}data: [DONE]\n\n"), "{kind} {done:?}");
            assert_eq!(gateway.line_of(&response).await["outcome"], "complete", "{kind}");
        }
    }
    let failed = r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"server_error","message":"boom"}}}"#;
    let said = format!(
        "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{}}}}\n\nevent: response.failed\ndata: {failed}\n\n"
    );
    upstream.on("POST", "/v1/responses").now(Reply::sse().raw(&said));
    let response = gateway.post("/v1/responses", ask).await;
    assert_eq!(response.text(), said, "it told in the dialect's own words");
    assert_eq!(gateway.line_of(&response).await["outcome"], "failed");

    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let ask = r#"{"model":"tiny","max_tokens":9,"messages":[],"stream":true}"#;
    for extra in ["", "data: [DONE]\n\n"] {
        upstream.on("POST", "/v1/messages").now(Reply::sse().raw(format!("{start}{delta}{stop}{extra}")));
        let response = gateway.post("/v1/messages", ask).await;
        assert_eq!(response.text(), format!("{start}{delta}{stop}"), "no [DONE] in this dialect");
        let line = gateway.line_of(&response).await;
        assert_eq!(
            (&line["input_tokens"], &line["output_tokens"], &line["outcome"]),
            (&json!(4), &json!(7), &json!("complete"))
        );
    }
}

#[tokio::test]
async fn what_follows_the_end_is_dropped_and_the_client_does_not_wait_for_it() {
    let reply = vllm::stream().raw("data: {\"late\":1}\n\n").stall();
    let upstream = vllm::streaming(reply).await;
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text(), events(&[FIRST, DELTA, LAST, USAGE, "[DONE]"]));
    assert!(response.is_whole());
}

#[tokio::test]
async fn any_chunking_gives_the_client_the_same_bytes() {
    let text = events(&[FIRST, DELTA, LAST, USAGE, "[DONE]"]);
    let shown = events(&[FIRST, DELTA, LAST, "[DONE]"]);
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for size in [1, 2, 3, 5, 16, 17, 63, 200] {
        let pace = if size > 60 { 2 } else { 0 };
        let reply = Reply::sse().raw(&text).cut_into(size).pace(std::time::Duration::from_millis(pace));
        upstream.on("POST", "/v1/chat/completions").now(reply);
        let response = gateway.post("/v1/chat/completions", vllm::ASK_PLAIN_STREAM).await;
        assert_eq!(response.text(), shown, "cut into {size}");
        assert_eq!(gateway.line_of(&response).await["output_tokens"], 8, "cut into {size}");
    }
}
