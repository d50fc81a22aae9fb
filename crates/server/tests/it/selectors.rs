//! Which deployment a name means, and what is said when it means none.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{FakeUpstream, Reply, Response};

use crate::gateway::TestGateway;
use crate::vllm::{self, PROBES, engine_with};

fn chat(upstream: &FakeUpstream) {
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, vllm::REPLY));
}

async fn ask(gateway: &TestGateway, model: &str) -> Response {
    gateway.post("/v1/chat/completions", json!({"model": model, "messages": []}).to_string()).await
}

#[tokio::test]
async fn a_name_means_the_deployment_that_the_rules_say() {
    let (first, second) = (
        engine_with(&["same", "openai/gpt-oss", "only-a"]).await,
        engine_with(&["same", "only-b", "vllm-a/odd"]).await,
    );
    chat(&first);
    chat(&second);
    let gateway = TestGateway::setup().vllm("vllm-a", &first).vllm("vllm-b", &second).start().await;
    // who is called, and with which name: the instance by name, then by type, then the whole as a raw id
    for (model, instance, sent) in [
        ("vllm-a/same", "vllm-a", "same"),
        ("vllm-b/same", "vllm-b", "same"),
        ("same", "vllm-a", "same"),
        ("only-b", "vllm-b", "only-b"),
        ("vllm/only-b", "vllm-b", "only-b"),
        ("vllm/same", "vllm-a", "same"),
        ("openai/gpt-oss", "vllm-a", "openai/gpt-oss"),
        ("vllm-a/openai/gpt-oss", "vllm-a", "openai/gpt-oss"),
        (" vllm-b / same ", "vllm-b", "same"),
    ] {
        let response = ask(&gateway, model).await;
        assert_eq!(response.status, 200, "{model}: {response}");
        let line = gateway.line_of(&response).await;
        assert_eq!((&line["provider"], &line["model"]), (&json!(instance), &json!(sent)), "{model}");
        let upstream = if instance == "vllm-a" { &first } else { &second };
        let last = upstream.requests().pop().expect("it was called");
        assert_eq!(last.json()["model"], sent, "{model}");
    }
    // a configured prefix is never part of a model's own id
    assert_eq!(ask(&gateway, "vllm-a/odd").await.status, 400);
}

#[tokio::test]
async fn the_provider_member_is_authoritative_and_stays_here() {
    let (first, second) = (engine_with(&["m", "openai/m"]).await, engine_with(&["m"]).await);
    chat(&first);
    chat(&second);
    let gateway = TestGateway::setup().vllm("vllm-a", &first).vllm("vllm-b", &second).start().await;
    for (model, provider, instance, sent) in [
        ("m", "vllm-b", "vllm-b", "m"),
        ("vllm-b/m", "vllm-b", "vllm-b", "m"),
        ("openai/m", "vllm-a", "vllm-a", "openai/m"),
        ("m", "vllm", "vllm-a", "m"),
    ] {
        let body = json!({"model": model, "provider": provider, "messages": []}).to_string();
        let response = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(response.status, 200, "{model} at {provider}: {response}");
        assert_eq!(gateway.line_of(&response).await["provider"], instance);
        let upstream = if instance == "vllm-a" { &first } else { &second };
        let received = upstream.requests().pop().expect("it was called").json();
        assert_eq!(received, json!({"model": sent, "messages": []}), "{model} at {provider}");
    }
    for hint in [r#""""#, r#"" ""#, "null"] {
        let body = format!(r#"{{"model":"m","provider":{hint},"messages":[]}}"#);
        let response = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(response.status, 200, "{hint}: {response}");
        assert_eq!(response.header("x-ferrovia-changes").map(|c| c.contains("request.provider")), Some(true));
        let received = first.requests().pop().expect("it was called");
        assert_eq!(
            received.text(),
            r#"{"model":"m","messages":[]}"#,
            "{hint} says nothing, and goes nowhere"
        );
    }
    let nobody =
        gateway.post("/v1/chat/completions", r#"{"model":"m","provider":"groq","messages":[]}"#).await;
    assert_eq!(nobody.status, 400, "{nobody}");
    assert!(nobody.text().contains("unsupported model: groq/m"), "{nobody}");
}

#[tokio::test]
async fn an_unknown_model_is_told_with_near_names() {
    let upstream = engine_with(&["llama-3.1-8b-instruct", "qwen-2.5"]).await;
    let gateway = TestGateway::before(&upstream).await;
    for path in ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/completions"] {
        let body = json!({"model": "vllm/lama-3.1-8b-instruct", "messages": [], "input": "x", "prompt": "x"})
            .to_string();
        let response = gateway.post(path, body).await;
        assert_eq!(response.status, 400, "{path}: {response}");
        let error = &response.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("unsupported model: vllm/lama-3.1-8b-instruct"), "{message}");
        assert!(message.contains("vllm/llama-3.1-8b-instruct") && !message.contains("qwen"), "{message}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("model_not_found")));
    }
    let body = r#"{"model":"nothing","max_tokens":1,"messages":[]}"#;
    let messages = gateway.post("/v1/messages", body).await;
    assert_eq!((messages.status, &messages.json()["type"]), (400, &json!("error")));
    assert_eq!(messages.json()["error"]["type"], "invalid_request_error");
    assert!(upstream.requests().iter().all(|request| request.method == "GET"), "nothing was sent");
}

#[tokio::test]
async fn a_new_model_is_found_when_it_is_asked_for() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    upstream.on("GET", "/v1/models").now(vllm::listing(&["tiny", "brand-new"]));
    let response = ask(&gateway, "vllm/brand-new").await;
    assert_eq!(response.status, 200, "{response}");
}

