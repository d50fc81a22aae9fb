//! Trying again: what is, how often, when, and what the client gets in the end.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::ports::Refusing;
use testkit::upstream::Fate;
use testkit::{Reply, Request};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, FIRST, LAST, PROBES, REPLY, events};

fn busy(status: u16) -> Reply {
    Reply::json(status, vllm::error(status, "ServiceUnavailable", "busy"))
}

#[tokio::test]
async fn a_503_is_tried_four_times_and_then_told() {
    for ask in [ASK, ASK_STREAM] {
        let upstream = vllm::streaming(busy(503)).await;
        let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
        let response = gateway.post("/v1/chat/completions", ask).await;
        assert_eq!(response.status, 503, "{response}");
        assert_eq!(
            (told("/v1", &response).kind.as_str(), told("/v1", &response).message.as_str()),
            ("provider_error", "busy")
        );
        let calls = &upstream.requests()[PROBES..];
        assert_eq!(calls.len(), 4);
        assert!(calls.iter().all(|call| call.text() == calls[0].text()), "each attempt has the whole body");
        let ids: Vec<_> = calls.iter().map(|call| call.header("x-request-id")).collect();
        assert!(ids.iter().all(|id| *id == response.header("x-request-id")), "{ids:?}");
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["attempts"], &line["upstream_status"]), (&json!(4), &json!(503)));
    }
}

#[tokio::test]
async fn what_is_tried_again_and_what_is_not() {
    for (status, attempts) in [
        (429, 4),
        (502, 4),
        (503, 4),
        (504, 4),
        (500, 1),
        (501, 1),
        (400, 1),
        (401, 1),
        (403, 1),
        (404, 1),
        (409, 1),
        (422, 1),
    ] {
        let upstream =
            vllm::streaming(Reply::json(status, vllm::error(status, "X", "the model says no"))).await;
        let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
        let response = gateway.post("/v1/chat/completions", ASK).await;
        assert_eq!(response.status, status, "{response}");
        assert_eq!(upstream.requests().len() - PROBES, attempts, "{status}");
    }
}

#[tokio::test]
async fn a_second_attempt_that_succeeds_is_a_success() {
    for (first, ask) in [
        (busy(503), ASK),
        (busy(503), ASK_STREAM),
        (Reply::json(200, vllm::error(503, "ServiceUnavailable", "busy")), ASK),
        (Reply::sse().event(&vllm::error(503, "ServiceUnavailable", "busy")), ASK_STREAM),
        (Reply::sse(), ASK_STREAM),
        (Reply::sse().comment("x").reset(), ASK_STREAM),
        (Reply::json(200, REPLY).truncate_after(20), ASK),
    ] {
        let upstream = vllm::engine().await;
        let good =
            if ask == ASK { Reply::json(200, REPLY) } else { Reply::sse().event(FIRST).event(LAST).done() };
        upstream.on("POST", "/v1/chat/completions").then(first.clone()).then(good);
        let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
        let response = gateway.post("/v1/chat/completions", ask).await;
        assert_eq!(response.status, 200, "{first:?}: {response}");
        if ask == ASK_STREAM {
            assert_eq!(response.text(), events(&[FIRST, LAST, "[DONE]"]));
        }
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["attempts"], &line["outcome"]), (&json!(2), &json!("complete")), "{first:?}");
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_is_never_sent_twice() {
    let upstream = vllm::streaming(Reply::sse().event(FIRST).reset()).await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text().matches("\"role\":\"assistant\"").count(), 1);
    assert_eq!(upstream.requests().len(), PROBES + 1);
}

#[tokio::test]
async fn retry_after_is_honoured_and_forwarded() {
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(busy(503).header("retry-after", "1"))
        .then(Reply::json(200, REPLY));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("RETRY_INITIAL_BACKOFF", "1ms")
        .env("RETRY_MAX_BACKOFF", "2s")
        .start()
        .await;
    let asked = Instant::now();
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 200);
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());

    // longer than we would ever wait: the client is told at once
    let upstream = vllm::streaming(busy(503).header("retry-after", "120")).await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).start().await;
    let asked = Instant::now();
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!((response.status, response.header("retry-after")), (503, Some("120")));
    assert_eq!(upstream.requests().len(), PROBES + 1);
}

