//! Replies too large to be read whole: streamed, with the member added, as vectors come.

use serde_json::json;
use testkit::{Gate, Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm;

/// A reply of about this many bytes, with usage at its end.
fn large(bytes: usize) -> String {
    let vector = format!(
        "{{\"object\":\"embedding\",\"index\":0,\"embedding\":[{}0.25]}}",
        "0.125,".repeat(bytes / 6)
    );
    format!(
        "{{\"id\":\"embd-1\",\"object\":\"list\",\"data\":[{vector}],\"usage\":{{\"prompt_tokens\":7,\"total_tokens\":7}}}}\n"
    )
}

#[tokio::test]
async fn a_large_reply_is_streamed_with_the_member_added() {
    for bytes in [30_000, 33_000, 500_000, 6_000_000] {
        let reply = large(bytes);
        let upstream = vllm::engine().await;
        upstream
            .on("POST", "/v1/embeddings")
            .then(Reply::json(200, &reply).cut_into(8000))
            .then(Reply::json(200, &reply).chunked());
        let gateway = TestGateway::before(&upstream).await;
        for _ in 0..2 {
            let response = gateway.post("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#).await;
            assert!(response.is_whole(), "{bytes}");
            let expect = reply.replace("\"total_tokens\":7}}", "\"total_tokens\":7},\"provider\":\"vllm\"}");
            assert!(
                response.text() == expect,
                "{bytes}: the end is {:?}",
                &response.text()[response.body.len() - 120..]
            );
            let line = gateway.line_of(&response).await;
            assert_eq!((&line["input_tokens"], &line["outcome"]), (&json!(7), &json!("complete")), "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_large_reply_begins_to_arrive_before_it_ends() {
    let gate = Gate::new();
    let reply = large(200_000);
    let (first, rest) = reply.split_at(100_000);
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/embeddings")
        .then(Reply::bytes(200, "application/json", first).gate(&gate).raw(rest));
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/v1/embeddings").json(r#"{"model":"tiny","input":"x"}"#)).await.unwrap();
    assert!(client.body_at_least(90_000).await.len() >= 90_000);
    gate.open();
    assert!(client.response().await.is_whole());
}

#[tokio::test]
async fn vectors_as_raw_bytes_are_relayed_with_their_description() {
    let upstream = vllm::engine().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let reply = Reply::bytes(200, "application/octet-stream", &bytes).header("metadata", r#"{"data":[]}"#);
    upstream.on("POST", "/v1/embeddings").then(reply);
    let gateway = TestGateway::before(&upstream).await;
    let ask = r#"{"model":"tiny","input":"x","encoding_format":"bytes"}"#;
    let response = gateway.post("/v1/embeddings", ask).await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(response.header("metadata"), Some(r#"{"data":[]}"#));
    assert!(response.body == bytes);
}
