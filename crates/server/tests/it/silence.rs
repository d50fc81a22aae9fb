//! Time: keep-alives for clients that wait, and limits for upstreams that say nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::ports::Unanswering;
use testkit::{Gate, Reply, Request};

use crate::envelope::{openai, told};
use crate::gateway::{Setup, TestGateway};
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST, LAST, events};

const KEEP_ALIVE: &str = ": keep-alive\n\n";

fn impatient(upstream: &testkit::FakeUpstream) -> Setup {
    TestGateway::setup().vllm("vllm", upstream).env("FERROVIA_STREAM_KEEP_ALIVE", "150ms")
}

#[tokio::test]
async fn a_stream_that_is_slow_to_begin_is_kept_alive() {
    let gate = Gate::new();
    let upstream = vllm::streaming(vllm::stream().gate_before_head(&gate)).await;
    let gateway = impatient(&upstream).start().await;
    let mut client = gateway.connect().await;
    let asked = Instant::now();
    client.request(&Request::post("/v1/chat/completions").json(vllm::ASK_PLAIN_STREAM)).await.unwrap();
    let head = client.head().await;
    assert!(
        asked.elapsed() >= Duration::from_millis(140),
        "the status stays open that long: {:?}",
        asked.elapsed()
    );
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.header("x-ferrovia-changes"), Some("request.stream_options"));
    for _ in 0..3 {
        let (_, event) = client.next_event().await.unwrap();
        assert!(event.is_comment(), "{event:?}");
    }
    gate.open();
    let response = client.response().await;
    assert_eq!(response.text().replace(KEEP_ALIVE, ""), events(&[FIRST, DELTA, LAST, "[DONE]"]));
    let line = gateway.line_of(&response).await;
    assert_eq!(
        (&line["outcome"], &line["output_tokens"], &line["attempts"]),
        (&json!("complete"), &json!(8), &json!(1))
    );
}

#[tokio::test]
async fn a_stream_that_pauses_between_events_is_kept_alive() {
    let gate = Gate::new();
    // the pause stands inside an event as the upstream writes it, but between two as the client sees them
    let reply = Reply::sse().event(FIRST).raw("data: ").gate(&gate).raw(format!("{LAST}\n\n")).done();
    let upstream = vllm::streaming(reply).await;
    let gateway = impatient(&upstream).start().await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/v1/chat/completions").json(ASK_STREAM)).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().1.data.as_deref(), Some(FIRST));
    assert!(client.next_event().await.unwrap().1.is_comment());
    assert!(client.next_event().await.unwrap().1.is_comment());
    gate.open();
    assert_eq!(client.response().await.text().replace(KEEP_ALIVE, ""), events(&[FIRST, LAST, "[DONE]"]));
}

#[tokio::test]
async fn nothing_is_said_inside_an_event_too_long_to_hold() {
    let gate = Gate::new();
    let long = FIRST.replace("\"content\":\"\"", &format!("\"content\":\"{}\"", "x".repeat(400_000)));
    let (begin, rest) = long.split_at(350_000);
    let reply = Reply::sse()
        .event(FIRST)
        .raw(format!("data: {begin}"))
        .gate(&gate)
        .raw(format!("{rest}\n\n"))
        .event(LAST)
        .done();
    let upstream = vllm::streaming(reply).await;
    let gateway = impatient(&upstream).start().await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/v1/chat/completions").json(ASK_STREAM)).await.unwrap();
    client.body_at_least(300_000).await;
    // two keep-alives would be due
    tokio::time::sleep(Duration::from_millis(400)).await;
    gate.open();
    let response = client.response().await;
    assert!(response.text() == events(&[FIRST, &long, LAST, "[DONE]"]), "{} bytes", response.body.len());
}

#[tokio::test]
async fn messages_are_kept_alive_by_pings() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    upstream.on("POST", "/v1/messages").then(Reply::sse().raw(stop).gate_before_head(&gate));
    let gateway = impatient(&upstream).start().await;
    let mut client = gateway.connect().await;
    let ask = r#"{"model":"tiny","max_tokens":9,"messages":[],"stream":true}"#;
    client.request(&Request::post("/v1/messages").json(ask)).await.unwrap();
    let (_, event) = client.next_event().await.unwrap();
    assert_eq!((event.name.as_deref(), event.json()), (Some("ping"), json!({"type": "ping"})));
    gate.open();
    assert!(client.response().await.text().ends_with(stop));
}

