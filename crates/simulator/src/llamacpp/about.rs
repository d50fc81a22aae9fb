//! What llama.cpp's server says about itself.

use http::StatusCode;
use serde_json::{Value, json};

use super::{from, object};
use crate::engine::{self, Engine};
use crate::metrics::page::Page;
use crate::reply::Reply;
use crate::tokens;

/// The build, as `/props` and fingerprints tell it.
pub(super) fn build(engine: &Engine) -> &str {
    &engine.settings.version
}

/// Answers `/v1/models`, which lists the model twice: as Ollama does, and as OpenAI does.
pub(super) fn models(engine: &Engine) -> Reply {
    let first = engine.settings.models.first();
    let name = first.map_or("", |model| model.id.as_str());
    let entry = json!({"name": name, "model": name, "modified_at": "", "size": "", "digest": "", "type": "model",
        "description": "", "tags": [""], "capabilities": ["completion"], "parameters": "",
        "details": {"parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": "",
            "quantization_level": ""}});
    let meta = json!({"vocab_type": 2, "n_vocab": tokens::vocabulary(), "n_ctx_train": engine.settings.max_model_len,
        "n_embd": engine.settings.embedding_dimensions, "n_params": 8_030_261_312_u64, "size": 4_913_917_952_u64});
    let card = json!({"id": name, "object": "model", "created": engine::now(), "owned_by": "llamacpp", "meta": meta});
    object(&json!({"models": [entry], "object": "list", "data": [card]}))
}

/// Answers `/api/tags`, for clients that take it for Ollama.
pub(super) fn tags(engine: &Engine) -> Reply {
    let name = engine.settings.models.first().map_or("", |model| model.id.as_str());
    object(&json!({"models": [{"name": name, "model": name, "modified_at": "", "size": "", "digest": ""}]}))
}

/// Answers `/props`.
pub(super) fn props(engine: &Engine) -> Reply {
    let settings = &engine.settings;
    let first = settings.models.first();
    let generation = json!({"id": 0, "id_task": -1, "n_ctx": settings.max_model_len, "speculative": false,
        "is_processing": false, "params": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "n_predict": -1}});
    object(&json!({
        "default_generation_settings": generation, "total_slots": settings.max_num_seqs,
        "model_alias": first.map(|model| &model.id), "model_path": first.map(|model| &model.root),
        "modalities": {"vision": false, "audio": false}, "endpoint_slots": true, "endpoint_props": false,
        "endpoint_metrics": settings.metrics, "webui": true,
        "chat_template": "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}",
        "bos_token": "", "eos_token": tokens::name(tokens::END), "build_info": build(engine),
    }))
}

/// Answers `/slots`.
pub(super) fn slots(engine: &Engine) -> Reply {
    let running = engine.running();
    let slots = (0..engine.settings.max_num_seqs).map(|slot| {
        json!({"id": slot, "n_ctx": engine.settings.max_model_len, "speculative": false,
            "is_processing": slot < running})
    });
    object(&json!(slots.collect::<Vec<Value>>()))
}

/// Answers `/metrics`.
pub(super) fn metrics(engine: &Engine) -> Reply {
    let load = engine.scheduler.lock().load();
    let metrics = engine.metrics.lock();
    let mut page = Page::new(metrics.created);
    let sum = |of: fn(&crate::metrics::Counted) -> u64| -> f64 {
        metrics.models.iter().map(|(_, counted)| of(counted)).sum::<u64>() as f64
    };
    let running: usize = load.running.iter().map(|(_, sequences)| sequences).sum();
    for (name, help, kind, value) in [
        (
            "prompt_tokens_total",
            "Number of prompt tokens processed.",
            "counter",
            sum(|counted| counted.prompt_tokens),
        ),
        (
            "tokens_predicted_total",
            "Number of generation tokens processed.",
            "counter",
            sum(|counted| counted.output_tokens),
        ),
        ("requests_processing", "Number of requests processing.", "gauge", running as f64),
        ("requests_deferred", "Number of requests deferred.", "gauge", load.waiting.len() as f64),
    ] {
        page.family(&format!("llamacpp:{name}"), help, kind);
        page.row(&format!("llamacpp:{name}"), "", value);
    }
    from(Reply::text(StatusCode::OK, "text/plain; version=0.0.4", page.text()))
}
