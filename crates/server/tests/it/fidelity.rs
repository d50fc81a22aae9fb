//! Byte for byte: what needs no change is not changed, what does is spliced, and what was changed is told.

use serde_json::{Value, json};
use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, MODEL, REPLY};

/// A body that no serialiser would write again like this.
const ODD: &str = "\n{ \"unknown\" : 1.0e-2,\t\"model\"\r\n:  \"tiny\" ,\"big\":123456789012345678901234567890.123456789, \"unknown\":\"\\u00e9\\/\", \"messages\" : [ {\"role\":\"user\",\"content\":\"h\u{e9} \\ud83d\\ude00\",\"x\":{}} ], \"seed\":9007199254740993,\"n\":1 } \n";

#[tokio::test]
async fn a_body_that_needs_no_change_arrives_as_it_was_written() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_PROVIDER_MEMBER", "false").start().await;
    for body in [ASK, ODD, r#"{"messages":[],"model":"t\u0069ny"}"#] {
        for request in [
            Request::post("/v1/chat/completions").json(body),
            Request::post("/v1/chat/completions").json(body).chunked(7),
        ] {
            let response = gateway.send(&request).await;
            assert_eq!(response.status, 200, "{response}");
            let received = upstream.requests().pop().unwrap();
            assert_eq!(received.text(), body);
            assert_eq!(received.header("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(response.text(), REPLY, "and the reply as it was sent");
            assert_eq!(response.header("x-ferrovia-changes"), None);
        }
    }
}

#[tokio::test]
async fn a_prefix_is_the_only_thing_that_is_taken_out() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let prefixed = ODD.replace("\"tiny\"", "\"vllm/tiny\"");
    let response = gateway.post("/v1/chat/completions", prefixed).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(upstream.requests().pop().unwrap().text(), ODD);
    assert_eq!(response.header("x-ferrovia-changes"), Some("request.model, response.provider"));
}

