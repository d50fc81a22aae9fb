//! What older versions of vLLM say and take.

use serde_json::{Value, json};
use simulator::Running;

use crate::client::{engine_with, get, post, send};

const CHAT: &str = "/v1/chat/completions";

async fn version(version: &str) -> Running {
    engine_with(|settings| {
        settings.version = version.to_owned();
        settings.models[0].reasoning = true;
    })
    .await
}

fn asking() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}]})
}

#[tokio::test]
async fn thoughts_are_called_as_the_version_calls_them() {
    for (number, old, new) in
        [("0.9.2", true, false), ("0.11.0", true, false), ("0.12.0", true, true), ("0.16.0", false, true)]
    {
        let engine = version(number).await;
        let message = post(&engine, CHAT, &asking()).await.json()["choices"][0]["message"].clone();
        let mut body = asking();
        body["stream"] = json!(true);
        let events = post(&engine, CHAT, &body).await.events();
        for (name, there) in [("reasoning_content", old), ("reasoning", new)] {
            assert_eq!(message.get(name).is_some_and(Value::is_string), there, "{number}: {message}");
            let streamed = events.iter().filter_map(|event| event["choices"][0]["delta"][name].as_str());
            let streamed: String = streamed.collect();
            assert_eq!(streamed, message[name].as_str().unwrap_or_default(), "{number}");
        }
        body["include_reasoning"] = json!(false);
        body["stream"] = json!(false);
        let hidden = post(&engine, CHAT, &body).await.json()["choices"][0]["message"].clone();
        assert!(hidden["reasoning"].is_null() && hidden["reasoning_content"].is_null());
    }
}

#[tokio::test]
async fn guided_decoding_goes_by_the_names_of_its_time() {
    let old = json!({"guided_choice": ["yes", "no"]});
    let new = json!({"structured_outputs": {"choice": ["yes", "no"]}});
    for (number, takes_old, takes_new) in
        [("0.9.2", true, false), ("0.11.0", true, true), ("0.12.0", false, true), ("0.32.0", false, true)]
    {
        let engine = version(number).await;
        for (given, taken) in [(&old, takes_old), (&new, takes_new)] {
            let mut body = asking();
            body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
            let said = post(&engine, CHAT, &body).await.json()["choices"][0]["message"]["content"].clone();
            assert_eq!(said == "yes" || said == "no", taken, "{number} {given}: {said}");
        }
    }
    let engine = version("0.10.0").await;
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]});
    for guided in [schema.clone(), json!(schema.to_string())] {
        let body = json!({"prompt": "Who?", "max_tokens": 99, "guided_json": guided});
        let text = post(&engine, "/v1/completions", &body).await.json()["choices"][0]["text"].clone();
        assert!(serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap()["age"].is_i64(), "{text}");
    }
    let mut body = asking();
    body["guided_regex"] = json!("[0-9]{3}");
    let said = post(&engine, CHAT, &body).await.json()["choices"][0]["message"]["content"].clone();
    assert!(said.as_str().unwrap().len() == 3 && said.as_str().unwrap().parse::<u32>().is_ok(), "{said}");
    body["guided_choice"] = json!(["a"]);
    assert_eq!(post(&engine, CHAT, &body).await.status, 400);
}

#[tokio::test]
async fn errors_have_a_level_less_in_older_versions() {
    for (number, flat) in [("0.9.2", true), ("0.10.0", true), ("0.10.1", false), ("0.32.0", false)] {
        let engine = version(number).await;
        let mut body = asking();
        body["model"] = json!("nope");
        let refused = post(&engine, CHAT, &body).await;
        let told = refused.json();
        let error = if flat { &told } else { &told["error"] };
        assert_eq!(
            (refused.status, &error["type"], &error["code"]),
            (404, &json!("NotFoundError"), &json!(404))
        );
        assert_eq!(told.get("object"), flat.then_some(&json!("error")), "{number}");
        assert_eq!(told.get("error").is_some(), !flat, "{number}");
        let faulted =
            send(&engine, "GET", "/v1/models", &[("x-simulate-fault", "status:503")], "").await.json();
        assert_eq!(faulted.get("object"), flat.then_some(&json!("error")), "{number}");
    }
}

#[tokio::test]
async fn metrics_and_routes_are_those_of_the_version() {
    for (number, old_names, responses, messages) in
        [("0.9.2", true, 404, 404), ("0.10.2", false, 200, 404), ("0.32.0", false, 200, 200)]
    {
        let engine = version(number).await;
        let page = get(&engine, "/metrics").await.body;
        assert_eq!(page.contains("vllm:gpu_cache_usage_perc{"), old_names, "{number}");
        assert_eq!(page.contains("vllm:kv_cache_usage_perc{"), !old_names, "{number}");
        assert_eq!(page.contains("vllm:gpu_prefix_cache_hits_total{"), old_names, "{number}");
        assert_eq!(
            post(&engine, "/v1/responses", &json!({"input": "Hi"})).await.status,
            responses,
            "{number}"
        );
        let mut body = asking();
        body["model"] = json!("sim");
        body["max_tokens"] = json!(9);
        assert_eq!(post(&engine, "/v1/messages", &body).await.status, messages, "{number}");
        assert_eq!(get(&engine, "/version").await.json()["version"], number);
    }
}
