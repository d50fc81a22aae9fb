//! How a request comes by its fault.

use serde_json::json;
use simulator::{Fault, Injection, Match, Model, Rule, Schedule, Settings, When, start};

use super::{CHAT, ask, body};
use crate::client::{engine, engine_with, get, post, send};

#[tokio::test]
async fn a_header_asks_for_a_fault_on_any_route() {
    let engine = engine().await;
    for path in ["/v1/models", "/health", "/metrics", "/version"] {
        let answer = send(&engine, "GET", path, &[("X-Simulate-Fault", "status:503")], "").await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(get(&engine, path).await.status, 200, "{path}");
    }
    let seen = engine.seen();
    assert_eq!(seen[0].fault, Some(Injection::new(Fault::Status, &[503]).unwrap()));
    assert_eq!(seen[1].fault, None);
}

#[tokio::test]
async fn the_name_of_the_model_asks_for_a_fault() {
    let engine = engine_with(|settings| settings.models.push(Model::named("org/other"))).await;
    let asking = |model: &str| {
        let mut body = body(CHAT, false);
        body["model"] = json!(model);
        body
    };
    let refused = post(&engine, CHAT, &asking("fault:retry-after-seconds:503:7/sim")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("7")));
    let answered = post(&engine, CHAT, &asking("fault:error-null/org/other")).await.json();
    assert_eq!(answered["model"], "org/other");
    assert_eq!(post(&engine, CHAT, &asking("fault:error-null")).await.json()["model"], "sim");
    let unknown = post(&engine, CHAT, &asking("fault:error-null/nope")).await;
    assert_eq!(unknown.status, 404);
    let text = json!({"model": "sim", "messages": [{"role": "user", "content": "fault:status/sim"}]});
    assert_eq!(post(&engine, CHAT, &text).await.status, 200);
}

#[tokio::test]
async fn a_broken_model_is_listed_and_breaks() {
    let engine = engine_with(|settings| {
        settings.models.push(Model::named("broken-status:503"));
        settings.models.push(Model::named("broken-heart"));
    })
    .await;
    let listed = get(&engine, "/v1/models").await.json();
    assert_eq!(listed["data"][1]["id"], "broken-status:503");
    for (model, status) in [("broken-status:503", 503), ("broken-heart", 200), ("broken-empty", 404)] {
        let mut body = body(CHAT, false);
        body["model"] = json!(model);
        assert_eq!(post(&engine, CHAT, &body).await.status, status, "{model}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_fault_is_refused_with_those_that_are() {
    let engine = engine().await;
    for fault in ["nope", "gzip:1", "status:9999", ""] {
        let answer = ask(&engine, fault, CHAT, &body(CHAT, true)).await;
        assert_eq!(answer.status, 400, "{fault}");
    }
    let answer = ask(&engine, "nope", CHAT, &body(CHAT, false)).await.json();
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("\"nope\"") && message.contains("reset-mid-event"), "{message}");
}

#[tokio::test]
async fn a_schedule_strikes_the_requests_that_it_names() {
    let rule = |path: Option<&str>, stream, when, fault: Fault| Rule {
        matches: Match { path: path.map(str::to_owned), model: None, stream },
        when,
        fault: fault.into(),
    };
    let rules = vec![
        rule(Some("/v1/chat"), Some(false), When::Nth(2), Fault::Status),
        rule(Some("/health"), None, When::Always, Fault::Html),
    ];
    let engine = engine_with(|settings| settings.faults = Schedule { seed: 3, rules }).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        assert_eq!(post(&engine, CHAT, &body(CHAT, true)).await.status, 200);
        statuses.push(post(&engine, CHAT, &body(CHAT, false)).await.status);
    }
    assert_eq!(statuses, [200, 500, 200]);
    assert_eq!(get(&engine, "/health").await.header("content-type"), Some("text/html"));
    // the request's own wish goes first
    let asked = send(&engine, "GET", "/health", &[("x-simulate-fault", "status:418")], "").await;
    assert_eq!(asked.status, 418);
}

#[tokio::test]
async fn a_schedule_is_repeatable() {
    let run = |seed| async move {
        let rule =
            Rule { matches: Match::default(), when: When::Probability(0.5), fault: Fault::Status.into() };
        let engine = engine_with(|settings| settings.faults = Schedule { seed, rules: vec![rule] }).await;
        let mut statuses = Vec::new();
        for _ in 0..24 {
            statuses.push(get(&engine, "/version").await.status);
        }
        statuses
    };
    let first = run(1).await;
    assert!(first.contains(&200) && first.contains(&500));
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_refused() {
    let rule = Rule { matches: Match::default(), when: When::Probability(1.5), fault: Fault::Empty.into() };
    let faults = Schedule { seed: 0, rules: vec![rule] };
    let error = start(Settings { faults, ..Settings::default() }).await.unwrap_err().to_string();
    assert!(error.contains("rule 1") && error.contains("1.5"), "{error}");
}

#[tokio::test]
async fn a_healthy_request_beside_every_fault_does_not_notice() {
    let engine = engine().await;
    let plain = post(&engine, CHAT, &body(CHAT, false)).await.json()["choices"].clone();
    for fault in Fault::ALL {
        let broken = super::open(&engine, fault.name(), CHAT, &body(CHAT, true)).await;
        assert_eq!(post(&engine, CHAT, &body(CHAT, false)).await.json()["choices"], plain, "{fault}");
        drop(broken);
    }
}
