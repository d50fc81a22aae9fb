//! A client that leaves is noticed at once, whatever the engine is doing for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::{Ending, Running};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::client::{LIMIT, begin, engine_with, get};

const SOON: Duration = Duration::from_millis(100);

/// Slow in one phase, so that a client has time to leave in it.
async fn slow(prefill: f64, decode: f64) -> Running {
    engine_with(|settings| {
        settings.prefill_tokens_per_second = prefill;
        settings.decode_tokens_per_second = decode;
    })
    .await
}

/// Sends the request, leaves when `engine` is at it (and has said as much as `events`), and checks what is noticed.
async fn check(engine: &Running, path: &str, body: &Value, events: usize) {
    let json = [("content-type", "application/json")];
    let mut stream = begin(engine, "POST", path, &json, &body.to_string()).await;
    let mut said = Vec::new();
    while String::from_utf8_lossy(&said).matches("data: ").count() < events {
        let mut more = [0; 4_096];
        let count = timeout(LIMIT, stream.read(&mut more)).await.expect("no event").unwrap();
        assert!(count > 0, "the engine closed first");
        said.extend_from_slice(&more[..count]);
    }
    timeout(LIMIT, async {
        while engine.running() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the engine never began");
    let before = engine.aborted();
    let left = Instant::now();
    drop(stream);
    timeout(LIMIT, engine.wait_for_abort(before + 1)).await.expect("not noticed");
    assert_eq!((engine.running(), engine.aborted()), (0, before + 1), "{path}");
    match engine.seen().last().unwrap().ended {
        Some(Ending::Aborted { at, .. }) => {
            assert!(
                at.saturating_duration_since(left) < SOON,
                "{path}: {:?}",
                at.saturating_duration_since(left)
            );
        }
        other => panic!("{path}: {other:?}"),
    }
}

fn bodies(stream: bool) -> [(&'static str, Value); 4] {
    let messages = json!([{"role": "user", "content": "Hello there"}]);
    [
        ("/v1/chat/completions", json!({"messages": messages, "stream": stream})),
        ("/v1/completions", json!({"prompt": "Hello", "stream": stream, "max_tokens": 50})),
        ("/v1/responses", json!({"input": "Hello", "stream": stream})),
        ("/v1/messages", json!({"model": "sim", "max_tokens": 50, "messages": messages, "stream": stream})),
    ]
}

#[tokio::test]
async fn leaving_during_the_prefill_is_noticed() {
    let engine = slow(0.1, f64::INFINITY).await;
    for stream in [false, true] {
        for (path, body) in bodies(stream) {
            check(&engine, path, &body, 0).await;
        }
    }
    check(&engine, "/v1/embeddings", &json!({"input": "Hello"}), 0).await;
    check(&engine, "/rerank", &json!({"query": "Hello", "documents": ["a", "b"]}), 0).await;
}

#[tokio::test]
async fn leaving_during_the_decode_is_noticed() {
    let engine = slow(f64::INFINITY, 5.0).await;
    for (path, body) in bodies(false) {
        check(&engine, path, &body, 0).await;
    }
    for (path, body) in bodies(true) {
        check(&engine, path, &body, 2).await;
    }
}

#[tokio::test]
async fn an_abort_shows_in_the_metrics() {
    let engine = slow(f64::INFINITY, 5.0).await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let json = [("content-type", "application/json")];
    let stream = begin(&engine, "POST", "/v1/chat/completions", &json, &body.to_string()).await;
    let shows = |row: &'static str| {
        let engine = &engine;
        async move { get(engine, "/metrics").await.body.contains(row) }
    };
    let running = "vllm:num_requests_running{engine=\"0\",model_name=\"sim\"} 1.0";
    timeout(LIMIT, async { while !shows(running).await {} }).await.expect("never running");
    drop(stream);
    timeout(LIMIT, engine.wait_for_abort(1)).await.expect("not noticed");
    assert!(shows("vllm:num_requests_running{engine=\"0\",model_name=\"sim\"} 0.0").await);
    assert!(
        shows("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"sim\"} 1.0")
            .await
    );
}

#[tokio::test]
async fn a_finished_answer_is_no_abort() {
    let engine = slow(f64::INFINITY, f64::INFINITY).await;
    for stream in [false, true] {
        for (path, body) in bodies(stream) {
            crate::client::post(&engine, path, &body).await;
        }
    }
    assert_eq!((engine.running(), engine.aborted()), (0, 0));
    assert!(engine.seen().iter().all(|seen| seen.ended == Some(Ending::Completed)));
}
