//! Who may call: the master key in three headers, and the caller's user path.

use serde_json::json;
use testkit::Request;

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

const KEY: &str = "Key-1!$%&/()=?#~";

#[tokio::test]
async fn with_a_master_key_nothing_of_the_api_opens_without_it() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", KEY).start().await;
    let paths = [
        Request::get("/v1/models"),
        Request::get("/v1/models/vllm/tiny"),
        Request::post("/v1/chat/completions").json(vllm::ASK),
        Request::post("/v1/chat/completions").json(vllm::ASK_STREAM),
        Request::post("/v1/responses").json("{}"),
        Request::post("/v1/embeddings").json("not json"),
        Request::post("/v1/rerank").json("{}"),
        Request::get("/p/vllm/metrics"),
        Request::get("/v1/files"),
        Request::get("/v1/nothing"),
        Request::get("/nothing"),
        Request::new("DELETE", "/v1/chat/completions"),
    ];
    for request in &paths {
        let response = gateway.send(request).await;
        assert_eq!(response.status, 401, "{request:?}: {response}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        let error = response.json()["error"].clone();
        assert_eq!(error["type"], "authentication_error", "{request:?}");
        assert_eq!((&error["param"], &error["code"]), (&json!(null), &json!(null)));
    }
    let anthropic = gateway.post("/v1/messages", "{}").await;
    assert_eq!((anthropic.status, anthropic.json()["type"].clone()), (401, json!("error")));
    assert_eq!(anthropic.json()["error"]["type"], "authentication_error");
    assert_eq!(upstream.requests().len(), PROBES, "nothing went upstream");
    for path in ["/health", "/health/live", "/health/ready", "/version"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path} needs no key");
        assert_eq!(
            gateway.send(&Request::get(path).bearer("wrong")).await.status,
            200,
            "{path} takes any key"
        );
    }
    // with the key, routes that are not there are told apart from those that are
    assert_eq!(gateway.send(&Request::get("/v1/nothing").bearer(KEY)).await.status, 404);
    assert_eq!(gateway.send(&Request::get("/v1/chat/completions").bearer(KEY)).await.status, 405);
}

#[tokio::test]
async fn the_master_key_is_read_exactly() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", KEY).start().await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/v1/chat/completions").json(vllm::ASK);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        gateway.send(&request).await.status
    };
    let bearer = format!("Bearer {KEY}");
    for headers in [
        &[("Authorization", bearer.as_str())] as &[_],
        &[("authorization", bearer.as_str())],
        &[("x-api-key", KEY)],
        &[("api-key", KEY)],
        &[("Authorization", bearer.as_str()), ("x-api-key", "wrong")],
    ] {
        assert_eq!(ask(headers).await, 200, "{headers:?}");
    }
    let cases = [
        format!("bearer {KEY}"),
        format!("BEARER {KEY}"),
        format!("Bearer{KEY}"),
        format!("Bearer  {KEY}"),
        format!("Basic {KEY}"),
        KEY.to_owned(),
        "Bearer".to_owned(),
        format!("Bearer {}", KEY.to_lowercase()),
        format!("Bearer {}", KEY.to_uppercase()),
        format!("Bearer {KEY}x"),
        format!("Bearer {}", &KEY[1..]),
    ];
    for value in &cases {
        assert_eq!(ask(&[("authorization", value)]).await, 401, "{value}");
    }
    assert_eq!(
        ask(&[("authorization", "Bearer wrong"), ("x-api-key", KEY)]).await,
        401,
        "the first header counts"
    );
    for header in ["x-api-key", "api-key"] {
        assert_eq!(ask(&[(header, "wrong")]).await, 401);
        assert_eq!(ask(&[(header, "")]).await, 401);
    }
    assert_eq!(ask(&[]).await, 401);
}

#[tokio::test]
async fn an_open_gateway_warns_once_and_takes_any_key() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for _ in 0..3 {
        let request = Request::post("/v1/chat/completions").bearer("anything").json(vllm::ASK);
        let response = gateway.send(&request).await;
        assert_eq!(response.status, 200, "{response}");
        assert_eq!(gateway.line_of(&response).await["auth"], "no_key");
    }
    assert_eq!(gateway.log_text().matches("no master key is set").count(), 1);
}

#[tokio::test]
async fn gomodels_and_auroras_names_of_the_key_count_too() {
    for name in ["GOMODEL_MASTER_KEY", "AURORA_MASTER_KEY"] {
        let gateway = TestGateway::setup().env(name, "key-of-old").start().await;
        assert_eq!(gateway.get("/v1/models").await.status, 401, "{name}");
        let response = gateway.send(&Request::get("/v1/models").bearer("key-of-old")).await;
        assert_eq!(response.status, 200, "{name}");
        assert_eq!(gateway.line_of(&response).await["auth"], "master_key");
    }
}

#[tokio::test]
async fn the_user_path_is_read_normalised_and_logged() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for (name, value, expect) in [
        ("X-Ferrovia-User-Path", "/acme/search", Some("/acme/search")),
        ("X-GoModel-User-Path", "acme//search/", Some("/acme/search")),
        ("x-aurora-user-path", " / ", Some("/")),
        ("X-Ferrovia-User-Path", "", None),
    ] {
        let response =
            gateway.send(&Request::post("/v1/chat/completions").header(name, value).json(vllm::ASK)).await;
        assert_eq!(response.status, 200, "{response}");
        let line = gateway.line_of(&response).await;
        assert_eq!(line["user_path"].as_str(), expect, "{name}: {value}");
    }
    let sent = upstream.requests().len();
    for value in ["/a/../b", "/a/./b", "a:b"] {
        for (name, shown) in
            [("x-ferrovia-user-path", "X-Ferrovia-User-Path"), ("x-gomodel-user-path", "X-GoModel-User-Path")]
        {
            let request = Request::post("/v1/chat/completions").header(name, value).json(vllm::ASK);
            let response = gateway.send(&request).await;
            assert_eq!(response.status, 400, "{value}: {response}");
            assert_eq!(response.json()["error"]["message"], format!("invalid {shown} header"));
        }
    }
    assert_eq!(upstream.requests().len(), sent, "nothing went upstream");
    assert!(upstream.requests().iter().all(|r| r.header("x-ferrovia-user-path").is_none()));
}

#[tokio::test]
async fn the_header_of_the_user_path_can_be_named() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("USER_PATH_HEADER", "X-Team").start().await;
    let response =
        gateway.send(&Request::post("/v1/chat/completions").header("x-team", "/red").json(vllm::ASK)).await;
    assert_eq!(gateway.line_of(&response).await["user_path"], "/red");
}
