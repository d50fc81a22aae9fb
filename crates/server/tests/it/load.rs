//! Many calls of every kind at once: each gets its own answer, and nothing panics or leaks.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::client::{Leaving, Phase};
use testkit::{Reply, Request, eventually};

use crate::gateway::TestGateway;
use crate::vllm::{self, DELTA, FIRST, LAST, USAGE, events};

/// Whether there are figures of calls under way, and all of them are zero.
fn nothing_in_flight(metrics: &str) -> bool {
    let mut figures =
        metrics.lines().filter(|line| line.starts_with("gomodel_requests_in_flight{")).peekable();
    figures.peek().is_some() && figures.all(|line| line.ends_with(" 0"))
}

#[tokio::test]
async fn a_hundred_mixed_calls_at_once_each_get_their_own_answer() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/chat/completions").then_with(|request| {
        let body = request.json();
        let tag = body["tag"].as_u64().unwrap_or_default();
        if body["stream"] == true {
            let delta = DELTA.replace("Hello", &format!("Hello {tag}"));
            Reply::sse()
                .event(FIRST)
                .pause(Duration::from_millis(tag % 7))
                .event(&delta)
                .event(LAST)
                .event(USAGE)
                .done()
                .cut_into(50)
        } else {
            Reply::json(200, vllm::REPLY.replace("Hello", &format!("Hello {tag}")))
                .before_head(Duration::from_millis(tag % 5))
        }
    });
    upstream.on("POST", "/v1/embeddings").then(Reply::json(500, "oops"));
    upstream.on("POST", "/tokenize").then(Reply::no_response());
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .no_retries()
        .env("CIRCUIT_BREAKER_ENABLED", "false")
        .env("METRICS_ENABLED", "true")
        .start()
        .await;
    let asking = (0..100u64).map(|tag| {
        let gateway = &gateway;
        async move {
            let chat = |stream: bool| {
                json!({"model": "vllm/tiny", "messages": [], "stream": stream, "tag": tag}).to_string()
            };
            match tag % 10 {
                0..=2 => {
                    let response = gateway.post("/v1/chat/completions", chat(false)).await;
                    assert_eq!(response.json()["choices"][0]["message"]["content"], format!("Hello {tag}"));
                }
                3..=5 => {
                    let response = gateway.post("/v1/chat/completions", chat(true)).await;
                    let delta = DELTA.replace("Hello", &format!("Hello {tag}"));
                    assert_eq!(response.text(), events(&[FIRST, &delta, LAST, "[DONE]"]));
                }
                6 => assert_eq!(
                    gateway.post("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#).await.status,
                    500
                ),
                7 => assert_eq!(
                    gateway.post("/v1/tokenize", r#"{"model":"tiny","prompt":"x"}"#).await.status,
                    502
                ),
                8 => {
                    let request = Request::post("/v1/chat/completions").json(chat(true));
                    gateway.connect().await.leave_in(&request, Phase::AfterEvents(1), Leaving::Reset).await;
                }
                _ => {
                    assert_eq!(gateway.post("/v1/chat/completions", "nonsense").await.status, 400);
                    assert_eq!(gateway.get("/v1/models").await.json()["data"][0]["id"], "vllm/tiny");
                }
            }
        }
    });
    join_all(asking).await;
    // 10 of the calls are two requests each
    eventually(Duration::from_secs(10), || gateway.count("call") == 110).await;
    let metrics = gateway.metrics().await;
    assert!(nothing_in_flight(&metrics), "{metrics}");
    assert!(metrics.contains("ferrovia_request_memory_bytes{} 0"), "{metrics}");
}

#[tokio::test]
async fn many_aborted_streams_leave_nothing_behind() {
    let upstream = vllm::streaming(
        Reply::sse().event(FIRST).forever(format!("data: {DELTA}\n\n"), Duration::from_millis(1)),
    )
    .await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("METRICS_ENABLED", "true").start().await;
    let request = Request::post("/v1/chat/completions").json(vllm::ASK_STREAM);
    for _ in 0..5 {
        let leaving = (0..20).map(|n| {
            let (gateway, request) = (&gateway, &request);
            let how = if n % 2 == 0 { Leaving::Close } else { Leaving::Reset };
            async move { gateway.connect().await.leave_in(request, Phase::AfterEvents(3), how).await }
        });
        join_all(leaving).await;
    }
    eventually(Duration::from_secs(10), || gateway.count("call") == 100).await;
    eventually(Duration::from_secs(10), || upstream.open_connections() <= 2).await;
    let metrics = gateway.metrics().await;
    assert!(nothing_in_flight(&metrics), "{metrics}");
}