#[tokio::test]
async fn news_is_asked_for_once_in_a_while() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    for n in 0..20 {
        assert_eq!(ask(&gateway, &format!("vllm/unknown-{n}")).await.status, 400);
    }
    assert_eq!(upstream.requests().len(), 2 * PROBES, "twenty unknown models, one question");
}

#[tokio::test]
async fn many_unknown_models_at_once_are_one_question() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::before(&upstream).await;
    let asking = (0..20).map(|n| {
        let gateway = &gateway;
        async move { ask(gateway, &format!("vllm/unknown-{n}")).await.status }
    });
    let statuses = futures_util::future::join_all(asking).await;
    assert_eq!(statuses, [400; 20]);
    assert_eq!(upstream.requests().len(), 2 * PROBES);
}

#[tokio::test]
async fn a_model_is_unavailable_while_an_instance_that_may_have_it_is_silent() {
    let (talking, silent) = (vllm::talking().await, FakeUpstream::start().await);
    silent.otherwise(Reply::json(500, vllm::error(500, "InternalServerError", "starting")));
    let gateway = TestGateway::setup().vllm("vllm-a", &talking).vllm("vllm-b", &silent).start().await;
    // (model, status): only who could have the model matters
    for (model, status) in
        [("vllm-a/nope", 400), ("vllm-b/nope", 503), ("nope", 503), ("elsewhere/nope", 503), ("tiny", 200)]
    {
        let response = ask(&gateway, model).await;
        assert_eq!(response.status, status, "{model}: {response}");
        if status == 503 {
            assert!(response.text().contains("vllm-b") && !response.text().contains("vllm-a"), "{response}");
            assert_eq!(response.json()["error"]["type"], "provider_error");
            assert!(response.header("retry-after").is_some(), "{response}");
        }
    }
}

#[tokio::test]
async fn a_stale_inventory_is_an_inventory() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("CACHE_REFRESH_INTERVAL", "100ms")
        .env("PROVIDER_RECHECK_INTERVAL", "100ms")
        .start()
        .await;
    upstream.on("GET", "/v1/models").now(Reply::status(500));
    gateway
        .line("the failure", |line| line["message"] == "provider did not answer; it is asked again soon")
        .await;
    assert_eq!(ask(&gateway, "vllm/nope").await.status, 400);
}

#[tokio::test]
async fn a_bare_unknown_name_waits_for_nobody_longer_than_two_seconds() {
    let (talking, silent) = (vllm::talking().await, FakeUpstream::start().await);
    silent.otherwise(Reply::no_response().stall());
    let gateway = TestGateway::setup().vllm("vllm-a", &talking).vllm("vllm-b", &silent).launch().await;
    gateway.line("that one answers", |line| line["message"] == "provider answered").await;
    let asked = Instant::now();
    let response = ask(&gateway, "nope").await;
    let waited = asked.elapsed();
    assert_eq!(response.status, 503, "{response}");
    assert!(waited > Duration::from_millis(1800) && waited < Duration::from_secs(5), "{waited:?}");
}
