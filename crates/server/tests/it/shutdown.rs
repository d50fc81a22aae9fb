//! The end: what runs may finish, nobody new comes in, the rest are told.

use std::time::{Duration, Instant};

use testkit::{Connection, Gate, Reply, Request, eventually};

use crate::envelope::openai;
use crate::gateway::TestGateway;
use crate::peer::Http2;
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

#[tokio::test]
async fn under_load_every_call_is_answered_and_has_its_line() {
    // of fifty streams every other one ends within the grace period, ten of all on one connection of HTTP/2
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    upstream.on("POST", "/v1/chat/completions").then_with({
        let gate = gate.clone();
        move |request| {
            let ends = request.json()["tag"].as_u64().is_some_and(|tag| tag.is_multiple_of(2));
            let reply = Reply::sse().event(FIRST);
            if ends { reply.gate(&gate).event(LAST).done() } else { reply.stall() }
        }
    });
    let mut gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_SHUTDOWN_GRACE", "2s").start().await;
    let body = |tag: usize| ASK_STREAM.replacen('{', &format!("{{\"tag\":{tag},"), 1);
    let mut single = Vec::new();
    for tag in 0..40 {
        let mut client = gateway.connect().await;
        let id = format!("r-{tag}");
        let ask = Request::post("/v1/chat/completions").header("x-request-id", &id).json(body(tag));
        client.request(&ask).await.unwrap();
        single.push((tag, client));
    }
    let mut shared = Http2::plain(gateway.address()).await;
    let mut streams = Vec::new();
    for tag in 40..50 {
        streams.push((tag, shared.post("/v1/chat/completions", &format!("r-{tag}"), &body(tag)).await));
    }
    upstream.wait_for_request(PROBES + 50).await;
    let asked = Instant::now();
    gateway.terminate();
    gate.open();
    let check = |tag: usize, text: &str| {
        let end = if tag.is_multiple_of(2) { "data: [DONE]" } else { "server_shutdown" };
        assert!(text.contains(end), "{tag}: {text}");
    };
    for (tag, client) in &mut single {
        check(*tag, &client.response().await.text());
    }
    for (tag, asked) in streams {
        check(tag, &asked.whole().await.text);
    }
    assert!(gateway.exited().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    for tag in 0..50u8 {
        let line = gateway.call_line(&format!("r-{tag}")).await;
        assert_eq!(line["outcome"], if tag.is_multiple_of(2) { "complete" } else { "failed" }, "{line}");
    }
    assert_eq!(gateway.count("call"), 50, "one line for each call");
}
