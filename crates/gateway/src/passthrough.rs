//! `/p/{provider}/…`: the same pipeline, a foreign body.
//!
//! Everything passes as it is, both ways, but credentials and what is about a single connection. Usage is still looked
//! for in what comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dialect::Body;
use dialect::json::top_level::TopLevel;
use dialect::marks::Marks;
use dialect::stream::{EventStream, Frame};
use domain::{Dialect, Fault, FaultKind, ModelName, Operation, Selector};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use provider::{control, passthrough};
use upstream::{OutBody, Outbound};

use crate::call::{self, Call, Held, Payload};
use crate::flight::{Beginning, Names, Opened, unsent};
use crate::identity::{Caller, Method as AuthMethod};
use crate::inbound::Inbound;
use crate::inventory::filter::matches;
use crate::reply::Depth;
use crate::reply::relay::{Relay, Watch};
use crate::routing::Route;
use crate::trail::Progress;
use crate::{Gateway, Instance, headers};

/// Bodies up to this many bytes are read before they are sent on, so that the model in them is known.
const PEEKED: u64 = 64 << 10;

/// Where a passthrough call goes.
pub struct Way {
    /// The instance.
    pub instance: Arc<Instance>,
    /// The upstream path.
    pub path: String,
}

/// Finds the instance (by name, else the first of the type) and the upstream path, and refuses what is closed.
pub fn find(gateway: &Gateway, caller: &Caller, provider: &str, rest: &str) -> Result<Way, Fault> {
    let settings = &gateway.settings.passthrough;
    let instance = gateway.inventory.named(provider).or_else(|| gateway.inventory.of_type(provider).next());
    let kind = instance.map_or(provider, |instance| instance.spec.name);
    if !settings.types.iter().any(|open| open == kind) {
        return Err(not_enabled(&settings.types, provider));
    }
    let Some(instance) = instance.cloned() else {
        return Err(Fault::invalid(format!("no provider found for provider type: {provider}")));
    };
    let written_v1 = rest.strip_prefix("v1/").or_else(|| rest.strip_prefix("V1/"));
    if written_v1.is_some() && !settings.v1_alias {
        let message =
            "provider passthrough v1 alias is disabled; use /p/{provider}/... without the v1 prefix";
        return Err(Fault::invalid(message));
    }
    let path = written_v1.unwrap_or(rest);
    if path.trim_matches('/').is_empty() {
        return Err(Fault::invalid("provider passthrough endpoint is required"));
    }
    let normal = control::normalise(&format!("/{path}")).ok_or_else(|| {
        Fault::invalid("the passthrough path must not climb (`..`) or hide characters behind encodings")
    })?;
    // an operator may have written the path with the `/v1` that the client wrote, or without
    let mut spellings = vec![normal.to_lowercase()];
    spellings.extend(written_v1.map(|_| format!("/v1{}", spellings[0])));
    let hit = |globs: &[String]| {
        globs.iter().any(|glob| spellings.iter().any(|path| matches(&glob.to_lowercase(), path)))
    };
    // what an engine proved to be counts as well as what it was configured as
    let engine = instance.state().abilities.engine.and_then(provider::find);
    let mut controls = [Some(instance.spec), engine].into_iter().flatten();
    let closed = controls.any(|spec| control::is_control(spec, &normal)) || hit(&settings.control_deny);
    let opened = caller.method == AuthMethod::MasterKey && hit(&settings.control_allow);
    if closed && !opened {
        let message = format!(
            "{normal} controls the engine and is closed on the passthrough; an operator can open it to the master key \
             with server.passthrough_control_routes.allow (FERROVIA_PASSTHROUGH_CONTROL_ROUTES_ALLOW)"
        );
        return Err(Fault::new(FaultKind::Forbidden, message).code("control_route_denied"));
    }
    let path = passthrough::path(instance.spec, &instance.base, path, written_v1.is_some());
    Ok(Way { instance, path })
}

fn not_enabled(types: &[String], provider: &str) -> Fault {
    if types.is_empty() {
        return Fault::invalid("provider passthrough is not enabled for any providers");
    }
    let mut types = types.to_vec();
    types.sort();
    let types = types.join(", ");
    Fault::invalid(format!(
        "provider passthrough for \"{provider}\" is not enabled; currently enabled providers: {types}"
    ))
}

