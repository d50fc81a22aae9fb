//! Requests that two servers in a row might read differently: each is refused, or means the same to the engine, and what
//! is hidden in one never becomes a request of its own.

use testkit::Reply;

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

/// What must never reach the engine as a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn what_is_hidden_in_a_request_never_becomes_one() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(200, r#"{"data":[]}"#));
    let gateway = TestGateway::before(&upstream).await;
    let length = HIDDEN.len();
    let posts = [
        // two framings, in both orders, and one of them misspelt
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("content-length: 4\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("content-length: 4\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("content-length: 4\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}"),
        // two lengths, and lengths that are none
        format!("content-length: 0\r\ncontent-length: {length}\r\n\r\n{HIDDEN}"),
        format!("content-length: 0, {length}\r\n\r\n{HIDDEN}"),
        format!("content-length: +{length}\r\n\r\n{HIDDEN}"),
        format!("content-length: -1\r\n\r\n{HIDDEN}"),
        format!("content-length: 0x10\r\n\r\n{HIDDEN}"),
        format!("content-length: 99999999999999999999\r\n\r\n{HIDDEN}"),
        // lines that go on, and lines that end early
        format!("x-a: b\r\n transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("x-a: b\rtransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{HIDDEN}"),
        format!("x-a: b\0c\r\ncontent-length: 0\r\n\r\n{HIDDEN}"),
        // chunks that are none
        format!("transfer-encoding: chunked\r\n\r\n-1\r\n{HIDDEN}"),
        format!("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{HIDDEN}"),
        format!("transfer-encoding: chunked\r\n\r\n1 ;x\r\nab\r\n0\r\n\r\n{HIDDEN}"),
    ];
    for fields in posts {
        let mut client = gateway.connect().await;
        let request = format!("POST /p/vllm/tokenize HTTP/1.1\r\nhost: x\r\n{fields}");
        // who refuses early closes early
        let _ = client.send(&request).await;
        let _ = client.half_close().await;
        let told = client.raw_to_close().await;
        let refused = told.is_empty() || told.starts_with("HTTP/1.1 4");
        // two framings of which one counts are allowed if nothing can follow (RFC 9112, section 6.3)
        let alone = told.contains("connection: close\r\n") && told.matches("HTTP/1.1 ").count() == 1;
        assert!(refused || alone, "{request:?}: {told}");
    }
    let asked: Vec<String> =
        upstream.requests()[PROBES..].iter().map(|request| request.target.clone()).collect();
    assert!(asked.iter().all(|target| target == "/tokenize"), "{asked:?}");
}

#[tokio::test]
async fn a_target_with_a_host_in_it_goes_nowhere_else() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(200, r#"{"data":[]}"#));
    let gateway = TestGateway::before(&upstream).await;
    for (target, statuses) in [
        ("http://elsewhere/p/vllm/tokenize", &[200][..]),
        ("http://elsewhere/p/vllm/sleep", &[403]),
        ("http://elsewhere/p/vllm/x/%2e%2e/sleep", &[400]),
        ("/p/vllm/x/../sleep", &[400]),
        ("/p/../p/vllm/sleep", &[400, 404]),
        ("/v1/../p/vllm/sleep", &[400, 404]),
        ("/p/vllm/%2e%2e/%2e%2e/sleep", &[400]),
        ("/p/vllm/x%0d%0ahost:%20y", &[400]),
        ("/p/vllm%2fsleep", &[400, 404]),
        ("//elsewhere/p/vllm/sleep", &[400, 403, 404]),
        ("*", &[400, 404]),
    ] {
        let mut client = gateway.connect().await;
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.send(&request).await.expect("it is sent");
        let told = client.raw_to_close().await;
        let status = told.get(9..12).and_then(|digits| digits.parse::<u16>().ok());
        assert!(status.is_some_and(|status| statuses.contains(&status)), "{target}: {told}");
    }
    let asked: Vec<String> =
        upstream.requests()[PROBES..].iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked, ["/tokenize"]);
}
