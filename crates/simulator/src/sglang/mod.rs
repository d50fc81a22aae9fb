//! SGLang on the wire: where it differs from vLLM for whoever stands in front of it.
//!
//! - It takes any name for its model and repeats it.
//! - Errors are flat: `{"object": "error", …}`. In a stream they come after status 200, inside of an `error`
//!   object; so does a prompt that is too long for a stream.
//! - The key guards every path but those of health and metrics.
//! - Members that say nothing are null rather than missing, and thoughts are `reasoning_content`.
//!
//! Source: `python/sglang/srt/entrypoints` of sgl-project/sglang, version 0.5.

mod about;
mod chat;

use std::sync::Arc;

use http::header::ALLOW;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::openai::{self, Call, Customs, Found, Naming, Trouble};
use crate::reply::{Content, EVENTS, Event, Reply, Vary};
use crate::ticket::Ticket;
use crate::tokens;

#[derive(Clone, Copy, Debug)]
enum Action {
    Health,
    ModelInfo,
    ServerInfo,
    Load,
    OpenApi,
    Models,
    Metrics,
    FlushCache,
    Tokenize,
    Chat,
    Completions,
    Embeddings,
    Generate,
}

/// FastAPI's description of the routes, which does not list itself.
const OPENAPI: &str = "/openapi.json";

const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/health", Action::Health),
    ("GET", "/health_generate", Action::Health),
    ("GET", "/get_model_info", Action::ModelInfo),
    ("GET", "/model_info", Action::ModelInfo),
    ("GET", "/get_server_info", Action::ServerInfo),
    ("GET", "/server_info", Action::ServerInfo),
    ("GET", "/get_load", Action::Load),
    ("GET", OPENAPI, Action::OpenApi),
    ("GET", "/v1/models", Action::Models),
    ("GET", "/metrics", Action::Metrics),
    ("GET", "/flush_cache", Action::FlushCache),
    ("POST", "/flush_cache", Action::FlushCache),
    ("POST", "/tokenize", Action::Tokenize),
    ("POST", "/v1/tokenize", Action::Tokenize),
    ("POST", "/v1/chat/completions", Action::Chat),
    ("POST", "/v1/completions", Action::Completions),
    ("POST", "/v1/embeddings", Action::Embeddings),
    ("POST", "/generate", Action::Generate),
];

