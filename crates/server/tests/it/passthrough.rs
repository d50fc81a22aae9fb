//! `/p/{provider}/…`: somebody else's request, relayed as it is.

use serde_json::json;
use testkit::{Gate, Reply, Request};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

#[tokio::test]
async fn the_instance_is_named_first_then_the_type() {
    let (first, second) = (vllm::engine().await, vllm::engine().await);
    for upstream in [&first, &second] {
        upstream.on("GET", "/x").then(Reply::json(200, "{}"));
    }
    let gateway = TestGateway::setup()
        .vllm("vllm-a", &first)
        .key("vllm-a", "sk-first")
        .vllm("vllm-b", &second)
        .key("vllm-b", "sk-second")
        .start()
        .await;
    for (provider, upstream, key) in
        [("vllm-a", &first, "sk-first"), ("vllm-b", &second, "sk-second"), ("vllm", &first, "sk-first")]
    {
        let before = upstream.requests().len();
        let response = gateway.send(&Request::get(&format!("/p/{provider}/x")).bearer("sk-client")).await;
        assert_eq!(response.status, 200, "{provider}: {response}");
        let received = &upstream.requests()[before];
        assert_eq!(received.header("authorization"), Some(format!("Bearer {key}").as_str()), "{provider}");
    }
}

#[tokio::test]
async fn method_path_query_headers_and_bytes_pass() {
    let upstream = vllm::engine().await;
    upstream
        .on("*", "/deep/*")
        .then(Reply::bytes(207, "application/x-odd", b"\x00\xffodd").header("x-own", "1"));
    let gateway = TestGateway::before(&upstream).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let mut request = Request::new(method, "/p/vllm/deep/a%20b%2Fc/?x=%41&y=1&y=2&z")
            .header("X-Custom", "Value")
            .header("accept", "x/y");
        if matches!(method, "POST" | "PUT" | "PATCH" | "DELETE") {
            request = request.header("content-type", "application/x-mine").body(b"\x01\xfe not json");
        }
        let response = gateway.send(&request).await;
        assert_eq!(
            (response.status, response.body.as_slice()),
            (207, &b"\x00\xffodd"[..]),
            "{method}: {response}"
        );
        assert_eq!(
            (response.header("content-type"), response.header("x-own")),
            (Some("application/x-odd"), Some("1"))
        );
        let received = upstream.requests().pop().unwrap();
        assert_eq!(
            (received.method.as_str(), received.target.as_str()),
            (method, "/deep/a%20b%2Fc/?x=%41&y=1&y=2&z")
        );
        assert_eq!((received.header("x-custom"), received.header("accept")), (Some("Value"), Some("x/y")));
        if method == "POST" {
            assert_eq!(received.body, b"\x01\xfe not json");
            assert_eq!(received.header("content-type"), Some("application/x-mine"));
        }
    }
    let head = gateway.send(&Request::new("HEAD", "/p/vllm/deep/x")).await;
    assert_eq!((head.status, head.body.len()), (207, 0));
}

#[tokio::test]
async fn root_and_v1_are_joined_as_vllm_has_them() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "*").then(Reply::json(200, "{}"));
    upstream.on("GET", "*").then(Reply::json(200, "{}"));
    let gateway = TestGateway::before(&upstream).await;
    for (written, sent) in [
        ("v1/chat/completions", "/v1/chat/completions"),
        ("chat/completions", "/v1/chat/completions"),
        ("v1/models", "/v1/models"),
        ("models", "/v1/models"),
        ("responses/resp_1", "/v1/responses/resp_1"),
        ("messages/count_tokens", "/v1/messages/count_tokens"),
        ("audio/transcriptions", "/v1/audio/transcriptions"),
        ("tokenize", "/tokenize"),
        ("v1/tokenize", "/tokenize"),
        ("metrics", "/metrics"),
        ("health", "/health"),
        ("version", "/version"),
        ("v1/rerank", "/rerank"),
        ("score", "/score"),
    ] {
        let body = r#"{ "model" : "anything/at-all", "stream":false }"#;
        let response = gateway.post(&format!("/p/vllm/{written}"), body).await;
        assert_eq!(response.status, 200, "{written}: {response}");
        let received = upstream.requests().pop().unwrap();
        assert_eq!((received.path(), received.text()), (sent, body), "{written}");
    }
    let gateway =
        TestGateway::setup().provider("vllm", &format!("{}/gpu/1/v1", upstream.url())).start().await;
    for (written, sent) in
        [("v1/chat/completions", "/gpu/1/v1/chat/completions"), ("tokenize", "/gpu/1/tokenize")]
    {
        gateway.post(&format!("/p/vllm/{written}"), "{}").await;
        assert_eq!(upstream.requests().pop().unwrap().path(), sent);
    }
}

