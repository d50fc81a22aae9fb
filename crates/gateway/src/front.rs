//! Which request is which: the table of routes that clients may call.
//!
//! `/health` and `/metrics` are the server's; everything else is here, also what does not exist.

use domain::{Dialect, Fault, FaultKind, Operation};
use http::Method;

/// What a request asks of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Front {
    /// A model call.
    Call(Operation, Dialect),
    /// The list of models.
    Models,
    /// One model, by the id in the path.
    Model(String),
    /// `/p/{provider}/…`: provider, and the path after it as it was written.
    Passthrough {
        /// Instance name or type.
        provider: String,
        /// What follows, without its leading slash, still encoded.
        rest: String,
    },
    /// A route that exists although nothing behind it does yet: the id in the path, if there is one.
    Unsupported(Operation, Option<String>),
}

/// A route that was found: what it is, and how it is called in logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What is asked.
    pub front: Front,
    /// The route's template, never a path with an id in it.
    pub template: &'static str,
}

/// The routes with a fixed path.
const FIXED: &[(&str, Operation, Dialect)] = &[
    ("/v1/chat/completions", Operation::Generate, Dialect::Chat),
    ("/v1/completions", Operation::Complete, Dialect::Completions),
    ("/v1/responses", Operation::Generate, Dialect::Responses),
    ("/v1/messages", Operation::Generate, Dialect::Messages),
    ("/v1/messages/count_tokens", Operation::CountTokens, Dialect::Messages),
    ("/v1/embeddings", Operation::Embed, Dialect::Embeddings),
    ("/v1/rerank", Operation::Rerank, Dialect::Rerank),
    ("/v2/rerank", Operation::Rerank, Dialect::Rerank),
    ("/v1/audio/transcriptions", Operation::Transcribe, Dialect::Transcription),
    ("/v1/audio/translations", Operation::Translate, Dialect::Transcription),
    ("/v1/score", Operation::Score, Dialect::Vllm),
    ("/v1/classify", Operation::Classify, Dialect::Vllm),
    ("/v1/pooling", Operation::Pool, Dialect::Vllm),
    ("/v1/tokenize", Operation::Tokenize, Dialect::Vllm),
    ("/v1/detokenize", Operation::Detokenize, Dialect::Vllm),
];

/// Routes of OpenAI's API that exist here but that nothing can serve yet.
const NOT_YET: &[(&str, Operation)] = &[
    ("/v1/audio/speech", Operation::Speak),
    ("/v1/images/generations", Operation::Draw),
    ("/v1/images/edits", Operation::Draw),
    ("/v1/images/variations", Operation::Draw),
    ("/v1/moderations", Operation::Moderate),
    ("/v1/responses/input_tokens", Operation::ResponseLifecycle),
    ("/v1/responses/compact", Operation::ResponseLifecycle),
];