#[tokio::test]
async fn a_failure_before_the_keep_alive_has_its_own_status_and_one_after_it_is_told_in_the_stream() {
    let upstream = vllm::engine().await;
    let gateway = impatient(&upstream).no_retries().start().await;
    let refusal = vllm::error(429, "RateLimitError", "slow down");
    for (wait, late) in [(0, false), (20, false), (400, true)] {
        let reply =
            Reply::json(429, &refusal).header("retry-after", "7").before_head(Duration::from_millis(wait));
        upstream.on("POST", "/v1/chat/completions").now(reply);
        let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
        let line = gateway.line_of(&response).await;
        if late {
            assert_eq!((response.status, response.is_whole()), (200, true));
            let events = response.events();
            assert!(events[0].is_comment() && !response.text().contains("[DONE]"), "{response}");
            let error = openai(&events.last().unwrap().json());
            assert_eq!((error.kind.as_str(), error.message.as_str()), ("rate_limit_error", "slow down"));
            assert_eq!((&line["outcome"], &line["status"]), (&json!("refused"), &json!(200)));
        } else {
            assert_eq!((response.status, response.header("retry-after")), (429, Some("7")), "{response}");
            assert_eq!(told("/v1", &response).message, "slow down");
            assert_eq!(line["status"], 429);
        }
    }
}

#[tokio::test]
async fn keep_alives_can_be_switched_off() {
    let upstream = vllm::streaming(vllm::stream().before_head(Duration::from_millis(300))).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_STREAM_KEEP_ALIVE", "0").start().await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert!(!response.text().contains(KEEP_ALIVE), "{response}");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up() {
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("HTTP_STREAM_IDLE_TIMEOUT", "200ms").start().await;
    for (stalled, n) in
        [(Reply::sse().event(FIRST).stall(), 1), (Reply::sse().event(FIRST).raw("data: {\"cho").stall(), 2)]
    {
        upstream.on("POST", "/v1/chat/completions").now(stalled);
        let asked = Instant::now();
        let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert!(response.is_whole() && response.text().starts_with(&events(&[FIRST])), "{response}");
        let error = openai(&response.events().last().unwrap().json());
        assert_eq!(error.code.as_deref(), Some("stream_incomplete"), "{response}");
        assert!(error.message.contains("0.2 s"), "{}", error.message);
        upstream.wait_for_hangup(vllm::PROBES + n).await;
    }
}

#[tokio::test]
async fn events_keep_a_slow_stream_alive() {
    let reply = (0..6)
        .fold(Reply::sse().event(FIRST), |reply, _| reply.pause(Duration::from_millis(100)).event(DELTA));
    let upstream = vllm::streaming(reply.event(LAST).done()).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("HTTP_STREAM_IDLE_TIMEOUT", "400ms").start().await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(gateway.line_of(&response).await["outcome"], "complete", "{response}");
}

#[tokio::test]
async fn comments_of_the_upstream_keep_a_stream_alive_and_pass() {
    let reply = (0..5)
        .fold(Reply::sse().event(FIRST), |reply, _| reply.pause(Duration::from_millis(100)).comment("busy"));
    let upstream = vllm::streaming(reply.event(LAST).done()).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("HTTP_STREAM_IDLE_TIMEOUT", "400ms").start().await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text().matches(": busy\n\n").count(), 5, "{response}");
    assert_eq!(gateway.line_of(&response).await["outcome"], "complete");
}

