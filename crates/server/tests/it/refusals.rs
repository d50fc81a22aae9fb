//! Nonsense from a client: a clear 4xx that names the member at fault, and nothing sent upstream.

use serde_json::{Value, json};
use testkit::{Reply, Request};

use crate::envelope::{speaks_anthropic, told};
use crate::gateway::TestGateway;
use crate::shapes::FRONTS;
use crate::vllm::{self, PROBES};

#[tokio::test]
async fn what_is_not_json_is_refused_on_every_front() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let deep = format!(r#"{{"model":"tiny","messages":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let bodies: [&[u8]; 18] = [
        b"",
        b" ",
        b"{",
        b"not json",
        b"[]",
        b"null",
        b"\"model\"",
        b"{\"model\":\"tiny\",}",
        b"{'model':'tiny'}",
        b"{\"model\":\"tiny\"} trailing",
        b"{\"model\":\"tiny\"}{}",
        b"{\"model\":\"tiny\",\"messages\":[01]}",
        b"{\"model\":\"tiny\",\"messages\":[NaN]}",
        b"{\"model\":\"tiny\",\"messages\":[\"\xff\"]}",
        b"{\"model\":\"tiny\",\"messages\":[\"\x01\"]}",
        b"{\"model\":\"\\ud800\"}",
        b"\x1f\x8b\x08\x00",
        deep.as_bytes(),
    ];
    for path in FRONTS {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let response = gateway.post(path, body).await;
            assert_eq!(response.status, 400, "{path} {shown:?}: {response}");
            let error = told(path, &response);
            assert_eq!(error.kind, "invalid_request_error", "{path} {shown:?}");
            assert!(error.message.contains("invalid request body"), "{path} {shown:?}: {}", error.message);
        }
    }
    let typed =
        gateway.post("/v1/chat/completions", "{\n  \"model\": \"tiny\",\n  \"messages\": [oops]\n}").await;
    assert!(told("/v1", &typed).message.contains("line 3, column 16"), "{typed}");
    assert_eq!(upstream.requests().len(), PROBES, "nothing went upstream");
}

