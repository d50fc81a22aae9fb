//! What every request meets before a route: the key, the path, the body.

use std::time::{Duration, Instant};

use serde_json::json;
use simulator::{Ending, Settings, Tasks, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{LIMIT, begin, engine, engine_with, get, post, read, send};

#[tokio::test]
async fn the_key_guards_what_vllm_guards() {
    let engine = engine_with(|settings| settings.api_key = Some("sk-1".to_owned())).await;
    for path in ["/v1/models", "/v1/nothing", "/v2/rerank", "/inference/v1/generate"] {
        let refused = get(&engine, path).await;
        assert_eq!((refused.status, refused.body.as_str()), (401, r#"{"error":"Unauthorized"}"#), "{path}");
        let names: Vec<&str> = refused.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["date", "server", "content-length", "content-type"], "{path}");
    }
    for path in ["/health", "/version", "/metrics", "/load", "/ping", "/openapi.json"] {
        assert_eq!(get(&engine, path).await.status, 200, "{path}");
    }
    assert_eq!(post(&engine, "/tokenize", &json!({"prompt": "x"})).await.status, 200);
    assert_eq!(post(&engine, "/rerank", &json!({"query": "x", "documents": ["y"]})).await.status, 200);
    for (name, value, status) in [
        ("authorization", "Bearer sk-1", 200),
        ("authorization", "bearer sk-1", 200),
        ("authorization", "Bearer sk-2", 401),
        ("authorization", "Basic sk-1", 401),
        ("x-api-key", "sk-1", 401),
    ] {
        let answer = send(&engine, "GET", "/v1/models", &[(name, value)], "").await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn paths_that_are_not_there_are_told_as_fastapi_tells_them() {
    let engine = engine().await;
    let told = |method: &'static str, path: &'static str| {
        let engine = &engine;
        async move {
            let answer = send(engine, method, path, &[], "").await;
            let extra = answer.header("allow").or(answer.header("location")).unwrap_or_default();
            format!("{} {} {extra}", answer.status, answer.body)
        }
    };
    assert_eq!(told("GET", "/nope").await, r#"404 {"detail":"Not Found"} "#);
    assert_eq!(told("GET", "/v1/models/sim").await, r#"404 {"detail":"Not Found"} "#);
    assert_eq!(told("POST", "/sleep").await, r#"404 {"detail":"Not Found"} "#);
    assert_eq!(told("GET", "/v1/chat/completions").await, r#"405 {"detail":"Method Not Allowed"} POST"#);
    assert_eq!(told("POST", "/v1/models").await, r#"405 {"detail":"Method Not Allowed"} GET"#);
    let location = format!("307  {}/v1/models?x=1", engine.base_url());
    assert_eq!(told("GET", "/v1/models/?x=1").await, location);
}

#[tokio::test]
async fn headers_come_in_uvicorns_order() {
    let engine = engine().await;
    let names =
        |answer: crate::client::Answer| answer.headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let version = get(&engine, "/version").await;
    assert_eq!(version.body, r#"{"version":"0.32.0"}"#);
    assert_eq!(version.header("server"), Some("uvicorn"));
    assert_eq!(names(version), ["date", "server", "content-length", "content-type", "vary"]);
    assert_eq!(names(get(&engine, "/health").await), ["date", "server", "content-length", "vary"]);
    let other = send(&engine, "GET", "/v1/score", &[], "").await;
    assert_eq!(names(other), ["date", "server", "allow", "content-length", "content-type", "vary"]);
    let stream = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let stream = post(&engine, "/v1/chat/completions", &stream).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(names(stream), ["date", "server", "content-type", "vary", "transfer-encoding"]);
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_in_pydantics_words() {
    let engine = engine().await;
    let json = [("content-type", "application/json")];
    for (body, finding, param) in [
        (
            "hello",
            "{'type': 'json_invalid', 'loc': 'body.0', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
            "body.0",
        ),
        (
            r#"{"model":"x""#,
            r#"{'type': 'json_invalid', 'loc': 'body.12', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {'error': \"Expecting ',' delimiter\"}}"#,
            "body.12",
        ),
        (
            "[]",
            "{'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary or object to extract fields from', 'input': '<list of 0 items>'}",
            "body",
        ),
        ("null", "{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}", "body"),
        ("", "{'type': 'missing', 'loc': 'body', 'msg': 'Field required', 'input': 'None'}", "body"),
        (
            r#"{"model":"sim"}"#,
            "{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}",
            "body.messages",
        ),
    ] {
        let answer = send(&engine, "POST", "/v1/chat/completions", &json, body).await;
        let expected = format!(
            r#"{{"error":{{"message":"1 validation error:\n  {finding}","type":"Bad Request","param":"{param}","code":400}}}}"#
        );
        assert_eq!((answer.status, answer.body), (400, expected), "{body}");
    }
    let plain = send(&engine, "POST", "/v1/chat/completions", &[("content-type", "text/plain")], "{}").await;
    assert!(
        plain.body.contains("Unsupported Media Type: Only 'application/json' is allowed"),
        "{}",
        plain.body
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let engine = engine_with(|settings| settings.body_limit = 100).await;
    let answer = post(&engine, "/tokenize", &json!({"prompt": "x".repeat(200)})).await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("100 bytes"), "{}", answer.body);
    assert_eq!(engine.seen()[0].ended, Some(Ending::Failed));
}

#[tokio::test]
async fn a_connection_is_kept_and_closed_when_it_idles() {
    let engine = engine_with(|settings| settings.idle_close = Duration::from_millis(200)).await;
    let mut stream = begin(&engine, "GET", "/health", &[], "").await;
    read(&mut stream).await;
    stream.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut stream).await.body, r#"{"version":"0.32.0"}"#);
    let idle = Instant::now();
    let end = tokio::time::timeout(LIMIT, stream.read(&mut [0; 1])).await.expect("still open").unwrap();
    assert_eq!(end, 0);
    assert!(idle.elapsed() >= Duration::from_millis(150), "{:?}", idle.elapsed());
}

#[tokio::test]
async fn what_came_in_is_remembered() {
    let engine = engine_with(|settings| settings.remembered = 2).await;
    get(&engine, "/health").await;
    get(&engine, "/v1/models?x=1").await;
    let body = json!({"prompt": "Hello"});
    send(
        &engine,
        "POST",
        "/tokenize",
        &[("content-type", "application/json"), ("X-Mark", "1")],
        &body.to_string(),
    )
    .await;
    let seen = engine.seen();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
    assert_eq!(targets, ["/v1/models?x=1", "/tokenize"]);
    assert_eq!(
        (seen[1].method.as_str(), seen[1].status, seen[1].ended),
        ("POST", Some(200), Some(Ending::Completed))
    );
    assert_eq!(seen[1].headers["x-mark"], "1");
    assert_eq!(seen[1].body, body.to_string());
}

#[tokio::test]
async fn routes_follow_the_tasks_of_the_models() {
    let engine = engine_with(|settings| settings.models[0].tasks = Tasks::EMBED).await;
    let paths = get(&engine, "/openapi.json").await.json()["paths"].as_object().unwrap().clone();
    assert!(paths["/v1/embeddings"].get("post").is_some());
    assert!(!paths.contains_key("/v1/chat/completions") && !paths.contains_key("/classify"));
    assert_eq!(post(&engine, "/v1/chat/completions", &json!({"messages": []})).await.status, 404);
    assert_eq!(post(&engine, "/v1/embeddings", &json!({"input": "x"})).await.status, 200);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut Settings)| async move {
        let mut settings = Settings::default();
        change(&mut settings);
        start(settings).await.unwrap_err().to_string()
    };
    assert!(refused(|settings| settings.models.clear()).await.contains("at least one model"));
    assert!(
        refused(|settings| settings.decode_tokens_per_second = 0.0)
            .await
            .contains("decode_tokens_per_second")
    );
    assert!(
        refused(|settings| settings.prefill_tokens_per_second = f64::NAN)
            .await
            .contains("prefill_tokens_per_second")
    );
}

#[tokio::test]
async fn a_stopped_engine_is_gone() {
    let engine = engine().await;
    let address = engine.address();
    engine.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_was_sent_and_on_which_connection_is_remembered() {
    let engine = engine_with(|settings| settings.recorded = 20).await;
    let request = r#"{"model":"sim","messages":[{"role":"user","content":"Hello"}]}"#;
    let mut first = begin(&engine, "POST", "/v1/chat/completions", &[], request).await;
    let answer = read(&mut first).await;
    let mut second = begin(&engine, "GET", "/v1/models", &[], "").await;
    read(&mut second).await;
    let seen = engine.seen();
    assert_eq!(seen[0].sent, answer.body.as_bytes()[..20]);
    assert_eq!((seen[0].connection, seen[1].connection), (1, 2));
    assert_eq!(engine.open_connections(), [1, 2]);
    drop(first);
    let closed = async {
        while engine.open_connections() != [2] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::client::LIMIT, closed).await.unwrap();
}