const CUSTOMS: Customs = Customs {
    naming: Naming::Any,
    constraints: &[("json_schema", "json"), ("regex", "regex"), ("ebnf", "grammar")],
    cuts: false,
};

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, head: &Parts, body: &[u8], ticket: &mut Ticket) -> Reply {
    let path = head.uri.path();
    let open = path.starts_with("/health") || path.starts_with("/metrics") || head.method == Method::OPTIONS;
    if let Some(key) = engine.settings.api_key.as_deref().filter(|_| !open)
        && openai::bearer(&head.headers) != Some(key)
    {
        return from(Reply::json(StatusCode::UNAUTHORIZED, r#"{"error":"Unauthorized"}"#));
    }
    let found = match openai::find(ROUTES, head.method.as_str(), path) {
        Found::Route(_, Action::Metrics) if !engine.settings.metrics => Found::Nothing,
        found => found,
    };
    let (route, action) = match found {
        Found::Route(route, action) => (route, action),
        Found::OtherMethod(method) => {
            let refused = r#"{"detail":"Method Not Allowed"}"#;
            return from(Reply::json(StatusCode::METHOD_NOT_ALLOWED, refused).with(ALLOW, method));
        }
        Found::Nothing => return from(Reply::json(StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#)),
    };
    ticket.take(route);
    let read = || openai::object(body).map_err(Trouble::from);
    let answered = match action {
        Action::Health => {
            let status = if engine.loading() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            Ok(Reply::empty(status))
        }
        Action::ModelInfo => Ok(about::model_info(engine)),
        Action::ServerInfo => Ok(about::server_info(engine)),
        Action::Load => Ok(about::load(engine)),
        Action::OpenApi => {
            let routes = ROUTES.iter().filter(|(_, path, action)| {
                *path != OPENAPI && (engine.settings.metrics || !matches!(action, Action::Metrics))
            });
            Ok(about::openapi(routes.map(|(method, path, _)| (*method, *path))))
        }
        Action::Models => Ok(about::models(engine)),
        Action::Metrics => Ok(about::metrics(engine)),
        Action::FlushCache => Ok(about::flush(engine)),
        Action::Tokenize => read().map(|body| tokenize(engine, &body)),
        Action::Embeddings => read().and_then(|body| {
            let embedded = openai::embeddings(engine, &body, Naming::Any, ticket)?;
            Ok(object(&embedded.list()))
        }),
        Action::Chat => read().and_then(|body| {
            let asked = openai::chat(engine, &body, CUSTOMS);
            entered(asked, ticket).map(chat::chat).or_else(|trouble| in_stream(trouble, &body))
        }),
        Action::Completions => read().and_then(|body| {
            let asked = openai::completion(engine, &body, CUSTOMS);
            entered(asked, ticket).map(chat::completion).or_else(|trouble| in_stream(trouble, &body))
        }),
        Action::Generate => read().and_then(|body| {
            entered(openai::completion(engine, &native(&body), CUSTOMS), ticket).map(chat::generate)
        }),
    };
    from(answered.unwrap_or_else(|trouble| {
        let (status, message) = told(trouble);
        error(status, &message)
    }))
}

/// An error, flat as SGLang's are.
pub(crate) fn error(status: StatusCode, message: &str) -> Reply {
    from(Reply::json(status, flat(status, message).to_string()))
}

fn flat(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        400 => "BadRequest",
        404 => "NotFound",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    };
    json!({"object": "error", "message": message, "type": kind, "param": null, "code": status.as_u16()})
}

fn from(reply: Reply) -> Reply {
    Reply { vary: Vary::Absent, ..reply }
}

fn object(value: &Value) -> Reply {
    Reply::json(StatusCode::OK, value.to_string())
}

fn entered(call: Result<Call, Trouble>, ticket: &mut Ticket) -> Result<Call, Trouble> {
    let mut call = call?;
    call.enter(ticket)?;
    Ok(call)
}

fn told(trouble: Trouble) -> (StatusCode, String) {
    match trouble {
        Trouble::TooLong { tokens, limit } => (
            StatusCode::BAD_REQUEST,
            format!(
                "The input ({tokens} tokens) is longer than the model's context length ({limit} tokens)."
            ),
        ),
        other => other.told(),
    }
}

/// A stream has its status already when the length of the prompt is looked at.
fn in_stream(trouble: Trouble, body: &Value) -> Result<Reply, Trouble> {
    if !matches!(trouble, Trouble::TooLong { .. }) || body.get("stream") != Some(&Value::Bool(true)) {
        return Err(trouble);
    }
    let (status, message) = told(trouble);
    let error = json!({"error": flat(status, &message)});
    let events = [format!("data: {error}\n\n"), "data: [DONE]\n\n".to_owned()];
    let due = std::time::Instant::now();
    let events = events.into_iter().map(move |event| Event { due, bytes: event.into() });
    Ok(Reply::new(StatusCode::OK, Some(EVENTS), Content::events(events)))
}

/// A request to `/generate` as a completion.
fn native(body: &Value) -> Value {
    let parameters = &body["sampling_params"];
    let mut asked =
        json!({"prompt": body["text"], "stream": body["stream"], "max_tokens": parameters["max_new_tokens"]});
    for name in ["temperature", "top_p", "top_k", "stop", "ignore_eos", "regex", "json_schema", "n"] {
        if let Some(value) = parameters.get(name) {
            asked[name] = value.clone();
        }
    }
    asked
}

fn tokenize(engine: &Engine, body: &Value) -> Reply {
    let ids = tokens::encode(body["prompt"].as_str().unwrap_or_default());
    object(&json!({"tokens": ids, "count": ids.len(), "max_model_len": engine.settings.max_model_len}))
}
