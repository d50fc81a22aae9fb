//! Which headers pass, both ways.

use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, REPLY};

/// Headers that a model call takes upstream.
const PASS: [(&str, &str); 9] = [
    ("accept", "application/json"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "x-1"),
    ("openai-beta", "y"),
    ("openai-organization", "org"),
    ("openai-project", "proj"),
    ("idempotency-key", "once-1"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "a=b"),
];

#[tokio::test]
async fn only_named_headers_go_upstream() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).key("vllm", "sk-upstream").start().await;
    let mut request = Request::post("/v1/chat/completions").header("x-request-id", "req-1");
    for (name, value) in PASS {
        request = request.header(name, value);
    }
    for (name, value) in [
        ("authorization", "Bearer sk-client"),
        ("x-api-key", "sk-client"),
        ("api-key", "sk-client"),
        ("cookie", "session=secret"),
        ("accept-encoding", "gzip, br"),
        ("user-agent", "client/1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-custom", "1"),
        ("referer", "http://x"),
    ] {
        request = request.header(name, value);
    }
    let response = gateway.send(&request.json(ASK)).await;
    assert_eq!(response.status, 200, "{response}");
    let received = upstream.requests().pop().unwrap();
    for (name, value) in PASS {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    assert_eq!(received.header("x-request-id"), Some("req-1"));
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert_eq!(received.header("authorization"), Some("Bearer sk-upstream"));
    assert!(
        received.header("user-agent").is_some_and(|agent| agent.starts_with("ferrovia/")),
        "{received:?}"
    );
    assert_eq!(received.header("host"), Some(upstream.address().to_string().as_str()));
    let mut names: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut expected: Vec<&str> = PASS.iter().map(|(name, _)| *name).collect();
    expected.extend([
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-request-id",
    ]);
    expected.sort_unstable();
    assert_eq!(names, expected, "nothing else passes");
    let line = gateway.line_of(&response).await;
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn only_named_headers_come_back() {
    for stream in [false, true] {
        let reply = if stream { vllm::stream() } else { Reply::json(200, REPLY) };
        let reply = reply
            .header("x-request-id", "upstream-1")
            .header("X-RateLimit-Remaining-Requests", "9")
            .header("x-ratelimit-limit-tokens", "100")
            .header("retry-after", "3")
            .header("set-cookie", "a=b")
            .header("server", "uvicorn")
            .header("x-internal", "secret")
            .header("openai-organization", "org")
            .header("keep-alive", "timeout=5");
        let upstream = vllm::streaming(reply).await;
        let gateway = TestGateway::before(&upstream).await;
        let ask = if stream { vllm::ASK_STREAM } else { ASK };
        let response = gateway.post("/v1/chat/completions", ask).await;
        assert_eq!(response.status, 200, "{response}");
        assert_eq!(response.header("x-upstream-request-id"), Some("upstream-1"));
        assert_ne!(response.header("x-request-id"), Some("upstream-1"));
        assert_eq!(response.header("x-ratelimit-remaining-requests"), Some("9"));
        assert_eq!(response.header("x-ratelimit-limit-tokens"), Some("100"));
        assert_eq!(response.header("retry-after"), Some("3"));
        for name in ["set-cookie", "server", "x-internal", "openai-organization", "keep-alive"] {
            assert_eq!(response.header(name), None, "{name}");
        }
        let timing = response.header("server-timing").unwrap_or_default();
        assert!(timing.starts_with("gateway;dur=") && timing.contains("upstream;dur="), "{timing}");
        if stream {
            assert_eq!(response.header("cache-control"), Some("no-cache"));
            assert_eq!(response.header("x-accel-buffering"), Some("no"));
        }
    }
}

#[tokio::test]
async fn headers_of_a_refusal_come_back_too() {
    let upstream = vllm::engine().await;
    let reply = Reply::json(429, vllm::error(429, "RateLimitError", "slow down"))
        .header("retry-after", "7")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-request-id", "upstream-1")
        .header("set-cookie", "a=b");
    upstream.on("POST", "/v1/chat/completions").then(reply);
    let gateway = TestGateway::setup().vllm("vllm", &upstream).no_retries().start().await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
    assert_eq!(response.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(response.header("x-upstream-request-id"), Some("upstream-1"));
    assert_eq!(response.header("set-cookie"), None);
    assert_eq!(response.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn headers_that_the_operator_configured_are_added() {
    let upstream = vllm::talking().await;
    let yaml = format!(
        "providers:\n  vllm:\n    base_url: {}/v1\n    headers:\n      X-Team: blue\n      User-Agent: ours/1\n",
        upstream.url()
    );
    let gateway = TestGateway::setup().yaml(&yaml).awaiting("vllm").start().await;
    let request = Request::post("/v1/chat/completions").header("x-team", "red").json(ASK);
    assert_eq!(gateway.send(&request).await.status, 200);
    for received in upstream.requests() {
        assert_eq!(received.header("x-team"), Some("blue"), "{}", received.target);
        assert_eq!(received.header("user-agent"), Some("ours/1"), "{}", received.target);
    }
}

#[tokio::test]
async fn a_reply_that_comes_compressed_all_the_same_is_no_success() {
    let upstream = vllm::engine().await;
    let reply = Reply::json(200, [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0]).header("content-encoding", "gzip");
    upstream.on("POST", "/v1/chat/completions").then(reply);
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.status, 502, "{response}");
    assert!(response.text().contains("gzip"), "{response}");
    assert_eq!(gateway.line_of(&response).await["outcome"], "failed");
}
