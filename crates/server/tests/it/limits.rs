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
async fn a_client_that_writes_everything_before_it_reads_gets_its_refusal() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    let large = filled(11 << 20);
    for (path, key, status) in [
        ("/v1/chat/completions", "sk-master", 413),
        ("/v1/messages", "sk-master", 413),
        ("/p/vllm/v1/chat/completions", "sk-master", 413),
        ("/p/vllm/sleep", "wrong", 413),
        ("/health", "sk-master", 405),
    ] {
        let request = Request::post(path).bearer(key).json(&large);
        refused_early(&gateway, &request, status).await;
    }
    let chunked = Request::post("/v1/chat/completions").bearer("sk-master").json(&large).chunked(1 << 16);
    refused_early(&gateway, &chunked, 413).await;
    let allowed = filled(9 << 20);
    for (path, key, status) in [
        ("/v1/chat/completions", "wrong", 401),
        ("/v1/nothing", "sk-master", 404),
        ("/p/vllm/sleep", "sk-master", 403),
        ("/p/groq/x", "sk-master", 400),
    ] {
        refused_early(&gateway, &Request::post(path).bearer(key).json(&allowed), status).await;
    }
    assert!(upstream.requests().iter().all(|request| request.method == "GET"), "nothing was sent");
}

/// Writes all of a request before it reads, as simple clients do.
async fn refused_early(gateway: &TestGateway, request: &Request, status: u16) {
    let mut client = gateway.connect().await;
    let what = format!("{} {status}", String::from_utf8_lossy(&request.head_bytes("x")));
    client.request(request).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let response = client.try_response().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(
        (response.status, response.header("connection")),
        (status, Some("close")),
        "{what}: {response}"
    );
}

#[tokio::test]
async fn a_body_that_is_refused_is_not_asked_for() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    for (key, length, status) in [("wrong", 100, 401), ("sk-master", 11 << 20, 413)] {
        let mut client = gateway.connect().await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send(head).await.unwrap();
        let answer = client.raw_to_blank_line().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn bodies_that_were_only_announced_shut_nobody_out() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_REQUEST_MEMORY_LIMIT", "1M")
        .env("METRICS_ENABLED", "true")
        .start()
        .await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 900000\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut client = gateway.connect().await;
        client.send(head).await.unwrap();
        assert_eq!(client.raw_to_blank_line().await, "HTTP/1.1 100 Continue\r\n\r\n", "it is being read");
        idle.push(client);
    }
    let page = gateway.metrics().await;
    let held =
        page.lines().find(|line| line.starts_with("ferrovia_request_memory_bytes")).unwrap_or_default();
    assert!(held.ends_with(" 0"), "nothing has arrived: {held}");
    let response = gateway.post("/v1/chat/completions", filled(600 << 10)).await;
    assert_eq!(response.status, 200, "{response}");
    let hopeless = gateway.post("/v1/chat/completions", filled(2 << 20)).await;
    assert_eq!(hopeless.json()["error"]["code"], "request_memory_exhausted", "{hopeless}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let gateway = TestGateway::setup().start().await;
    let of = |bytes: usize| {
        let empty = Request::get("/health").header("x-long", "");
        let rest = empty.head_bytes("x").len();
        Request::get("/health").header("x-long", &"x".repeat(bytes - rest))
    };
    for (bytes, status) in [(30_000, 200), (64 << 10, 200), ((64 << 10) + 1, 431), (100_000, 431)] {
        let mut client = gateway.connect().await;
        client.send(of(bytes).head_bytes("x")).await.unwrap();
        let response = client.response().await;
        assert_eq!(response.status, status, "{bytes}: {response}");
        if status == 431 {
            let error = &response.json()["error"];
            assert_eq!(error["code"], "request_header_fields_too_large", "{response}");
            assert!(error["message"].as_str().is_some_and(|m| m.contains("65536 bytes")), "{response}");
        }
    }
    // what is far above the limit is not read: the refusal comes from below, and arrives nevertheless
    let mut client = gateway.connect().await;
    client.send(of(200_000).head_bytes("x")).await.unwrap();
    assert_eq!(client.response().await.status, 431);
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_smaller_limit_of_heads_is_the_limit() {
    let gateway = TestGateway::setup().env("FERROVIA_MAX_HEADER_SIZE", "8K").start().await;
    let long = |bytes| Request::get("/health").header("x-long", &"x".repeat(bytes));
    assert_eq!(gateway.send(&long(8000)).await.status, 200);
    assert_eq!(gateway.send(&long(8200)).await.status, 431);
}
