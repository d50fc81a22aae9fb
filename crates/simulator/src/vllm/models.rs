//! `/v1/models`, `/version` and `/openapi.json`: what the engine says about itself.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json as wire;
use super::routes::{Method, Route};
use crate::engine::{self, Engine};
use crate::reply::Reply;

#[derive(Serialize)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Card<'a>>,
}

#[derive(Serialize)]
struct Card<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: &'a str,
    parent: Option<&'a str>,
    max_model_len: Option<u32>,
    permission: [Permission; 1],
}

#[derive(Serialize)]
struct Permission {
    id: String,
    object: &'static str,
    created: u64,
    allow_create_engine: bool,
    allow_sampling: bool,
    allow_logprobs: bool,
    allow_search_indices: bool,
    allow_view: bool,
    allow_fine_tuning: bool,
    organization: &'static str,
    group: Option<()>,
    is_blocking: bool,
}

/// Answers `/v1/models`.
pub(crate) fn list(engine: &Engine) -> Reply {
    let created = engine::now();
    let models = engine.models();
    let cards = models.iter().map(|model| Card {
        id: &model.id,
        object: "model",
        created,
        owned_by: "vllm",
        root: &model.root,
        parent: model.parent.as_deref(),
        // an adapter has none of its own
        max_model_len: model.parent.is_none().then_some(engine.settings.max_model_len),
        permission: [Permission {
            id: format!("modelperm-{}", engine::id()),
            object: "model_permission",
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*",
            group: None,
            is_blocking: false,
        }],
    });
    Reply::json(StatusCode::OK, wire::python(&Models { object: "list", data: cards.collect() }))
}

/// Answers `/version`.
pub(crate) fn version(engine: &Engine) -> Reply {
    Reply::json(StatusCode::OK, wire::python(&json!({"version": engine.settings.version})))
}

/// Answers `/openapi.json`: the routes and their methods, without the schemas of what goes in and out.
pub(crate) fn openapi<'a>(routes: impl Iterator<Item = &'a Route>) -> Reply {
    let mut paths = Map::new();
    for route in routes.filter(|route| route.listed) {
        let path = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        let method = if route.method == Method::Get { "get" } else { "post" };
        let name: String =
            route.path.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
        let name = name.trim_matches('_');
        let answers = json!({"200": {"description": "Successful Response", "content": {"application/json": {"schema": {}}}}});
        path[method] =
            json!({"summary": name, "operationId": format!("{name}_{method}"), "responses": answers});
    }
    let document =
        json!({"openapi": "3.1.0", "info": {"title": "FastAPI", "version": "0.1.0"}, "paths": paths});
    Reply::json(StatusCode::OK, wire::python(&document))
}