#[tokio::test]
async fn every_phase_has_a_limit_of_its_own_and_ends_in_504() {
    // connecting
    let black_hole = Unanswering::start().await;
    let gateway = TestGateway::setup()
        .provider("vllm", &black_hole.url())
        .env("VLLM_MODELS", "tiny")
        .env("FERROVIA_CONNECT_TIMEOUT", "200ms")
        .start()
        .await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.status, 504, "{response}");
    assert!(told("/v1", &response).message.contains("200 ms"), "{response}");
    assert_eq!(gateway.line_of(&response).await["attempts"], 1, "a timeout is never retried");

    // the head of the answer, the whole of a reply
    for (setting, reply, ask) in [
        ("HTTP_RESPONSE_HEADER_TIMEOUT", Reply::no_response().stall(), ASK),
        ("HTTP_RESPONSE_HEADER_TIMEOUT", Reply::no_response().stall(), ASK_STREAM),
        ("HTTP_RESPONSE_HEADER_TIMEOUT", Reply::sse().comment("not yet").stall(), ASK_STREAM),
        ("HTTP_TIMEOUT", Reply::no_response().stall(), ASK),
        (
            "HTTP_TIMEOUT",
            Reply::json(200, "{\"choices\":[").chunked().forever(" ", Duration::from_millis(20)),
            ASK,
        ),
    ] {
        let upstream = vllm::streaming(reply).await;
        let gateway = TestGateway::setup().vllm("vllm", &upstream).env(setting, "300ms").start().await;
        let response = gateway.post("/v1/chat/completions", ask).await;
        assert_eq!(response.status, 504, "{setting}: {response}");
        assert_eq!(told("/v1", &response).kind, "provider_error");
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["attempts"], &line["outcome"]), (&json!(1), &json!("failed")), "{setting}");
        upstream.wait_for_hangup(vllm::PROBES + 1).await;
    }
}

#[tokio::test]
async fn an_instance_may_have_limits_of_its_own() {
    let (slow, quick) = (vllm::engine().await, vllm::engine().await);
    for upstream in [&slow, &quick] {
        let reply = Reply::json(200, vllm::REPLY).before_head(Duration::from_millis(600));
        upstream.on("POST", "/v1/chat/completions").then(reply);
    }
    let yaml = format!(
        "providers:\n  slow:\n    type: vllm\n    base_url: {}\n  quick:\n    type: vllm\n    base_url: {}\n    timeouts:\n      first_byte: 200ms\n  jumpy:\n    type: vllm\n    base_url: {}\n    timeouts:\n      idle: 200ms\n  bifrost:\n    type: vllm\n    network_config:\n      base_url: {}\n      default_request_timeout_in_seconds: 200ms\n",
        slow.url(),
        quick.url(),
        quick.url(),
        quick.url()
    );
    let gateway = TestGateway::setup()
        .yaml(&yaml)
        .awaiting("slow")
        .awaiting("quick")
        .awaiting("jumpy")
        .awaiting("bifrost")
        .start()
        .await;
    for (model, status) in [("slow/tiny", 200), ("quick/tiny", 504), ("bifrost/tiny", 504)] {
        let response = gateway.post("/v1/chat/completions", ASK.replace("tiny", model)).await;
        assert_eq!(response.status, status, "{model}: {response}");
    }
    quick.on("POST", "/v1/chat/completions").now(Reply::sse().event(FIRST).stall());
    let response = gateway.post("/v1/chat/completions", ASK_STREAM.replace("tiny", "jumpy/tiny")).await;
    assert!(response.text().contains("stream_incomplete"), "{response}");
}

#[tokio::test]
async fn the_limit_for_whole_calls_does_not_bind_streams() {
    let reply = Reply::sse().event(FIRST).pause(Duration::from_millis(500)).event(LAST).done();
    let upstream = vllm::streaming(reply).await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("HTTP_TIMEOUT", "250ms").start().await;
    let response = gateway.post("/v1/chat/completions", ASK_STREAM).await;
    assert_eq!(response.text(), events(&[FIRST, LAST, "[DONE]"]));
}

#[tokio::test]
async fn a_retry_behind_a_settled_status_is_not_seen_by_the_client() {
    let upstream = vllm::engine().await;
    let busy = Reply::json(503, vllm::error(503, "ServiceUnavailable", "busy"));
    upstream.on("POST", "/v1/chat/completions").then(busy).then(vllm::stream());
    let gateway = impatient(&upstream)
        .env("RETRY_INITIAL_BACKOFF", "400ms")
        .env("RETRY_JITTER_FACTOR", "0")
        .start()
        .await;
    let response = gateway.post("/v1/chat/completions", vllm::ASK_PLAIN_STREAM).await;
    assert!(response.text().starts_with(KEEP_ALIVE), "{response}");
    assert_eq!(response.text().replace(KEEP_ALIVE, ""), events(&[FIRST, DELTA, LAST, "[DONE]"]));
    let line = gateway.line_of(&response).await;
    assert_eq!((&line["attempts"], &line["outcome"]), (&json!(2), &json!("complete")), "{line}");
}
