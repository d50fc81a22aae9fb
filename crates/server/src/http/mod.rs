//! HTTP: sockets, the transport's own concerns (base path, request ids, CORS, panics), health and metrics.
//!
//! What a request means is `gateway`'s business; this module hands it over and writes the answer out.

pub(crate) mod cors;
pub(crate) mod edge;
pub(crate) mod forwarded;
mod h2;
mod heads;
mod health;
mod linger;
pub(crate) mod listen;
pub(crate) mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::{Fault, FaultKind};
use futures_util::FutureExt;
use gateway::{Gateway, Inbound, InboundBody, ReplyBody};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use uuid::Uuid;

use cors::Cors;
use edge::{Leaving, Patience, Phases};
use forwarded::Trusted;
use tls::Tls;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const LONGEST_REQUEST_ID: usize = 128;

/// What every connection shares.
pub(crate) struct Front {
    /// How requests are answered now.
    pub(crate) terms: ArcSwap<Terms>,
    /// There if the listener speaks TLS.
    pub(crate) tls: Option<Tls>,
    /// Set when the process is to end: readiness says so.
    pub(crate) draining: AtomicBool,
}

/// How requests are answered. A request keeps to the terms under which it came in; what the configuration changes is a
/// new one.
pub(crate) struct Terms {
    /// Where requests go.
    pub(crate) gateway: Arc<Gateway>,
    /// The prefix of every path: empty, or `/g`.
    pub(crate) base_path: String,
    /// Which browsers may call.
    pub(crate) cors: Cors,
    /// Where Prometheus asks, if it may.
    pub(crate) metrics: Option<String>,
    /// The largest head of a request, in bytes.
    pub(crate) max_head: usize,
    /// How long a client may take for what; of connections that are opened from now on.
    pub(crate) patience: Patience,
    /// The proxies that are believed when they say who a client is.
    pub(crate) trusted: Trusted,
}

/// Answers one request of a connection that carries one at a time.
pub(crate) async fn answer(
    front: Arc<Front>,
    request: Request<Incoming>,
    peer: SocketAddr,
    phases: Phases,
) -> Result<Response<Leaving>, Infallible> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let (body, leftover) = phases.request(body);
    let waits_to_be_asked = head.headers.contains_key(header::EXPECT);
    let framed = framing(&head.headers);
    let closes = framed.is_err();
    let body =
        body.map_err(|error| Box::new(error) as Box<dyn std::error::Error + Send + Sync>).boxed_unsync();
    let mut response = respond(&front, head, framed, body, peer, arrived).await;
    phases.finish(leftover, waits_to_be_asked).await;
    // what follows a body that nobody reads cannot be understood
    if closes || phases.left_unread() || front.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| phases.reply(body)))
}

/// Answers one request of a connection that carries many at a time.
async fn answer_stream(
    front: Arc<Front>,
    request: Request<Incoming>,
    peer: SocketAddr,
    body_patience: Option<Duration>,
) -> Result<Response<h2::Leaving>, Infallible> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let body = h2::Arriving::new(body, body_patience).boxed_unsync();
    let response = respond(&front, head, Ok(()), body, peer, arrived).await;
    Ok(response.map(h2::Leaving::new))
}

/// Answers one request, whatever carries it.
async fn respond(
    front: &Front,
    mut head: http::request::Parts,
    framed: Result<(), Fault>,
    body: InboundBody,
    peer: SocketAddr,
    arrived: Instant,
) -> Response<ReplyBody> {
    let terms = front.terms.load_full();
    let origin = head.headers.get(header::ORIGIN).cloned();
    if let Some(preflight) = terms.cors.preflight(&head) {
        return preflight;
    }
    let (dialect, request_id) = (Inbound::speaks(&head), request_id(&head.headers));
    let client = Some(terms.trusted.client(peer.ip(), &head.headers));
    let stripped = framed
        .and_then(|()| measure(&head, terms.max_head))
        .and_then(|()| strip(&terms.base_path, &head.uri));
    let mut response = match stripped {
        Ok(uri) => {
            head.uri = uri;
            let draining = front.draining.load(Ordering::Relaxed);
            if let Some(own) = health::answer(&terms, draining, &head, &request_id) {
                drop(body);
                with_id(own, &request_id)
            } else {
                let inbound = Inbound { head, body, client, dialect, request_id, arrived };
                guarded(&terms.gateway, inbound).await
            }
        }
        Err(fault) => {
            let inbound = Inbound { head, body, client, dialect, request_id, arrived };
            gateway::pipeline::refused_before(&terms.gateway, inbound, fault)
        }
    };
    terms.cors.mark(&mut response, origin.as_ref());
    response
}

/// Lets the gateway answer. A panic in one call is a 500 of that call, and harms no other.
async fn guarded(gateway: &Arc<Gateway>, inbound: Inbound) -> Response<ReplyBody> {
    if let Some(fault) = gateway::pipeline::declared_too_large(gateway, &inbound) {
        return gateway::pipeline::refused_before(gateway, inbound, fault);
    }
    let (dialect, request_id) = (inbound.dialect, inbound.request_id.clone());
    // pinned where it lies: it is large, and would be moved into each of the futures around it
    let answering = std::pin::pin!(gateway::serve(gateway.clone(), inbound));
    AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(|_| {
        let fault = Fault::new(FaultKind::Internal, "an unexpected error occurred");
        let body = dialect::fault::body(dialect, &fault, &request_id);
        with_id(json(dialect::fault::status(&fault), body), &request_id)
    })
}

