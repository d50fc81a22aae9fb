//! Cross-origin requests: which browsers may call, and what they may read.

use bytes::Bytes;
use gateway::ReplyBody;
use http::{HeaderValue, Method, Response, StatusCode, header};

/// Origins whose browsers may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cors {
    any: bool,
    origins: Vec<HeaderValue>,
}

/// Response headers that scripts may read.
const EXPOSED: &str = "x-request-id, x-ferrovia-changes, x-upstream-request-id, retry-after, server-timing";

impl Cors {
    /// These origins may; `*` means all.
    pub(crate) fn new(origins: &[String]) -> Cors {
        Cors {
            any: origins.iter().any(|origin| origin == "*"),
            origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
        }
    }

    fn admits(&self, origin: &HeaderValue) -> bool {
        self.any || self.origins.contains(origin)
    }

    /// The answer to a browser's question before its request, if it is one and it may call.
    pub(crate) fn preflight(&self, head: &http::request::Parts) -> Option<Response<ReplyBody>> {
        let asks = head.method == Method::OPTIONS
            && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let origin = head.headers.get(header::ORIGIN).filter(|origin| self.admits(origin))?;
        let mut response = Response::new(ReplyBody::from(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(wanted) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        self.mark(&mut response, Some(origin));
        Some(response)
    }

    /// Tells the browser that its script may read the answer.
    pub(crate) fn mark(&self, response: &mut Response<ReplyBody>, origin: Option<&HeaderValue>) {
        let Some(origin) = origin.filter(|origin| self.admits(origin)) else { return };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
