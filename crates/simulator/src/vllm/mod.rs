//! vLLM 0.32 on the wire: its routes, its checks, its words.

pub(crate) mod chat;
mod completions;
mod control;
pub(crate) mod fields;
pub(crate) mod generation;
pub(crate) mod inputs;
mod json;
mod malformed;
mod messages;
mod metrics;
mod models;
mod pooling;
pub(crate) mod refusal;
mod responses;
mod routes;
pub(crate) mod sampling;
mod scored;
mod scoring;
mod speech;
mod tokenize;
pub(crate) mod turns;
mod usage;
pub(crate) mod version;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, HeaderName, LOCATION, ORIGIN, VARY};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::engine::{self, Engine};
use crate::form::Form;
use crate::reply::{Reply, Vary};
use crate::seed::hash;
use crate::ticket::Ticket;
use refusal::{Refusal, detail};
use routes::{Action, Found, Offer};
use version::Version;

/// What the key guards.
const GUARDED: [&str; 4] = ["/v1", "/v2", "/inference", "/cohere"];

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, head: &Parts, body: Bytes, ticket: &mut Ticket) -> Reply {
    let path = head.uri.path();
    if head.method != http::Method::OPTIONS && GUARDED.iter().any(|guarded| path.starts_with(guarded)) {
        let key = engine.settings.api_key.as_deref();
        if key.is_some_and(|key| bearer(&head.headers) != Some(key)) {
            let mut refused = Reply::json(StatusCode::UNAUTHORIZED, "{\"error\":\"Unauthorized\"}");
            refused.vary = Vary::Absent;
            return refused;
        }
    }
    if let Some(preflight) = preflight(head) {
        return preflight;
    }
    match routes::find(Offer::of(engine), head.method.as_str(), path) {
        Found::Route(route, parameter) => {
            ticket.take(route.path);
            act(route.action, parameter, engine, head, &body, ticket)
        }
        Found::OtherMethod(method) => detail(StatusCode::METHOD_NOT_ALLOWED).with(ALLOW, method.name()),
        Found::WithoutSlash(path) => {
            let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            Reply::empty(StatusCode::TEMPORARY_REDIRECT)
                .with(LOCATION, &format!("http://{host}{path}{query}"))
        }
        Found::Nothing => detail(StatusCode::NOT_FOUND),
    }
}

/// The answer to a request that did not arrive whole, or is longer than the engine takes.
pub(crate) fn unreadable(too_long: bool, limit: usize) -> Reply {
    if too_long {
        let message =
            format!("{{\"detail\":\"the body is longer than the {limit} bytes this engine takes\"}}");
        return Reply::json(StatusCode::PAYLOAD_TOO_LARGE, message);
    }
    Reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "Invalid HTTP request received.")
}

/// The engine's own words for an error that happened outside of any route.
pub(crate) fn error(engine: &Engine, status: StatusCode, message: &str) -> Reply {
    let kind = match status.as_u16() {
        404 => "NotFoundError",
        429 => "RateLimitError",
        503 => "ServiceUnavailableError",
        400..=499 => "BadRequestError",
        _ => "InternalServerError",
    };
    Refusal::error(status, kind, message, None).reply(Version::parse(&engine.settings.version))
}