#[tokio::test]
async fn every_front_relays_what_it_does_not_know() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(404, "{}"));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_PROVIDER_MEMBER", "false").start().await;
    for (front, route, needed, reply) in [
        ("/v1/chat/completions", "/v1/chat/completions", r#""messages":[]"#, REPLY),
        (
            "/v1/completions",
            "/v1/completions",
            r#""prompt":"x""#,
            r#"{"choices":[{"text":"x","finish_reason":"stop"}], "odd":1.00}"#,
        ),
        (
            "/v1/embeddings",
            "/v1/embeddings",
            r#""input":"x""#,
            r#"{"object":"list","data":[{"embedding":[1e-05]}], "odd":1.00}"#,
        ),
        (
            "/v1/responses",
            "/v1/responses",
            r#""input":"x""#,
            r#"{"id":"resp_1","object":"response","output":[],"error":null, "odd":1.00}"#,
        ),
        (
            "/v1/messages",
            "/v1/messages",
            r#""max_tokens":1,"messages":[]"#,
            r#"{"type":"message","content":[], "odd":1.00}"#,
        ),
        (
            "/v1/messages/count_tokens",
            "/v1/messages/count_tokens",
            r#""messages":[]"#,
            r#"{"input_tokens": 3}"#,
        ),
        (
            "/v1/rerank",
            "/v1/rerank",
            r#""query":"q","documents":["d"]"#,
            r#"{"id":"r","results":[{"index":0,"relevance_score":0.10}], "odd":1}"#,
        ),
        ("/v1/score", "/v1/score", r#""text_1":"a","text_2":"b""#, r#"{"data":[{"index":0,"score":0.10}]}"#),
        ("/v1/classify", "/classify", r#""input":"x""#, r#"{"data":[{"label":"a"}]}"#),
        ("/v1/pooling", "/pooling", r#""input":"x""#, r#"{"data":[[0.50]]}"#),
        ("/v1/tokenize", "/tokenize", r#""prompt":"x""#, r#"{"count":1,"tokens":[1], "odd":1}"#),
        ("/v1/detokenize", "/detokenize", r#""tokens":[1]"#, r#"{"prompt":"x" }"#),
    ] {
        upstream.on("POST", route).now(Reply::json(200, reply));
        let body = format!("{{ \"x\": 1.0,{needed} , \"model\":\"tiny\",\"x\":[ 1 ]}}");
        let response = gateway.post(front, &body).await;
        assert_eq!(response.status, 200, "{front}: {response}");
        let received = upstream.requests().pop().unwrap();
        assert_eq!((received.path(), received.text()), (route, body.as_str()));
        assert_eq!(response.text(), reply, "{front}");
        assert_eq!(response.header("content-type"), Some("application/json"), "{front}");
        assert_eq!(response.header("x-ferrovia-changes"), None, "{front}");
    }
}

#[tokio::test]
async fn the_provider_member_is_added_on_four_fronts_and_can_be_switched_off() {
    let upstream = vllm::talking().await;
    upstream.on("POST", "/v1/completions").then(Reply::json(200, r#"{"choices":[{"text":"x"}]}"#));
    upstream.on("POST", "/v1/embeddings").then(Reply::json(200, r#"{"data":[{}]}"#));
    upstream.on("POST", "/v1/responses").then(Reply::json(200, r#"{"object":"response","output":[]}"#));
    upstream.on("POST", "/v1/messages").then(Reply::json(200, r#"{"type":"message","content":[]}"#));
    upstream
        .on("POST", "/v1/rerank")
        .then(Reply::json(200, r#"{"results":[{"index":0,"relevance_score":1.0}]}"#));
    upstream.on("POST", "/tokenize").then(Reply::json(200, r#"{"tokens":[]}"#));
    for on in [true, false] {
        let gateway = TestGateway::setup()
            .vllm("vllm-east", &upstream)
            .env("FERROVIA_PROVIDER_MEMBER", &on.to_string())
            .start()
            .await;
        for (path, body, has) in [
            ("/v1/chat/completions", json!({"messages": []}), true),
            ("/v1/responses", json!({"input": "x"}), true),
            ("/v1/embeddings", json!({"input": "x"}), true),
            ("/v1/rerank", json!({"query": "q", "documents": ["d"]}), true),
            ("/v1/completions", json!({"prompt": "x"}), false),
            ("/v1/messages", json!({"messages": [], "max_tokens": 1}), false),
            ("/v1/tokenize", json!({"prompt": "x"}), false),
        ] {
            let mut body = body;
            body["model"] = json!(MODEL);
            let response = gateway.post(path, body.to_string()).await;
            assert_eq!(response.status, 200, "{path}: {response}");
            let expect = if on && has { json!("vllm") } else { Value::Null };
            assert_eq!(response.json()["provider"], expect, "{path}, switched {on}");
            assert_eq!(response.header("x-ferrovia-changes").is_some(), on && has, "{path}, switched {on}");
        }
    }
}

#[tokio::test]
async fn a_provider_member_of_the_upstreams_own_is_replaced_and_the_rest_stays() {
    let upstream = vllm::engine().await;
    let reply = "{\"choices\":[{\"index\":0,\"text\":\"\"}],\n  \"provider\" : \"else\",  \"x\":1.50 }\n";
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, reply));
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.text(), reply.replace("\"else\"", "\"vllm\""));
}

#[tokio::test]
async fn the_header_that_tells_of_changes_can_be_switched_off() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_CHANGES_HEADER", "false").start().await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(response.header("x-ferrovia-changes"), None);
    assert_eq!(response.json()["provider"], "vllm");
}

#[tokio::test]
async fn several_calls_share_one_connection_each_way() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_THREADS", "1").start().await;
    let before = upstream.connections();
    let mut client = gateway.connect().await;
    for _ in 0..5 {
        assert_eq!(client.exchange(&Request::post("/v1/chat/completions").json(ASK)).await.status, 200);
    }
    assert!(
        upstream.connections() <= before + 1,
        "{} connections for five calls",
        upstream.connections() - before
    );
}

#[tokio::test]
async fn upstreams_may_speak_http_in_their_own_way() {
    let length = REPLY.len();
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_PROVIDER_MEMBER", "false").start().await;
    for reply in [
        Reply::json(200, REPLY).chunked(),
        Reply::json(200, REPLY).chunked().cut_into(1),
        Reply::json(200, REPLY).chunked().trailer("x-sum", "1"),
        Reply::json(200, REPLY).until_close(),
        Reply::json(200, REPLY).connection_close(),
        Reply::json(200, REPLY).cut_head_into(1),
        Reply::json(200, REPLY).content_type("application/json; charset=utf-8"),
        Reply::json(200, REPLY).content_type(""),
        Reply::json(200, REPLY).reason(""),
        Reply::json(201, REPLY),
        Reply::wire(format!("HTTP/1.0 200 OK\r\ncontent-length: {length}\r\n\r\n{REPLY}")),
        Reply::wire(format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{REPLY}"
        )),
        Reply::wire(format!("HTTP/1.1 200 OK\r\nCONTENT-LENGTH:{length}\r\n\r\n{REPLY}")),
    ] {
        upstream.on("POST", "/v1/chat/completions").now(reply.clone());
        for _ in 0..2 {
            let response = gateway.post("/v1/chat/completions", ASK).await;
            assert!(matches!(response.status, 200 | 201), "{reply:?}: {response}");
            assert_eq!(response.text(), REPLY);
            assert!(
                response.header("content-type").is_some_and(|kind| kind.starts_with("application/json")),
                "{response}"
            );
        }
    }
}

#[tokio::test]
async fn clients_may_speak_http_in_their_own_way() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let length = ASK.len();
    for bytes in [
        format!("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{ASK}"),
        format!(
            "POST http://elsewhere/v1/chat/completions HTTP/1.1\r\nhost: elsewhere\r\ncontent-length: {length}\r\n\r\n{ASK}"
        ),
        format!("POST /v1/chat/completions?a=b HTTP/1.1\r\nHOST:x\r\nContent-Length:{length}\r\n\r\n{ASK}"),
    ] {
        let mut client = gateway.connect().await;
        client.send(&bytes).await.unwrap();
        let response = client.response().await;
        assert_eq!(response.status, 200, "{bytes}: {response}");
        assert_eq!(upstream.requests().pop().unwrap().text(), ASK);
    }
}
