//! What a success status turns out to be: an answer, a stream that begins, or an error in disguise.
//!
//! A [`Hearing`] takes the pieces of an answer until it has heard enough, and [`Flight::judge`] says what they are. Both
//! are pure; the reading around them is all that knows a connection.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::marks::Marks;
use dialect::stream::{EventStream, Frame};
use dialect::{Body, Edit, reply, rerank};
use domain::{Dialect, Fault, FaultKind, Operation, Retry};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use provider::plan::{Plan, ReplyShape};
use upstream::{Answer, Incoming};

use super::hearing::{Gathered, Heard, Hearing, JUDGED, says_something};
use super::{Flight, Names, Opened, broken_off};
use crate::alarm::in_time;
use crate::call::Payload;
use crate::headers;
use crate::reply::relay::{Relay, Watch};
use crate::reply::speech::Speech;

/// The most that is read of a reply that must be rewritten.
const REWRITTEN: usize = 64 << 20;

/// A rewritten reply of at most so many bytes goes out in one piece: to write several costs more than to copy them.
const JOINED: usize = 8 << 10;

/// The most that is read of a whole reply that must be told as a stream.
const WHOLE: usize = 8 << 20;

/// The most that is read of a refusal.
const REFUSAL: usize = 64 << 10;

/// The name of the change that adds the `provider` member.
const PROVIDER: &str = "response.provider";

/// The name of the change that tells a whole reply as a stream.
const STREAM: &str = "response.stream";

/// The media type of a head, in lower case and without parameters.
pub(crate) fn media_type(head: &HeaderMap) -> Cow<'_, str> {
    let value = head.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let kind = std::str::from_utf8(value[..end].trim_ascii()).unwrap_or_default();
    match kind.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(kind.to_ascii_lowercase()),
        false => Cow::Borrowed(kind),
    }
}

/// Whether a media type is one of those in which speech engines send texts and subtitles.
fn is_transcript(kind: &str) -> bool {
    let page = matches!(kind, "text/html" | "text/event-stream");
    kind == "application/x-subrip" || (kind.starts_with("text/") && !page)
}

