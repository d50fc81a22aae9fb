//! What stands around the API: base path, browsers, health, version, metrics.

use serde_json::json;
use testkit::ports::Refusing;
use testkit::{Gate, Reply, Request};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::{self, ASK};

#[tokio::test]
async fn everything_lives_under_the_base_path() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("BASE_PATH", "g/")
        .env("METRICS_ENABLED", "true")
        .start()
        .await;
    for path in
        ["/g/health", "/g/v1/models", "/g/v1/models/vllm%2Ftiny", "/%67/health", "/g/metrics", "/g/version"]
    {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.post("/g/v1/chat/completions?x=1", ASK).await.status, 200);
    for path in ["/health", "/v1/models", "/gx/health", "/g", "/G/health", "/metrics"] {
        let response = gateway.get(path).await;
        assert_eq!(response.status, 404, "{path}");
        told("/", &response);
    }
    assert_eq!(gateway.get("/%6/health").await.status, 400, "a broken encoding of the prefix");
}

#[tokio::test]
async fn health_is_open_and_tells_nothing_but_the_truth() {
    let (down, upstream) = (Refusing::start(), vllm::engine().await);
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_MASTER_KEY", "sk-master").start().await;
    for path in ["/health", "/health/live"] {
        let response = gateway.get(path).await;
        assert_eq!((response.status, response.json()["status"].as_str()), (200, Some("ok")));
    }
    let ready = gateway.get("/health/ready").await.json();
    assert_eq!((&ready["status"], &ready["components"]["providers"]), (&json!("ready"), &json!("ok")));
    let head = gateway.send(&Request::new("HEAD", "/health")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let version = gateway.get("/version").await.json();
    assert_eq!(
        (&version["app"], &version["version"]),
        (&json!("ferrovia"), &json!(env!("CARGO_PKG_VERSION")))
    );

    let gateway =
        TestGateway::setup().vllm("vllm-up", &upstream).provider("vllm-down", &down.url()).start().await;
    let ready = gateway.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")));
    let calls = gateway.count("call");
    gateway.get("/health").await;
    assert_eq!(gateway.count("call"), calls, "health checks are no calls");
}

#[tokio::test]
async fn metrics_are_off_unless_wanted_and_need_no_key() {
    let gateway = TestGateway::setup().start().await;
    assert_eq!(gateway.get("/metrics").await.status, 404);
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(Reply::json(200, vllm::REPLY))
        .then(Reply::json(400, vllm::error(400, "BadRequestError", "x")));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("METRICS_ENABLED", "true")
        .env("FERROVIA_MASTER_KEY", "sk-master")
        .start()
        .await;
    for _ in 0..2 {
        let response =
            gateway.send(&Request::post("/v1/chat/completions").bearer("sk-master").json(ASK)).await;
        gateway.line_of(&response).await;
    }
    gateway.send(&Request::get("/v1/models/some%2Fid").bearer("sk-master")).await;
    let response = gateway.get("/metrics").await;
    let kind = response.header("content-type").unwrap_or_default();
    assert!(response.status == 200 && kind.contains("version="), "{response}");
    let page = response.text();
    for line in [
        "# HELP gomodel_requests_total ",
        "# TYPE gomodel_requests_total counter",
        "ferrovia_tokens_total{provider_name=\"vllm\",model=\"tiny\",kind=\"input\",estimated=\"false\"} 10",
        "ferrovia_tokens_total{provider_name=\"vllm\",model=\"tiny\",kind=\"output\",estimated=\"false\"} 8",
        "ferrovia_provider_up{provider_name=\"vllm\"} 1",
        "ferrovia_provider_models{provider_name=\"vllm\"} 1",
    ] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
    let requests: Vec<&str> =
        page.lines().filter(|line| line.starts_with("gomodel_requests_total{")).collect();
    assert_eq!(requests.len(), 2, "{page}");
    for (status, kind) in [("200", "success"), ("400", "error")] {
        let found = requests
            .iter()
            .any(|line| line.contains(&format!("status_code=\"{status}\"")) && line.contains(kind));
        assert!(found, "{requests:?}");
    }
    assert!(
        page.contains("/v1/models/{id}") && !page.contains("some"),
        "labels are route templates:\n{page}"
    );
}

#[tokio::test]
async fn the_metrics_page_can_be_moved_but_never_over_the_api() {
    for (endpoint, served) in [
        ("/internal/figures", "/internal/figures"),
        ("/x/../figures", "/figures"),
        ("/v1", "/metrics"),
        ("/v1/models", "/metrics"),
        ("/p/x", "/metrics"),
    ] {
        let gateway = TestGateway::setup()
            .env("METRICS_ENABLED", "true")
            .env("METRICS_ENDPOINT", endpoint)
            .start()
            .await;
        let response = gateway.get(served).await;
        assert!(
            response.status == 200 && response.text().contains("ferrovia_build"),
            "{endpoint}: {response}"
        );
        let models = gateway.get("/v1/models").await;
        assert_eq!(models.json()["object"], "list", "{endpoint}");
    }
}

#[tokio::test]
async fn browsers_may_call_from_allowed_origins() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_MASTER_KEY", "sk-master")
        .env("FERROVIA_CORS_ALLOWED_ORIGINS", "https://app.example,http://localhost:3000")
        .start()
        .await;
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/v1/chat/completions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type")
    };
    let response = gateway.send(&preflight("https://app.example")).await;
    assert_eq!(
        (response.status, response.header("access-control-allow-origin")),
        (204, Some("https://app.example")),
        "{response}"
    );
    assert!(response.header("access-control-allow-methods").is_some_and(|m| m.contains("POST")));
    assert_eq!(response.header("access-control-allow-headers"), Some("authorization, content-type"));
    let foreign = gateway.send(&preflight("https://evil.example")).await;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (401, None), "{foreign}");

    let ask = Request::post("/v1/chat/completions").header("origin", "http://localhost:3000");
    let response = gateway.send(&ask.clone().bearer("sk-master").json(ASK)).await;
    assert_eq!(
        (response.status, response.header("access-control-allow-origin")),
        (200, Some("http://localhost:3000"))
    );
    assert!(response.header("access-control-expose-headers").is_some_and(|h| h.contains("x-request-id")));
    let refused = gateway.send(&ask.json(ASK)).await;
    assert_eq!(
        (refused.status, refused.header("access-control-allow-origin")),
        (401, Some("http://localhost:3000")),
        "errors can be read too"
    );

    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_CORS_ALLOWED_ORIGINS", "*").start().await;
    assert_eq!(gateway.send(&preflight("https://any.example")).await.status, 204);
    let gateway = TestGateway::before(&upstream).await;
    let response = gateway
        .send(&Request::post("/v1/chat/completions").header("origin", "https://app.example").json(ASK))
        .await;
    assert_eq!(
        (response.status, response.header("access-control-allow-origin")),
        (200, None),
        "none by default"
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_pipelines() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    for path in ["/health", "/v1/models", "/v1/nothing", "/health"] {
        client.exchange(&Request::get(path)).await;
    }
    let two = [
        Request::get("/health").to_bytes("x"),
        Request::post("/v1/chat/completions").json(ASK).to_bytes("x"),
    ]
    .concat();
    client.send(two).await.unwrap();
    assert_eq!(client.response().await.json(), json!({"status": "ok"}));
    assert_eq!(client.response().await.json()["provider"], "vllm");
}

