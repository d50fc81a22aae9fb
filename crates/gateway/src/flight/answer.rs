//! What a success status turns out to be: an answer, a stream that begins, or an error in disguise.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::edit::json_string;
use dialect::stream::EventStream;
use dialect::{Body, Edit, reply, rerank};
use domain::{Fault, FaultKind, Operation, Retry};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt;
use provider::plan::{Plan, ReplyShape};
use upstream::{Answer, Incoming};

use super::{Flight, Opened, Source, broken_off};
use crate::headers;
use crate::reply::body::Watch;
use crate::reply::speech::{Recital, Speech};

/// Replies up to this many bytes are read whole and judged; larger ones by so much of them.
const JUDGED: usize = 32 << 10;

/// The most that is read of a reply that must be rewritten.
const REWRITTEN: usize = 64 << 20;

/// The most that is read of a refusal.
const REFUSAL: usize = 64 << 10;

/// The media type of a head, in lower case and without parameters.
pub(crate) fn media_type(head: &HeaderMap) -> String {
    let value = head.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The next piece of an answer, in time.
async fn next(incoming: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, Fault> {
    loop {
        match tokio::time::timeout(patience, incoming.frame()).await {
            Err(_) => {
                let message = format!("the upstream sent nothing for {} s", patience.as_secs_f64());
                return Err(Fault::new(FaultKind::TimedOut, message));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken_off(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// Reads a refusal, as far as it is worth. One that breaks off is what came of it.
pub(crate) async fn read_refusal(answer: Answer, patience: Duration) -> (HeaderMap, Bytes) {
    let mut incoming = answer.body;
    let mut body = BytesMut::new();
    while let Ok(Some(bytes)) = next(&mut incoming, patience.min(Duration::from_secs(30))).await {
        let room = REFUSAL - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if body.len() == REFUSAL {
            break;
        }
    }
    (answer.headers, body.freeze())
}

/// A body that we would have to unpack first, although we asked for it plain.
fn refuse_compressed(head: &HeaderMap) -> Result<(), Fault> {
    match head.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let name = encoding.to_str().unwrap_or("?");
            let message = format!("the upstream sent a compressed reply ({name}) although none was asked for");
            Err(Fault::new(FaultKind::Broken, message))
        }
        _ => Ok(()),
    }
}

impl Flight {
    /// Opens an answer that came with a success status.
    pub(super) async fn open(&mut self, plan: &Plan, answer: Answer) -> Result<Opened, Fault> {
        refuse_compressed(&answer.headers)?;
        let packed = matches!(self.call.operation, Operation::Embed | Operation::Pool);
        if packed && media_type(&answer.headers) == "application/octet-stream" {
            return Ok(vectors(answer));
        }
        let mut opened = if self.call.stream {
            self.open_stream(answer).await?
        } else if plan.reply == ReplyShape::Same {
            self.open_reply(answer).await?
        } else {
            self.open_rerank(plan, answer).await?
        };
        let kind = if self.call.stream { "text/event-stream" } else { "application/json" };
        opened.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(opened)
    }

    /// A stream: read until its first event says what it is.
    async fn open_stream(&mut self, answer: Answer) -> Result<Opened, Fault> {
        let mut incoming = answer.body;
        if media_type(&answer.headers) != "text/event-stream" {
            let (body, _) = read_up_to(&mut incoming, JUDGED, self.patience()).await?;
            return Err(not_a_stream(&body));
        }
        let dialect = self.call.dialect;
        let mut stream = EventStream::new(dialect, self.call.choices, self.changed.hide_usage);
        let mut frames = Vec::new();
        loop {
            let Some(bytes) = next(&mut incoming, self.patience()).await? else {
                // an event without its blank line may still be an error, or the whole answer
                let rest = stream.leftover();
                if !rest.is_empty() {
                    stream.push([&rest[..], b"\n\n"].concat().into(), &mut frames);
                }
                break;
            };
            let before = frames.len();
            stream.push(bytes, &mut frames);
            if frames[before..].iter().any(|frame| frame.marks.events > 0 || frame.marks.done) {
                break;
            }
        }
        let first = frames.iter().find(|frame| frame.marks.events > 0 || frame.marks.done);
        match first {
            Some(frame) if frame.marks.fault.is_some() && !frame.marks.terminal => {
                let mut fault = frame.marks.fault.clone().expect("it was just seen");
                fault.retry = self.retry_inside_a_success(&fault);
                headers::keep_in(&mut fault, &answer.headers);
                return Err(fault);
            }
            Some(frame) if !frame.marks.done => {}
            _ => {
                return Err(
                    Fault::new(FaultKind::Broken, "provider returned an empty stream").retry(Retry::Same)
                );
            }
        }
        let masks = self.gateway.masks.clone();
        let speech = Speech::new(stream, dialect, self.call.request_id.clone(), self.changed.hide_usage, masks);
        let mut headers = headers::for_the_client(&answer.headers);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(Opened { status: answer.status, headers, source: Source::Events { frames, incoming, speech } })
    }

    /// A JSON reply in the client's own dialect.
    async fn open_reply(&mut self, answer: Answer) -> Result<Opened, Fault> {
        let mut incoming = answer.body;
        let headers = headers::for_the_client(&answer.headers);
        let (body, whole) = read_up_to(&mut incoming, JUDGED, self.patience()).await?;
        if !whole {
            let mut recital = Recital::new(self.changed.provider_member);
            let mut pieces = VecDeque::new();
            recital.hear(body, &mut pieces).map_err(|_| Fault::new(FaultKind::Broken, "provider returned a large reply that is no JSON object"))?;
            if let Some(fault) = recital.error() {
                return Err(fault);
            }
            let source = Source::Large { pieces, incoming, recital };
            return Ok(Opened { status: answer.status, headers, source });
        }
        let body = self.judge(body)?;
        let usage = reply::usage(&body);
        let member = self.changed.provider_member.map(|kind| Edit::set("provider", json_string(kind)));
        let pieces = body.apply(member.as_slice()).into_vec().into();
        Ok(Opened { status: answer.status, headers, source: Source::Whole { pieces, usage } })
    }

    /// A rerank reply that must be told in another shape than it came in.
    async fn open_rerank(&mut self, plan: &Plan, answer: Answer) -> Result<Opened, Fault> {
        let mut incoming = answer.body;
        let (body, whole) = read_up_to(&mut incoming, REWRITTEN, self.patience()).await?;
        if !whole {
            let message = format!("the upstream's reply is larger than {REWRITTEN} bytes");
            return Err(Fault::new(FaultKind::Broken, message));
        }
        let body = self.judge(body)?;
        let from = match plan.reply {
            ReplyShape::Score => rerank::ReplyShape::Score,
            _ => rerank::ReplyShape::Rerank,
        };
        let request = self.call.rerank.as_ref().expect("only a rerank call is planned in another shape");
        let read = rerank::read_reply(body.bytes(), request.documents.len(), from)?;
        let usage = read.usage;
        let written = rerank::write_reply(&read, request, self.route.model.as_str());
        let member = self.changed.provider_member.map(|kind| Edit::set("provider", json_string(kind)));
        let pieces = Body::read(written)?.apply(member.as_slice()).into_vec().into();
        let headers = headers::for_the_client(&answer.headers);
        Ok(Opened { status: answer.status, headers, source: Source::Whole { pieces, usage } })
    }

    /// Whether a whole body is an answer.
    fn judge(&self, body: Bytes) -> Result<Body, Fault> {
        let body = Body::read(body.clone()).map_err(|_| reply::not_an_answer(&body))?;
        reply::judge(self.call.dialect, &body).map_err(|mut fault| {
            fault.retry = self.retry_inside_a_success(&fault);
            fault
        })?;
        Ok(body)
    }

    fn retry_inside_a_success(&self, fault: &Fault) -> Retry {
        match fault.kind {
            FaultKind::Refused(status) => self.retry(status, &HeaderMap::new()),
            _ => fault.retry,
        }
    }
}

/// Vectors as raw numbers (vLLM's `encoding_format: bytes`): relayed as they are, with the header that describes them.
fn vectors(answer: Answer) -> Opened {
    let mut headers = headers::for_the_client(&answer.headers);
    for name in [header::CONTENT_TYPE, HeaderName::from_static("metadata")] {
        if let Some(value) = answer.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    Opened { status: answer.status, headers, source: Source::Opaque { incoming: answer.body, watch: Watch::Nothing } }
}

/// What it means that a stream was asked for and something else came.
fn not_a_stream(body: &[u8]) -> Fault {
    if let Some(fault) = dialect::fault::in_reply(body) {
        return fault;
    }
    let message = match body.trim_ascii_start().first() {
        None => "provider returned an empty stream",
        Some(b'<') => "provider returned an HTML page instead of a stream",
        Some(b'{') => "provider returned a JSON reply although a stream was asked for",
        Some(_) => "provider returned something that is no stream",
    };
    Fault::new(FaultKind::Broken, message)
}

/// Reads until the end or past the limit. Says whether that was everything.
async fn read_up_to(incoming: &mut Incoming, limit: usize, patience: Duration) -> Result<(Bytes, bool), Fault> {
    let Some(first) = next(incoming, patience).await? else { return Ok((Bytes::new(), true)) };
    let mut rest = BytesMut::new();
    loop {
        let so_far = first.len() + rest.len();
        if http_body::Body::is_end_stream(incoming) {
            break;
        }
        if so_far > limit {
            let all = if rest.is_empty() { first } else { [&first[..], &rest[..]].concat().into() };
            return Ok((all, false));
        }
        match next(incoming, patience).await? {
            None => break,
            Some(bytes) => rest.extend_from_slice(&bytes),
        }
    }
    let all = if rest.is_empty() { first } else { [&first[..], &rest[..]].concat().into() };
    Ok((all, true))
}
