//! The end: what runs may finish, nobody new comes in, the rest are told.

use std::time::{Duration, Instant};

use testkit::{Connection, Gate, Reply, Request, eventually};

use crate::envelope::openai;
use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, FIRST, LAST, PROBES, REPLY, events};

#[tokio::test]
async fn calls_in_flight_finish_and_new_ones_are_refused() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/chat/completions").then_with({
        let gate = gate.clone();
        move |request| {
            if request.json()["stream"] == true {
                Reply::sse().event(FIRST).gate(&gate).event(LAST).done()
            } else {
                Reply::json(200, REPLY).gate_before_head(&gate)
            }
        }
    });
    let mut gateway = TestGateway::before(&upstream).await;
    let (mut stream, mut whole, mut idle) =
        (gateway.connect().await, gateway.connect().await, gateway.connect().await);
    stream.request(&Request::post("/v1/chat/completions").json(ASK_STREAM)).await.unwrap();
    stream.next_event().await.unwrap();
    whole.request(&Request::post("/v1/chat/completions").json(ASK)).await.unwrap();
    upstream.wait_for_request(PROBES + 2).await;
    idle.exchange(&Request::get("/health")).await;
    gateway.terminate();
    idle.wait_for_close().await;
    let address = gateway.address().to_owned();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Connection::try_open(&address).await.is_ok() {
        assert!(Instant::now() < deadline, "new connections are still accepted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gate.open();
    assert_eq!(stream.response().await.text(), events(&[FIRST, LAST, "[DONE]"]));
    assert_eq!(whole.response().await.status, 200);
    assert!(gateway.exited().await.success());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_told() {
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(Reply::sse().event(FIRST).stall())
        .then(Reply::no_response().stall());
    let mut gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_SHUTDOWN_GRACE", "300ms")
        .env("FERROVIA_STREAM_KEEP_ALIVE", "100ms")
        .start()
        .await;
    let ask = Request::post("/v1/chat/completions").json(ASK_STREAM);
    let (mut begun, mut waiting) = (gateway.connect().await, gateway.connect().await);
    begun.request(&ask).await.unwrap();
    begun.next_event().await.unwrap();
    waiting.request(&ask).await.unwrap();
    assert!(waiting.next_event().await.unwrap().1.is_comment());
    let asked = Instant::now();
    gateway.terminate();
    for client in [&mut begun, &mut waiting] {
        let response = client.response().await;
        assert!(asked.elapsed() >= Duration::from_millis(250), "it had its time: {:?}", asked.elapsed());
        assert!(response.is_whole() && !response.text().contains("[DONE]"), "{response}");
        let error = openai(&response.events().last().unwrap().json());
        assert_eq!(
            (error.kind.as_str(), error.code.as_deref()),
            ("provider_error", Some("server_shutdown")),
            "{response}"
        );
    }
    assert!(gateway.exited().await.success());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    upstream.wait_for_hangup(PROBES + 1).await;
    upstream.wait_for_hangup(PROBES + 2).await;
}

#[tokio::test]
async fn an_idle_gateway_ends_at_once() {
    let upstream = vllm::talking().await;
    let mut gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.exchange(&Request::post("/v1/chat/completions").json(ASK)).await;
    let asked = Instant::now();
    gateway.terminate();
    assert!(gateway.exited().await.success());
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    eventually(Duration::from_secs(5), || upstream.open_connections() == 0).await;
}

#[tokio::test]
async fn a_call_without_an_answer_at_the_end_of_its_time_gets_one_of_ours() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::no_response().stall());
    let mut gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_SHUTDOWN_GRACE", "300ms").start().await;
    let n = upstream.requests().len();
    let (mut whole, mut relayed) = (gateway.connect().await, gateway.connect().await);
    whole
        .request(&Request::post("/v1/chat/completions").header("x-request-id", "r-1").json(ASK))
        .await
        .unwrap();
    upstream.wait_for_request(n + 1).await;
    relayed.request(&Request::get("/p/vllm/x").header("x-request-id", "r-2")).await.unwrap();
    upstream.wait_for_request(n + 2).await;
    gateway.terminate();
    for (client, id) in [(&mut whole, "r-1"), (&mut relayed, "r-2")] {
        let response = client.response().await;
        assert_eq!(response.status, 503, "{response}");
        assert_eq!(openai(&response.json()).code.as_deref(), Some("server_shutdown"), "{response}");
        assert_eq!(gateway.call_line(id).await["outcome"], "failed");
    }
    assert!(gateway.exited().await.success());
}
