//! What engines other than vLLM share of OpenAI's dialect: how a call is read, and how its answer is walked through.
//!
//! They check a request as vLLM does here, which none of them does exactly; what a gateway gets to see of them,
//! their routes, shapes and errors, is each engine's own.

mod call;
mod embeddings;
mod stream;

pub(crate) use call::{Call, Customs, Naming, Trouble, chat, completion};
pub(crate) use embeddings::{Embedded, embeddings};
pub(crate) use stream::{Began, Spelling, stream};

use http::HeaderMap;
use serde_json::Value;

use crate::vllm::fields;
use crate::vllm::refusal::Refusal;

/// The body of a request as an object.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn object(body: &[u8]) -> Result<Value, Refusal> {
    fields::body(body)
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// What a path and a method lead to in a table of routes.
pub(crate) enum Found<A> {
    Route(&'static str, A),
    /// The path is there, for this method.
    OtherMethod(&'static str),
    Nothing,
}

/// Looks a path up among `(method, path, action)`.
pub(crate) fn find<A: Copy>(
    routes: &'static [(&'static str, &'static str, A)],
    method: &str,
    path: &str,
) -> Found<A> {
    let there = || routes.iter().filter(|(_, known, _)| *known == path);
    match there().find(|(known, _, _)| *known == method) {
        Some((_, path, action)) => Found::Route(path, *action),
        None => there().next().map_or(Found::Nothing, |(method, _, _)| Found::OtherMethod(method)),
    }
}
