//! What the passthrough keeps closed: providers that are not enabled, and routes that control an engine.

use serde_json::json;
use testkit::{Reply, Request};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES};

#[tokio::test]
async fn providers_that_are_not_enabled_or_not_there_are_refused() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("ENABLED_PASSTHROUGH_PROVIDERS", "openai, anthropic")
        .start()
        .await;
    for provider in ["vllm", "nobody", "groq"] {
        let response = gateway.get(&format!("/p/{provider}/x")).await;
        assert_eq!(response.status, 400, "{provider}");
        let error = told("/p", &response);
        assert_eq!(error.kind, "invalid_request_error");
        assert_eq!(
            error.message,
            format!(
                "provider passthrough for \"{provider}\" is not enabled; currently enabled providers: anthropic, openai"
            )
        );
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["outcome"], &line["status"]), (&json!("refused"), &json!(400)));
    }
    let response = gateway.get("/p/openai/x").await;
    assert_eq!(told("/p", &response).message, "no provider found for provider type: openai");
    assert_eq!(upstream.requests().len(), PROBES);

    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("ENABLED_PASSTHROUGH_PROVIDERS", "").start().await;
    let open = gateway.get("/p/vllm/x").await;
    assert!(matches!(open.status, 400 | 404), "{open}");
}

#[tokio::test]
async fn routes_and_their_alias_can_be_switched_off() {
    let upstream = vllm::engine().await;
    upstream.on("GET", "/x").then(Reply::json(200, "{}"));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("ENABLE_PASSTHROUGH_ROUTES", "false").start().await;
    assert_eq!(gateway.get("/p/vllm/x").await.status, 404);
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("ALLOW_PASSTHROUGH_V1_ALIAS", "false").start().await;
    let response = gateway.get("/p/vllm/v1/models").await;
    assert_eq!(response.status, 400);
    assert_eq!(
        told("/p", &response).message,
        "provider passthrough v1 alias is disabled; use /p/{provider}/... without the v1 prefix"
    );
    assert_eq!(gateway.get("/p/vllm/x").await.status, 200);
    for path in ["/p/vllm", "/p/vllm/"] {
        let response = gateway.get(path).await;
        assert_eq!(response.status, 400);
        assert_eq!(told("/p", &response).message, "provider passthrough endpoint is required");
    }
}

/// Every way to write a control route that came to mind.
const SPELLINGS: [&str; 23] = [
    "sleep",
    "SLEEP",
    "Sleep/",
    "sleep?level=1",
    "/sleep",
    "//sleep",
    "./sleep",
    "%73leep",
    "%53LEEP",
    "%2Fsleep",
    "sleep;x=1",
    "v1/sleep",
    "V1/sleep",
    "v1//sleep",
    "v1/v1/sleep",
    "v1/load_lora_adapter",
    "load_lora_adapter",
    "unload_lora_adapter",
    "v1/%6coad_lora_adapter",
    "reset_prefix_cache",
    "collective_rpc",
    "wake_up",
    "pause",
];

#[tokio::test]
async fn control_routes_are_closed_in_every_spelling() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(200, "{}"));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    let asked = upstream.requests().len();
    for spelling in SPELLINGS {
        for method in ["POST", "GET"] {
            let response =
                gateway.send(&Request::new(method, &format!("/p/vllm/{spelling}")).bearer("sk-master")).await;
            assert_eq!(response.status, 403, "{spelling}: {response}");
            let error = told("/p", &response);
            assert_eq!(error.code.as_deref(), Some("control_route_denied"), "{spelling}");
            assert!(
                error.message.contains("FERROVIA_PASSTHROUGH_CONTROL_ROUTES_ALLOW"),
                "it says how: {}",
                error.message
            );
        }
    }
    for climbing in [
        "x/../sleep",
        "%2e%2e/sleep",
        "x/%2E%2E/sleep",
        "x%2F..%2Fsleep",
        "%2573leep",
        "x%5c..%5csleep",
        "%00sleep",
        "%zzsleep",
    ] {
        let response = gateway.send(&Request::post(&format!("/p/vllm/{climbing}")).bearer("sk-master")).await;
        assert_eq!(response.status, 400, "{climbing}: {response}");
    }
    assert_eq!(upstream.requests().len(), asked, "nothing went upstream");
    for honest in ["sleepy", "health", "metrics", "v1/chat/completions", "tokenize"] {
        let response =
            gateway.send(&Request::post(&format!("/p/vllm/{honest}")).bearer("sk-master").json("{}")).await;
        assert_eq!(response.status, 200, "{honest}: {response}");
    }
}

#[tokio::test]
async fn a_control_route_opens_by_setting_and_only_to_the_master_key() {
    let upstream = vllm::engine().await;
    upstream.on("POST", "/sleep").then(Reply::json(200, "{}"));
    upstream.on("POST", "/wake_up").then(Reply::json(200, "{}"));
    let setup = || {
        TestGateway::setup()
            .vllm("vllm", &upstream)
            .env("FERROVIA_PASSTHROUGH_CONTROL_ROUTES_ALLOW", "/sleep,/reset_*")
    };
    let gateway = setup().env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    for (path, status) in [("sleep", 200), ("v1/sleep", 200), ("wake_up", 403)] {
        let response = gateway.send(&Request::post(&format!("/p/vllm/{path}")).bearer("sk-master")).await;
        assert_eq!(response.status, status, "{path}: {response}");
    }
    assert_eq!(gateway.send(&Request::post("/p/vllm/sleep")).await.status, 401);
    let open = setup().start().await;
    assert_eq!(
        open.send(&Request::post("/p/vllm/sleep").bearer("anything")).await.status,
        403,
        "never in open mode"
    );
}

#[tokio::test]
async fn further_routes_can_be_closed() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(200, "{}"));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_PASSTHROUGH_CONTROL_ROUTES_DENY", "/metrics,/secret/*,/v1/own")
        .start()
        .await;
    for (path, status) in [("metrics", 403), ("METRICS", 403), ("secret/a/b", 403), ("health", 200)] {
        assert_eq!(gateway.get(&format!("/p/vllm/{path}")).await.status, status, "{path}");
    }
    assert_eq!(gateway.get("/p/vllm/v1/own").await.status, 403, "closed as it was written");
    assert_eq!(gateway.get("/p/vllm/own").await.status, 200);
}

#[tokio::test]
async fn each_type_has_its_own_control_routes() {
    let upstream = vllm::engine().await;
    upstream.otherwise(Reply::json(200, r#"{"data":[]}"#));
    let gateway = TestGateway::setup()
        .provider("sglang", &upstream.url())
        .provider("ollama", &upstream.url())
        .provider("llamacpp", &upstream.url())
        .launch()
        .await;
    for (path, status) in [
        ("sglang/flush_cache", 403),
        ("sglang/update_weights_from_disk", 403),
        ("sglang/v1/loads", 403),
        ("sglang/generate", 200),
        ("ollama/api/pull", 403),
        ("ollama/api/delete", 403),
        ("ollama/api/tags", 200),
        ("llamacpp/slots/1", 403),
        ("llamacpp/props", 403),
        ("llamacpp/tokenize", 200),
    ] {
        assert_eq!(gateway.post(&format!("/p/{path}"), "{}").await.status, status, "{path}");
    }
}
