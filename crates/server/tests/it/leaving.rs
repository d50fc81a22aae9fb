//! The client leaves, in every phase: the upstream connection is closed at once, and what was used is accounted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::client::{Leaving, Phase};
use testkit::ports::Unanswering;
use testkit::{FakeUpstream, Gate, Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST, PROBES};

/// How soon an upstream must hear of it.
const SOON: Duration = Duration::from_millis(100);

/// What a busy machine may add to what it measures.
const SLACK: Duration = Duration::from_millis(100);

fn ask(id: &str, body: &str) -> Request {
    Request::post("/v1/chat/completions").header("x-request-id", id).json(body)
}

#[track_caller]
fn soon(left: Instant, hung_up: Instant, what: &str) {
    let took = hung_up.saturating_duration_since(left);
    assert!(took < SOON + SLACK, "{what}: the upstream heard of it only after {took:?}");
}

/// What is logged of a call whose client left: never more than one attempt unless the test says so.
async fn gone(gateway: &TestGateway, id: &str) -> Value {
    let line = gateway.call_line(id).await;
    assert_eq!(line["outcome"], "client_gone", "{line}");
    line
}

#[tokio::test]
async fn while_the_upstream_works_on_it() {
    for how in [Leaving::Close, Leaving::Reset] {
        for body in [ASK, ASK_STREAM] {
            let upstream = vllm::streaming(Reply::no_response().stall()).await;
            let gateway = TestGateway::before(&upstream).await;
            let mut client = gateway.connect().await;
            client.request(&ask("r-1", body)).await.unwrap();
            upstream.wait_for_request(PROBES + 1).await;
            let left = client.leave(how);
            soon(left, upstream.wait_for_hangup(PROBES + 1).await, body);
            let line = gone(&gateway, "r-1").await;
            assert_eq!(
                (&line["status"], &line["estimated"], &line["attempts"]),
                (&json!(499), &json!(true), &json!(1))
            );
            assert_eq!(line["input_tokens"], body.len() / 4, "the prompt was handed over: {line}");
        }
    }
}

#[tokio::test]
async fn while_a_reply_arrives_whole() {
    for reply in [
        Reply::json(200, vllm::REPLY).truncate_after(50).stall(),
        Reply::json(200, format!("{{\"data\":[{}", "1,".repeat(50_000))).wrong_length(1 << 20).stall(),
    ] {
        let upstream = vllm::streaming(reply).await;
        let gateway = TestGateway::before(&upstream).await;
        let mut client = gateway.connect().await;
        client.request(&ask("r-1", ASK)).await.unwrap();
        testkit::eventually(Duration::from_secs(5), || upstream.written(PROBES + 1) >= 50).await;
        let left = client.close();
        soon(left, upstream.wait_for_hangup(PROBES + 1).await, "inside a whole reply");
        assert_eq!(gone(&gateway, "r-1").await["estimated"], true);
    }
}

