//! llama.cpp's server.

use serde_json::{Value, json};
use simulator::{Personality, Running, Tasks};

use super::{CHAT, asking, played_by, statuses};
use crate::client::{get, post, send};

async fn llamacpp(change: impl FnOnce(&mut simulator::Settings)) -> Running {
    played_by(Personality::LlamaCpp, change).await
}

#[tokio::test]
async fn a_wrong_method_is_as_unknown_as_a_wrong_path() {
    let engine = llamacpp(|_| ()).await;
    let answers = statuses(
        &engine,
        &[
            ("GET", "/v1/chat/completions", 404),
            ("GET", "/nothing", 404),
            ("GET", "/version", 404),
            ("GET", "/openapi.json", 404),
            ("POST", "/v1/rerank", 501),
            ("POST", "/v1/embeddings", 501),
        ],
    )
    .await;
    assert_eq!(answers[0].body, answers[1].body);
    assert_eq!(
        answers[0].json()["error"],
        json!({"code": 404, "message": "File Not Found", "type": "not_found_error"})
    );
    assert_eq!(answers[4].json()["error"]["type"], "not_supported_error");
    assert_eq!(answers[0].header("server"), Some("llama.cpp"));
    assert_eq!(answers[0].header("vary"), None);
}

#[tokio::test]
async fn it_tells_its_build_its_slots_and_its_context() {
    let engine = llamacpp(|settings| {
        settings.max_model_len = 8_192;
        settings.max_num_seqs = 2;
    })
    .await;
    let props = get(&engine, "/props").await.json();
    assert_eq!(props["default_generation_settings"]["n_ctx"], 8_192);
    assert_eq!((&props["total_slots"], &props["model_alias"]), (&json!(2), &json!("sim")));
    assert!(props["build_info"].as_str().unwrap().starts_with("b8100-"));
    let models = get(&engine, "/v1/models").await.json();
    assert_eq!((&models["models"][0]["name"], &models["data"][0]["id"]), (&json!("sim"), &json!("sim")));
    assert_eq!(models["data"][0]["meta"]["n_ctx_train"], 8_192);
    assert_eq!(models["data"][0]["owned_by"], "llamacpp");
    assert_eq!(get(&engine, "/slots").await.json().as_array().unwrap().len(), 2);
    assert_eq!(get(&engine, "/health").await.json(), json!({"status": "ok"}));
    let tokens = post(&engine, "/tokenize", &json!({"content": "Hello"})).await.json();
    let text = post(&engine, "/detokenize", &tokens).await.json();
    assert_eq!(text["content"], "Hello");
}

#[tokio::test]
async fn everything_waits_for_the_model() {
    let engine = llamacpp(|settings| settings.loading = std::time::Duration::from_secs(3_600)).await;
    let answers = statuses(
        &engine,
        &[("GET", "/health", 503), ("POST", CHAT, 503), ("GET", "/props", 503), ("GET", "/v1/models", 200)],
    )
    .await;
    let expected = json!({"code": 503, "message": "Loading model", "type": "unavailable_error"});
    assert_eq!(answers[0].json()["error"], expected);
}

#[tokio::test]
async fn a_stream_opens_with_null_and_ends_with_timings() {
    let engine = llamacpp(|_| ()).await;
    let stream = post(&engine, CHAT, &asking(true)).await;
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let events = stream.events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    let last = &events[events.len() - 3];
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert!(last["timings"]["predicted_n"].as_u64().unwrap() > 0);
    let members: Vec<&String> = events[1].as_object().unwrap().keys().collect();
    assert_eq!(members, ["choices", "created", "id", "model", "system_fingerprint", "object"]);
    let usage = &events[events.len() - 2];
    assert!(usage["usage"].is_object() && usage["timings"].is_object());
    let again = post(&engine, CHAT, &asking(false)).await.json();
    assert!(again["timings"]["prompt_n"].is_u64());
}

#[tokio::test]
async fn a_prompt_that_is_too_long_tells_both_numbers() {
    let engine = llamacpp(|settings| settings.max_model_len = 64).await;
    let mut body = asking(true);
    body["messages"][0]["content"] = json!("word ".repeat(100));
    let refused = post(&engine, CHAT, &body).await;
    let error = refused.json()["error"].clone();
    assert_eq!(
        (refused.status, &error["type"], &error["n_ctx"]),
        (400, &json!("exceed_context_size_error"), &json!(64))
    );
    assert!(error["n_prompt_tokens"].as_u64().unwrap() > 100);
}

#[tokio::test]
async fn the_key_comes_in_either_header_and_leaves_the_models_open() {
    let engine = llamacpp(|settings| settings.api_key = Some("k".to_owned())).await;
    let answers = statuses(
        &engine,
        &[("GET", "/health", 200), ("GET", "/v1/models", 200), ("GET", "/props", 401), ("POST", CHAT, 401)],
    )
    .await;
    assert_eq!(answers[3].json()["error"]["type"], "authentication_error");
    for header in [("authorization", "Bearer k"), ("x-api-key", "k")] {
        assert_eq!(send(&engine, "GET", "/props", &[header], "").await.status, 200);
    }
}

#[tokio::test]
async fn what_needs_a_flag_says_so() {
    let engine = llamacpp(|settings| settings.metrics = false).await;
    let refused = get(&engine, "/metrics").await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (501, &json!(501)));
    let engine = llamacpp(|settings| settings.models[0].tasks = Tasks::EMBED).await;
    post(&engine, "/v1/embeddings", &json!({"input": "x"})).await;
    let page = get(&engine, "/metrics").await.body;
    for row in [
        "llamacpp:requests_processing 0.0",
        "llamacpp:requests_deferred 0.0",
        "llamacpp:prompt_tokens_total 2.0",
    ] {
        assert!(page.contains(row), "{row} is not in\n{page}");
    }
    let engine = llamacpp(|_| ()).await;
    let mut body = asking(false);
    body["json_schema"] =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    body["model"] = json!("any-name");
    let answer = post(&engine, CHAT, &body).await.json();
    assert_eq!(answer["model"], "any-name");
    let said: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(said["a"].is_i64());
}
