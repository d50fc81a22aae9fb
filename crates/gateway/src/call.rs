//! A request as far as we need to understand it.

mod check;
pub mod upload;

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
pub(crate) use check::{MISSING, names_no_model, wrong_type};
use check::{check, given};
use upload::Form;

/// What came with the request.
pub enum Payload {
    /// Nothing.
    Empty,
    /// A JSON object that was read and checked.
    Json(Body),
    /// A form with a file.
    Form(Box<Form>),
    /// Bytes of somebody else's making, read.
    Opaque(Bytes),
    /// A body that is relayed while it arrives, and can be sent only once: a long one of the passthrough.
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
    pub request_id: Arc<str>,
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
    /// Holds nothing yet.
    pub(crate) fn of(used: &Arc<AtomicUsize>) -> Held {
        Held(Some((used.clone(), 0)))
    }

    /// Holds so many bytes at least, and at most `whole`: doubled, so that a body is not copied for each of its pieces.
    /// Gives how many it holds.
    pub(crate) fn grow(&mut self, needed: usize, whole: usize, limit: usize) -> Result<usize, Fault> {
        let Some((used, held)) = &mut self.0 else { return Ok(needed) };
        if needed <= *held {
            return Ok(*held);
        }
        for wanted in [needed.max(held.saturating_mul(2)).min(whole), needed] {
            let more = wanted.saturating_sub(*held);
            if used.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= limit {
                *held = wanted;
                return Ok(wanted);
            }
            used.fetch_sub(more, Ordering::Relaxed);
        }
        Err(exhausted())
    }
}

/// There is no memory for this body now.
fn exhausted() -> Fault {
    let message = "the gateway holds as many request bytes as it may";
    let mut fault = Fault::new(FaultKind::Unavailable, message).code("request_memory_exhausted");
    fault.retry_after = Some("1".into());
    fault
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
        refuse_compressed(&inbound.head.headers)?;
        if dialect == Dialect::Transcription {
            // boxed: every call would be as large as one with an upload
            return Box::pin(upload::read(gateway, inbound, operation)).await;
        }
        let Inbound { head, body, request_id, .. } = inbound;
        let (bytes, memory) = read_whole(gateway, body, gateway.settings.body_limit).await?;
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
    let model = body.text("model").map_err(rejected)?;
    let provider = match body.raw("provider").as_deref().and_then(|raw| raw.first()) {
        // an object under this name is some upstream's own parameter, not our hint
        None | Some(b'{') => None,
        Some(_) => body.text("provider").map_err(rejected)?,
    };
    Selector::parse(model.as_deref().unwrap_or_default(), provider.as_deref())
        .ok_or_else(|| Fault::invalid("model is required").param("model").code(MISSING))
}

fn asks_for_usage(body: &Body) -> Result<bool, Fault> {
    let Some(raw) = given(body, "stream_options") else { return Ok(false) };
    let options = Body::read(raw).map_err(|_| wrong_type("stream_options", "an object"))?;
    let asks = options.bool("include_usage");
    asks.map(Option::unwrap_or_default)
        .map_err(|_| wrong_type("stream_options.include_usage", "true or false"))
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

/// Reads a body to its end. One that arrived in one piece is not copied.
pub(crate) async fn read_whole(
    gateway: &Gateway,
    mut body: InboundBody,
    limit: usize,
) -> Result<(Bytes, Held), Fault> {
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let (used, memory) = (&gateway.metrics.request_memory, gateway.settings.memory_limit);
    let whole = declared.map_or(limit, |length| length as usize);
    if used.load(Ordering::Relaxed) >= memory || declared.is_some_and(|length| length > memory as u64) {
        // said before the client is asked to go on
        return Err(exhausted());
    }
    // counted as it arrives: what was only announced takes no memory
    let mut held = Held::of(used);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| unreadable(&*error))?;
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.len() + rest.len();
        if so_far + data.len() > limit {
            return Err(too_large(limit));
        }
        let room = held.grow(so_far + data.len(), whole, memory)?;
        if so_far == 0 {
            first = data;
        } else {
            if rest.capacity() < so_far + data.len() {
                rest.reserve(room.max(so_far + data.len()) - rest.len());
            }
            if !first.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
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
pub(crate) fn unreadable(error: &(dyn std::error::Error + 'static)) -> Fault {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_grows_by_doubling_and_never_above_what_there_is() {
        let used = Arc::new(AtomicUsize::new(0));
        let (mut first, mut second) = (Held::of(&used), Held::of(&used));
        assert_eq!(used.load(Ordering::Relaxed), 0, "what was not read is not held");
        for (needed, held) in [(10, 10), (11, 20), (20, 20), (21, 40), (41, 70), (70, 70)] {
            assert_eq!(first.grow(needed, 70, 100).expect("there is room"), held, "{needed}");
            assert_eq!(used.load(Ordering::Relaxed), held);
        }
        assert_eq!(second.grow(20, 70, 100).expect("there is room"), 20);
        assert_eq!(second.grow(25, 70, 100).expect("twice as much is too much"), 25);
        let full = second.grow(31, 70, 100).expect_err("there is no room");
        assert_eq!(full.code.as_deref(), Some("request_memory_exhausted"));
        assert_eq!(used.load(Ordering::Relaxed), 95);
        drop((first, second));
        assert_eq!(used.load(Ordering::Relaxed), 0);
    }
}
