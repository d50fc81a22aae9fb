//! Ollama.

use serde_json::{Value, json};
use simulator::{Model, Personality, Running};

use super::{CHAT, asking, played_by, statuses, weather};
use crate::client::{Answer, get, post, send};

async fn ollama(change: impl FnOnce(&mut simulator::Settings)) -> Running {
    played_by(Personality::Ollama, change).await
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn routes_answer_as_gin_answers() {
    let engine = ollama(|_| ()).await;
    let answers = statuses(
        &engine,
        &[
            ("GET", "/", 200),
            ("GET", "/health", 404),
            ("GET", "/metrics", 404),
            ("GET", "/v1/chat/completions", 405),
            ("GET", "/api/pull", 405),
            ("POST", "/api/pull", 403),
        ],
    )
    .await;
    assert_eq!(answers[0].body, "Ollama is running");
    assert_eq!(
        (answers[1].body.as_str(), answers[1].header("content-type")),
        ("404 page not found", Some("text/plain"))
    );
    assert_eq!(
        (answers[3].body.as_str(), answers[3].header("allow")),
        ("405 method not allowed", Some("POST"))
    );
    assert_eq!(answers[0].header("server"), None);
    assert_eq!(get(&engine, "/api/version").await.json(), json!({"version": "0.17.0"}));
}

#[tokio::test]
async fn names_have_a_tag_and_models_are_listed_in_three_ways() {
    let engine = ollama(|settings| {
        settings.max_model_len = 4_096;
        settings.models.push(Model::named("other:8b"));
    })
    .await;
    let tags = get(&engine, "/api/tags").await.json();
    assert_eq!(
        (&tags["models"][0]["name"], &tags["models"][1]["name"]),
        (&json!("sim:latest"), &json!("other:8b"))
    );
    let models = get(&engine, "/v1/models").await.json();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["owned_by"]),
        (&json!("sim:latest"), &json!("library"))
    );
    assert_eq!(models["data"][0].get("max_model_len"), None);
    assert_eq!(get(&engine, "/v1/models/sim").await.json()["id"], "sim:latest");
    assert_eq!(get(&engine, "/v1/models/nope").await.status, 404);
    let shown = post(&engine, "/api/show", &json!({"model": "sim"})).await.json();
    assert_eq!(shown["model_info"]["llama.context_length"], 4_096);
    assert!(shown["capabilities"].as_array().unwrap().contains(&json!("tools")));
    assert_eq!(get(&engine, "/api/ps").await.json(), json!({"models": []}));
    for name in ["sim", "sim:latest"] {
        let mut body = asking(false);
        body["model"] = json!(name);
        assert_eq!(post(&engine, CHAT, &body).await.status, 200, "{name}");
    }
    let running = get(&engine, "/api/ps").await.json();
    assert_eq!(running["models"].as_array().unwrap().len(), 1);
    assert_eq!(running["models"][0]["context_length"], 4_096);
}

#[tokio::test]
async fn errors_are_objects_on_one_side_and_strings_on_the_other() {
    let engine = ollama(|_| ()).await;
    let mut body = asking(false);
    body["model"] = json!("nope");
    let refused = post(&engine, CHAT, &body).await;
    assert_eq!(refused.status, 404);
    let expected =
        json!({"message": "model 'nope' not found", "type": "not_found_error", "param": null, "code": null});
    assert_eq!(refused.json(), json!({"error": expected}));
    let refused = post(&engine, "/api/chat", &body).await;
    assert_eq!((refused.status, refused.json()), (404, json!({"error": "model 'nope' not found"})));
}

#[tokio::test]
async fn every_delta_names_the_role_and_a_call_is_one_of_them() {
    let engine = ollama(|_| ()).await;
    let events = post(&engine, CHAT, &asking(true)).await.events();
    let deltas: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"].get(0)).map(|choice| &choice["delta"]).collect();
    assert!(deltas.len() > 3 && deltas.iter().all(|delta| delta["role"] == "assistant"));
    let events = post(&engine, CHAT, &weather(true)).await.events();
    let calls: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"])
        .filter(|calls| calls.is_array())
        .collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0][0]["function"]["arguments"], r#"{"city": "Paris"}"#);
}

