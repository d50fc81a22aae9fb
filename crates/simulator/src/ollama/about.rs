//! What Ollama says about itself and its models.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};

use super::moment::rfc3339;
use super::{error, object, tagged};
use crate::engine::{self, Engine};
use crate::reply::Reply;
use crate::seed::hash;
use crate::settings::Model;

const SIZE: u64 = 4_920_753_328;

fn digest(model: &Model) -> String {
    (0..4_u8).map(|part| format!("{:016x}", hash(model.id.bytes().chain([part])))).collect()
}

fn details() -> Value {
    json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "8.0B",
        "quantization_level": "Q4_K_M"})
}

/// Answers `/api/tags`.
pub(super) fn tags(engine: &Engine) -> Reply {
    let now = rfc3339(SystemTime::now());
    let models = engine.models().into_iter().map(|model| {
        json!({"name": tagged(&model.id), "model": tagged(&model.id), "modified_at": now, "size": SIZE,
            "digest": digest(&model), "details": details()})
    });
    object(&json!({"models": models.collect::<Vec<Value>>()}))
}

/// Answers `/api/ps`: the models that somebody has used.
pub(super) fn running(engine: &Engine) -> Reply {
    let expires = rfc3339(SystemTime::now() + Duration::from_secs(300));
    let used: Vec<bool> = {
        let load = engine.scheduler.lock().load();
        let metrics = engine.metrics.lock();
        let models = metrics.models.iter().enumerate();
        models
            .map(|(row, (_, counted))| {
                counted.prompt_tokens > 0 || load.running.iter().any(|(model, _)| *model == row)
            })
            .collect()
    };
    let models =
        engine.models().into_iter().filter(|model| used.get(engine.row(model)).copied().unwrap_or(false));
    let models = models.map(|model| {
        json!({"name": tagged(&model.id), "model": tagged(&model.id), "size": SIZE, "digest": digest(&model),
            "details": details(), "expires_at": expires, "size_vram": SIZE,
            "context_length": engine.settings.max_model_len})
    });
    object(&json!({"models": models.collect::<Vec<Value>>()}))
}

/// Answers `/api/show`.
pub(super) fn show(engine: &Engine, body: &Value) -> Reply {
    let name = body["model"].as_str().or(body["name"].as_str()).unwrap_or_default();
    let models = engine.models();
    let Some(model) = models.iter().find(|model| tagged(&model.id) == tagged(name)) else {
        return error("/api/show", StatusCode::NOT_FOUND, &format!("model '{name}' not found"));
    };
    let mut capabilities = Vec::new();
    if model.tasks.generate {
        capabilities.extend(["completion", "tools"]);
    }
    if model.reasoning {
        capabilities.push("thinking");
    }
    if model.tasks.embed {
        capabilities.push("embedding");
    }
    object(&json!({
        "modelfile": format!("FROM {}", model.root), "template": "{{ .Prompt }}", "details": details(),
        "model_info": {"general.architecture": "llama", "general.parameter_count": 8_030_261_312_u64,
            "llama.context_length": engine.settings.max_model_len,
            "llama.embedding_length": engine.settings.embedding_dimensions},
        "capabilities": capabilities, "modified_at": rfc3339(SystemTime::now()),
    }))
}

fn card(model: &Model) -> Value {
    json!({"id": tagged(&model.id), "object": "model", "created": engine::now(), "owned_by": "library"})
}

/// Answers `/v1/models`.
pub(super) fn models(engine: &Engine) -> Reply {
    let cards: Vec<Value> = engine.models().iter().map(|model| card(model)).collect();
    object(&json!({"object": "list", "data": cards}))
}

/// Answers `/v1/models/{model}`.
pub(super) fn model(engine: &Engine, name: &str) -> Reply {
    match engine.models().iter().find(|model| tagged(&model.id) == tagged(name)) {
        Some(model) => object(&card(model)),
        None => error("/v1/models", StatusCode::NOT_FOUND, &format!("model '{name}' not found")),
    }
}
