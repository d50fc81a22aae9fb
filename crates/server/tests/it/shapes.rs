//! What the router refuses, in the shape of the dialect that was asked: unknown routes, wrong methods.

use testkit::Request;

use crate::envelope::{openai, speaks_anthropic, told};
use crate::gateway::TestGateway;
use crate::vllm;

/// Every front that takes a JSON body.
pub(crate) const FRONTS: [&str; 13] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/score",
    "/v1/classify",
    "/v1/pooling",
    "/v1/tokenize",
    "/v1/detokenize",
];

#[tokio::test]
async fn wrong_methods_are_405_and_name_the_right_ones() {
    let gateway = TestGateway::setup().start().await;
    for path in FRONTS {
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let response = gateway.send(&Request::new(method, path)).await;
            assert_eq!(
                (response.status, response.header("allow")),
                (405, Some("POST")),
                "{method} {path}: {response}"
            );
            let error = told(path, &response);
            assert_eq!(error.kind, "invalid_request_error", "{method} {path}");
            assert!(error.message.contains(method) && error.message.contains("POST"), "{}", error.message);
        }
        let head = gateway.send(&Request::new("HEAD", path)).await;
        assert_eq!((head.status, head.body.len()), (405, 0), "{path}");
    }
    for (path, allowed) in [
        ("/v1/models", "GET"),
        ("/v1/models/vllm/x", "GET"),
        ("/v1/responses/resp_1", "GET, DELETE"),
        ("/v1/responses/resp_1/input_items", "GET"),
        ("/v1/files", "GET, POST"),
        ("/v1/files/file-1", "GET, DELETE"),
        ("/v1/batches/batch_1/cancel", "POST"),
    ] {
        let response = gateway.send(&Request::new("PATCH", path)).await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{path}");
        told(path, &response);
    }
    let line = gateway.line_of(&gateway.send(&Request::new("PUT", "/v1/embeddings")).await).await;
    assert_eq!((&line["outcome"], &line["status"]), (&"refused".into(), &405.into()));
}

#[tokio::test]
async fn unknown_routes_are_404_in_the_dialect_of_their_place() {
    let gateway = TestGateway::setup().start().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v1/models/",
        "/v1/chat/completions/",
        "/V1/models",
        "/v1//models",
        "/v1/embeddings/x",
        "/v1/messages/x",
        "/v1/messages/count_tokens/",
        "/p",
        "/favicon.ico",
        "/metrics",
        "/health/x",
    ] {
        for method in ["GET", "POST"] {
            let response = gateway.send(&Request::new(method, path)).await;
            assert_eq!(response.status, 404, "{method} {path}: {response}");
            let error = told(path, &response);
            assert_eq!(error.kind, "not_found_error", "{path}");
            assert!(error.message.contains(path), "{}", error.message);
        }
    }
}

#[tokio::test]
async fn anthropics_clients_are_told_in_their_envelope_everywhere() {
    let gateway = TestGateway::setup().start().await;
    for (method, path) in [("GET", "/v1/nothing"), ("PUT", "/v1/models"), ("GET", "/v1/files/file-1")] {
        let response =
            gateway.send(&Request::new(method, path).header("anthropic-version", "2023-06-01")).await;
        assert!(response.status >= 400, "{response}");
        crate::envelope::anthropic(&response.json());
    }
    assert!(speaks_anthropic("/v1/messages/count_tokens"));
}

#[tokio::test]
async fn request_ids_are_taken_over_or_made() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for (method, path) in
        [("GET", "/health"), ("GET", "/v1/models"), ("GET", "/v1/nothing"), ("POST", "/v1/chat/completions")]
    {
        let body = if method == "POST" { vllm::ASK } else { "" };
        let request = Request::new(method, path).json(body);
        let given = gateway.send(&request.clone().header("X-Request-ID", "mine-1")).await;
        assert_eq!(given.header_all("x-request-id"), ["mine-1"], "{path}");
        let made = gateway.send(&request).await;
        let id = made.header("x-request-id").unwrap_or_default();
        assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{path}: a UUID");
    }
    for unfit in ["two words", "tab\there", &"x".repeat(129)] {
        let response = gateway.send(&Request::get("/v1/models").header("x-request-id", unfit)).await;
        assert_eq!(response.header("x-request-id").map(str::len), Some(36), "{unfit}");
    }
}

#[tokio::test]
async fn a_body_on_a_route_that_takes_none_harms_nobody() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        let response = client.exchange(&Request::get("/v1/models").json("{\"x\": 1}")).await;
        assert_eq!(response.status, 200);
        let response = client.exchange(&Request::post("/v1/nothing").json("{\"x\": 1}")).await;
        assert_eq!(response.status, 404);
        openai(&response.json());
    }
}