/// The next piece of an answer, in time.
async fn next(incoming: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, Fault> {
    loop {
        match in_time(patience, incoming.frame()).await {
            None => {
                let message = format!("the upstream sent nothing for {} s", patience.as_secs_f64());
                return Err(Fault::new(FaultKind::TimedOut, message));
            }
            Some(None) => return Ok(None),
            Some(Some(Err(error))) => return Err(broken_off(&error)),
            Some(Some(Ok(frame))) => {
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

/// The beginning of an answer, judged: nothing of it has been said to the client.
pub(crate) struct Beginning {
    /// The status that the client gets.
    pub(crate) status: StatusCode,
    /// The headers that the client gets.
    pub(crate) headers: HeaderMap,
    /// What was heard of it.
    pub(crate) frames: Vec<Frame>,
    /// How the rest is passed on. `None`: there is none.
    pub(crate) relay: Option<Box<Relay>>,
    /// What was changed for it, by name.
    pub(crate) changes: Names,
    /// A failure that the whole reply tells in the client's own words.
    pub(crate) told: Option<Box<Fault>>,
}

impl Beginning {
    /// Joins it with where the rest comes from.
    pub(crate) fn opened(self, incoming: Incoming) -> Opened {
        let Beginning { status, headers, frames, relay, changes, told } = self;
        let rest = relay.map(|relay| (incoming, relay));
        Opened { status, headers, frames, rest, changes, told, verdict: None }
    }
}

/// The headers of a stream.
fn stream_headers(headers: &mut HeaderMap, kind: HeaderValue) {
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

/// What a refusal says. A redirect is one: where it leads is told, as far as it is no secret, and never gone.
pub(super) fn refusal(status: u16, head: &HeaderMap, body: &[u8]) -> Fault {
    let mut fault = dialect::fault::refusal(status, body);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return fault;
    }
    let location = head.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let host = location.and_then(|location| {
        let absolute =
            if location.starts_with("//") { format!("http:{location}") } else { location.to_owned() };
        absolute.parse::<http::Uri>().ok()?.host().map(str::to_owned)
    });
    let to = match (location, host) {
        (_, Some(host)) => format!(" to {host}"),
        (Some(_), None) => " to another path of its own".to_owned(),
        (None, None) => String::new(),
    };
    fault.message = format!(
        "the upstream answered {status}, a redirect{to}, which is not followed: correct its base URL"
    );
    fault
}

/// A body that we would have to unpack first, although we asked for it plain.
fn refuse_compressed(head: &HeaderMap) -> Result<(), Fault> {
    match head.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let name = encoding.to_str().unwrap_or("?");
            let message =
                format!("the upstream sent a compressed reply ({name}) although none was asked for");
            Err(Fault::new(FaultKind::Broken, message))
        }
        _ => Ok(()),
    }
}

impl Flight {
    /// Opens an answer that came with a success status: reads until it can be judged.
    pub(super) async fn open(&mut self, plan: &Plan, answer: Answer) -> Result<Opened, Fault> {
        let Answer { status, headers, body: mut incoming, .. } = answer;
        let mut hearing = self.hearing(plan, &headers)?;
        while !hearing.enough() {
            match next(&mut incoming, self.patience()).await? {
                Some(bytes) => hearing.take(bytes),
                None => hearing.end(),
            }
            if !hearing.enough() && http_body::Body::is_end_stream(&incoming) {
                hearing.end();
            }
        }
        Ok(self.judge(plan, status, &headers, hearing)?.opened(incoming))
    }

    /// How an answer with this head is heard.
    pub(crate) fn hearing(&self, plan: &Plan, head: &HeaderMap) -> Result<Hearing, Fault> {
        refuse_compressed(head)?;
        let kind = media_type(head);
        let packed = matches!(self.call.operation, Operation::Embed | Operation::Pool);
        let (operation, dialect) = (self.call.operation, self.call.dialect);
        let stream = || EventStream::new(dialect, self.call.choices, self.changed.hide_usage);
        // a form's field that asks for a stream may not have arrived when the call was understood
        let may_stream = matches!(&self.call.payload, Payload::Form(form) if form.may_stream());
        let heard = match &*kind {
            "application/octet-stream" if packed => Heard::Nothing,
            "text/event-stream" if self.call.stream || may_stream => Heard::Stream(stream(), Vec::new()),
            kind if !self.call.stream && self.takes_text() && is_transcript(kind) => {
                Heard::Text(Gathered::up_to(JUDGED))
            }
            "text/plain" | "" if self.call.stream => Heard::Unlabelled(stream(), Gathered::up_to(JUDGED)),
            "application/json"
                if self.call.stream
                    && matches!(dialect, Dialect::Chat | Dialect::Completions | Dialect::Transcription) =>
            {
                Heard::Whole(Gathered::up_to(WHOLE))
            }
            _ if self.call.stream => Heard::NoStream(Gathered::up_to(JUDGED)),
            _ if plan.reply == ReplyShape::Same => {
                let member = self.changed.provider_member.clone();
                Heard::Reply(Gathered::up_to(JUDGED), (operation, dialect), member)
            }
            _ => Heard::Rerank(Gathered::up_to(REWRITTEN)),
        };
        Ok(Hearing::new(heard))
    }

    /// Says what was heard, and how the rest is to be told.
    pub(crate) fn judge(
        &self,
        plan: &Plan,
        status: StatusCode,
        head: &HeaderMap,
        hearing: Hearing,
    ) -> Result<Beginning, Fault> {
        let mut headers = headers::for_the_client(head);
        // the upstream's own spelling (vLLM adds a charset), if it is the right kind at all
        let spelled = |kind: &'static str| match head.get(header::CONTENT_TYPE) {
            Some(value) if media_type(head) == kind => value.clone(),
            _ => HeaderValue::from_static(kind),
        };
        let json = spelled("application/json");
        let mut changes = Names::new();
        let mut told = None;
        if plan.reply != ReplyShape::Same {
            changes.extend(["request.rerank", "response.rerank"]);
        }
        let (frames, relay) = match hearing.heard {
            Heard::Nothing => {
                // vectors as raw numbers (vLLM's `encoding_format: bytes`), with the header that describes them
                for name in [header::CONTENT_TYPE, HeaderName::from_static("metadata")] {
                    if let Some(value) = head.get(&name) {
                        headers.insert(name, value.clone());
                    }
                }
                (Vec::new(), Some(Box::new(Relay::Opaque(Watch::Nothing))))
            }
            Heard::Stream(stream, frames) => {
                let frames = self.judge_stream(frames, head)?;
                stream_headers(&mut headers, spelled("text/event-stream"));
                (frames, Some(self.speech(stream, self.changed.hide_usage)))
            }
            Heard::Whole(gathered) => {
                let events = self.whole_as_stream(gathered, head)?;
                stream_headers(&mut headers, spelled("text/event-stream"));
                changes.push(STREAM);
                // usage is always told to us; the client hears of it if it asked
                let hide_usage = !self.call.asked_usage;
                let mut stream = EventStream::new(self.call.dialect, self.call.choices, hide_usage);
                let mut frames = Vec::new();
                stream.push(events, &mut frames);
                (frames, Some(self.speech(stream, hide_usage)))
            }
            // it turned out to be one or the other before it was judged
            Heard::Unlabelled(_, gathered) | Heard::NoStream(gathered) => {
                return Err(self.no_stream(&gathered.bytes(), head));
            }
            Heard::Large(large) => {
                headers.insert(header::CONTENT_TYPE, json);
                let (pieces, recital) = large.judge().map_err(|fault| self.inside_a_success(fault, head))?;
                changes.extend(self.changed.provider_member.as_ref().map(|_| PROVIDER));
                let frame = |raw| Frame { raw, marks: Marks::default() };
                (pieces.into_iter().map(frame).collect(), Some(Box::new(Relay::Large(recital))))
            }
            Heard::Reply(gathered, ..) => {
                headers.insert(header::CONTENT_TYPE, json);
                let bytes = gathered.bytes();
                let body = Body::read(bytes.clone()).map_err(|_| reply::not_an_answer(&bytes))?;
                reply::judge(&self.asked(), &body).map_err(|fault| self.inside_a_success(fault, head))?;
                told = reply::told(self.call.dialect, &body).map(Box::new);
                let mut frames =
                    self.with_provider(&body, reply::usage(self.call.operation, &body), &mut changes);
                if told.is_some() {
                    frames = self.without_secrets(frames);
                }
                (frames, None)
            }
            Heard::Text(gathered) => {
                if let Some(kind) = head.get(header::CONTENT_TYPE) {
                    headers.insert(header::CONTENT_TYPE, kind.clone());
                }
                let more = gathered.is_too_long();
                let text = gathered.bytes();
                reply::judge_text(&text).map_err(|fault| self.inside_a_success(fault, head))?;
                let frame = Frame { raw: text, marks: Marks::default() };
                (vec![frame], more.then(|| Box::new(Relay::Opaque(Watch::Nothing))))
            }
            Heard::Rerank(gathered) => {
                headers.insert(header::CONTENT_TYPE, json);
                (self.judge_rerank(plan, gathered, head, &mut changes)?, None)
            }
        };
        Ok(Beginning { status, headers, frames, relay, changes, told })
    }

    /// A stream is what its first event says.
    fn judge_stream(&self, frames: Vec<Frame>, head: &HeaderMap) -> Result<Vec<Frame>, Fault> {
        match frames.iter().find(|frame| says_something(frame)).map(|frame| &frame.marks) {
            Some(Marks { fault: Some(fault), .. }) => {
                let mut fault = (**fault).clone();
                if fault.kind == FaultKind::Broken {
                    // nothing was begun that could be incomplete
                    fault.code = None;
                }
                Err(self.inside_a_success(fault, head))
            }
            Some(marks) if !marks.done => Ok(frames),
            _ => Err(Fault::new(FaultKind::Broken, "provider returned an empty stream").retry(Retry::Same)),
        }
    }

    /// What retells a stream.
    fn speech(&self, stream: EventStream, hide_usage: bool) -> Box<Relay> {
        let (request_id, masks) = (self.call.request_id.clone(), self.gateway.masks.clone());
        Box::new(Relay::Events(Speech::new(stream, self.call.dialect, request_id, hide_usage, masks)))
    }

    /// The events of a whole completion that came although a stream was asked for.
    fn whole_as_stream(&self, gathered: Gathered, head: &HeaderMap) -> Result<Bytes, Fault> {
        if gathered.is_too_long() {
            let message = format!(
                "provider returned a JSON reply of more than {WHOLE} bytes although a stream was asked for"
            );
            return Err(Fault::new(FaultKind::Broken, message));
        }
        let bytes = gathered.bytes();
        let Ok(body) = Body::read(bytes.clone()) else { return Err(self.no_stream(&bytes, head)) };
        reply::judge(&self.asked(), &body).map_err(|fault| self.inside_a_success(fault, head))?;
        reply::as_stream(self.call.dialect, &body)
    }

    /// Whether the answer may be a text that is no JSON.
    fn takes_text(&self) -> bool {
        matches!(&self.call.payload, Payload::Form(form) if form.takes_text())
    }

    /// What the reply answers.
    fn asked(&self) -> reply::Asked {
        let input = match &self.call.payload {
            Payload::Json(body) => body.raw("input"),
            _ => None,
        };
        let nothing = |input: Bytes| input.iter().all(|byte| b"[] \r\n\t".contains(byte));
        reply::Asked {
            operation: self.call.operation,
            dialect: self.call.dialect,
            documents: self.call.rerank.as_ref().map_or(0, |request| request.documents.len()),
            something: !input.is_some_and(nothing),
        }
    }

    /// What it means that a stream was asked for and something else came.
    fn no_stream(&self, body: &[u8], head: &HeaderMap) -> Fault {
        if let Some(fault) = dialect::fault::in_reply(body) {
            return self.inside_a_success(fault, head);
        }
        let message = match body.trim_ascii_start().first() {
            None => "provider returned an empty stream",
            Some(b'<') => "provider returned an HTML page instead of a stream",
            Some(b'{') => "provider returned a JSON reply although a stream was asked for",
            Some(_) => "provider returned something that is no stream",
        };
        Fault::new(FaultKind::Broken, message)
    }

    /// A rerank reply that must be told in another shape than it came in.
    fn judge_rerank(
        &self,
        plan: &Plan,
        gathered: Gathered,
        head: &HeaderMap,
        changes: &mut Names,
    ) -> Result<Vec<Frame>, Fault> {
        if gathered.is_too_long() {
            let message = format!("the upstream's reply is larger than {REWRITTEN} bytes");
            return Err(Fault::new(FaultKind::Broken, message));
        }
        let body = self.understand(gathered.bytes(), head)?;
        let from = match plan.reply {
            ReplyShape::Score => rerank::ReplyShape::Score,
            _ => rerank::ReplyShape::Rerank,
        };
        let request = self.call.rerank.as_ref().expect("only a rerank call is planned in another shape");
        let read = rerank::read_reply(body.bytes(), request.documents.len(), from)?;
        let written = rerank::write_reply(&read, request, self.route.model.as_str());
        Ok(self.with_provider(&Body::read(written)?, read.usage, changes))
    }

    /// Adds the `provider` member, if replies get one.
    fn with_provider(&self, body: &Body, usage: Option<domain::Usage>, changes: &mut Names) -> Vec<Frame> {
        let kind = self.changed.provider_member.as_ref();
        let member = kind.map(|kind| Edit::set("provider", kind.clone()));
        changes.extend(member.as_ref().map(|_| PROVIDER));
        let pieces = body.apply(member.as_slice());
        let frame = |raw| Frame { raw, marks: Marks { usage, ..Marks::default() } };
        match pieces.len() <= JOINED {
            true => vec![frame(pieces.to_bytes())],
            false => pieces.into_pieces().into_iter().map(frame).collect(),
        }
    }

    /// A reply that tells of a failure, without the secrets that the upstream repeats.
    fn without_secrets(&self, mut frames: Vec<Frame>) -> Vec<Frame> {
        let whole: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.iter().copied()).collect();
        let Some(masked) = self.gateway.masks.bytes(&whole) else { return frames };
        frames.drain(1..);
        frames.iter_mut().for_each(|frame| frame.raw = masked.clone().into());
        frames
    }

    /// Whether a whole body is a JSON object, and no error.
    fn understand(&self, body: Bytes, head: &HeaderMap) -> Result<Body, Fault> {
        let body = Body::read(body.clone()).map_err(|_| reply::not_an_answer(&body))?;
        match dialect::fault::in_body(&body) {
            Some(fault) => Err(self.inside_a_success(fault, head)),
            None => Ok(body),
        }
    }

    /// A fault that a success status hid: retried as if its own status had come, with what the head says.
    fn inside_a_success(&self, mut fault: Fault, head: &HeaderMap) -> Fault {
        if let FaultKind::Refused(status) = fault.kind {
            fault.retry = self.retry(status, head);
        }
        headers::keep_in(&mut fault, head);
        fault
    }
}
