//! The breaker: a deployment that keeps failing is left alone, and nobody else is.

use std::time::{Duration, Instant};

use testkit::ports::Refusing;
use testkit::{FakeUpstream, Gate, Reply, Response};

use crate::envelope::told;
use crate::gateway::{Setup, TestGateway};
use crate::vllm::{self, PROBES, REPLY, engine_with};

async fn ask(gateway: &TestGateway, model: &str) -> Response {
    gateway.post("/v1/chat/completions", vllm::ASK.replace("tiny", model)).await
}

/// No second attempts: every call is one failure.
fn fragile(upstream: &FakeUpstream) -> Setup {
    TestGateway::setup().vllm("vllm", upstream).no_retries()
}

fn failing(status: u16) -> Reply {
    Reply::json(status, vllm::error(status, "InternalServerError", "broken"))
}

async fn open(gateway: &TestGateway, model: &str) {
    for n in 0..5 {
        let response = ask(gateway, model).await;
        assert_eq!(response.status, 500, "failure {n}: {response}");
    }
}

#[tokio::test]
async fn after_five_failures_calls_fail_at_once_and_the_upstream_rests() {
    let upstream = vllm::streaming(failing(500)).await;
    let gateway = fragile(&upstream).env("METRICS_ENABLED", "true").start().await;
    open(&gateway, "tiny").await;
    for _ in 0..3 {
        let asked = Instant::now();
        let response = ask(&gateway, "tiny").await;
        assert!(asked.elapsed() < Duration::from_secs(2));
        assert_eq!(response.status, 503, "{response}");
        let error = told("/v1", &response);
        assert_eq!(
            (error.kind.as_str(), error.code.as_deref()),
            ("provider_error", Some("circuit_breaker_open"))
        );
        assert!(
            error.message.starts_with("circuit breaker is open - provider temporarily unavailable"),
            "{}",
            error.message
        );
        let wait: u64 = response.header("retry-after").expect("a wait").parse().expect("seconds");
        assert!((1..=30).contains(&wait), "{wait}");
        assert_eq!(gateway.line_of(&response).await["attempts"], 0);
    }
    assert_eq!(upstream.requests().len(), PROBES + 5);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("ferrovia_breaker_open{deployment=\"vllm/tiny\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_4xx_never_opens_it() {
    let upstream = vllm::engine().await;
    let gateway = fragile(&upstream).start().await;
    for status in [400, 401, 404, 422, 429] {
        upstream
            .on("POST", "/v1/chat/completions")
            .now(Reply::json(status, vllm::error(status, "X", "the model says no")));
        for _ in 0..7 {
            assert_eq!(ask(&gateway, "tiny").await.status, status);
        }
    }
    let before = upstream.requests().len();
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
    assert_eq!(ask(&gateway, "tiny").await.status, 200);
    assert_eq!(upstream.requests().len(), before + 1);
}

#[tokio::test]
async fn a_success_between_failures_begins_the_count_again() {
    let upstream = vllm::engine().await;
    let gateway = fragile(&upstream).start().await;
    for _ in 0..3 {
        upstream.on("POST", "/v1/chat/completions").now(failing(500));
        for _ in 0..4 {
            assert_eq!(ask(&gateway, "tiny").await.status, 500);
        }
        upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
        assert_eq!(ask(&gateway, "tiny").await.status, 200);
    }
}

#[tokio::test]
async fn errors_in_disguise_open_it_too() {
    for bad in [
        Reply::json(200, vllm::error(500, "InternalServerError", "broken")),
        Reply::json(200, "not json"),
        Reply::no_response(),
    ] {
        let upstream = vllm::streaming(bad).await;
        let gateway = fragile(&upstream).start().await;
        for _ in 0..5 {
            assert!(matches!(ask(&gateway, "tiny").await.status, 500 | 502));
        }
        let asked = upstream.requests().len();
        assert_eq!(ask(&gateway, "tiny").await.status, 503);
        assert_eq!(upstream.requests().len(), asked);
    }
}

#[tokio::test]
async fn models_fail_apart_unless_the_scope_is_the_provider() {
    for (scope, other) in [("model", 200), ("provider", 503)] {
        let upstream = engine_with(&["bad", "good"]).await;
        upstream.on("POST", "/v1/chat/completions").then_with(|request| {
            if request.json()["model"] == "bad" { failing(500) } else { Reply::json(200, REPLY) }
        });
        let gateway = fragile(&upstream).env("CIRCUIT_BREAKER_SCOPE", scope).start().await;
        open(&gateway, "bad").await;
        assert_eq!(ask(&gateway, "bad").await.status, 503, "{scope}");
        assert_eq!(ask(&gateway, "good").await.status, other, "{scope}");
    }
}

#[tokio::test]
async fn other_instances_are_not_affected() {
    let (bad, good) = (engine_with(&["a"]).await, engine_with(&["b"]).await);
    bad.on("POST", "/v1/chat/completions").then(failing(500));
    good.on("POST", "/v1/chat/completions").then(Reply::json(200, REPLY));
    let gateway = fragile(&bad).vllm("vllm-test", &good).start().await;
    open(&gateway, "vllm/a").await;
    assert_eq!(ask(&gateway, "vllm/a").await.status, 503);
    assert_eq!(ask(&gateway, "vllm-test/b").await.status, 200);
    let down = Refusing::start();
    let gateway = TestGateway::setup()
        .provider("vllm-down", &down.url())
        .env("VLLM_DOWN_MODELS", "m")
        .vllm("vllm-up", &good)
        .quick_retries()
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "vllm-down/m").await.status, 502);
    }
    assert_eq!(ask(&gateway, "vllm-up/b").await.status, 200);
}