#[tokio::test]
async fn its_own_chat_streams_lines_unless_it_is_told_not_to() {
    let engine = ollama(|settings| settings.models[0].reasoning = true).await;
    let mut body = json!({"model": "sim", "messages": [{"role": "user", "content": "Hello"}], "options": {"num_predict": 40}});
    let stream = post(&engine, "/api/chat", &body).await;
    assert_eq!(stream.header("content-type"), Some("application/x-ndjson"));
    let told = lines(&stream);
    let said = |member: &str| -> String {
        told.iter().filter_map(|line| line["message"][member].as_str()).collect()
    };
    let last = told.last().unwrap();
    assert_eq!((&last["done"], last["message"]["content"].as_str()), (&json!(true), Some("")));
    assert!(last["eval_count"].as_u64().unwrap() > 0 && last["prompt_eval_count"].as_u64().unwrap() > 0);
    body["stream"] = json!(false);
    let whole = post(&engine, "/api/chat", &body).await.json();
    assert_eq!(whole["message"]["content"], said("content"));
    assert_eq!(whole["message"]["thinking"], said("thinking"));
    assert!(!said("thinking").is_empty());
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &last["done_reason"]));
    body["think"] = json!(false);
    let silent = post(&engine, "/api/chat", &body).await.json();
    assert_eq!(silent["message"].get("thinking"), None);
    let mut tools = weather(false);
    tools["stream"] = json!(false);
    let called = post(&engine, "/api/chat", &tools).await.json();
    assert_eq!(called["message"]["tool_calls"][0]["function"]["arguments"], json!({"city": "Paris"}));
    tools["stream"] = json!(true);
    let called = lines(&post(&engine, "/api/chat", &tools).await);
    assert!(
        called
            .iter()
            .any(|line| line["message"]["tool_calls"][0]["function"]["arguments"]["city"] == "Paris")
    );
}

#[tokio::test]
async fn it_follows_a_format_generates_and_embeds() {
    let engine = ollama(|_| ()).await;
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]});
    let body = json!({"model": "sim", "messages": [{"role": "user", "content": "Who?"}], "format": schema, "stream": false});
    let answer = post(&engine, "/api/chat", &body).await.json();
    let said: Value = serde_json::from_str(answer["message"]["content"].as_str().unwrap()).unwrap();
    assert!(said["age"].is_i64());
    let mut body = json!({"model": "sim", "prompt": "Once", "options": {"num_predict": 5}});
    let told = lines(&post(&engine, "/api/generate", &body).await);
    let text: String = told.iter().filter_map(|line| line["response"].as_str()).collect();
    body["stream"] = json!(false);
    let whole = post(&engine, "/api/generate", &body).await.json();
    assert_eq!((whole["response"].as_str(), &whole["done_reason"]), (Some(text.as_str()), &json!("length")));
    let embedded = post(&engine, "/api/embed", &json!({"model": "sim", "input": ["a", "b"]})).await.json();
    assert_eq!(embedded["embeddings"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_loses_its_beginning() {
    let engine = ollama(|settings| settings.max_model_len = 64).await;
    let mut body = asking(false);
    body["messages"][0]["content"] = json!("word ".repeat(100));
    let answer = post(&engine, CHAT, &body).await;
    assert_eq!((answer.status, &answer.json()["usage"]["prompt_tokens"]), (200, &json!(32)));
}

#[tokio::test]
async fn it_asks_for_no_key() {
    let engine = ollama(|settings| settings.api_key = Some("k".to_owned())).await;
    assert_eq!(send(&engine, "GET", "/v1/models", &[], "").await.status, 200);
}