#[tokio::test]
async fn credentials_cookies_and_hops_never_reach_the_upstream() {
    let upstream = vllm::engine().await;
    upstream.on("GET", "/x").then(Reply::json(200, "{}"));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    let request = [
        ("Authorization", "Bearer sk-master"),
        ("x-api-key", "sk-client"),
        ("api-key", "sk-client"),
        ("Cookie", "a=b"),
        ("Connection", "x-hop"),
        ("x-hop", "1"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic x"),
        ("Forwarded", "for=1"),
        ("X-Forwarded-For", "1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "1"),
        ("X-Ferrovia-User-Path", "/a"),
        ("X-GoModel-User-Path", "/a"),
        ("x-aurora-user-path", "/a"),
        ("Accept-Encoding", "gzip"),
        ("X-Request-ID", "mine"),
        ("anthropic-version", "2023-06-01"),
        ("User-Agent", "client/1"),
    ]
    .into_iter()
    .fold(Request::get("/p/vllm/x"), |request, (name, value)| request.header(name, value));
    assert_eq!(gateway.send(&request).await.status, 200);
    let received = upstream.requests().pop().unwrap();
    let mut names: Vec<String> = received.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept-encoding", "anthropic-version", "host", "user-agent", "x-request-id"],
        "{received:?}"
    );
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert_eq!(
        (received.header("x-request-id"), received.header("user-agent")),
        (Some("mine"), Some("client/1"))
    );
}

#[tokio::test]
async fn what_comes_back_keeps_its_headers_but_cookies_and_hops() {
    let upstream = vllm::engine().await;
    let reply = Reply::json(200, "{}")
        .header("x-own", "1")
        .header("x-ratelimit-remaining", "3")
        .header("server", "uvicorn")
        .header("x-request-id", "theirs")
        .header("set-cookie", "a=b")
        .header("connection", "x-hop")
        .header("x-hop", "1");
    upstream.on("GET", "/x").then(reply);
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.get("/p/vllm/x").await;
    for (name, value) in [
        ("x-own", "1"),
        ("x-ratelimit-remaining", "3"),
        ("server", "uvicorn"),
        ("x-upstream-request-id", "theirs"),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    for name in ["set-cookie", "x-hop"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_ne!(response.header("x-request-id"), Some("theirs"));
}

#[tokio::test]
async fn errors_are_relayed_as_they_are() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for (status, body) in [
        (400, r#"{"error": {"message":"own", "code":400}, "x":1.0}"#),
        (404, r#"{"detail":"Not Found"}"#),
        (429, r#"{"own":"shape"}"#),
        (500, r#"{"object":"error","message":"x"}"#),
        (503, "[]"),
    ] {
        upstream
            .on("GET", "/x")
            .now(Reply::json(status, body).header("retry-after", "3").header("x-own", "1"));
        let response = gateway.get("/p/vllm/x").await;
        assert_eq!((response.status, response.text().as_str()), (status, body));
        assert_eq!((response.header("retry-after"), response.header("x-own")), (Some("3"), Some("1")));
    }
    assert_eq!(gateway.count("provider did not answer; it is asked again soon"), 0);
}

#[tokio::test]
async fn errors_that_no_program_reads_are_put_into_the_envelope() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for (reply, status, message) in [
        (Reply::html(502, "<html>bad gateway</html>"), 502, "the upstream answered 502 with an HTML page"),
        (Reply::status(404), 404, "the upstream answered 404 without a body"),
        (Reply::text(500, "Internal Server Error"), 500, "Internal Server Error"),
        (Reply::json(400, "{ not json"), 400, "{ not json"),
    ] {
        upstream.on("GET", "/x").now(reply.header("retry-after", "3"));
        let response = gateway.get("/p/vllm/x").await;
        assert_eq!((response.status, response.header("retry-after")), (status, Some("3")), "{response}");
        assert_eq!(told("/p", &response).message, message);
    }
}

#[tokio::test]
async fn gomodels_rewriting_of_errors_can_be_had() {
    let upstream = vllm::engine().await;
    upstream.on("GET", "/x").then(Reply::json(422, r#"{"detail":"own"}"#));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_PASSTHROUGH_REWRITE_ERRORS", "true")
        .start()
        .await;
    let response = gateway.get("/p/vllm/x").await;
    let error = told("/p", &response);
    assert_eq!(
        (response.status, error.kind.as_str(), error.message.as_str()),
        (422, "invalid_request_error", "own")
    );
}

#[tokio::test]
async fn answers_without_a_body_are_answers() {
    let upstream = vllm::engine().await;
    upstream.on("GET", "/x").then(Reply::status(307).header("location", "http://elsewhere/"));
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.get("/p/vllm/x").await;
    assert_eq!((response.status, response.header("location")), (307, Some("http://elsewhere/")));
    for status in [204, 304] {
        upstream.on("GET", "/x").now(Reply::status(status).header("etag", "\"1\""));
        let response = gateway.get("/p/vllm/x").await;
        assert_eq!((response.status, response.header("etag")), (status, Some("\"1\"")), "{response}");
        assert_eq!(gateway.line_of(&response).await["outcome"], "complete");
    }
}

#[tokio::test]
async fn streams_pass_event_by_event_and_their_usage_is_found() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    let reply = Reply::sse().event(vllm::FIRST).gate(&gate).event(vllm::LAST).event(vllm::USAGE).done();
    upstream.on("POST", "/v1/chat/completions").then(reply);
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/p/vllm/v1/chat/completions").json(vllm::ASK_PLAIN_STREAM)).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().1.data.as_deref(), Some(vllm::FIRST));
    assert_eq!(upstream.requests().pop().unwrap().text(), vllm::ASK_PLAIN_STREAM, "no option is added");
    gate.open();
    let response = client.response().await;
    assert_eq!(
        response.text(),
        vllm::events(&[vllm::FIRST, vllm::LAST, vllm::USAGE, "[DONE]"]),
        "nothing is hidden"
    );
    let line = gateway.line_of(&response).await;
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"], &line["outcome"]),
        (&json!(10), &json!(8), &json!("complete"))
    );
    assert_eq!((&line["route"], &line["operation"]), (&json!("/p/{provider}/{path}"), &json!("passthrough")));
}

#[tokio::test]
async fn usage_in_whole_replies_is_found() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/p/vllm/v1/chat/completions", vllm::ASK).await;
    assert_eq!(response.text(), vllm::REPLY, "no member is added");
    let line = gateway.line_of(&response).await;
    assert_eq!(
        (&line["input_tokens"], &line["output_tokens"], &line["model"]),
        (&json!(10), &json!(8), &json!("tiny"))
    );
}

#[tokio::test]
async fn uploads_are_sent_on_while_they_arrive() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/upload").then(Reply::json(200, r#"{"ok":1}"#));
    let gateway = TestGateway::before(&upstream).await;
    for chunked in [false, true] {
        let n = upstream.requests().len() + 1;
        let body: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let mut request =
            Request::post("/p/vllm/upload").header("content-type", "application/octet-stream").body(&body);
        if chunked {
            request = request.chunked(1 << 16);
        }
        let mut client = gateway.connect().await;
        client.send(request.head_bytes("x")).await.unwrap();
        let wire = request.body_bytes();
        let (first, rest) = wire.split_at(1 << 20);
        client.send(first).await.unwrap();
        upstream.wait_for_body(n, 900_000).await;
        client.send(rest).await.unwrap();
        let response = client.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, r#"{"ok":1}"#));
        let received = upstream.requests().pop().unwrap();
        assert!(received.complete && received.body == body, "{} bytes arrived", received.body.len());
        let framing = if chunked { ("transfer-encoding", "chunked") } else { ("content-length", "3145728") };
        assert_eq!(received.header(framing.0), Some(framing.1));
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_believed() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for length in ["0", "2", "999"] {
        let reply =
            Reply::bytes(200, "text/event-stream", "data: 1\n\n").chunked().header("content-length", length);
        upstream.on("GET", "/x").now(reply);
        let response = gateway.get("/p/vllm/x").await;
        assert_eq!((response.text().as_str(), response.header("content-length")), ("data: 1\n\n", None));
        assert_eq!(gateway.line_of(&response).await["outcome"], "complete", "{length}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_ends() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/upload").then(Reply::json(413, r#"{"own":"too much"}"#).early().connection_close());
    let gateway = TestGateway::before(&upstream).await;
    let request = Request::post("/p/vllm/upload")
        .header("content-type", "application/octet-stream")
        .body(vec![b'x'; 2 << 20]);
    let mut client = gateway.connect().await;
    client.send(request.head_bytes("x")).await.unwrap();
    client.send(vec![b'x'; 100_000]).await.unwrap();
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (413, r#"{"own":"too much"}"#), "{response}");
}

#[tokio::test]
async fn compressed_replies_pass_as_they_are() {
    let upstream = vllm::engine().await;
    let bytes = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0];
    upstream.on("GET", "/x").then(Reply::json(200, bytes).header("content-encoding", "gzip"));
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.get("/p/vllm/x").await;
    assert_eq!(
        (response.status, response.header("content-encoding"), response.body.as_slice()),
        (200, Some("gzip"), &bytes[..])
    );
}

#[tokio::test]
async fn an_upstream_that_is_down_or_silent_is_a_gateways_error() {
    let refusing = testkit::ports::Refusing::start();
    let gateway = TestGateway::setup().provider("vllm", &refusing.url()).quick_retries().start().await;
    let response = gateway.get("/p/vllm/x").await;
    assert_eq!((response.status, told("/p", &response).kind.as_str()), (502, "provider_error"), "{response}");
    let upstream = vllm::engine().await;
    upstream.on("GET", "/x").then(Reply::no_response().stall());
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("HTTP_RESPONSE_HEADER_TIMEOUT", "200ms")
        .start()
        .await;
    let response = gateway.get("/p/vllm/x").await;
    assert_eq!((response.status, told("/p", &response).kind.as_str()), (504, "provider_error"), "{response}");
    upstream.on("GET", "/x").now(Reply::bytes(200, "audio/wav", [7; 5000]).truncate_after(3000));
    let response = gateway.get("/p/vllm/x").await;
    assert!(!response.is_whole(), "a cut answer is cut for the client too");
    assert_eq!(gateway.line_of(&response).await["outcome"], "failed");
    assert_eq!(upstream.requests().len(), PROBES + 2);
}