fn act(
    action: Action,
    parameter: Option<&str>,
    engine: &Arc<Engine>,
    head: &Parts,
    body: &Bytes,
    ticket: &mut Ticket,
) -> Reply {
    let version = Version::parse(&engine.settings.version);
    let query = head.uri.query().unwrap_or_default();
    let read = |answer: &mut dyn FnMut(&Value) -> Result<Reply, Refusal>| -> Result<Reply, Refusal> {
        // a type that is wrong is noticed before the body is read, one that is missing after
        if head.headers.contains_key("content-type") {
            check_type(&head.headers)?;
        }
        let body = fields::body(body)?;
        check_type(&head.headers)?;
        answer(&body)
    };
    let answered = match action {
        Action::Load => Ok(Reply::json(StatusCode::OK, "{\"server_load\":0}")),
        Action::KvEventSources => Ok(Reply::json(StatusCode::OK, "{}")),
        Action::Version => Ok(models::version(engine)),
        Action::Health | Action::Ping => Ok(Reply::empty(StatusCode::OK)),
        Action::Metrics => {
            let kind = "text/plain; version=1.0.0; charset=utf-8";
            Ok(Reply::text(
                StatusCode::OK,
                kind,
                metrics::print(&engine.metrics.lock(), &engine.state(), version),
            ))
        }
        Action::Models => Ok(models::list(engine)),
        Action::OpenApi => Ok(models::openapi(routes::of(Offer::of(engine)))),
        Action::StoredResponse => Err(responses::unknown(parameter.unwrap_or_default())),
        Action::ScaleOut => Err(Refusal::error(
            StatusCode::FORBIDDEN,
            "PermissionDeniedError",
            "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them.",
            None,
        )),
        Action::Sleep => Ok(control::sleep(engine, query)),
        Action::WakeUp => Ok(control::wake_up(engine)),
        Action::IsSleeping => Ok(control::is_sleeping(engine)),
        Action::Pause => Ok(control::pause(engine, true)),
        Action::Resume => Ok(control::pause(engine, false)),
        Action::IsPaused => Ok(control::is_paused(engine)),
        Action::ResetPrefixCache => Ok(control::reset_prefix_cache(engine)),
        Action::ServerInfo => Ok(control::server_info(engine)),
        Action::CollectiveRpc => read(&mut control::collective_rpc),
        Action::LoadAdapter => read(&mut |body| control::load_adapter(engine, body)),
        Action::UnloadAdapter => read(&mut |body| control::unload_adapter(engine, body)),
        Action::Tokenize => read(&mut |body| tokenize::tokenize(engine, body)),
        Action::Detokenize => read(&mut |body| tokenize::detokenize(engine, body)),
        Action::Pooling => read(&mut |body| pooling::pooling(engine, body, ticket)),
        Action::Embeddings => read(&mut |body| pooling::embeddings(engine, body, ticket)),
        Action::Classify => read(&mut |body| pooling::classify(engine, body, ticket)),
        Action::Score => read(&mut |body| scoring::score(engine, body, ticket)),
        Action::Rerank => read(&mut |body| scoring::rerank(engine, body, ticket)),
        Action::Chat => read(&mut |body| chat::answer(engine, head, body, ticket)),
        Action::Completions => read(&mut |body| completions::answer(engine, head, body, ticket)),
        Action::Responses => read(&mut |body| responses::answer(engine, body, ticket)),
        Action::Transcriptions => {
            speech::answer(engine, speech::Task::Transcribe, Form::read(&head.headers, body).as_ref(), ticket)
        }
        Action::Translations => {
            speech::answer(engine, speech::Task::Translate, Form::read(&head.headers, body).as_ref(), ticket)
        }
        Action::Messages => {
            return read(&mut |body| messages::answer(engine, head, body, ticket))
                .unwrap_or_else(|refusal| refusal.anthropic(version));
        }
        Action::CountTokens => {
            return read(&mut |body| messages::count_tokens(engine, body))
                .unwrap_or_else(|refusal| refusal.anthropic(version));
        }
    };
    answered.unwrap_or_else(|refusal| refusal.reply(version))
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A body must say that it is JSON.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut kinds = headers.get_all("content-type").iter().filter_map(|kind| kind.to_str().ok());
    let json = |kind: &str| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
    };
    if kinds.next().is_some_and(json) {
        return Ok(());
    }
    let message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed";
    Err(Refusal::error(StatusCode::BAD_REQUEST, "Bad Request", message, None))
}

/// A browser's question before a cross-origin request; vLLM allows none by default.
fn preflight(head: &Parts) -> Option<Reply> {
    const ASKED: HeaderName = HeaderName::from_static("access-control-request-method");
    if head.method != http::Method::OPTIONS
        || !head.headers.contains_key(ORIGIN)
        || !head.headers.contains_key(ASKED)
    {
        return None;
    }
    let mut reply =
        Reply::text(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", "Disallowed CORS origin");
    reply.vary = Vary::Preflight;
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network";
    let methods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY";
    let mut reply = reply
        .with(VARY, vary)
        .with(HeaderName::from_static("access-control-allow-methods"), methods)
        .with(HeaderName::from_static("access-control-max-age"), "600");
    if let Some(wanted) =
        head.headers.get("access-control-request-headers").and_then(|wanted| wanted.to_str().ok())
    {
        reply = reply.with(HeaderName::from_static("access-control-allow-headers"), wanted);
    }
    Some(reply)
}

/// The id that chat and completion ids are made of: the client's own, or a new one.
fn request_id(head: &Parts) -> String {
    let given = head.headers.get("x-request-id").and_then(|id| id.to_str().ok());
    given.map_or_else(engine::id, str::to_owned)
}

/// `system_fingerprint`: the version, and what tells one deployment from another.
fn fingerprint(engine: &Engine) -> String {
    let names = engine.settings.models.iter().flat_map(|model| model.root.bytes());
    let version = &engine.settings.version;
    format!(
        "vllm-{version}-{:08x}",
        hash(names.chain(engine.settings.max_model_len.to_le_bytes())) & 0xffff_ffff
    )
}
