//! Which headers pass, and which are added: towards the upstream and back.
//!
//! Nothing passes that is not named here, cookies least of all. The passthrough has its own rules.

use domain::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use provider::Auth;

use upstream::Fields;

use crate::Instance;

/// Whether a model call takes this header of the client's upstream.
fn goes_upstream(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "anthropic-version"
            | "anthropic-beta"
            | "openai-beta"
            | "openai-organization"
            | "openai-project"
            | "idempotency-key"
            | "traceparent"
            | "tracestate"
            | "baggage"
            | "accept"
    )
}

/// Names of what changed on the way, in a list.
pub const CHANGES: HeaderName = HeaderName::from_static("x-ferrovia-changes");

/// The upstream's own request id.
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// Never passed on by the passthrough, in either direction: hop by hop, or about this connection only.
const HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-connection"),
];

/// Never passed on by the passthrough: credentials, cookies, and what is about the client's connection to us.
const PRIVATE: [HeaderName; 10] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    header::HOST,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::SET_COOKIE,
    header::FORWARDED,
    header::EXPECT,
    HeaderName::from_static("x-real-ip"),
];

/// What the head of every call to an instance has in common, for each of its keys: what we say, and what the operator
/// adds. What a body is, only its call knows.
pub(crate) fn of_every_call(
    auth: Auth,
    keys: &[HeaderValue],
    operator: &[(HeaderName, HeaderValue)],
) -> Vec<Fields> {
    let head = |key| {
        let mut head = HeaderMap::with_capacity(12);
        // we read the answer, so it must not come compressed
        head.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        add(&mut head, auth, key, operator);
        head.remove(header::CONTENT_TYPE);
        Fields::new(head)
    };
    match keys {
        [] => vec![head(None)],
        keys => keys.iter().map(|key| head(Some(key))).collect(),
    }
}

/// What the head of a model call has beside its instance's fixed fields: what its body is, what the client may say, and
/// its id.
pub fn for_a_call(
    client: &HeaderMap,
    fixed: &HeaderMap,
    kind: Option<HeaderValue>,
    instance: &Instance,
    request_id: &str,
) -> HeaderMap {
    // the upstream's answer takes its place later
    let mut head = HeaderMap::with_capacity(6);
    if let Some(kind) = kind {
        head.insert(header::CONTENT_TYPE, kind);
    }
    for (name, value) in client.iter().filter(|(name, _)| goes_upstream(name) && !fixed.contains_key(*name)) {
        head.append(name, value.clone());
    }
    add_request_id(&mut head, instance, request_id);
    head
}

/// The head of a passthrough call: everything but what is about this connection or not the upstream's business.
pub fn for_a_passthrough(
    client: &HeaderMap,
    instance: &Instance,
    request_id: &str,
    user_path_headers: &[HeaderName],
) -> HeaderMap {
    let named = named_in_connection(client);
    let mut head = HeaderMap::with_capacity(client.len() + 6);
    for (name, value) in client {
        let ours = name.as_str().starts_with("x-forwarded-")
            || name.as_str().starts_with("x-ferrovia-")
            || user_path_headers.contains(name);
        if ours || HOP.contains(name) || PRIVATE.contains(name) || named.contains(name) {
            continue;
        }
        head.append(name.clone(), value.clone());
    }
    head.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    add_request_id(&mut head, instance, request_id);
    from_the_operator(&mut head, instance);
    head
}

fn add_request_id(head: &mut HeaderMap, instance: &Instance, request_id: &str) {
    if let (Some(name), Ok(value)) = (&instance.request_id_header, HeaderValue::from_str(request_id)) {
        head.insert(name, value);
    }
}

/// The key, the headers that the operator configured, and who we are.
pub fn from_the_operator(head: &mut HeaderMap, instance: &Instance) {
    add(head, instance.spec.auth, instance.authorization(), &instance.headers);
}

fn add(head: &mut HeaderMap, auth: Auth, key: Option<&HeaderValue>, operator: &[(HeaderName, HeaderValue)]) {
    if !head.contains_key(header::USER_AGENT) {
        head.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("ferrovia/", env!("CARGO_PKG_VERSION"))),
        );
    }
    if let Some(key) = key {
        match auth {
            Auth::Bearer => head.insert(header::AUTHORIZATION, key.clone()),
        };
    }
    for (name, value) in operator {
        head.insert(name.clone(), value.clone());
    }
}

/// What of an upstream's head a client of `/v1` gets, besides the content type.
pub fn for_the_client(upstream: &HeaderMap) -> HeaderMap {
    // with room for a request's as well: a server may use it again for its next one
    let mut head = HeaderMap::with_capacity(8);
    for (name, value) in upstream {
        let text = name.as_str();
        let limit = text.starts_with("x-ratelimit-")
            || text.starts_with("anthropic-ratelimit-")
            || text.starts_with("ratelimit")
            || text == "retry-after"
            || text == "retry-after-ms";
        if limit {
            head.append(name.clone(), value.clone());
        } else if text == "x-request-id" || text == "request-id" {
            head.insert(UPSTREAM_REQUEST_ID, value.clone());
        }
    }
    head
}

/// What of an upstream's head a client of the passthrough gets: all but what is about the connection.
pub fn for_the_passthrough_client(upstream: &HeaderMap) -> HeaderMap {
    let named = named_in_connection(upstream);
    let mut head = HeaderMap::with_capacity(upstream.len());
    for (name, value) in upstream {
        if HOP.contains(name)
            || named.contains(name)
            || *name == header::SET_COOKIE
            || *name == header::CONTENT_LENGTH
        {
            continue;
        }
        let name = if *name == "x-request-id" { UPSTREAM_REQUEST_ID } else { name.clone() };
        head.append(name, value.clone());
    }
    head
}

fn named_in_connection(head: &HeaderMap) -> Vec<HeaderName> {
    head.get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

/// Puts an upstream's headers into a fault, so that they reach the client with it.
pub fn keep_in(fault: &mut Fault, upstream: &HeaderMap) {
    for (name, value) in &for_the_client(upstream) {
        let Ok(value) = value.to_str() else { continue };
        if *name == header::RETRY_AFTER {
            fault.retry_after = Some(value.to_owned());
        } else {
            fault.headers.push((name.to_string(), value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_headers_reach_the_client() {
        let mut upstream = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-remaining-requests", "9"),
            ("x-request-id", "abc"),
            ("set-cookie", "a=b"),
            ("server", "uvicorn"),
            ("retry-after", "2"),
        ] {
            upstream.insert(name, HeaderValue::from_static(value));
        }
        let head = for_the_client(&upstream);
        let mut names: Vec<_> = head.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["retry-after", "x-ratelimit-remaining-requests", "x-upstream-request-id"]);
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        let mut upstream = HeaderMap::new();
        upstream.insert("connection", HeaderValue::from_static("close, x-secret"));
        upstream.insert("x-secret", HeaderValue::from_static("1"));
        upstream.insert("x-shown", HeaderValue::from_static("1"));
        let head = for_the_passthrough_client(&upstream);
        assert_eq!(head.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-shown"]);
    }
}
