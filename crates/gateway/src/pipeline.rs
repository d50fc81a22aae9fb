//! One request, start to finish. Read this file first.
//!
//! Each stage is one line of [`answer`] and one module next door. A stage takes what it needs and returns something
//! more certain than it was given, or refuses. Nothing outside this file decides what happens to a call, or in what
//! order: cheap refusals first, spending last.
//!
//! ```text
//! route → identify → read → resolve → plan → admit → attempt → reply
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use domain::{Dialect, Fault, FaultKind, Operation};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::call::Call;
use crate::figures::Figure;
use crate::flight::{Flight, Names, Opened};
use crate::front::{self, Front};
use crate::inbound::Inbound;
use crate::reply::body::Telling;
use crate::reply::{Reply, ReplyBody, Tap};
use crate::trail::{Progress, Trail};
use crate::{Gateway, headers, identity, models, passthrough, reply, routing, slots, unsupported};

/// What a request came to.
pub(crate) enum Answer {
    /// A model's reply.
    Reply(Departure),
    /// Something that we know ourselves.
    Own(Bytes),
}

/// A flight that is ready to go, and what the client must be told of it.
pub(crate) struct Departure {
    /// What will fly.
    pub(crate) flight: AnyFlight,
    /// What is changed on the way, by name.
    pub(crate) changes: Names,
    stream: bool,
    idle: Duration,
    total: Option<Duration>,
}

/// A flight of either kind.
pub(crate) enum AnyFlight {
    /// A call in a dialect of ours.
    Call(Box<Flight>),
    /// Somebody else's request.
    Passthrough(Box<passthrough::Flight>),
}

impl AnyFlight {
    fn fly(self) -> BoxFuture<'static, Result<Opened, Fault>> {
        match self {
            AnyFlight::Call(flight) => flight.fly().boxed(),
            AnyFlight::Passthrough(flight) => flight.fly().boxed(),
        }
    }
}

/// Answers one request. Always answers; a refusal is an answer too.
pub async fn serve(gateway: Arc<Gateway>, inbound: Inbound) -> Response<ReplyBody> {
    let mut trail = Trail::open(&gateway, &inbound);
    let mut allowed: &'static [http::Method] = &[];
    match answer(&gateway, inbound, &mut trail, &mut allowed).await {
        Ok(Answer::Own(body)) => own(body, trail),
        Ok(Answer::Reply(departure)) => attempt(&gateway, departure, trail).await,
        Err(fault) => allow(refuse(fault, trail), allowed),
    }
}

/// Everything that can be known before an upstream is asked.
pub(crate) async fn answer(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    trail: &mut Trail,
    allowed: &mut &'static [http::Method],
) -> Result<Answer, Fault> {
    // who is asking comes first: an unknown caller does not learn which routes there are
    let caller = identity::identify(&gateway.settings, &inbound.head.headers)?;
    trail.caller(&caller);
    let (method, path) = (&inbound.head.method, inbound.head.uri.path());
    let found = front::route(method, path, gateway.settings.passthrough.enabled);
    let route = found.map_err(|(fault, methods)| {
        *allowed = methods;
        fault
    })?;
    trail.template(route.template, crate::call::dialect_of(&route));
    match route.front {
        Front::Models => models::list(gateway, trail.dialect(), inbound.head.uri.query()).map(Answer::Own),
        // the rare ones are boxed: every call would be as large as the largest
        Front::Model(id) => Ok(Answer::Own(Box::pin(models::one(gateway, trail.dialect(), &id)).await?)),
        Front::Unsupported(operation, id) => Err(Box::pin(not_built(gateway, inbound, operation, id)).await),
        Front::Passthrough { provider, rest } => {
            let way = passthrough::find(gateway, &caller, &provider, &rest)?;
            let call = passthrough::read(gateway, inbound).await?;
            trail.call(&call);
            trail.route(&passthrough::route(&way, &call));
            trail.keep(slots::admit(&way.instance)?);
            let (stream, idle, total) = (call.stream, way.instance.idle, way.instance.total);
            let (gateway, progress, depth) = (gateway.clone(), trail.progress(), trail.depth());
            let flight =
                AnyFlight::Passthrough(Box::new(passthrough::Flight { gateway, call, way, progress, depth }));
            Ok(Answer::Reply(Departure { flight, changes: Names::new(), stream, idle, total }))
        }
        Front::Call(operation, dialect) => {
            let call = Call::read(gateway, inbound, operation, dialect).await?;
            trail.call(&call);
            let selector = call.selector.as_ref().expect("a model call names a model");
            let found = routing::resolve(gateway, selector, &trail.progress()).await;
            let route = found.inspect_err(|_| trail.requested(selector))?;
            trail.route(&route);
            let (stream, idle, total) = (call.stream, route.instance.idle, route.instance.total);
            let instance = route.instance.clone();
            let flight = Flight::plan(gateway, call, route, trail.progress())?;
            trail.keep(slots::admit(&instance)?);
            let changes = flight.changes().clone();
            Ok(Answer::Reply(Departure { flight: AnyFlight::Call(flight), changes, stream, idle, total }))
        }
    }
}

