//! `/health`, `/health/live`, `/health/ready`, `/version`, and the metrics page: answered without a key.

use std::sync::atomic::Ordering;

use gateway::ReplyBody;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::{Front, json as reply, reads};

/// The answer, if the request is for one of these.
pub(super) fn answer(front: &Front, head: &http::request::Parts) -> Option<Response<ReplyBody>> {
    if !reads(&head.method) {
        return None;
    }
    match head.uri.path() {
        "/health" | "/health/live" => Some(reply(StatusCode::OK, r#"{"status":"ok"}"#.into())),
        "/health/ready" => Some(ready(front)),
        "/version" => {
            let version = json!({ "app": "ferrovia", "version": env!("CARGO_PKG_VERSION") });
            Some(reply(StatusCode::OK, version.to_string().into()))
        }
        path if front.metrics.as_deref() == Some(path) => {
            let mut response = Response::new(ReplyBody::from(bytes::Bytes::from(
                front.gateway.metrics.page(&front.gateway),
            )));
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
            );
            Some(response)
        }
        _ => None,
    }
}

/// Ready to serve: not about to end. Providers that do not answer make it `degraded`, which still serves.
fn ready(front: &Front) -> Response<ReplyBody> {
    let inventory = &front.gateway.inventory;
    let fresh = |instance: &std::sync::Arc<gateway::Instance>| {
        let state = instance.state();
        state.has_answered() && state.stale_since.is_none()
    };
    let all = inventory.instances().len();
    let well = inventory.instances().iter().filter(|instance| fresh(instance)).count();
    let (status, word) = if front.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    } else if well < all {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "ready")
    };
    let providers = if well == all { "ok".to_owned() } else { format!("{well} of {all} answered") };
    reply(status, json!({ "status": word, "components": { "providers": providers } }).to_string().into())
}