/// What is wrong with a body, where, and the member that must be named.
const WRONG: &[(&str, &str, &str)] = &[
    // the model, everywhere alike
    ("/v1/chat/completions", r#"{"messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":"","messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":"   ","messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":null,"messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":7,"messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":["tiny"],"messages":[]}"#, "model"),
    ("/v1/embeddings", r#"{"input":"x"}"#, "model"),
    ("/v1/responses", r#"{"input":"x"}"#, "model"),
    ("/v1/messages", r#"{"max_tokens":1,"messages":[]}"#, "model"),
    ("/v1/rerank", r#"{"query":"q","documents":["d"]}"#, "model"),
    ("/v1/tokenize", r#"{"prompt":"x"}"#, "model"),
    // members that decide where a call goes must not stand twice
    ("/v1/chat/completions", r#"{"model":"tiny","model":"other","messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":"tiny","Model":"other","messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":"tiny","\u006dodel":"other","messages":[]}"#, "model"),
    ("/v1/chat/completions", r#"{"model":"tiny","stream":true,"stream":false,"messages":[]}"#, "stream"),
    ("/v1/embeddings", r#"{"model":"tiny","input":"x","model":"tiny"}"#, "model"),
    ("/v1/tokenize", r#"{"model":"tiny","prompt":"x","model":"tiny"}"#, "model"),
    // the wrong type
    ("/v1/chat/completions", r#"{"model":"tiny","messages":"hi"}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":{}}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"stream":"yes"}"#, "stream"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"stream":1}"#, "stream"),
    (
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[],"stream":true,"stream_options":[]}"#,
        "stream_options",
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[],"stream":true,"stream_options":{"include_usage":1}}"#,
        "stream_options.include_usage",
    ),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[7,null]}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[{"role":"user"},"hi"]}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[[{"role":"user"}]]}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"n":0}"#, "n"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"n":"2"}"#, "n"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"n":-1}"#, "n"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":[],"n":1.5,"stream":true}"#, "n"),
    ("/v1/completions", r#"{"model":"tiny","prompt":"x","n":0}"#, "n"),
    ("/v1/completions", r#"{"model":"tiny","prompt":7}"#, "prompt"),
    ("/v1/chat/completions", r#"{"model":"tiny","provider":7,"messages":[]}"#, "provider"),
    ("/v1/chat/completions", r#"{"model":"tiny","provider":true,"messages":[]}"#, "provider"),
    ("/v1/chat/completions", r#"{"model":"tiny","provider":["vllm"],"messages":[]}"#, "provider"),
    ("/v1/responses", r#"{"model":"tiny","input":{"role":"user"}}"#, "input"),
    ("/v1/responses", r#"{"model":"tiny","input":7}"#, "input"),
    ("/v1/embeddings", r#"{"model":"tiny","input":{}}"#, "input"),
    ("/v1/embeddings", r#"{"model":"tiny","input":7}"#, "input"),
    ("/v1/embeddings", r#"{"model":"tiny","messages":"x"}"#, "messages"),
    ("/v1/classify", r#"{"model":"tiny","input":true}"#, "input"),
    ("/v1/pooling", r#"{"model":"tiny","input":7}"#, "input"),
    ("/v1/tokenize", r#"{"model":"tiny","prompt":7}"#, "prompt"),
    ("/v1/detokenize", r#"{"model":"tiny","tokens":"x"}"#, "tokens"),
    ("/v1/messages", r#"{"model":"tiny","max_tokens":5,"messages":["hi"]}"#, "messages"),
    ("/v1/messages", r#"{"model":"tiny","max_tokens":"many","messages":[]}"#, "max_tokens"),
    ("/v1/messages", r#"{"model":"tiny","max_tokens":5,"messages":"hi"}"#, "messages"),
    // what is missing
    ("/v1/chat/completions", r#"{"model":"tiny"}"#, "messages"),
    ("/v1/chat/completions", r#"{"model":"tiny","messages":null}"#, "messages"),
    ("/v1/completions", r#"{"model":"tiny"}"#, "prompt"),
    ("/v1/responses", r#"{"model":"tiny"}"#, "input"),
    ("/v1/embeddings", r#"{"model":"tiny"}"#, "input"),
    ("/v1/messages", r#"{"model":"tiny","max_tokens":5}"#, "messages"),
    ("/v1/messages", r#"{"model":"tiny","messages":[]}"#, "max_tokens"),
    ("/v1/messages/count_tokens", r#"{"model":"tiny"}"#, "messages"),
    ("/v1/tokenize", r#"{"model":"tiny"}"#, "prompt"),
    ("/v1/detokenize", r#"{"model":"tiny","prompt":"x"}"#, "tokens"),
    ("/v1/classify", r#"{"model":"tiny"}"#, "input"),
    ("/v1/pooling", r#"{"model":"tiny","input":null}"#, "input"),
    ("/v1/score", r#"{"model":"tiny"}"#, "text_1"),
    ("/v1/score", r#"{"model":"tiny","text_1":"a"}"#, "text_2"),
    ("/v1/score", r#"{"model":"tiny","queries":"a"}"#, "documents"),
    ("/v1/score", r#"{"model":"tiny","data_1":"a","text_2":"b"}"#, "data_2"),
    ("/v1/rerank", r#"{"model":"tiny","documents":["d"]}"#, "query"),
    ("/v1/rerank", r#"{"model":"tiny","query":" ","documents":["d"]}"#, "query"),
    ("/v1/rerank", r#"{"model":"tiny","query":"q"}"#, "documents"),
    ("/v1/rerank", r#"{"model":"tiny","query":"q","documents":[]}"#, "documents"),
    ("/v1/rerank", r#"{"model":"tiny","query":"q","documents":["d"],"top_n":-1}"#, "top_n"),
];

#[tokio::test]
async fn what_makes_no_sense_names_the_member_and_goes_nowhere() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for (path, body, param) in WRONG {
        let response = gateway.post(path, body).await;
        assert_eq!(response.status, 400, "{path} {body}: {response}");
        let error = told(path, &response);
        assert_eq!(error.kind, "invalid_request_error", "{path} {body}");
        assert!(error.message.to_lowercase().contains(param), "{path} {body}: {}", error.message);
        if !speaks_anthropic(path) {
            assert_eq!(error.param.as_deref(), Some(*param), "{path} {body}: {}", error.message);
        }
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["outcome"], &line["attempts"]), (&json!("refused"), &json!(0)), "{line}");
    }
    let missing = gateway.post("/v1/chat/completions", r#"{"messages":[]}"#).await;
    assert_eq!(told("/v1", &missing).message, "model is required");
    assert_eq!(upstream.requests().len(), PROBES, "nothing went upstream");
}

#[tokio::test]
async fn a_wrong_index_of_a_document_is_named() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let response =
        gateway.post("/v1/rerank", r#"{"model":"tiny","query":"q","documents":["a",{"x":1}]}"#).await;
    let error = told("/v1/rerank", &response);
    assert_eq!(response.status, 400);
    assert!(
        error.message.contains('1') && error.param.is_some_and(|p| p.starts_with("documents")),
        "{response}"
    );
    assert_eq!(upstream.requests().len(), PROBES);
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let request = Request::post("/v1/chat/completions").header("content-encoding", "gzip").json(vllm::ASK);
    let response = gateway.send(&request).await;
    assert_eq!(response.status, 400);
    assert!(told("/v1", &response).message.contains("gzip"), "{response}");
    assert_eq!(upstream.requests().len(), PROBES);
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("nonsense")] {
        let mut request = Request::post("/v1/chat/completions").body(vllm::ASK);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        assert_eq!(gateway.send(&request).await.status, 200, "{kind:?}");
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(sent.header("content-type"), Some("application/json"), "{kind:?}");
    }
}

#[tokio::test]
async fn what_an_engine_may_accept_is_not_refused() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for body in [
        r#"{"model":"tiny","messages":[]}"#,
        r#"{"model":"tiny","messages":[],"stream":null,"stream_options":null}"#,
        r#"{"model":"tiny","messages":[],"temperature":1e300,"unknown":{"model":1,"model":2}}"#,
        r#"{"model":"tiny","messages":[ {"role":7} , {} ],"n":3}"#,
        r#"{"model":"tiny","messages":[],"n":null}"#,
        r#"{"model":"tiny","messages":[],"provider":{"order":["a"]}}"#,
    ] {
        let response = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(response.status, 200, "{body}: {response}");
        assert_eq!(upstream.requests().pop().unwrap().text(), body);
    }
    upstream.otherwise(Reply::json(200, r#"{"data":[{}],"tokens":[],"prompt":"","output":[]}"#));
    for (path, members) in [
        ("/v1/score", r#""text_1":"a","text_2":["b"]"#),
        ("/v1/score", r#""queries":"a","documents":["b"]"#),
        ("/v1/score", r#""queries":["a"],"items":["b"]"#),
        ("/v1/score", r#""data_1":{"content":[]},"data_2":"b""#),
        ("/v1/classify", r#""messages":[{"role":"user"}]"#),
        ("/v1/pooling", r#""messages":[]"#),
        ("/v1/pooling", r#""data":{"own":1},"task":"plugin""#),
        ("/v1/tokenize", r#""messages":[]"#),
        ("/v1/tokenize", r#""prompt":"x""#),
        ("/v1/detokenize", r#""tokens":[]"#),
        ("/v1/embeddings", r#""input":[[1,2],[3]]"#),
        ("/v1/embeddings", r#""messages":[[{"role":"user"}]]"#),
        ("/v1/responses", r#""input":[]"#),
    ] {
        let body = format!(r#"{{"model":"tiny",{members}}}"#);
        let response = gateway.post(path, &body).await;
        assert_eq!(upstream.requests().pop().unwrap().text(), body, "{path}: {response}");
    }
}

#[tokio::test]
async fn heads_that_mean_two_things_are_refused_and_the_connection_closed() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for (fields, param) in [
        ("host: a\r\nhost: b\r\ncontent-length: 2\r\n", "host"),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", "transfer-encoding"),
        ("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "transfer-encoding"),
    ] {
        let mut client = gateway.connect().await;
        let request = format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\n");
        client.send(request).await.unwrap();
        let response = client.response().await;
        assert_eq!(
            (response.status, response.header("connection")),
            (400, Some("close")),
            "{fields}: {response}"
        );
        assert_eq!(told("/v1", &response).param.as_deref(), Some(param), "{response}");
        client.half_close().await.unwrap();
        client.wait_for_close().await;
    }
    // hyper does not count the length, and nothing can follow
    let mut client = gateway.connect().await;
    let both = "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    client.send(both).await.unwrap();
    let response = client.response().await;
    assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{response}");
    client.wait_for_close().await;
    assert_eq!(upstream.requests().len(), PROBES, "nothing went upstream");
}

#[tokio::test]
async fn http_that_is_none_is_refused_and_harms_nobody() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for bytes in [
        "nonsense\r\n\r\n",
        "GET /v1/models HTTP/9.9\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: nine\r\n\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "GET /v1/\u{1}models HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut client = gateway.connect().await;
        client.send(bytes).await.unwrap();
        let answer = client.raw_to_close().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200);
    let after: Vec<Value> = upstream.requests()[PROBES..].iter().map(|r| r.json()).collect();
    assert_eq!(after.len(), 1);
}