/// Takes the body in: short JSON whole, so that its model is known and it can be sent again; everything else as it comes.
pub async fn read(gateway: &Gateway, inbound: Inbound) -> Result<Call, Fault> {
    let length = inbound.length();
    let Inbound { head, body, request_id, .. } = inbound;
    let limit = call::limit(&gateway.settings, &head.headers);
    if length.is_some_and(|length| length > limit as u64) {
        return Err(call::too_large(limit));
    }
    let json = crate::flight::media_type(&head.headers).ends_with("json");
    let mut memory = Held::default();
    let payload = if body.is_end_stream() || length == Some(0) {
        Payload::Empty
    } else if json && length.is_some_and(|length| length <= PEEKED) {
        let (bytes, held) = call::read_whole(gateway, body, limit).await?;
        memory = held;
        Payload::Opaque(bytes)
    } else {
        Payload::Stream { source: Limited::new(body, limit).boxed_unsync(), length }
    };
    let named = match &payload {
        Payload::Opaque(bytes) => Body::read(bytes.clone()).ok(),
        _ => None,
    };
    let model = named.as_ref().and_then(|body| body.string("model").ok().flatten());
    let stream = named.as_ref().and_then(|body| body.bool("stream").ok().flatten()).unwrap_or(false);
    Ok(Call {
        operation: Operation::Passthrough,
        dialect: Dialect::Foreign,
        method: head.method,
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        request_id,
        payload,
        selector: model.map(Selector::bare),
        stream,
        asked_usage: true,
        choices: 1,
        rerank: None,
        memory,
    })
}

/// The deployment for logs and metrics: only models that the instance has, so that labels stay bounded.
pub fn route(way: &Way, call: &Call) -> Route {
    let named = call.selector.as_ref().and_then(|selector| way.instance.model(selector.model()));
    let (model, json) = named.unwrap_or_else(|| (ModelName::from(""), Bytes::new()));
    Route { instance: way.instance.clone(), model, json }
}

/// A passthrough call on its way.
pub struct Flight {
    /// What all calls share.
    pub gateway: Arc<Gateway>,
    /// The request.
    pub call: Call,
    /// Where it goes.
    pub way: Way,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// How closely the reply is looked at.
    pub depth: Depth,
}

impl Flight {
    /// Sends the request and relays the answer, whatever its status.
    pub async fn fly(mut self: Box<Self>) -> Result<Opened, Fault> {
        self.progress.wait_begins();
        let mut result = self.send().await;
        self.progress.wait_ends();
        if let Err(fault) = &mut result {
            self.gateway.masks.fault(fault);
        }
        result
    }

    async fn send(&mut self) -> Result<Opened, Fault> {
        let instance = self.way.instance.clone();
        let idempotent = matches!(
            self.call.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        ) || self.call.headers.get("idempotency-key").is_some_and(|key| !key.is_empty());
        let replayable = !matches!(self.call.payload, Payload::Stream { .. });
        let mut attempt = 0;
        let answer = loop {
            let request = self.request();
            match self.gateway.pool.send(&instance.target, request, &instance.limits).await {
                Ok(answer) => break answer,
                Err(error) => {
                    let too_large = too_large_after_all(&error, &self.gateway, &self.call);
                    let fault = too_large.unwrap_or_else(|| unsent(&error));
                    let again = fault.retry != domain::Retry::Never && replayable && idempotent;
                    if !again || attempt >= instance.retry.retries {
                        return Err(fault);
                    }
                    attempt += 1;
                    tokio::time::sleep(instance.retry.backoff.delay(attempt)).await;
                }
            }
        };
        if is_refusal(answer.status) {
            let status = answer.status;
            let (head, body) = crate::flight::read_refusal(answer, instance.idle).await;
            let Beginning { status, headers, frames, changes, told, .. } =
                self.refused(status, &head, body)?;
            return Ok(Opened { status, headers, frames, rest: None, changes, told, verdict: None });
        }
        Ok(self.opened(answer.status, &answer.headers).opened(answer.body))
    }