/// A route whose other side does not exist yet: what can be said about the provider is said.
async fn not_built(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    operation: Operation,
    id: Option<String>,
) -> Fault {
    let creates = inbound.head.method == http::Method::POST;
    let query = inbound.head.uri.query().unwrap_or_default();
    let named = query.split('&').find_map(|pair| pair.strip_prefix("provider=")).map(str::to_owned);
    let of_objects = matches!(operation, Operation::File | Operation::Batch);
    let mut kind = named;
    if creates && !of_objects {
        // whoever names a model that exists is told which provider cannot do it
        let json = crate::flight::media_type(&inbound.head.headers).ends_with("json");
        if json {
            match Call::read(gateway, inbound, operation, Dialect::Vllm).await {
                // without a model nobody can be named, which changes nothing about the route
                Err(fault) if crate::call::names_no_model(&fault) => {}
                Err(fault) => return fault,
                Ok(call) => {
                    let selector = call.selector.as_ref().expect("a model call names a model");
                    return match routing::resolve(gateway, selector, &Progress::default()).await {
                        Ok(route) if operation == Operation::ResponseLifecycle => {
                            unsupported::by(&route.instance, Operation::Generate, Dialect::Responses)
                        }
                        Ok(route) => unsupported::by(&route.instance, operation, Dialect::Vllm),
                        Err(fault) => fault,
                    };
                }
            }
        }
    } else if creates && operation == Operation::Batch && id.is_none() {
        match crate::call::read_whole(gateway, inbound.body, gateway.settings.body_limit).await {
            Err(fault) => return fault,
            Ok((bytes, _held)) => match dialect::Body::read(bytes) {
                Err(reject) => return reject.into(),
                Ok(body) => {
                    let metadata: Option<serde_json::Value> = body.parse("metadata").ok().flatten();
                    kind = kind.or_else(|| metadata?.get("provider")?.as_str().map(str::to_owned));
                }
            },
        }
    }
    let kind = unsupported::kind_meant(&gateway.inventory, kind.as_deref());
    unsupported::object(operation, id.as_deref(), creates, kind)
}

/// Lets the flight go. Its status is open until the first event, or until a stream's client has waited long enough.
async fn attempt(gateway: &Gateway, departure: Departure, trail: Trail) -> Response<ReplyBody> {
    let Departure { flight, changes, stream, idle, total } = departure;
    let relayed = matches!(flight, AnyFlight::Passthrough(_));
    let mut flight = flight.fly();
    let mut closed = gateway.closing.listen();
    let mut alarm = Alarm::default();
    let patience = patience(gateway, relayed, stream, total);
    let until = patience.map(|patience| Instant::now() + patience);
    // `None`: the patience is over
    let waited = poll_fn(|cx| {
        if let Poll::Ready(opened) = flight.poll_unpin(cx) {
            return Poll::Ready(Some(opened));
        }
        if closed.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(reply::body::shutting_down())));
        }
        until.map_or(Poll::Pending, |until| alarm.due(until, cx).map(|()| None))
    })
    .await;
    let telling = Telling {
        dialect: trail.dialect(),
        request_id: trail.request_id().clone(),
        masks: gateway.masks.clone(),
        keep_alive: gateway.settings.keep_alive,
        idle,
        alarm,
        closed,
    };
    let tells = gateway.settings.changes_header;
    let mut changes = if tells { changes } else { Names::new() };
    let opened = match waited {
        Some(opened) => opened,
        None if stream => {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            return respond(StatusCode::OK, headers, &changes, trail, |trail| {
                Reply::committed(flight, telling, trail)
            });
        }
        None => {
            let message = format!(
                "no complete answer within {} s, the limit that HTTP_TIMEOUT or the provider's timeouts.total sets",
                patience.unwrap_or_default().as_secs_f64()
            );
            Err(Fault::new(FaultKind::TimedOut, message))
        }
    };
    match opened {
        Ok(mut opened) => {
            let (status, headers) = (opened.status, std::mem::take(&mut opened.headers));
            changes.extend(opened.changes.drain(..).filter(|_| tells));
            respond(status, headers, &changes, trail, |trail| Reply::opened(opened, telling, trail))
        }
        Err(fault) => refuse_sent(fault, &changes, trail),
    }
}

