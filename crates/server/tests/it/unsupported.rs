//! What a provider cannot do: 501 in the client's dialect, with the code that clients know.

use serde_json::json;
use testkit::{Reply, Request};

use crate::envelope::{speaks_anthropic, told};
use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

/// Fronts that an engine may lack: a request, the code, a word of the message.
const FRONTS: [(&str, &str, &str, &str); 12] = [
    ("/v1/completions", r#"{"model":"tiny","prompt":"x"}"#, "unsupported_operation", "text_completion"),
    ("/v1/responses", r#"{"model":"tiny","input":"x"}"#, "unsupported_response_operation", "responses"),
    (
        "/v1/responses",
        r#"{"model":"tiny","input":"x","stream":true}"#,
        "unsupported_response_operation",
        "responses",
    ),
    ("/v1/messages", r#"{"model":"tiny","max_tokens":1,"messages":[]}"#, "", "messages"),
    ("/v1/messages/count_tokens", r#"{"model":"tiny","messages":[]}"#, "", "count_tokens"),
    ("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#, "unsupported_operation", "embedding"),
    (
        "/v1/rerank",
        r#"{"model":"tiny","query":"q","documents":["d"]}"#,
        "unsupported_rerank_operation",
        "rerank",
    ),
    ("/v1/score", r#"{"model":"tiny","text_1":"a","text_2":"b"}"#, "unsupported_operation", "score"),
    ("/v1/classify", r#"{"model":"tiny","input":"x"}"#, "unsupported_operation", "classify"),
    ("/v1/pooling", r#"{"model":"tiny","input":"x"}"#, "unsupported_operation", "pooling"),
    ("/v1/tokenize", r#"{"model":"tiny","prompt":"x"}"#, "unsupported_operation", "tokenize"),
    ("/v1/detokenize", r#"{"model":"tiny","tokens":[1]}"#, "unsupported_operation", "detokenize"),
];

#[tokio::test]
async fn what_the_probe_did_not_find_is_501_without_asking() {
    let upstream = vllm::engine().await;
    upstream
        .on("GET", "/openapi.json")
        .now(Reply::json(200, r#"{"paths":{"/v1/chat/completions":{"post":{}}}}"#));
    let gateway = TestGateway::before(&upstream).await;
    for (path, body, code, word) in FRONTS {
        let response = gateway.post(path, body).await;
        assert_eq!(response.status, 501, "{path}: {response}");
        let error = told(path, &response);
        assert_eq!(error.kind, "invalid_request_error", "{path}");
        assert!(error.message.contains(word) && error.message.contains("vllm"), "{path}: {}", error.message);
        if !speaks_anthropic(path) {
            assert_eq!(error.code.as_deref(), Some(code), "{path}");
        }
    }
    assert_eq!(upstream.requests().len(), PROBES, "nobody was asked");
}

#[tokio::test]
async fn a_route_that_proves_missing_is_501_and_remembered() {
    for missing in [404, 405] {
        let upstream = vllm::engine().await;
        upstream.otherwise(Reply::json(missing, r#"{"detail":"Not Found"}"#));
        let gateway = TestGateway::before(&upstream).await;
        for (path, body, _, _) in FRONTS {
            assert_eq!(gateway.post(path, body).await.status, 501, "{path} {missing}");
            let asked = upstream.requests().len();
            assert_eq!(gateway.post(path, body).await.status, 501, "{path} {missing}");
            assert_eq!(upstream.requests().len(), asked, "{path}: it is not asked again");
        }
    }
}

#[tokio::test]
async fn a_missing_model_is_no_missing_route() {
    let upstream = vllm::engine().await;
    let said = vllm::error(404, "NotFoundError", "The model `tiny` does not exist.");
    upstream.otherwise(Reply::json(404, said));
    let gateway = TestGateway::before(&upstream).await;
    for (path, body, _, _) in FRONTS {
        let response = gateway.post(path, body).await;
        assert_eq!(response.status, 404, "{path}: {response}");
        assert_eq!(told(path, &response).message, "The model `tiny` does not exist.");
    }
}

#[tokio::test]
async fn an_engine_that_learns_is_asked_again_after_a_refresh() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("CACHE_REFRESH_INTERVAL", "200ms")
        .env("PROVIDER_RECHECK_INTERVAL", "100ms")
        .start()
        .await;
    let ask = r#"{"model":"tiny","input":"x"}"#;
    assert_eq!(gateway.post("/v1/embeddings", ask).await.status, 501);
    upstream.on("POST", "/v1/embeddings").now(Reply::json(200, r#"{"data":[{}]}"#));
    let seen = upstream.requests().len();
    upstream.wait_for_request(seen + PROBES + 1).await;
    assert_eq!(gateway.post("/v1/embeddings", ask).await.status, 200);
}

#[tokio::test]
async fn openai_is_known_not_to_rerank_or_speak_messages() {
    let upstream = vllm::engine().await;
    let gateway =
        TestGateway::setup().provider("openai", &upstream.url()).key("openai", "sk-openai").start().await;
    let asked = upstream.requests().len();
    for (path, body, status) in [
        ("/v1/rerank", r#"{"model":"tiny","query":"q","documents":["d"]}"#, 501),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":1,"messages":[]}"#, 501),
        ("/v1/tokenize", r#"{"model":"tiny","prompt":"x"}"#, 501),
    ] {
        let response = gateway.post(path, body).await;
        assert_eq!(response.status, status, "{path}: {response}");
        assert!(told(path, &response).message.contains("openai"), "{response}");
    }
    assert_eq!(upstream.requests().len(), asked);
    // a chat 404 there is what it is
    let response = gateway.post("/v1/chat/completions", vllm::ASK).await;
    assert_eq!(response.status, 404, "{response}");
}

#[tokio::test]
async fn routes_that_nothing_serves_yet_exist_and_say_so() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for (method, path, body, status, code) in [
        (
            "POST",
            "/v1/images/generations",
            r#"{"model":"tiny","prompt":"x"}"#,
            501,
            Some("unsupported_operation"),
        ),
        ("POST", "/v1/audio/speech", r#"{"model":"tiny","input":"x"}"#, 501, Some("unsupported_operation")),
        ("POST", "/v1/moderations", r#"{"model":"tiny","input":"x"}"#, 501, Some("unsupported_operation")),
        ("POST", "/v1/images/generations", r#"{"model":"nope","prompt":"x"}"#, 400, Some("model_not_found")),
        ("POST", "/v1/images/generations", "nonsense", 400, None),
        (
            "POST",
            "/v1/responses/input_tokens",
            r#"{"model":"tiny","input":"x"}"#,
            501,
            Some("unsupported_response_operation"),
        ),
        ("GET", "/v1/responses/resp_1", "", 501, Some("unsupported_response_operation")),
        ("DELETE", "/v1/responses/resp_1", "", 501, Some("unsupported_response_operation")),
        ("POST", "/v1/responses/resp_1/cancel", "", 501, Some("unsupported_response_operation")),
        ("GET", "/v1/files/file-1", "", 404, None),
        ("GET", "/v1/files/file-1/content", "", 404, None),
        ("GET", "/v1/batches/batch-1", "", 404, None),
        ("POST", "/v1/batches", r#"{"metadata":{"provider":"vllm"}}"#, 400, None),
        ("POST", "/v1/files?provider=vllm", "", 400, None),
    ] {
        let mut request = Request::new(method, path);
        if !body.is_empty() {
            request = request.json(body);
        }
        let response = gateway.send(&request).await;
        assert_eq!(response.status, status, "{method} {path}: {response}");
        let error = told(path, &response);
        assert_eq!(error.code.as_deref(), code, "{method} {path}");
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["outcome"], &line["attempts"]), (&json!("refused"), &json!(0)), "{line}");
    }
    assert_eq!(upstream.requests().len(), 2 * PROBES, "nobody was asked but for news of an unknown model");
}

#[tokio::test]
async fn what_does_not_exist_yet_says_so_whether_a_model_is_named_or_not() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    for path in ["/v1/moderations", "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech"] {
        for body in [r#"{"input":"x"}"#, r#"{"model":"","input":"x"}"#, r#"{"model":"tiny","input":"x"}"#] {
            let response = gateway.post(path, body).await;
            assert_eq!(response.status, 501, "{path} {body}: {response}");
            assert_eq!(told(path, &response).code.as_deref(), Some("unsupported_operation"), "{path} {body}");
        }
        assert_eq!(gateway.post(path, "{").await.status, 400, "{path}: what is no JSON is still none");
    }
    assert_eq!(upstream.requests().len(), PROBES);
}
