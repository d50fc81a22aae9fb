//! Ollama on the wire: where it differs from vLLM for whoever stands in front of it.
//!
//! - No key, no `/health`, no metrics: `/` says that it runs, `/api/version` which version.
//! - Paths that are not there are gin's plain text 404, other methods its 405.
//! - A model's name has a tag, `latest` when none is given; a model has to be there.
//! - Errors of `/v1` are objects without a code, errors of `/api` are strings.
//! - A prompt that is too long loses its beginning, and nobody is told.
//! - Every event of a chat repeats the role; a tool call comes in one piece, and its arguments are an object on
//!   `/api/chat`, which streams lines of JSON unless it is told not to. Thoughts are `reasoning`, or `thinking`.
//!
//! Source: `server/routes.go` and `openai/openai.go` of ollama/ollama.

mod about;
mod moment;
mod native;
mod openai_dialect;

use std::sync::Arc;

use http::StatusCode;
use http::header::ALLOW;
use http::request::Parts;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::openai::{self, Call, Customs, Found, Naming, Trouble};
use crate::reply::Reply;
use crate::ticket::Ticket;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain";

#[derive(Clone, Copy, Debug)]
enum Action {
    Root,
    Version,
    Tags,
    Running,
    Show,
    NativeChat,
    NativeGenerate,
    NativeEmbed,
    Models,
    Chat,
    Completions,
    Embeddings,
    /// There, but nothing that this engine does: it would change what is installed.
    Manage,
}

const ROUTES: &[(&str, &str, Action)] = &[
    ("GET", "/", Action::Root),
    ("HEAD", "/", Action::Root),
    ("GET", "/api/version", Action::Version),
    ("HEAD", "/api/version", Action::Version),
    ("GET", "/api/tags", Action::Tags),
    ("HEAD", "/api/tags", Action::Tags),
    ("GET", "/api/ps", Action::Running),
    ("POST", "/api/show", Action::Show),
    ("POST", "/api/chat", Action::NativeChat),
    ("POST", "/api/generate", Action::NativeGenerate),
    ("POST", "/api/embed", Action::NativeEmbed),
    ("POST", "/api/pull", Action::Manage),
    ("POST", "/api/push", Action::Manage),
    ("POST", "/api/create", Action::Manage),
    ("POST", "/api/copy", Action::Manage),
    ("DELETE", "/api/delete", Action::Manage),
    ("GET", "/v1/models", Action::Models),
    ("POST", "/v1/chat/completions", Action::Chat),
    ("POST", "/v1/completions", Action::Completions),
    ("POST", "/v1/embeddings", Action::Embeddings),
];

const CUSTOMS: Customs = Customs { naming: Naming::Served, constraints: &[], cuts: true };

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, head: &Parts, body: &[u8], ticket: &mut Ticket) -> Reply {
    let path = head.uri.path();
    if let Some(name) = path.strip_prefix("/v1/models/").filter(|name| !name.is_empty())
        && head.method == http::Method::GET
    {
        ticket.take("/v1/models/{model}");
        return about::model(engine, name);
    }
    let (route, action) = match openai::find(ROUTES, head.method.as_str(), path) {
        Found::Route(route, action) => (route, action),
        Found::OtherMethod(method) => {
            let refused = Reply::text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "405 method not allowed");
            return from(refused.with(ALLOW, method));
        }
        Found::Nothing => return from(Reply::text(StatusCode::NOT_FOUND, TEXT, "404 page not found")),
    };
    ticket.take(route);
    let read = || -> Result<Value, Trouble> { Ok(named(engine, openai::object(body)?)) };
    let answered = match action {
        Action::Root => {
            Ok(from(Reply::text(StatusCode::OK, "text/plain; charset=utf-8", "Ollama is running")))
        }
        Action::Version => Ok(object(&json!({"version": engine.settings.version}))),
        Action::Tags => Ok(about::tags(engine)),
        Action::Running => Ok(about::running(engine)),
        Action::Models => Ok(about::models(engine)),
        Action::Show => read().map(|body| about::show(engine, &body)),
        Action::Manage => Ok(error(path, StatusCode::FORBIDDEN, "the simulated engine installs no models")),
        Action::Chat => read()
            .and_then(|body| entered(openai::chat(engine, &body, CUSTOMS), ticket).map(openai_dialect::chat)),
        Action::Completions => read().and_then(|body| {
            entered(openai::completion(engine, &body, CUSTOMS), ticket).map(openai_dialect::completion)
        }),
        Action::Embeddings => read().and_then(|body| {
            let embedded = openai::embeddings(engine, &body, Naming::Served, ticket)?;
            Ok(object(&embedded.list()))
        }),
        Action::NativeChat => read().and_then(|body| {
            entered(openai::chat(engine, &native::translated(&body), CUSTOMS), ticket).map(native::chat)
        }),
        Action::NativeGenerate => read().and_then(|body| {
            entered(openai::completion(engine, &native::translated(&body), CUSTOMS), ticket)
                .map(native::generate)
        }),
        Action::NativeEmbed => read().and_then(|body| {
            let embedded = openai::embeddings(engine, &body, Naming::Served, ticket)?;
            Ok(object(&native::embedded(&embedded)))
        }),
    };
    answered.unwrap_or_else(|trouble| {
        if let Trouble::TooMany = trouble {
            let message = "server busy, please try again.  maximum pending requests exceeded";
            return error(path, StatusCode::SERVICE_UNAVAILABLE, message);
        }
        let (status, message) = trouble.told();
        let unknown = status == StatusCode::NOT_FOUND;
        let message = if unknown { format!("model '{}' not found", asked_model(body)) } else { message };
        error(path, status, &message)
    })
}

/// An error: an object for the routes of OpenAI, a string for Ollama's own.
pub(crate) fn error(path: &str, status: StatusCode, message: &str) -> Reply {
    let body = if path.starts_with("/v1") {
        let kind = match status.as_u16() {
            400 => "invalid_request_error",
            404 => "not_found_error",
            _ => "api_error",
        };
        json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
    } else {
        json!({"error": message})
    };
    from(Reply::text(status, JSON, body.to_string()))
}

fn from(reply: Reply) -> Reply {
    reply.from(None)
}

fn object(value: &Value) -> Reply {
    from(Reply::text(StatusCode::OK, JSON, value.to_string()))
}

fn entered(call: Result<Call, Trouble>, ticket: &mut Ticket) -> Result<Call, Trouble> {
    let mut call = call?;
    call.enter(ticket)?;
    Ok(call)
}

/// A model's name with its tag.
fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

fn asked_model(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["model"].as_str().unwrap_or_default().to_owned()
}

/// The request with the model's name as it is served, with or without a tag. There is one choice, whatever is asked.
fn named(engine: &Engine, mut body: Value) -> Value {
    let served = body["model"].as_str().and_then(|name| {
        let models = engine.models();
        models.iter().find(|model| tagged(&model.id) == tagged(name)).map(|model| model.id.clone())
    });
    if let Value::Object(members) = &mut body {
        members.shift_remove("n");
        if let Some(served) = served {
            members.insert("model".to_owned(), json!(served));
        }
    }
    body
}
