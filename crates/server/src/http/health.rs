//! `/health`, `/health/live`, `/health/ready`, `/version`, and the metrics page: answered without a key.

use domain::{Fault, FaultKind};
use gateway::ReplyBody;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::{Terms, json as reply, reads, refusal};

/// The answer, if the request is for one of these.
pub(super) fn answer(
    terms: &Terms,
    draining: bool,
    head: &http::request::Parts,
    request_id: &str,
) -> Option<Response<ReplyBody>> {
    let path = head.uri.path();
    let ours = matches!(path, "/health" | "/health/live" | "/health/ready" | "/version")
        || terms.metrics.as_deref() == Some(path);
    if ours && !reads(&head.method) {
        return Some(not_allowed(head, request_id));
    }
    match path {
        "/health" | "/health/live" => Some(reply(StatusCode::OK, r#"{"status":"ok"}"#.into())),
        "/health/ready" => Some(ready(terms, draining)),
        "/version" => {
            let version = json!({ "app": "ferrovia", "version": env!("CARGO_PKG_VERSION") });
            Some(reply(StatusCode::OK, version.to_string().into()))
        }
        path if terms.metrics.as_deref() == Some(path) => {
            let accepted =
                head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let gateway = &terms.gateway;
            let (page, kind) = if accepted.contains("application/openmetrics-text") {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                (gateway.metrics.openmetrics(gateway), kind)
            } else {
                (gateway.metrics.page(gateway), "text/plain; version=0.0.4; charset=utf-8")
            };
            let mut response = Response::new(ReplyBody::from(bytes::Bytes::from(page)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            Some(response)
        }
        _ => None,
    }
}

/// These can only be read.
fn not_allowed(head: &http::request::Parts, request_id: &str) -> Response<ReplyBody> {
    let message = format!("{} is not allowed on {}; allowed: GET, HEAD", head.method, head.uri.path());
    let fault = Fault::new(FaultKind::MethodNotAllowed, message);
    let mut response = refusal(head, &fault, request_id);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Ready to serve: not about to end. Providers that do not answer make it `degraded`, which still serves.
fn ready(terms: &Terms, draining: bool) -> Response<ReplyBody> {
    let inventory = &terms.gateway.inventory;
    let fresh = |instance: &std::sync::Arc<gateway::Instance>| {
        let state = instance.state();
        state.has_answered() && state.stale_since.is_none()
    };
    let all = inventory.instances().len();
    let well = inventory.instances().iter().filter(|instance| fresh(instance)).count();
    let (status, word) = if draining {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    } else if well < all {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "ready")
    };
    let providers = if well == all { "ok".to_owned() } else { format!("{well} of {all} answered") };
    reply(status, json!({ "status": word, "components": { "providers": providers } }).to_string().into())
}
