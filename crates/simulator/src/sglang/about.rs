//! What SGLang says about itself.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::object;
use crate::engine::{self, Engine};
use crate::metrics::page::Page;
use crate::reply::Reply;

/// Answers `/get_model_info`.
pub(super) fn model_info(engine: &Engine) -> Reply {
    let path = engine.settings.models.first().map_or("", |model| model.root.as_str());
    object(&json!({
        "model_path": path, "tokenizer_path": path, "is_generation": engine.tasks().generate,
        "preferred_sampling_params": null, "weight_version": "default",
        "has_image_understanding": false, "has_audio_understanding": false,
    }))
}

/// Answers `/get_server_info`.
pub(super) fn server_info(engine: &Engine) -> Reply {
    let settings = &engine.settings;
    let first = settings.models.first();
    object(&json!({
        "model_path": first.map(|model| &model.root), "served_model_name": first.map(|model| &model.id),
        "context_length": settings.max_model_len, "max_running_requests": settings.max_num_seqs,
        "max_total_num_tokens": settings.kv_cache_blocks * 16, "max_req_input_len": settings.max_model_len,
        "enable_metrics": settings.metrics, "internal_states": [{"last_gen_throughput": 0.0}],
        "version": settings.version,
    }))
}

/// Answers `/openapi.json`: the routes and their methods, without the schemas of what goes in and out.
pub(super) fn openapi(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Reply {
    let mut paths = Map::new();
    for (method, path) in routes {
        let answers = json!({"200": {"description": "Successful Response", "content": {"application/json": {"schema": {}}}}});
        let methods = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        methods[method.to_ascii_lowercase()] = json!({"summary": path, "responses": answers});
    }
    object(&json!({"openapi": "3.1.0", "info": {"title": "FastAPI", "version": "0.1.0"}, "paths": paths}))
}

/// Answers `/get_load`.
pub(super) fn load(engine: &Engine) -> Reply {
    let scheduler = engine.scheduler.lock();
    let (running, waiting) = (scheduler.running(), scheduler.waiting());
    object(
        &json!([{"dp_rank": 0, "num_reqs": running + waiting, "num_waiting_reqs": waiting, "num_tokens": 0}]),
    )
}

/// Answers `/v1/models`.
pub(super) fn models(engine: &Engine) -> Reply {
    let created = engine::now();
    let cards = engine.models().into_iter().map(|model| {
        let context = model.parent.is_none().then_some(engine.settings.max_model_len);
        json!({"id": model.id, "object": "model", "created": created, "owned_by": "sglang", "root": model.root,
            "parent": model.parent, "max_model_len": context})
    });
    object(&json!({"object": "list", "data": cards.collect::<Vec<Value>>()}))
}

/// Answers `/flush_cache`.
pub(super) fn flush(engine: &Engine) -> Reply {
    let mut scheduler = engine.scheduler.lock();
    let idle = scheduler.running() + scheduler.waiting() == 0;
    if idle {
        scheduler.forget_prefixes();
    }
    let text = "Cache flushed.\nPlease check backend logs for more details. (When there are running or waiting \
        requests, the operation will not be performed.)\n";
    let status = if idle { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Reply { kind: None, ..Reply::text(status, "", text) }
}

/// Answers `/metrics`.
pub(super) fn metrics(engine: &Engine) -> Reply {
    let load = engine.scheduler.lock().load();
    let metrics = engine.metrics.lock();
    let mut page = Page::new(metrics.created);
    let name = metrics.models.first().map_or("", |(name, _)| name.as_str());
    let labels = format!("{{engine_type=\"unified\",model_name=\"{name}\",pp_rank=\"0\",tp_rank=\"0\"}}");
    let running: usize = load.running.iter().map(|(_, sequences)| sequences).sum();
    let (queries, hits) =
        load.looked.values().fold((0, 0), |(queries, hits), (more, found)| (queries + more, hits + found));
    let rate = if queries == 0 { 0.0 } else { hits as f64 / queries as f64 };
    for (name, help, value) in [
        ("num_running_reqs", "The number of running requests.", running as f64),
        ("num_queue_reqs", "The number of requests in the waiting queue.", load.waiting.len() as f64),
        ("token_usage", "The token usage.", load.kv_usage),
        ("cache_hit_rate", "The prefix cache hit rate.", rate),
    ] {
        page.gauge(&format!("sglang:{name}"), help, &[(labels.clone(), value)]);
    }
    let sum = |of: fn(&crate::metrics::Counted) -> u64| -> f64 {
        metrics.models.iter().map(|(_, counted)| of(counted)).sum::<u64>() as f64
    };
    for (name, help, value) in [
        ("prompt_tokens", "Number of prefill tokens processed.", sum(|counted| counted.prompt_tokens)),
        ("generation_tokens", "Number of generation tokens processed.", sum(|counted| counted.output_tokens)),
        ("cached_tokens", "Number of cached prompt tokens.", hits as f64),
        ("num_requests", "Number of requests processed.", sum(|counted| counted.stopped + counted.cut)),
    ] {
        page.counter(&format!("sglang:{name}"), help, &[(labels.clone(), value)]);
    }
    Reply::text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.text())
}
