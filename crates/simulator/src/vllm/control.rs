//! The routes of development mode: sleep, pause, prefixes, LoRA adapters. What is in the batch when the engine
//! falls asleep or pauses still runs to its end.

use http::StatusCode;
use serde_json::{Value, json};

use super::json::python;
use super::refusal::Refusal;
use crate::engine::Engine;
use crate::reply::Reply;

/// How many models and adapters there may be, which bounds memory.
const MOST_MODELS: usize = 1_000;

fn object(value: &Value) -> Reply {
    Reply::json(StatusCode::OK, python(value))
}

/// A parameter of a query.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// Answers `/sleep`.
pub(crate) fn sleep(engine: &Engine, query: &str) -> Reply {
    let level = parameter(query, "level").and_then(|level| level.parse().ok()).unwrap_or(1);
    engine.sleep(Some(level));
    Reply::empty(StatusCode::OK)
}

/// Answers `/wake_up`.
pub(crate) fn wake_up(engine: &Engine) -> Reply {
    engine.sleep(None);
    Reply::empty(StatusCode::OK)
}

/// Answers `/is_sleeping`.
pub(crate) fn is_sleeping(engine: &Engine) -> Reply {
    object(&json!({"is_sleeping": engine.asleep().is_some()}))
}

/// Answers `/pause` and `/resume`.
pub(crate) fn pause(engine: &Engine, paused: bool) -> Reply {
    engine.pause(paused);
    object(&json!({"status": if paused { "paused" } else { "resumed" }}))
}

/// Answers `/is_paused`.
pub(crate) fn is_paused(engine: &Engine) -> Reply {
    object(&json!({"is_paused": engine.paused()}))
}

/// Answers `/reset_prefix_cache`.
pub(crate) fn reset_prefix_cache(engine: &Engine) -> Reply {
    engine.scheduler.lock().forget_prefixes();
    Reply::empty(StatusCode::OK)
}

/// Answers `/server_info`.
pub(crate) fn server_info(engine: &Engine) -> Reply {
    let settings = &engine.settings;
    object(&json!({"vllm_config": format!(
        "model='{}', max_seq_len={}, enable_prefix_caching=True, max_num_seqs={}",
        settings.models.first().map_or("", |model| model.root.as_str()),
        settings.max_model_len,
        settings.max_num_seqs
    )}))
}

/// Answers `/collective_rpc`, which runs whatever method of the workers it is told to. Here it runs nothing.
pub(crate) fn collective_rpc(body: &Value) -> Result<Reply, Refusal> {
    if body.get("method").and_then(Value::as_str).is_none() {
        return Err(Refusal::bad("Missing 'method' in request body"));
    }
    Ok(object(&json!({"results": [null]})))
}

fn wrong_input(message: &str) -> Refusal {
    Refusal::error(StatusCode::BAD_REQUEST, "InvalidUserInput", message, None)
}

fn text(body: &Value, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Answers `/v1/load_lora_adapter`.
pub(crate) fn load_adapter(engine: &Engine, body: &Value) -> Result<Reply, Refusal> {
    let (name, path) = (text(body, "lora_name"), text(body, "lora_path"));
    if name.is_empty() || path.is_empty() {
        return Err(wrong_input("Both 'lora_name' and 'lora_path' must be provided."));
    }
    if body.get("load_inplace") == Some(&Value::Bool(true)) {
        engine.unload_adapter(&name);
    }
    if engine.models().len() >= MOST_MODELS {
        return Err(wrong_input(&format!(
            "the simulated engine holds at most {MOST_MODELS} models and adapters"
        )));
    }
    if !engine.load_adapter(&name, &path) {
        return Err(wrong_input(&format!(
            "The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set \
             'load_inplace' to True."
        )));
    }
    Ok(said(format!("Success: LoRA adapter '{name}' added successfully.")))
}

/// Answers `/v1/unload_lora_adapter`.
pub(crate) fn unload_adapter(engine: &Engine, body: &Value) -> Result<Reply, Refusal> {
    let name = text(body, "lora_name");
    if name.is_empty() {
        return Err(wrong_input("'lora_name' needs to be provided to unload a LoRA adapter."));
    }
    if !engine.unload_adapter(&name) {
        let message = format!("The lora adapter '{name}' cannot be found.");
        return Err(Refusal::error(StatusCode::NOT_FOUND, "NotFoundError", message, None));
    }
    Ok(said(format!("Success: LoRA adapter '{name}' removed successfully.")))
}

/// A text without a content type, as it comes from a bare response of FastAPI.
fn said(text: String) -> Reply {
    Reply { kind: None, ..Reply::text(StatusCode::OK, "", text) }
}
