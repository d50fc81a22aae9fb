//! Clients that take their time: each phase of a connection has a clock of its own.

use std::time::{Duration, Instant};

use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST, PROBES};

/// Within this time a connection whose clock ran out must be gone.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_head_that_drips_in_is_given_up() {
    let gateway = TestGateway::setup().env("FERROVIA_HEADER_TIMEOUT", "300ms").start().await;
    let mut client = gateway.connect().await;
    client.send("GET /health HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let began = Instant::now();
    client.wait_for_close().await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_one_with_is_not() {
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(Reply::json(200, vllm::REPLY).before_head(Duration::from_millis(600)));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_IDLE_TIMEOUT", "300ms").start().await;
    let (mut idle, mut used) = (gateway.connect().await, gateway.connect().await);
    let began = Instant::now();
    assert_eq!(used.exchange(&Request::post("/v1/chat/completions").json(ASK)).await.status, 200);
    idle.wait_for_close().await;
    assert!(began.elapsed() < SOON, "never used: {:?}", began.elapsed());
    used.wait_for_close().await;
    assert!(began.elapsed() < SOON, "used once: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_given_up_and_goes_nowhere() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_BODY_IDLE_TIMEOUT", "300ms").start().await;
    let request = Request::post("/v1/chat/completions").header("x-request-id", "r-1").json(ASK);
    let mut client = gateway.connect().await;
    client.send(request.head_bytes("x")).await.unwrap();
    client.send(&request.body_bytes()[..20]).await.unwrap();
    let began = Instant::now();
    client.wait_for_close().await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(gateway.call_line("r-1").await["attempts"], 0);
    assert_eq!(upstream.requests().len(), PROBES);
    // one that goes on arriving has time
    let mut client = gateway.connect().await;
    client.send(request.head_bytes("x")).await.unwrap();
    client.send_slowly(&request.body_bytes(), 10, Duration::from_millis(100)).await.unwrap();
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let endless = Reply::sse().event(FIRST).forever(format!("data: {DELTA}\n\n").repeat(50), Duration::ZERO);
    let upstream = vllm::streaming(endless).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("STREAM_STALL_TIMEOUT", "300ms").start().await;
    let mut client = gateway.connect().await;
    client
        .request(&Request::post("/v1/chat/completions").header("x-request-id", "r-1").json(ASK_STREAM))
        .await
        .unwrap();
    client.head().await;
    upstream.wait_for_hangup(PROBES + 1).await;
    assert_eq!(gateway.call_line("r-1").await["outcome"], "client_gone");
}

#[tokio::test]
async fn a_client_that_only_closes_its_own_direction_gets_its_answer_or_is_gone() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/chat/completions").then(Reply::no_response().stall());
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client
        .request(&Request::post("/v1/chat/completions").header("x-request-id", "r-1").json(ASK))
        .await
        .unwrap();
    upstream.wait_for_request(PROBES + 1).await;
    client.half_close().await.unwrap();
    // nobody can tell this from a client that left: the engine must not work for nobody
    upstream.wait_for_hangup(PROBES + 1).await;
    assert_eq!(gateway.call_line("r-1").await["outcome"], "client_gone");
}