#[tokio::test]
async fn a_body_announced_with_expect_is_asked_for() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let mut client = gateway.connect().await;
    let request = Request::post("/v1/chat/completions").header("expect", "100-continue").json(ASK);
    client.send(request.head_bytes("x")).await.unwrap();
    assert_eq!(client.raw_to_blank_line().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(request.body_bytes()).await.unwrap();
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn a_shared_runtime_serves_as_well() {
    let gate = Gate::new();
    let upstream =
        vllm::streaming(Reply::sse().event(vllm::FIRST).gate(&gate).event(vllm::LAST).done()).await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_RUNTIME", "multi_thread").start().await;
    let mut client = gateway.connect().await;
    client.request(&Request::post("/v1/chat/completions").json(vllm::ASK_STREAM)).await.unwrap();
    client.next_event().await.unwrap();
    gate.open();
    assert!(client.response().await.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_taken_port_is_said_and_ends_the_start() {
    let first = TestGateway::setup().start().await;
    let port = first.address().rsplit(':').next().unwrap().to_owned();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ferrovia"))
        .env_clear()
        .envs([("PORT", port.as_str()), ("FERROVIA_HOST", "127.0.0.1"), ("LOG_FORMAT", "json")])
        .current_dir(first.folder())
        .output()
        .expect("the binary can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&port) && said.contains("cannot listen"), "{said}");
}

#[tokio::test]
async fn what_can_only_be_read_says_so() {
    let gateway = TestGateway::setup()
        .env("METRICS_ENABLED", "true")
        .env("BASE_PATH", "/g")
        .env("FERROVIA_MASTER_KEY", "sk-master")
        .start()
        .await;
    for path in ["/g/health", "/g/health/live", "/g/health/ready", "/g/version", "/g/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let response = gateway.send(&Request::new(method, path).json("{}")).await;
            assert_eq!(response.status, 405, "{method} {path}: {response}");
            assert_eq!(response.header("allow"), Some("GET, HEAD"), "{method} {path}");
            assert!(response.header("x-request-id").is_some(), "{response}");
            assert_eq!(told(path, &response).kind, "invalid_request_error", "{response}");
        }
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
}