    /// The request as it goes out now; counted. A body that is still arriving goes with the first one.
    pub(crate) fn request(&mut self) -> Outbound {
        let call = &mut self.call;
        let body = match &mut call.payload {
            Payload::Opaque(bytes) => OutBody::Segments([bytes.clone()].into_iter().collect()),
            // a foreign body is never understood
            Payload::Empty | Payload::Json(_) | Payload::Form(_) => OutBody::Empty,
            Payload::Stream { source, length } => {
                let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
                OutBody::Stream { body: std::mem::replace(source, empty), length: *length }
            }
        };
        self.progress.attempts.fetch_add(1, Ordering::Relaxed);
        self.progress.began.store(true, Ordering::Relaxed);
        let user_paths = &self.gateway.settings.user_path_headers;
        Outbound {
            method: call.method.clone(),
            fixed: None,
            path_and_query: match &call.query {
                Some(query) => format!("{}?{query}", self.way.path).into(),
                None => self.way.path.clone().into(),
            },
            headers: headers::for_a_passthrough(
                &call.headers,
                &self.way.instance,
                &call.request_id,
                user_paths,
            ),
            body,
        }
    }

    /// How an answer that is no refusal is relayed.
    pub(crate) fn opened(&self, status: StatusCode, head: &HeaderMap) -> Beginning {
        let mut headers = headers::for_the_passthrough_client(head);
        // beside chunks a length means nothing, and going on it would be believed (RFC 9112, 6.3)
        let chunked = head.contains_key(header::TRANSFER_ENCODING);
        if let Some(length) = head.get(header::CONTENT_LENGTH).filter(|_| !chunked) {
            headers.insert(header::CONTENT_LENGTH, length.clone());
        }
        let plain = !head.contains_key(header::CONTENT_ENCODING);
        let watch = match &*crate::flight::media_type(head) {
            _ if self.depth < Depth::Marks || !plain => Watch::Nothing,
            "text/event-stream" => Watch::Events(EventStream::new(Dialect::Foreign, 1, false)),
            kind if kind.ends_with("json") => Watch::Json(Box::new(TopLevel::new(&["usage"], &[]))),
            _ => Watch::Nothing,
        };
        let relay = Some(Box::new(Relay::Opaque(watch)));
        Beginning { status, headers, frames: Vec::new(), relay, changes: Names::new(), told: None }
    }

    /// A refusal: relayed as it is if it is JSON, put into the envelope if it is nothing a program could read, or if the
    /// operator wants GoModel's way.
    pub(crate) fn refused(
        &self,
        status: StatusCode,
        head: &HeaderMap,
        body: Bytes,
    ) -> Result<Beginning, Fault> {
        let compressed = head.contains_key(header::CONTENT_ENCODING);
        let json = crate::flight::media_type(head).ends_with("json")
            && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        let mut fault = dialect::fault::refusal(status.as_u16(), &body);
        headers::keep_in(&mut fault, head);
        self.gateway.masks.fault(&mut fault);
        if !(json || compressed) || self.gateway.settings.passthrough.rewrite_errors {
            return Err(fault);
        }
        let body = self.gateway.masks.bytes(&body).map_or(body, Bytes::from);
        let mut headers = headers::for_the_passthrough_client(head);
        self.gateway.masks.head(&mut headers);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let frames = vec![Frame { raw: body, marks: Marks::default() }];
        Ok(Beginning {
            status,
            headers,
            frames,
            relay: None,
            changes: Names::new(),
            told: Some(Box::new(fault)),
        })
    }
}

/// Whether a status says that there is no answer.
pub(crate) fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// A streamed body that turned out longer than it may be fails the send; the client's fault, in its own words.
fn too_large_after_all(error: &upstream::SendError, gateway: &Gateway, call: &Call) -> Option<Fault> {
    let upstream::SendError::ClientBody(cause) = error else { return None };
    let limit = call::limit(&gateway.settings, &call.headers);
    cause.downcast_ref::<http_body_util::LengthLimitError>().map(|_| call::too_large(limit))
}
