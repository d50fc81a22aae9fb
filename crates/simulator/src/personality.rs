//! Which engine is played: where a request goes, and who puts an error into words.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use crate::engine::Engine;
use crate::reply::Reply;
use crate::settings::Personality;
use crate::ticket::Ticket;
use crate::{llamacpp, ollama, sglang, vllm};

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, head: &Parts, body: Bytes, ticket: &mut Ticket) -> Reply {
    match engine.settings.personality {
        Personality::Vllm => vllm::answer(engine, head, body, ticket),
        Personality::Sglang => sglang::answer(engine, head, &body, ticket),
        Personality::LlamaCpp => llamacpp::answer(engine, head, &body, ticket),
        Personality::Ollama => ollama::answer(engine, head, &body, ticket),
    }
}

/// The engine's own words for an error that happened outside of any route.
pub(crate) fn error(engine: &Engine, path: &str, status: StatusCode, message: &str) -> Reply {
    match engine.settings.personality {
        Personality::Vllm => vllm::error(engine, status, message),
        Personality::Sglang => sglang::error(status, message),
        Personality::LlamaCpp => llamacpp::error(status, message),
        Personality::Ollama => ollama::error(path, status, message),
    }
}