/// How long a flight's status may stay open.
fn patience(gateway: &Gateway, relayed: bool, stream: bool, total: Option<Duration>) -> Option<Duration> {
    match (relayed, stream) {
        (true, true) => None,
        (false, true) => Some(gateway.settings.keep_alive),
        (_, false) => total,
    }
}

/// The refusal of a request that may have gone upstream, changed.
pub(crate) fn refuse_sent(fault: Fault, changes: &[&'static str], trail: Trail) -> Response<ReplyBody> {
    let sent = trail.progress().began.load(Ordering::Relaxed);
    let mut response = refuse(fault, trail);
    if sent {
        tell(response.headers_mut(), changes);
    }
    response
}

/// Names what was changed.
fn tell(headers: &mut HeaderMap, changes: &[&'static str]) {
    let told = match changes {
        [] => return,
        [one] => HeaderValue::from_static(one),
        many => HeaderValue::try_from(many.join(", ")).expect("names of changes are plain text"),
    };
    headers.insert(headers::CHANGES, told);
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A reply that has begun.
fn respond(
    status: StatusCode,
    headers: HeaderMap,
    changes: &[&'static str],
    mut trail: Trail,
    reply: impl FnOnce(Trail) -> Reply<Trail>,
) -> Response<ReplyBody> {
    let head = begin(status, headers, changes, &mut trail);
    head.map(|()| ReplyBody::Reply(Box::new(reply(trail))))
}

/// The head of a reply.
pub(crate) fn begin(
    status: StatusCode,
    mut headers: HeaderMap,
    changes: &[&'static str],
    trail: &mut Trail,
) -> Response<()> {
    trail.status(status.as_u16());
    tell(&mut headers, changes);
    common(&mut headers, trail);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An answer of our own.
pub(crate) fn own(body: Bytes, mut trail: Trail) -> Response<ReplyBody> {
    trail.status(StatusCode::OK.as_u16());
    let mut response = Response::new(ReplyBody::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    common(headers, &trail);
    trail.answered();
    response
}

/// A refusal, in the client's dialect.
pub(crate) fn refuse(mut fault: Fault, mut trail: Trail) -> Response<ReplyBody> {
    trail.mask(&mut fault);
    let status = dialect::fault::status(&fault);
    trail.status(status.as_u16());
    let mut response =
        Response::new(ReplyBody::from(dialect::fault::body(trail.dialect(), &fault, trail.request_id())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(value) = fault.retry_after.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
        headers.insert(header::RETRY_AFTER, value);
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if fault.upstream_status == Some(200) {
        headers.insert("x-ferrovia-upstream-status", HeaderValue::from_static("200"));
    }
    common(headers, &trail);
    trail.refuse(&fault);
    response
}

/// Names the methods that a route has, if the request used another one.
pub(crate) fn allow(mut response: Response<ReplyBody>, methods: &[http::Method]) -> Response<ReplyBody> {
    if !methods.is_empty() {
        let names: Vec<_> = methods.iter().map(http::Method::as_str).collect();
        let names = HeaderValue::from_str(&names.join(", ")).expect("methods are plain text");
        response.headers_mut().insert(header::ALLOW, names);
    }
    response
}

/// What every response carries: its request's id, and where the time went.
fn common(headers: &mut HeaderMap, trail: &Trail) {
    if let Ok(id) = HeaderValue::from_str(trail.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    let (own, waited) = trail.shares();
    let shares = [Figure::millis(own), Figure::millis(waited)];
    let timing: [&[u8]; 4] = [b"gateway;dur=", shares[0].digits(), b", upstream;dur=", shares[1].digits()];
    let timing = if waited.is_zero() { &timing[..2] } else { &timing };
    if let Ok(timing) = HeaderValue::from_maybe_shared(Bytes::from(timing.concat())) {
        headers.append(SERVER_TIMING, timing);
    }
}

/// A request that the server itself refuses, said in the client's dialect: bodies declared too large, bad targets.
pub fn refused_before(gateway: &Arc<Gateway>, inbound: Inbound, fault: Fault) -> Response<ReplyBody> {
    let trail = Trail::open(gateway, &inbound);
    refuse(fault, trail)
}

/// Whether a body declares more bytes than it may have.
pub fn declared_too_large(gateway: &Gateway, inbound: &Inbound) -> Option<Fault> {
    let declared = inbound.length()?;
    let settings = &gateway.settings;
    if declared <= settings.body_limit.min(settings.upload_limit) as u64 {
        // whatever it is
        return None;
    }
    let limit = crate::call::limit(settings, &inbound.head.headers);
    (declared > limit as u64).then(|| crate::call::too_large(limit))
}
