//! How much a request may bring: bodies over the limit, declared or not, on every front.

use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

fn filled(bytes: usize) -> String {
    format!(r#"{{"model":"tiny","messages":[],"pad":"{}"}}"#, "x".repeat(bytes))
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_in_the_dialect() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("BODY_SIZE_LIMIT", "2K").start().await;
    for path in [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/p/vllm/v1/chat/completions",
        "/v1/messages",
    ] {
        for request in
            [Request::post(path).json(filled(3000)), Request::post(path).json(filled(3000)).chunked(500)]
        {
            let response = gateway.send(&request).await;
            assert_eq!(response.status, 413, "{path}: {response}");
            let body = response.json();
            if path == "/v1/messages" {
                assert_eq!(
                    (body["type"].as_str(), body["error"]["type"].as_str()),
                    (Some("error"), Some("request_too_large"))
                );
            } else {
                assert_eq!(body["error"]["type"], "invalid_request_error", "{response}");
                assert_eq!(body["error"]["code"], "request_too_large", "{response}");
            }
            assert!(response.text().contains("2048 bytes"), "it names the limit: {response}");
        }
    }
    let other = gateway.send(&Request::new("PUT", "/v1/models").json(filled(3000))).await;
    assert_eq!(other.status, 413, "other methods too: {other}");
    let sent = upstream.requests();
    assert!(sent.iter().skip(PROBES).all(|request| !request.complete), "nothing whole was sent: {sent:?}");
    assert_eq!(gateway.post("/v1/chat/completions", filled(1000)).await.status, 200);
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_before_it_arrives() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 11534336\r\n\r\n";
    client.send(head).await.unwrap();
    assert_eq!(client.response().await.status, 413, "11 MiB, of which not a byte was sent");
}

#[tokio::test]
async fn nine_megabytes_pass() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let body = filled(9 << 20);
    for request in [
        Request::post("/v1/chat/completions").json(&body),
        Request::post("/v1/chat/completions").json(&body).chunked(1 << 16),
    ] {
        assert_eq!(gateway.send(&request).await.status, 200);
        assert!(upstream.requests().pop().unwrap().body == body.as_bytes(), "every byte arrived");
    }
}

#[tokio::test]
async fn uploads_have_a_limit_of_their_own() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/upload").then(Reply::json(200, "{}"));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("BODY_SIZE_LIMIT", "2K")
        .env("FERROVIA_UPLOAD_SIZE_LIMIT", "8K")
        .start()
        .await;
    let upload = |bytes: usize| {
        Request::post("/p/vllm/upload")
            .header("content-type", "multipart/form-data; boundary=x")
            .body(vec![b'x'; bytes])
    };
    assert_eq!(gateway.send(&upload(6000)).await.status, 200);
    assert_eq!(gateway.send(&upload(9000)).await.status, 413);
    assert_eq!(gateway.send(&upload(9000).chunked(1000)).await.status, 413);
}

#[tokio::test]
async fn request_bytes_in_memory_are_bounded_for_all_calls_together() {
    let upstream = vllm::engine().await;
    let gate = testkit::Gate::new();
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, vllm::REPLY).gate_before_head(&gate));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_REQUEST_MEMORY_LIMIT", "1M").start().await;
    let large = Request::post("/v1/chat/completions").json(filled(600 << 10));
    let mut first = gateway.connect().await;
    first.request(&large).await.unwrap();
    upstream.wait_for_request(PROBES + 1).await;
    let second = gateway.send(&large).await;
    assert_eq!(second.status, 503, "{second}");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.json()["error"]["code"], "request_memory_exhausted");
    assert_eq!(gateway.post("/v1/embeddings", "{}").await.status, 400, "small ones pass");
    gate.open();
    assert_eq!(first.response().await.status, 200);
    assert_eq!(gateway.send(&large).await.status, 200, "what was held is given back");
}

#[tokio::test]
async fn heads_are_bounded() {
    let gateway = TestGateway::setup().start().await;
    let ok = Request::get("/health").header("x-long", &"x".repeat(30_000));
    assert_eq!(gateway.send(&ok).await.status, 200);
    let mut client = gateway.connect().await;
    client.request(&Request::get("/health").header("x-long", &"x".repeat(200_000))).await.ok();
    let answer = client.try_response().await;
    assert!(answer.as_ref().map_or(true, |response| response.status == 431), "{answer:?}");
    assert_eq!(gateway.get("/health").await.status, 200);
}