/// A refusal of the server's own, in the client's dialect.
fn refusal(head: &http::request::Parts, fault: &Fault, request_id: &str) -> Response<ReplyBody> {
    let body = dialect::fault::body(Inbound::speaks(head), fault, request_id);
    json(dialect::fault::status(fault), body)
}

/// Refuses a head that another server on the way may understand as another request. hyper refuses the rest: lengths that
/// differ, and encodings that do not end in `chunked`; a length beside an encoding it does not count, and closes.
fn framing(headers: &http::HeaderMap) -> Result<(), Fault> {
    if headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Fault::invalid("the header `host` stands twice; send it once").param("host"));
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let plain = match (encodings.next(), encodings.next()) {
        (None, _) => true,
        (Some(only), None) => {
            only.as_bytes().eq_ignore_ascii_case(b"chunked") && !headers.contains_key(header::CONTENT_LENGTH)
        }
        _ => false,
    };
    if plain {
        return Ok(());
    }
    let message =
        "the only transfer-encoding that is understood is `chunked`, once and without a content-length";
    Err(Fault::invalid(message).param("transfer-encoding"))
}

/// Refuses a head that is longer than it may be. Blanks around values are not counted: they are gone.
fn measure(head: &http::request::Parts, limit: usize) -> Result<(), Fault> {
    let line = head.method.as_str().len() + target_length(&head.uri) + "  HTTP/1.1\r\n".len();
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    if line + fields.sum::<usize>() + "\r\n".len() <= limit {
        return Ok(());
    }
    let message = format!(
        "the request's head is larger than {limit} bytes (server.max_header_size); send fewer or shorter headers"
    );
    Err(Fault::new(FaultKind::Refused(431), message).code("request_header_fields_too_large"))
}

/// How long a request's target was written.
fn target_length(uri: &Uri) -> usize {
    let before = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    before + authority + uri.path_and_query().map_or(0, |target| target.as_str().len())
}

fn json(status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn with_id(mut response: Response<ReplyBody>, id: &str) -> Response<ReplyBody> {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The client's request id if it is fit to be written everywhere, else a new one.
fn request_id(headers: &http::HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).map(str::trim);
    given
        .filter(|id| {
            !id.is_empty() && id.len() <= LONGEST_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic())
        })
        .map_or_else(
            || Arc::from(&*Uuid::new_v4().hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Arc::from,
        )
}

/// Takes the base path off. What lies outside of it does not exist.
fn strip(base: &str, uri: &Uri) -> Result<Uri, Fault> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if base.is_empty() && uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let path = uri.path();
    let outside = || Fault::new(FaultKind::NotFound, format!("unknown API endpoint: {path}"));
    let prefix = if base.is_empty() { 0 } else { prefix_length(base, path)?.ok_or_else(outside)? };
    let rest = &target[prefix..];
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    rest.parse().map_err(|_| Fault::invalid("invalid encoded request path"))
}

/// How many bytes of the path, as it was written, are the base path: it may be percent-encoded.
fn prefix_length(base: &str, path: &str) -> Result<Option<usize>, Fault> {
    let invalid = || Fault::invalid("invalid encoded request path");
    let (mut at, bytes) = (0, path.as_bytes());
    for wanted in base.bytes() {
        let Some(&byte) = bytes.get(at) else { return Ok(None) };
        let (found, width) = if byte == b'%' {
            let digits =
                bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(invalid)?;
            (u8::from_str_radix(digits, 16).map_err(|_| invalid())?, 3)
        } else {
            (byte, 1)
        };
        if found != wanted {
            return Ok(None);
        }
        at += width;
    }
    Ok(matches!(bytes.get(at), None | Some(b'/')).then_some(at))
}

/// Whether a request asks with this method, or only for the head of what it would get.
fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, uri: &str, expect: Result<&str, FaultKind>) {
        let found = strip(base, &uri.parse().expect("a URI")).map(|uri| uri.to_string()).map_err(|f| f.kind);
        assert_eq!(found, expect.map(str::to_owned), "{base} {uri}");
    }

    #[test]
    fn the_base_path_is_taken_off() {
        check("/g", "/g/health", Ok("/health"));
        check("/g", "/g", Ok("/"));
        check("/g", "/g?x=1", Ok("/?x=1"));
        check("/g", "/g/v1/models/a%2Fb", Ok("/v1/models/a%2Fb"));
        check("/g", "/%67/health", Ok("/health"));
        check("/g", "/health", Err(FaultKind::NotFound));
        check("/g", "/gx/health", Err(FaultKind::NotFound));
        check("/g", "/%6/health", Err(FaultKind::Invalid));
        check("", "/v1/models", Ok("/v1/models"));
        check("", "http://host:8080/v1/models?x=1", Ok("/v1/models?x=1"));
    }

    #[test]
    fn only_fit_request_ids_are_taken_over() {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static(" abc-1 "));
        assert_eq!(&*request_id(&headers), "abc-1");
        headers.insert("x-request-id", HeaderValue::from_static("a b"));
        assert_eq!(request_id(&headers).len(), 36);
        headers.insert("x-request-id", HeaderValue::from_str(&"x".repeat(129)).expect("a value"));
        assert_eq!(request_id(&headers).len(), 36);
    }
}
