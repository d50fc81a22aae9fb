//! The limit on calls that one instance may have at a time: no at once, and a place that is free again whatever happens.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use testkit::{FakeUpstream, Gate, Reply, Request, Response};

use crate::envelope::told;
use crate::gateway::{Setup, TestGateway};
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST, PROBES};

const CHAT: &str = "/v1/chat/completions";

/// A gateway whose instance `vllm` may have so many calls at a time.
fn limited(upstream: &FakeUpstream, limit: usize) -> Setup {
    TestGateway::setup()
        .vllm("vllm", upstream)
        .env("VLLM_MAX_IN_FLIGHT", &limit.to_string())
        .env("METRICS_ENABLED", "true")
}

/// How many calls the instance has by the gateway's own account.
async fn in_flight(gateway: &TestGateway, name: &str) -> String {
    let row = format!("ferrovia_provider_in_flight{{provider_name=\"{name}\"}} ");
    let page = gateway.metrics().await;
    let figure = page.lines().find_map(|line| line.strip_prefix(&row));
    figure.unwrap_or_else(|| panic!("no figure for {name}:\n{page}")).to_owned()
}

/// Waits until it has so many: the end of a reply reaches its client a moment before it is accounted for.
async fn comes_to(gateway: &TestGateway, count: usize, what: &str) {
    for _ in 0..500 {
        if in_flight(gateway, "vllm").await == count.to_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {} calls in flight instead of {count}", in_flight(gateway, "vllm").await);
}

#[track_caller]
fn busy(path: &str, response: &Response) {
    assert_eq!((response.status, response.header("retry-after")), (429, Some("1")), "{path}: {response}");
    let error = told(path, response);
    assert_eq!(error.kind, "rate_limit_error", "{path}");
    assert!(error.message.contains("vllm"), "{path}: {}", error.message);
    if path != "/v1/messages" {
        assert_eq!(error.code.as_deref(), Some("provider_busy"), "{path}");
    }
}

/// Asks until it is not busy.
async fn let_in(gateway: &TestGateway, body: &str) -> Response {
    for _ in 0..500 {
        let response = gateway.post(CHAT, body).await;
        if response.status != 429 {
            return response;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it stays busy");
}

#[tokio::test]
async fn one_too_many_is_told_at_once_and_no_longer_when_another_leaves() {
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then(Reply::sse().event(FIRST).event(DELTA).stall());
    let neighbour = vllm::talking().await;
    let gateway = limited(&upstream, 2).vllm("vllm-b", &neighbour).start().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = gateway.connect().await;
        client.request(&Request::post(CHAT).json(ASK_STREAM)).await.unwrap();
        assert!(client.next_event().await.is_some(), "a stream has begun");
        clients.push(client);
    }
    assert_eq!(in_flight(&gateway, "vllm").await, "2");
    assert!(gateway.metrics().await.contains("ferrovia_provider_max_in_flight{provider_name=\"vllm\"} 2"));

    let asked = upstream.requests().len();
    for (path, body) in [
        (CHAT, ASK),
        (CHAT, ASK_STREAM),
        ("/v1/completions", r#"{"model":"vllm/tiny","prompt":"x"}"#),
        ("/v1/embeddings", r#"{"model":"vllm/tiny","input":"x"}"#),
        ("/v1/messages", r#"{"model":"vllm/tiny","max_tokens":1,"messages":[]}"#),
        ("/p/vllm/v1/chat/completions", ASK),
        ("/p/vllm/anything", "{}"),
    ] {
        busy(path, &gateway.post(path, body).await);
    }
    let refused = gateway.post(CHAT, ASK).await;
    let line = gateway.line_of(&refused).await;
    assert_eq!(
        (&line["outcome"], &line["provider"], &line["attempts"], &line["error_code"]),
        (&json!("refused"), &json!("vllm"), &json!(0), &json!("provider_busy")),
        "{line}"
    );
    assert_eq!(upstream.requests().len(), asked, "the engine hears nothing of it");
    assert_eq!(gateway.get("/v1/models").await.status, 200, "lists are not calls");
    let other = gateway.post(CHAT, ASK.replace("tiny", "vllm-b/tiny")).await;
    assert_eq!(other.status, 200, "the neighbour has its own limit: {other}");

    upstream.on("POST", CHAT).now(Reply::json(200, vllm::REPLY));
    clients.pop().expect("two clients").close();
    let next = let_in(&gateway, ASK).await;
    assert_eq!(next.status, 200, "and the breaker has counted no refusal: {next}");
    drop(clients);
}

#[tokio::test]
async fn an_engine_never_has_more_than_it_may() {
    const LIMIT: usize = 4;
    const CLIENTS: usize = 50;
    let upstream = vllm::engine().await;
    let gateway = limited(&upstream, LIMIT).start().await;
    for round in 0..4 {
        let gate = Gate::new();
        // streams and whole replies, held before and after their heads
        let held = match round % 2 {
            0 => Reply::json(200, vllm::REPLY).gate_before_head(&gate),
            _ => Reply::sse().event(FIRST).gate(&gate).event(vllm::LAST).done(),
        };
        upstream.on("POST", CHAT).now(held);
        let asked = upstream.requests().len();
        let body = if round % 2 == 0 { ASK } else { ASK_STREAM };
        let mut calls: FuturesUnordered<_> = (0..CLIENTS).map(|_| gateway.post(CHAT, body)).collect();
        for _ in LIMIT..CLIENTS {
            let refused = calls.next().await.expect("a client that is refused");
            busy(CHAT, &refused);
        }
        upstream.wait_for_head(asked + LIMIT).await;
        assert_eq!(upstream.requests().len(), asked + LIMIT, "round {round}");
        assert_eq!(in_flight(&gateway, "vllm").await, LIMIT.to_string());
        gate.open();
        while let Some(answered) = calls.next().await {
            assert_eq!(answered.status, 200, "round {round}: {answered}");
        }
        comes_to(&gateway, 0, &format!("round {round}")).await;
    }
}

#[tokio::test]
async fn whatever_happens_the_place_is_free_again() {
    let upstream = vllm::engine().await;
    let gateway = limited(&upstream, 1).no_retries().env("CIRCUIT_BREAKER_ENABLED", "false").start().await;
    for (what, reply) in [
        ("a reply", Reply::json(200, vllm::REPLY)),
        ("a stream", vllm::stream()),
        ("a refusal", Reply::json(400, vllm::error(400, "BadRequestError", "no"))),
        ("an error", Reply::text(500, "oops")),
        ("an error in a success", Reply::json(200, vllm::error(500, "InternalServerError", "oops"))),
        ("a page", Reply::html(200, "<html>hello</html>")),
        ("a missing route", Reply::json(404, r#"{"detail":"Not Found"}"#)),
        ("a reset", Reply::no_response().reset()),
        ("a broken reply", Reply::json(200, vllm::REPLY).truncate_after(30).close()),
        ("a broken stream", Reply::sse().event(FIRST).reset()),
        ("a stream without an end", Reply::sse().event(FIRST).close()),
    ] {
        upstream.on("POST", CHAT).now(reply);
        for body in [ASK, ASK_STREAM] {
            let response = gateway.post(CHAT, body).await;
            assert_ne!(response.status, 429, "{what}: {response}");
            comes_to(&gateway, 0, what).await;
        }
    }
    // what is refused here never takes a place
    for (path, body) in [(CHAT, "{"), (CHAT, r#"{"model":"nope","messages":[]}"#), ("/v1/nothing", "{}")] {
        gateway.post(path, body).await;
        comes_to(&gateway, 0, body).await;
    }
    let passed = gateway.get("/p/vllm/version").await;
    assert_eq!(passed.status, 200, "{passed}");
    comes_to(&gateway, 0, "a passthrough").await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_nothing_with_it() {
    for (what, reply, body) in [
        ("before an answer", Reply::no_response().stall(), ASK),
        ("before a stream", Reply::no_response().stall(), ASK_STREAM),
        ("in a stream", Reply::sse().event(FIRST).stall(), ASK_STREAM),
    ] {
        let upstream = vllm::streaming(reply).await;
        // a stream's status is settled after a moment, and then it is another future that holds the place
        let gateway = limited(&upstream, 1).env("FERROVIA_STREAM_KEEP_ALIVE", "50ms").start().await;
        let mut client = gateway.connect().await;
        client.request(&Request::post(CHAT).json(body)).await.unwrap();
        upstream.wait_for_request(PROBES + 1).await;
        if body == ASK_STREAM {
            assert_eq!(client.head().await.status, 200, "{what}");
        }
        busy(CHAT, &gateway.post(CHAT, ASK).await);
        client.close();
        upstream.on("POST", CHAT).now(Reply::json(200, vllm::REPLY));
        assert_eq!(let_in(&gateway, ASK).await.status, 200, "{what}");
        comes_to(&gateway, 0, what).await;
    }
}

#[tokio::test]
async fn retries_are_one_call() {
    let upstream = vllm::engine().await;
    upstream
        .on("POST", CHAT)
        .then(Reply::status(503))
        .then(Reply::status(503))
        .then(Reply::json(200, vllm::REPLY));
    let gateway = limited(&upstream, 1).quick_retries().start().await;
    let response = gateway.post(CHAT, ASK).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(gateway.line_of(&response).await["attempts"], 3);
    comes_to(&gateway, 0, "retries").await;
}

#[tokio::test]
async fn a_passthrough_call_has_a_place_too() {
    let upstream = vllm::engine().await;
    let gate = Gate::new();
    upstream.on("GET", "/slow").then(Reply::text(200, "done").gate_before_head(&gate));
    let gateway = limited(&upstream, 1).start().await;
    let mut client = gateway.connect().await;
    client.request(&Request::get("/p/vllm/slow")).await.unwrap();
    upstream.wait_for_request(PROBES + 1).await;
    busy(CHAT, &gateway.post(CHAT, ASK).await);
    busy("/p", &gateway.get("/p/vllm/version").await);
    gate.open();
    assert_eq!(client.response().await.text(), "done");
    upstream.on("POST", CHAT).now(Reply::json(200, vllm::REPLY));
    assert_eq!(let_in(&gateway, ASK).await.status, 200);
}

#[tokio::test]
async fn without_a_limit_calls_are_only_counted() {
    let upstream = vllm::engine().await;
    let gate = Gate::new();
    upstream.on("POST", CHAT).then(Reply::json(200, vllm::REPLY).gate_before_head(&gate));
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("METRICS_ENABLED", "true").start().await;
    let calls: FuturesUnordered<_> = (0..30).map(|_| gateway.post(CHAT, ASK)).collect();
    let answers = tokio::spawn({
        let gate = gate.clone();
        async move { gate.reached(30).await }
    });
    let all = async {
        answers.await.expect("all of them came through");
        let page = gateway.metrics().await;
        assert!(page.contains("ferrovia_provider_in_flight{provider_name=\"vllm\"} 30"), "{page}");
        assert!(!page.contains("ferrovia_provider_max_in_flight{"), "{page}");
        gate.open();
    };
    let (answers, ()) = tokio::join!(calls.collect::<Vec<_>>(), all);
    assert!(answers.iter().all(|answer| answer.status == 200));
}
