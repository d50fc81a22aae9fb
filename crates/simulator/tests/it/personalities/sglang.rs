//! SGLang.

use serde_json::{Value, json};
use simulator::{Personality, Running};

use super::{CHAT, asking, played_by, statuses};
use crate::client::{get, post, send};

async fn sglang(change: impl FnOnce(&mut simulator::Settings)) -> Running {
    played_by(Personality::Sglang, change).await
}

#[tokio::test]
async fn routes_answer_as_fastapi_answers() {
    let engine = sglang(|_| ()).await;
    let answers = statuses(
        &engine,
        &[
            ("GET", "/health", 200),
            ("GET", "/health_generate", 200),
            ("GET", "/get_server_info", 200),
            ("POST", "/flush_cache", 200),
            ("GET", "/v1/chat/completions", 405),
            ("GET", "/version", 404),
            ("GET", "/props", 404),
            ("POST", "/v1/rerank", 404),
        ],
    )
    .await;
    assert_eq!(answers[0].body, "");
    assert_eq!(answers[4].body, r#"{"detail":"Method Not Allowed"}"#);
    assert_eq!(answers[4].header("server"), Some("uvicorn"));
    assert_eq!(answers[5].body, r#"{"detail":"Not Found"}"#);
}

#[tokio::test]
async fn it_tells_its_model_version_and_context_length() {
    let engine = sglang(|settings| settings.max_model_len = 4_096).await;
    let info = get(&engine, "/get_model_info").await.json();
    assert_eq!((&info["model_path"], &info["is_generation"]), (&json!("sim"), &json!(true)));
    assert_eq!(get(&engine, "/model_info").await.json(), info);
    let server = get(&engine, "/get_server_info").await.json();
    assert_eq!((&server["version"], &server["context_length"]), (&json!("0.5.9"), &json!(4_096)));
    let paths = get(&engine, "/openapi.json").await.json()["paths"].clone();
    assert!(paths["/v1/chat/completions"]["post"].is_object() && paths["/model_info"]["get"].is_object());
    assert!(paths.get("/openapi.json").is_none() && paths.get("/v1/rerank").is_none());
    let model = get(&engine, "/v1/models").await.json()["data"][0].clone();
    assert_eq!((&model["owned_by"], &model["max_model_len"]), (&json!("sglang"), &json!(4_096)));
    let counted = post(&engine, "/tokenize", &json!({"prompt": "Hello there"})).await.json();
    assert_eq!(counted["tokens"].as_array().unwrap().len() as u64, counted["count"].as_u64().unwrap());
}

#[tokio::test]
async fn it_takes_any_name_for_its_model_and_repeats_it() {
    let engine = sglang(|_| ()).await;
    let mut body = asking(false);
    body["model"] = json!("whatever/you-like");
    let answer = post(&engine, CHAT, &body).await.json();
    assert_eq!(answer["model"], "whatever/you-like");
    let choice = &answer["choices"][0];
    assert_eq!(choice.get("matched_stop"), Some(&json!(2)));
    assert_eq!(choice["message"].get("tool_calls"), Some(&Value::Null));
    assert_eq!(choice["message"].get("reasoning_content"), Some(&Value::Null));
}

#[tokio::test]
async fn its_errors_are_flat_and_a_stream_hides_one_in_an_object() {
    let engine = sglang(|settings| settings.max_model_len = 64).await;
    let mut body = asking(false);
    body["messages"][0]["content"] = json!("word ".repeat(100));
    let refused = post(&engine, CHAT, &body).await;
    let told = refused.json();
    assert_eq!((refused.status, &told["object"], &told["code"]), (400, &json!("error"), &json!(400)));
    assert!(
        told["message"].as_str().unwrap().contains("is longer than the model's context length (64 tokens)")
    );
    body["stream"] = json!(true);
    let stream = post(&engine, CHAT, &body).await;
    assert_eq!(
        (stream.status, stream.header("content-type")),
        (200, Some("text/event-stream; charset=utf-8"))
    );
    let events = stream.events();
    assert_eq!(
        (events.len(), &events[0]["error"]["object"], &events[1]),
        (2, &json!("error"), &json!("[DONE]"))
    );
    let mut nonsense = asking(false);
    nonsense["messages"] = json!("x");
    assert_eq!(post(&engine, CHAT, &nonsense).await.json()["object"], "error");
}

#[tokio::test]
async fn the_key_guards_everything_but_health_and_metrics() {
    let engine = sglang(|settings| settings.api_key = Some("k".to_owned())).await;
    statuses(
        &engine,
        &[
            ("GET", "/health", 200),
            ("GET", "/metrics", 200),
            ("GET", "/get_model_info", 401),
            ("GET", "/v1/models", 401),
            ("POST", "/flush_cache", 401),
            ("GET", "/nothing", 401),
        ],
    )
    .await;
    let allowed = send(&engine, "GET", "/v1/models", &[("authorization", "Bearer k")], "").await;
    assert_eq!(allowed.status, 200);
}

#[tokio::test]
async fn health_waits_for_the_model_and_metrics_for_a_flag() {
    let engine = sglang(|settings| {
        settings.loading = std::time::Duration::from_secs(3_600);
        settings.metrics = false;
    })
    .await;
    statuses(&engine, &[("GET", "/health", 503), ("GET", "/metrics", 404), ("GET", "/v1/models", 200)]).await;
    let engine = sglang(|_| ()).await;
    post(&engine, CHAT, &asking(false)).await;
    let page = get(&engine, "/metrics").await.body;
    for name in ["sglang:num_running_reqs{", "sglang:num_queue_reqs{", "sglang:token_usage{"] {
        assert!(page.contains(name), "{name} is not in\n{page}");
    }
    assert!(!page.contains("vllm:"));
}

#[tokio::test]
async fn constraints_go_by_its_own_names() {
    let engine = sglang(|_| ()).await;
    let mut body = asking(false);
    body["regex"] = json!("[0-9]{4}");
    let said = post(&engine, CHAT, &body).await.json()["choices"][0]["message"]["content"].clone();
    assert!(said.as_str().unwrap().parse::<u32>().is_ok(), "{said}");
    let mut body = asking(false);
    body["structured_outputs"] = json!({"regex": "[0-9]{4}"});
    let said = post(&engine, CHAT, &body).await.json()["choices"][0]["message"]["content"].clone();
    assert!(said.as_str().unwrap().parse::<u32>().is_err(), "{said}");
}

#[tokio::test]
async fn its_own_route_repeats_all_of_the_text() {
    let engine = sglang(|_| ()).await;
    let mut body = json!({"text": "Once", "sampling_params": {"max_new_tokens": 6}});
    let whole = post(&engine, "/generate", &body).await.json();
    assert_eq!(whole["meta_info"]["completion_tokens"], 6);
    assert_eq!(whole["meta_info"]["finish_reason"]["type"], "length");
    body["stream"] = json!(true);
    let events = post(&engine, "/generate", &body).await.events();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let texts: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(texts.windows(2).all(|pair| pair[1].starts_with(pair[0])), "{texts:?}");
    assert_eq!(texts.last().copied(), whole["text"].as_str());
}