#[tokio::test]
async fn the_last_deployment_of_a_model_is_never_shut_out() {
    let (first, second) = (vllm::streaming(failing(500)).await, vllm::streaming(failing(500)).await);
    let gateway = fragile(&first).vllm("vllm-test", &second).start().await;
    open(&gateway, "vllm/tiny").await;
    assert_eq!(ask(&gateway, "vllm/tiny").await.status, 503, "another one is well");
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "vllm-test/tiny").await.status, 500);
    }
    assert_eq!(
        ask(&gateway, "vllm-test/tiny").await.status,
        500,
        "nobody is well any more: it is tried all the same"
    );
}

#[tokio::test]
async fn half_open_lets_one_probe_through_and_two_successes_close_it() {
    let upstream = vllm::streaming(failing(500)).await;
    let gateway = fragile(&upstream).env("CIRCUIT_BREAKER_TIMEOUT", "300ms").start().await;
    open(&gateway, "tiny").await;
    assert_eq!(ask(&gateway, "tiny").await.status, 503);

    // a probe that fails opens it again
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(ask(&gateway, "tiny").await.status, 500);
    assert_eq!(ask(&gateway, "tiny").await.status, 503);
    assert_eq!(upstream.requests().len(), PROBES + 6);

    // one at a time
    let gate = Gate::new();
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY).gate_before_head(&gate));
    tokio::time::sleep(Duration::from_millis(350)).await;
    let probe = ask(&gateway, "tiny");
    let others = async {
        gate.reached(1).await;
        for _ in 0..5 {
            assert_eq!(ask(&gateway, "tiny").await.status, 503);
        }
        assert_eq!(upstream.requests().len(), PROBES + 7, "one probe, and nobody else");
        gate.open();
    };
    let (probe, ()) = tokio::join!(probe, others);
    assert_eq!(probe.status, 200);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "tiny").await.status, 200, "the second success closes it");
    }
}

#[tokio::test]
async fn a_probe_whose_client_leaves_does_not_block_the_next() {
    let upstream = vllm::streaming(failing(500)).await;
    let gateway = fragile(&upstream).env("CIRCUIT_BREAKER_TIMEOUT", "200ms").start().await;
    open(&gateway, "tiny").await;
    upstream.on("POST", "/v1/chat/completions").now(Reply::no_response().stall());
    tokio::time::sleep(Duration::from_millis(250)).await;
    let mut client = gateway.connect().await;
    client
        .request(
            &testkit::Request::post("/v1/chat/completions").header("x-request-id", "r-1").json(vllm::ASK),
        )
        .await
        .unwrap();
    upstream.wait_for_request(PROBES + 6).await;
    client.close();
    gateway.call_line("r-1").await;
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
    assert_eq!(ask(&gateway, "tiny").await.status, 200);
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let upstream = vllm::streaming(failing(500)).await;
    let gateway = fragile(&upstream).env("CIRCUIT_BREAKER_ENABLED", "false").start().await;
    for _ in 0..8 {
        assert_eq!(ask(&gateway, "tiny").await.status, 500);
    }
}

#[tokio::test]
async fn streams_that_break_off_open_it_too() {
    let upstream = vllm::streaming(Reply::sse().event(vllm::FIRST).reset()).await;
    let gateway = fragile(&upstream).start().await;
    for _ in 0..5 {
        let response = gateway.post("/v1/chat/completions", vllm::ASK_STREAM).await;
        assert_eq!(response.status, 200);
        gateway.line_of(&response).await;
    }
    let asked = upstream.requests().len();
    assert_eq!(ask(&gateway, "tiny").await.status, 503);
    assert_eq!(upstream.requests().len(), asked);
}

#[tokio::test]
async fn clients_that_leave_do_not_open_it() {
    let upstream = vllm::streaming(Reply::no_response().stall()).await;
    let gateway = fragile(&upstream).start().await;
    for n in 1..=7 {
        let mut client = gateway.connect().await;
        let id = format!("r-{n}");
        let request =
            testkit::Request::post("/v1/chat/completions").header("x-request-id", &id).json(vllm::ASK);
        client.request(&request).await.unwrap();
        upstream.wait_for_request(PROBES + n).await;
        client.close();
        gateway.call_line(&id).await;
    }
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
    assert_eq!(ask(&gateway, "tiny").await.status, 200);
}
