//! A request as far as we need to understand it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use dialect::{Body, Reject, rerank};
use domain::{Dialect, Fault, FaultKind, Operation, Selector};
use http::{HeaderMap, Method, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::de::IgnoredAny;

use crate::front::Route;
use crate::inbound::{Inbound, InboundBody};
use crate::{Gateway, Settings};

/// What came with the request.
pub enum Payload {
    /// Nothing.
    Empty,
    /// A JSON object that was read and checked.
    Json(Body),
    /// Bytes of somebody else's making, read.
    Opaque(Bytes),
    /// A body that is relayed while it arrives, and can be sent only once. Uploads and long passthrough bodies.
    Stream {
        /// What is still arriving.
        source: InboundBody,
        /// How long it says it is.
        length: Option<u64>,
    },
}

/// A request as far as we need to understand it.
pub struct Call {
    /// What is asked.
    pub operation: Operation,
    /// In which dialect.
    pub dialect: Dialect,
    /// The method, which only a passthrough may choose.
    pub method: Method,
    /// The query, which only a passthrough passes on.
    pub query: Option<String>,
    /// The client's headers.
    pub headers: HeaderMap,
    /// The request's id.
    pub request_id: String,
    /// What came with it.
    pub payload: Payload,
    /// The model that the client named.
    pub selector: Option<Selector>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Whether the client asked for the usage chunk itself.
    pub asked_usage: bool,
    /// How many choices are to come.
    pub choices: u32,
    /// The rerank request, if it is one.
    pub rerank: Option<rerank::Request>,
    /// Request bytes held in memory, given back when the call is over.
    pub memory: Held,
}

/// Request bytes held in memory, counted.
#[derive(Default)]
pub struct Held(Option<(Arc<AtomicUsize>, usize)>);

impl Held {
    fn take(used: &Arc<AtomicUsize>, bytes: usize, limit: usize) -> Result<Held, Fault> {
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        let held = Held(Some((used.clone(), bytes)));
        if before + bytes <= limit {
            return Ok(held);
        }
        let mut fault =
            Fault::new(FaultKind::Unavailable, "the gateway holds as many request bytes as it may");
        fault.code = Some("request_memory_exhausted".into());
        fault.retry_after = Some("1".into());
        Err(fault)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((used, bytes)) = self.0.take() {
            used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Call {
    /// Reads a model call's body and understands it. What makes no sense ends here: nothing has gone upstream.
    pub async fn read(
        gateway: &Gateway,
        inbound: Inbound,
        operation: Operation,
        dialect: Dialect,
    ) -> Result<Call, Fault> {
        let Inbound { head, body, request_id, .. } = inbound;
        refuse_compressed(&head.headers)?;
        let (bytes, memory) = read_whole(gateway, &head.headers, body, gateway.settings.body_limit).await?;
        let body = Body::read(bytes).map_err(rejected)?;
        let selector = selector(&body)?;
        check(operation, dialect, &body)?;
        let stream = dialect.streams() && body.bool("stream").map_err(rejected)?.unwrap_or(false);
        let asked_usage = stream && asks_for_usage(&body)?;
        let choices = if stream { choices(dialect, &body)? } else { 1 };
        let rerank = (operation == Operation::Rerank).then(|| rerank::read(&body)).transpose()?;
        Ok(Call {
            operation,
            dialect,
            method: Method::POST,
            query: None,
            headers: head.headers,
            request_id,
            payload: Payload::Json(body),
            selector: Some(selector),
            stream,
            asked_usage,
            choices,
            rerank,
            memory,
        })
    }
}

/// What the dialect calls itself when a body is expected in it.
pub(crate) fn rejected(reject: Reject) -> Fault {
    let mut fault = Fault::invalid(reject.message());
    fault.param = reject.param().map(str::to_owned);
    fault
}

fn selector(body: &Body) -> Result<Selector, Fault> {
    let model = body.string("model").map_err(rejected)?;
    // an object under this name is some upstream's own parameter, not our hint
    let hint = body.raw("provider").is_some_and(|raw| raw.first() == Some(&b'"'));
    let provider = if hint { body.string("provider").map_err(rejected)? } else { None };
    Selector::parse(model.as_deref().unwrap_or_default(), provider.as_deref())
        .ok_or_else(|| Fault::invalid("model is required").param("model").code("missing_required_parameter"))
}

/// The members without which no engine could answer, with the first byte that their value may have.
fn check(operation: Operation, dialect: Dialect, body: &Body) -> Result<(), Fault> {
    // what may stand for what: vLLM embeds conversations, and completes from embeddings
    let required: &[(&[&str], &str, &str)] = match (operation, dialect) {
        (Operation::Generate, Dialect::Chat) => &[(&["messages"], "[", "an array of messages")],
        (Operation::Generate, Dialect::Responses) => &[(&["input", "prompt"], "", "a string or an array")],
        (Operation::Generate, Dialect::Messages) => &[
            (&["messages"], "[", "an array of messages"),
            (&["max_tokens"], "0123456789", "a positive number"),
        ],
        (Operation::CountTokens, _) => &[(&["messages"], "[", "an array of messages")],
        (Operation::Complete, _) => &[(&["prompt", "prompt_embeds"], "", "a text")],
        (Operation::Embed, _) => &[(&["input", "messages"], "", "a text or a list of texts")],
        _ => &[],
    };
    for (names, first, expected) in required {
        let present = names
            .iter()
            .find_map(|name| body.raw(name).filter(|raw| &raw[..] != b"null").map(|raw| (name, raw)));
        let Some((name, raw)) = present else {
            return Err(Fault::invalid(format!("Missing required parameter: '{}'.", names[0]))
                .param(names[0])
                .code("missing_required_parameter"));
        };
        if !first.is_empty() && !raw.first().is_some_and(|byte| first.as_bytes().contains(byte)) {
            return Err(Fault::invalid(format!("'{name}' must be {expected}"))
                .param(*name)
                .code("invalid_type"));
        }
    }
    Ok(())
}

fn asks_for_usage(body: &Body) -> Result<bool, Fault> {
    let Some(raw) = body.raw("stream_options").filter(|raw| &raw[..] != b"null") else { return Ok(false) };
    let wrong =
        || Fault::invalid("'stream_options' must be an object").param("stream_options").code("invalid_type");
    let options = Body::read(raw).map_err(|_| wrong())?;
    Ok(options.bool("include_usage").map_err(rejected)?.unwrap_or(false))
}

/// How many choices a stream will finish: `n`, times the prompts of a text completion.
fn choices(dialect: Dialect, body: &Body) -> Result<u32, Fault> {
    if !matches!(dialect, Dialect::Chat | Dialect::Completions) {
        return Ok(1);
    }
    let n = body.unsigned("n").map_err(rejected)?.unwrap_or(1).clamp(1, 1 << 16);
    let prompts = match (dialect, body.raw("prompt")) {
        (Dialect::Completions, Some(raw)) if raw.first() == Some(&b'[') => {
            // a list of texts or of token lists is many prompts; a list of token ids is one
            let many = raw[1..].trim_ascii_start().first().is_some_and(|byte| b"\"[".contains(byte));
            let count =
                || serde_json::from_slice::<Vec<IgnoredAny>>(&raw).map_or(1, |list| list.len().max(1));
            if many { count() as u64 } else { 1 }
        }
        _ => 1,
    };
    Ok(u32::try_from(n.saturating_mul(prompts)).unwrap_or(u32::MAX))
}

fn refuse_compressed(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let name = encoding.to_str().unwrap_or("?");
            Err(Fault::invalid(format!(
                "compressed request bodies are not accepted (content-encoding: {name})"
            ))
            .param("content-encoding"))
        }
        _ => Ok(()),
    }
}

/// The limit that applies to a body of this content type.
pub(crate) fn limit(settings: &Settings, headers: &HeaderMap) -> usize {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let upload = kind.starts_with("multipart/")
        || kind.starts_with("application/octet-stream")
        || kind.starts_with("audio/");
    if upload { settings.upload_limit } else { settings.body_limit }
}

/// A body over the limit.
pub(crate) fn too_large(limit: usize) -> Fault {
    Fault::new(FaultKind::TooLarge, format!("the request body is larger than {limit} bytes"))
        .code("request_too_large")
}

/// The length that a head declares.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a body to its end. One that arrived in one piece is not copied.
pub(crate) async fn read_whole(
    gateway: &Gateway,
    headers: &HeaderMap,
    mut body: InboundBody,
    limit: usize,
) -> Result<(Bytes, Held), Fault> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let reserve = declared.map_or(16 << 10, |length| length as usize);
    let used = &gateway.metrics.request_memory;
    let mut held = Held::take(used, reserve, gateway.settings.memory_limit)?;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&*error))?;
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.len() + rest.len();
        if so_far + data.len() > limit {
            return Err(too_large(limit));
        }
        if so_far == 0 {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(declared.map_or(2 * so_far, |length| (length as usize).max(so_far)));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&data);
        if declared.is_none() && rest.len() > reserve {
            drop(std::mem::take(&mut held));
            held = Held::take(used, rest.len(), gateway.settings.memory_limit)?;
        }
        if body.is_end_stream() {
            break;
        }
    }
    let whole = if rest.is_empty() { first } else { rest.freeze() };
    if whole.is_empty() {
        return Err(Fault::invalid("invalid request body: it is empty"));
    }
    Ok((whole, held))
}

/// A body that broke off, or did not come in time.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> Fault {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut) {
            return Fault::new(FaultKind::RequestTimeout, error.to_string()).code("request_timeout");
        }
        cause = error.source();
    }
    Fault::invalid(format!("the request body could not be read: {error}"))
}

/// How a route's dialect is spoken before its call is read.
pub fn dialect_of(route: &Route) -> Option<Dialect> {
    match route.front {
        crate::front::Front::Call(_, dialect) => Some(dialect),
        _ => None,
    }
}