const POST: &[Method] = &[Method::POST];
const GET: &[Method] = &[Method::GET];
const ANY: &[Method] =
    &[Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

/// Finds the route. Without one the fault is a 404, with one of another method a 405 that names the right ones.
pub fn route(method: &Method, path: &str, passthrough: bool) -> Result<Route, (Fault, &'static [Method])> {
    let found = find(path, passthrough);
    let Some((route, methods)) = found else {
        let message = format!("unknown API endpoint: {method} {path}");
        return Err((Fault::new(FaultKind::NotFound, message), &[]));
    };
    if methods.contains(method) {
        return Ok(route);
    }
    let allowed: Vec<_> = methods.iter().map(Method::as_str).collect();
    let message = format!("{method} is not allowed on {path}; allowed: {}", allowed.join(", "));
    Err((Fault::new(FaultKind::MethodNotAllowed, message), methods))
}

fn find(path: &str, passthrough: bool) -> Option<(Route, &'static [Method])> {
    if let Some((template, operation, dialect)) = FIXED.iter().find(|(fixed, ..)| *fixed == path) {
        return Some((Route { front: Front::Call(*operation, *dialect), template }, POST));
    }
    if let Some((template, operation)) = NOT_YET.iter().find(|(fixed, _)| *fixed == path) {
        return Some((Route { front: Front::Unsupported(*operation, None), template }, POST));
    }
    if path == "/v1/models" {
        return Some((Route { front: Front::Models, template: "/v1/models" }, GET));
    }
    if let Some(id) = path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
        return Some((Route { front: Front::Model(decode(id)?), template: "/v1/models/{id}" }, GET));
    }
    if let Some(rest) = path.strip_prefix("/p/").filter(|_| passthrough) {
        let (provider, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let front = Front::Passthrough { provider: decode(provider)?, rest: rest.to_owned() };
        return Some((Route { front, template: "/p/{provider}/{path}" }, ANY));
    }
    objects(path)
}

/// Responses, files and batches that were made before: none was.
fn objects(path: &str) -> Option<(Route, &'static [Method])> {
    const READ_DELETE: &[Method] = &[Method::GET, Method::DELETE];
    const READ_CREATE: &[Method] = &[Method::GET, Method::POST];
    let segments: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    let (operation, template, methods): (_, &'static str, &'static [Method]) = match segments[..] {
        ["responses", _] => (Operation::ResponseLifecycle, "/v1/responses/{id}", READ_DELETE),
        ["responses", _, "input_items"] => {
            (Operation::ResponseLifecycle, "/v1/responses/{id}/input_items", GET)
        }
        ["responses", _, "cancel"] => (Operation::ResponseLifecycle, "/v1/responses/{id}/cancel", POST),
        ["files"] => (Operation::File, "/v1/files", READ_CREATE),
        ["files", _] => (Operation::File, "/v1/files/{id}", READ_DELETE),
        ["files", _, "content"] => (Operation::File, "/v1/files/{id}/content", GET),
        ["batches"] => (Operation::Batch, "/v1/batches", READ_CREATE),
        ["batches", _] => (Operation::Batch, "/v1/batches/{id}", GET),
        ["batches", _, "cancel"] => (Operation::Batch, "/v1/batches/{id}/cancel", POST),
        ["batches", _, "results"] => (Operation::Batch, "/v1/batches/{id}/results", GET),
        _ => return None,
    };
    let id = segments.get(1).and_then(|id| decode(id));
    Some((Route { front: Front::Unsupported(operation, id), template }, methods))
}

/// Undoes percent-encoding. `None` if it is malformed or not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        decoded.push(if byte == b'%' { (hex(bytes.next())? * 16 + hex(bytes.next())?) as u8 } else { byte });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, expect: Result<Front, FaultKind>) {
        let found = route(&method, path, true).map(|r| r.front).map_err(|(fault, _)| fault.kind);
        assert_eq!(found, expect, "{method} {path}");
    }

    #[test]
    fn every_front_is_found() {
        check(Method::POST, "/v1/chat/completions", Ok(Front::Call(Operation::Generate, Dialect::Chat)));
        check(Method::POST, "/v1/rerank", Ok(Front::Call(Operation::Rerank, Dialect::Rerank)));
        check(Method::GET, "/v1/models", Ok(Front::Models));
        check(Method::POST, "/v1/audio/speech", Ok(Front::Unsupported(Operation::Speak, None)));
        check(
            Method::GET,
            "/v1/responses/resp_1",
            Ok(Front::Unsupported(Operation::ResponseLifecycle, Some("resp_1".into()))),
        );
    }

    #[test]
    fn model_ids_may_have_slashes_raw_or_encoded() {
        check(Method::GET, "/v1/models/vllm/meta/Llama", Ok(Front::Model("vllm/meta/Llama".into())));
        check(Method::GET, "/v1/models/vllm%2Fmeta%2FLlama", Ok(Front::Model("vllm/meta/Llama".into())));
        check(Method::GET, "/v1/models/", Err(FaultKind::NotFound));
        check(Method::GET, "/v1/models/a%zz", Err(FaultKind::NotFound));
    }

    #[test]
    fn what_does_not_exist_is_told_from_what_is_asked_wrongly() {
        check(Method::GET, "/v1/nope", Err(FaultKind::NotFound));
        check(Method::POST, "/v1/chat/completions/", Err(FaultKind::NotFound));
        check(Method::GET, "/v1/chat/completions", Err(FaultKind::MethodNotAllowed));
        check(Method::HEAD, "/v1/models", Err(FaultKind::MethodNotAllowed));
        assert!(route(&Method::GET, "/p/vllm/metrics", false).is_err());
    }

    #[test]
    fn a_passthrough_keeps_its_path_as_it_was_written() {
        let front = Front::Passthrough { provider: "vllm".into(), rest: "v1/x%2Fy".into() };
        check(Method::PATCH, "/p/vllm/v1/x%2Fy", Ok(front));
        check(
            Method::GET,
            "/p/vllm",
            Ok(Front::Passthrough { provider: "vllm".into(), rest: String::new() }),
        );
    }
}