#[tokio::test]
async fn in_every_phase_of_a_stream() {
    let pause = Duration::from_millis(5);
    for (what, reply, phase) in [
        ("after the head, before an event", Reply::sse().comment("hello").stall(), Phase::BeforeAnswer),
        ("after the first event", Reply::sse().event(FIRST).stall(), Phase::AfterEvents(1)),
        (
            "between events",
            Reply::sse().event(FIRST).event(DELTA).event(DELTA).stall(),
            Phase::AfterEvents(3),
        ),
        (
            "inside an event",
            Reply::sse().event(FIRST).raw("data: {\"choices\":[").stall(),
            Phase::AfterEvents(1),
        ),
        (
            "inside an event too long to hold",
            Reply::sse().event(FIRST).raw("data: ").forever("x".repeat(4000), Duration::ZERO),
            Phase::AfterBytes(900_000),
        ),
        (
            "while events keep coming",
            Reply::sse().event(FIRST).forever(format!("data: {DELTA}\n\n"), pause),
            Phase::AfterEvents(20),
        ),
    ] {
        for how in [Leaving::Close, Leaving::Reset] {
            let upstream = vllm::streaming(reply.clone()).await;
            let gateway = TestGateway::before(&upstream).await;
            let client = gateway.connect().await;
            let left = if phase == Phase::BeforeAnswer {
                let mut client = client;
                client.request(&ask("r-1", ASK_STREAM)).await.unwrap();
                testkit::eventually(Duration::from_secs(5), || upstream.written(PROBES + 1) > 0).await;
                client.leave(how)
            } else {
                client.leave_in(&ask("r-1", ASK_STREAM), phase, how).await
            };
            soon(left, upstream.wait_for_hangup(PROBES + 1).await, what);
            let line = gone(&gateway, "r-1").await;
            assert_eq!(line["estimated"], true, "{what}: {line}");
            if let Phase::AfterEvents(count) = phase {
                assert!(line["output_tokens"].as_u64() >= Some(count as u64), "{what}: {line}");
                assert_eq!(line["status"], 200, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn usage_that_was_reported_before_is_not_estimated() {
    let early =
        FIRST.replace("\"choices\"", "\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":1},\"choices\"");
    let upstream = vllm::streaming(Reply::sse().event(&early).stall()).await;
    let gateway = TestGateway::before(&upstream).await;
    gateway.connect().await.leave_in(&ask("r-1", ASK_STREAM), Phase::AfterEvents(1), Leaving::Close).await;
    let line = gone(&gateway, "r-1").await;
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"], &line["estimated"]),
        (&json!(42), &json!(1), &json!(false))
    );
}

#[tokio::test]
async fn after_the_keep_alive_settled_the_status() {
    let upstream = vllm::streaming(Reply::no_response().stall()).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_STREAM_KEEP_ALIVE", "50ms").start().await;
    let left = gateway
        .connect()
        .await
        .leave_in(&ask("r-1", ASK_STREAM), Phase::AfterEvents(2), Leaving::Close)
        .await;
    soon(left, upstream.wait_for_hangup(PROBES + 1).await, "after two keep-alives");
    let line = gone(&gateway, "r-1").await;
    assert_eq!(
        (&line["status"], &line["estimated"], &line["output_tokens"]),
        (&json!(200), &json!(true), &json!(0))
    );
}

#[tokio::test]
async fn while_it_uploads_nothing_goes_upstream() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let body = ASK.replace("hi", &"x".repeat(100_000));
    for phase in [Phase::PartialHead, Phase::PartialBody] {
        for how in [Leaving::Close, Leaving::Reset] {
            gateway.connect().await.leave_in(&ask("r-1", &body), phase, how).await;
        }
    }
    gateway
        .connect()
        .await
        .leave_in(&ask("r-2", &body).chunked(9000), Phase::PartialBody, Leaving::Close)
        .await;
    gateway.call_line("r-2").await;
    let line = gateway.call_line("r-1").await;
    assert_eq!((&line["attempts"], &line["input_tokens"]), (&json!(0), &json!(0)), "{line}");
    assert_eq!(upstream.requests().len(), PROBES);
    assert_eq!(gateway.send(&ask("r-3", &body)).await.status, 200);
}

#[tokio::test]
async fn while_it_uploads_through_the_passthrough() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/upload").then(Reply::json(200, "{}"));
    let gateway = TestGateway::before(&upstream).await;
    let upload = Request::post("/p/vllm/upload").header("x-request-id", "r-1").body(vec![b'x'; 400_000]);
    let mut client = gateway.connect().await;
    client.send(upload.head_bytes("x")).await.unwrap();
    client.send(vec![b'x'; 200_000]).await.unwrap();
    upstream.wait_for_body(PROBES + 1, 100_000).await;
    let left = client.close();
    soon(left, upstream.wait_for_hangup(PROBES + 1).await, "in the middle of an upload");
    gateway.call_line("r-1").await;
}

#[tokio::test]
async fn while_it_connects_to_a_black_hole() {
    let black_hole = Unanswering::start().await;
    let gateway = TestGateway::setup()
        .provider("vllm", &black_hole.url())
        .env("VLLM_MODELS", "tiny")
        .env("FERROVIA_CONNECT_TIMEOUT", "1500ms")
        .start()
        .await;
    let mut client = gateway.connect().await;
    client.request(&ask("r-1", ASK)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let left = client.close();
    let line = gone(&gateway, "r-1").await;
    let took = left.elapsed();
    assert!(took < Duration::from_secs(1), "it was noticed after {took:?}: {line}");
}

#[tokio::test]
async fn during_a_back_off_there_is_no_second_attempt() {
    let upstream = vllm::streaming(Reply::json(503, vllm::error(503, "ServiceUnavailable", "busy"))).await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("RETRY_INITIAL_BACKOFF", "600ms")
        .env("RETRY_JITTER_FACTOR", "0")
        .start()
        .await;
    for (id, body) in [("r-1", ASK), ("r-2", ASK_STREAM)] {
        let before = upstream.requests().len();
        let mut client = gateway.connect().await;
        client.request(&ask(id, body)).await.unwrap();
        upstream.wait_for_answered(before + 1).await;
        client.close();
        let line = gone(&gateway, id).await;
        assert_eq!(line["attempts"], 1, "{line}");
    }
    // longer than the back-off would have been
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(upstream.requests().len(), PROBES + 2);
}

#[tokio::test]
async fn during_the_second_plan() {
    let upstream = vllm::engine().await;
    let gate = Gate::new();
    upstream.on("POST", "/v1/rerank").then(Reply::json(404, r#"{"detail":"Not Found"}"#));
    upstream.on("POST", "/rerank").then(Reply::json(200, "{}").gate_before_head(&gate));
    let gateway = TestGateway::before(&upstream).await;
    let request = Request::post("/v1/rerank")
        .header("x-request-id", "r-1")
        .json(r#"{"model":"tiny","query":"q","documents":["d"]}"#);
    let mut client = gateway.connect().await;
    client.request(&request).await.unwrap();
    gate.reached(1).await;
    let left = client.close();
    soon(left, upstream.wait_for_hangup(PROBES + 2).await, "during the second plan");
    assert_eq!(gone(&gateway, "r-1").await["attempts"], 2);
}

#[tokio::test]
async fn in_the_passthrough() {
    for (body, reply) in [
        ("{\"model\":\"tiny\"}", Reply::no_response().stall()),
        ("{\"model\":\"tiny\",\"stream\":true}", Reply::sse().event(FIRST).stall()),
        ("{\"model\":\"tiny\"}", Reply::bytes(200, "audio/wav", [0; 100]).wrong_length(1000).stall()),
    ] {
        let upstream = vllm::engine().await;
        upstream.on("POST", "/x").then(reply);
        let gateway = TestGateway::before(&upstream).await;
        let mut client = gateway.connect().await;
        client.request(&Request::post("/p/vllm/x").header("x-request-id", "r-1").json(body)).await.unwrap();
        upstream.wait_for_request(PROBES + 1).await;
        let left = client.close();
        soon(left, upstream.wait_for_hangup(PROBES + 1).await, body);
        gone(&gateway, "r-1").await;
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_upstream_too() {
    let upstream = vllm::streaming(
        Reply::sse().event(FIRST).forever(format!("data: {DELTA}\n\n").repeat(50), Duration::ZERO),
    )
    .await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.request(&ask("r-1", ASK_STREAM)).await.unwrap();
    client.head().await;
    // what nobody reads is not read from the upstream either: buffers fill, then nothing moves
    let mut before = 0;
    testkit::eventually(Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(100));
        let now = upstream.written(PROBES + 1);
        std::mem::replace(&mut before, now) == now && now > 0
    })
    .await;
    assert!(before < 64 << 20, "{before} bytes were taken from the upstream");
    client.close();
    upstream.wait_for_hangup(PROBES + 1).await;
    gone(&gateway, "r-1").await;
}

#[tokio::test]
async fn one_that_leaves_harms_no_other_on_the_same_upstream() {
    let gate = Gate::new();
    let upstream: FakeUpstream =
        vllm::streaming(Reply::sse().event(FIRST).gate(&gate).event(vllm::LAST).done()).await;
    let gateway = TestGateway::before(&upstream).await;
    let mut stays = gateway.connect().await;
    stays.request(&ask("r-1", ASK_STREAM)).await.unwrap();
    stays.next_event().await.unwrap();
    for n in 0..10 {
        let phase = if n % 2 == 0 { Phase::AfterEvents(1) } else { Phase::AfterHead };
        gateway.connect().await.leave_in(&ask("gone", ASK_STREAM), phase, Leaving::Reset).await;
    }
    gate.open();
    assert_eq!(stays.response().await.text(), vllm::events(&[FIRST, vllm::LAST, "[DONE]"]));
    assert_eq!(gateway.call_line("r-1").await["outcome"], "complete");
    upstream.wait_for_open_connections(1).await;
}
