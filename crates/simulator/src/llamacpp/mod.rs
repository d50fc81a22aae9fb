//! llama.cpp's server on the wire: where it differs from vLLM for whoever stands in front of it.
//!
//! - A path that is not there and a method that is not allowed are the same 404.
//! - While the model loads, everything but the list of models is 503.
//! - What needs a flag that was not given is 501: metrics, embeddings of a model that generates.
//! - It takes any name for its model; requests run in slots, of which `/props` and `/slots` tell.
//! - Errors are objects with a numeric code; one about the context brings both numbers.
//! - The first event of a stream has null as content, the last one brings `timings`; thoughts are
//!   `reasoning_content`.
//!
//! Source: `tools/server` of ggml-org/llama.cpp.

mod about;
mod chat;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::openai::{self, Call, Customs, Found, Naming, Trouble};
use crate::reply::Reply;
use crate::ticket::Ticket;
use crate::tokens;

const JSON: &str = "application/json; charset=utf-8";

#[derive(Clone, Copy, Debug)]
enum Action {
    Health,
    Models,
    Tags,
    Props,
    Slots,
    Metrics,
    Tokenize,
    Detokenize,
    Chat,
    Completions,
    Embeddings,
    /// There, but switched off.
    Rerank,
}

const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/health", Action::Health),
    ("GET", "/v1/health", Action::Health),
    ("GET", "/models", Action::Models),
    ("GET", "/v1/models", Action::Models),
    ("GET", "/api/tags", Action::Tags),
    ("GET", "/props", Action::Props),
    ("GET", "/slots", Action::Slots),
    ("GET", "/metrics", Action::Metrics),
    ("POST", "/tokenize", Action::Tokenize),
    ("POST", "/detokenize", Action::Detokenize),
    ("POST", "/chat/completions", Action::Chat),
    ("POST", "/v1/chat/completions", Action::Chat),
    ("POST", "/v1/completions", Action::Completions),
    ("POST", "/v1/embeddings", Action::Embeddings),
    ("POST", "/rerank", Action::Rerank),
    ("POST", "/reranking", Action::Rerank),
    ("POST", "/v1/rerank", Action::Rerank),
    ("POST", "/v1/reranking", Action::Rerank),
];

const CUSTOMS: Customs = Customs {
    naming: Naming::Any,
    constraints: &[("json_schema", "json"), ("grammar", "grammar")],
    cuts: false,
};

/// What the key does not guard.
const OPEN: [&str; 5] = ["/health", "/v1/health", "/models", "/v1/models", "/api/tags"];

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, head: &Parts, body: &[u8], ticket: &mut Ticket) -> Reply {
    let path = head.uri.path();
    if let Some(key) = engine.settings.api_key.as_deref()
        && !OPEN.contains(&path)
        && head.method != Method::OPTIONS
    {
        let other = head.headers.get("x-api-key").and_then(|key| key.to_str().ok());
        if openai::bearer(&head.headers) != Some(key) && other != Some(key) {
            return error(StatusCode::UNAUTHORIZED, "Invalid API Key");
        }
    }
    if engine.loading() && !matches!(path, "/models" | "/v1/models" | "/api/tags") {
        return error(StatusCode::SERVICE_UNAVAILABLE, "Loading model");
    }
    let Found::Route(route, action) = openai::find(ROUTES, head.method.as_str(), path) else {
        return error(StatusCode::NOT_FOUND, "File Not Found");
    };
    ticket.take(route);
    let read = || openai::object(body).map_err(Trouble::from);
    let unsupported = |message: &str| Ok(error(StatusCode::NOT_IMPLEMENTED, message));
    let answered = match action {
        Action::Health => Ok(object(&json!({"status": "ok"}))),
        Action::Models => Ok(about::models(engine)),
        Action::Tags => Ok(about::tags(engine)),
        Action::Props => Ok(about::props(engine)),
        Action::Slots => Ok(about::slots(engine)),
        Action::Metrics if engine.settings.metrics => Ok(about::metrics(engine)),
        Action::Metrics => {
            unsupported("This server does not support metrics endpoint. Start it with `--metrics`")
        }
        Action::Tokenize => read().map(|body| {
            let ids = tokens::encode(body["content"].as_str().unwrap_or_default());
            object(&json!({"tokens": ids}))
        }),
        Action::Detokenize => read().map(|body| {
            let ids = body["tokens"].as_array().into_iter().flatten();
            let ids: Vec<u32> = ids.filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect();
            object(&json!({"content": tokens::decode(&ids)}))
        }),
        Action::Chat => read().and_then(|body| {
            entered(openai::chat(engine, &body, CUSTOMS), ticket).map(|call| chat::chat(engine, call))
        }),
        Action::Completions => read().and_then(|body| {
            entered(openai::completion(engine, &body, CUSTOMS), ticket)
                .map(|call| chat::completion(engine, call))
        }),
        Action::Embeddings if !engine.tasks().embed || engine.tasks().generate => {
            unsupported("This server does not support embeddings. Start it with `--embeddings`")
        }
        Action::Embeddings => read().and_then(|body| {
            let embedded = openai::embeddings(engine, &body, Naming::Any, ticket)?;
            Ok(object(&embedded.list()))
        }),
        Action::Rerank => unsupported("This server does not support reranking. Start it with `--reranking`"),
    };
    answered.unwrap_or_else(refused)
}

/// An error, as an object with a numeric code.
pub(crate) fn error(status: StatusCode, message: &str) -> Reply {
    let error = json!({"code": status.as_u16(), "message": message, "type": kind(status)});
    from(Reply::text(status, JSON, json!({"error": error}).to_string()))
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        501 => "not_supported_error",
        503 => "unavailable_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn refused(trouble: Trouble) -> Reply {
    let Trouble::TooLong { tokens, limit } = trouble else {
        let (status, message) = trouble.told();
        return error(status, &message);
    };
    let message = format!(
        "request ({tokens} tokens) exceeds the available context size ({limit} tokens), try increasing it"
    );
    let error = json!({"code": 400, "message": message, "type": "exceed_context_size_error",
        "n_prompt_tokens": tokens, "n_ctx": limit});
    from(Reply::text(StatusCode::BAD_REQUEST, JSON, json!({"error": error}).to_string()))
}

fn from(reply: Reply) -> Reply {
    reply.from(Some("llama.cpp"))
}

fn object(value: &Value) -> Reply {
    from(Reply::text(StatusCode::OK, JSON, value.to_string()))
}

fn entered(call: Result<Call, Trouble>, ticket: &mut Ticket) -> Result<Call, Trouble> {
    let mut call = call?;
    call.enter(ticket)?;
    Ok(call)
}