#[tokio::test]
async fn a_refused_connection_is_a_502_after_all_attempts() {
    let refusing = Refusing::start();
    let gateway = TestGateway::setup()
        .provider("vllm", &refusing.url())
        .env("VLLM_MODELS", "tiny")
        .quick_retries()
        .start()
        .await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.status, 502, "{response}");
    let error = told("/v1", &response);
    assert_eq!(error.kind, "provider_error");
    assert!(
        error.message.starts_with("failed to send request: ") && error.message.contains("refused"),
        "{}",
        error.message
    );
    assert_eq!(gateway.line_of(&response).await["attempts"], 4);
}

#[tokio::test]
async fn a_connection_reset_at_once_is_a_502_after_all_attempts() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
    upstream.close_idle();
    upstream.wait_for_open_connections(0).await;
    upstream.on_connect([Fate::Reset, Fate::Close, Fate::Reset, Fate::Close]);
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.status, 502, "{response}");
    assert_eq!(gateway.line_of(&response).await["attempts"], 4);
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 200);
}

#[tokio::test]
async fn a_kept_connection_that_dies_is_replaced_without_an_attempt_being_counted() {
    // answers well, then hangs up as soon as it is asked again on the same connection
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(Reply::json(200, REPLY))
        .then(Reply::no_response())
        .then(Reply::json(200, REPLY));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).no_retries().env("FERROVIA_THREADS", "1").start().await;
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 200);
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(gateway.line_of(&response).await["attempts"], 1);
    let calls = &upstream.requests()[PROBES..];
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].connection, calls[1].connection);
    assert_ne!(calls[1].connection, calls[2].connection);
}

#[tokio::test]
async fn uvicorns_early_close_is_never_seen_by_a_client() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).no_retries().env("FERROVIA_THREADS", "1").start().await;
    for _ in 0..10 {
        assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 200);
        upstream.close_idle();
    }
}

#[tokio::test]
async fn statuses_and_number_can_be_set() {
    let upstream = vllm::streaming(Reply::json(500, vllm::error(500, "InternalServerError", "x"))).await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .quick_retries()
        .env("RETRY_MAX_RETRIES", "1")
        .env("RETRY_ON_STATUSES", "5xx,408")
        .start()
        .await;
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 500);
    assert_eq!(upstream.requests().len(), PROBES + 2);
    upstream.on("POST", "/v1/chat/completions").now(busy(429));
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 429);
    assert_eq!(upstream.requests().len(), PROBES + 3, "429 is not among them");
}

#[tokio::test]
async fn the_passthrough_sends_again_only_what_may_be_sent_twice() {
    let upstream = vllm::talking().await;
    upstream.on("*", "/x").then(Reply::json(200, "{}"));
    let gateway = TestGateway::setup().vllm("vllm", &upstream).quick_retries().start().await;
    for (request, status) in [
        (Request::get("/p/vllm/x"), 200),
        (Request::post("/p/vllm/x").header("idempotency-key", "k").json("{}"), 200),
        (Request::post("/p/vllm/x").json("{}"), 502),
    ] {
        upstream.close_idle();
        upstream.wait_for_open_connections(0).await;
        upstream.on_connect([Fate::Reset]);
        assert_eq!(gateway.send(&request).await.status, status, "{request:?}");
    }
    // an answer is an answer, whatever its status
    upstream.on("*", "/x").now(busy(503));
    let before = upstream.requests().len();
    assert_eq!(gateway.get("/p/vllm/x").await.status, 503);
    assert_eq!(upstream.requests().len(), before + 1);
}

#[tokio::test]
async fn an_idle_connection_is_let_go_before_uvicorn_would_close_it() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    assert_eq!(gateway.post("/v1/chat/completions", ASK).await.status, 200);
    let answered = upstream.wait_for_answered(PROBES + 1).await;
    upstream.wait_for_open_connections(0).await;
    let kept = answered.elapsed();
    assert!(kept < Duration::from_secs(5), "uvicorn closes after 5 s, we only after {kept:?}");
}
