//! Errors as clients get them: the two envelopes, read strictly.

use serde_json::Value;
use testkit::Response;

/// An error in either envelope.
#[derive(Debug)]
pub(crate) struct Told {
    /// `error.type`.
    pub(crate) kind: String,
    /// `error.message`.
    pub(crate) message: String,
    /// `error.param`; Anthropic's envelope has none.
    pub(crate) param: Option<String>,
    /// `error.code`; Anthropic's envelope has none.
    pub(crate) code: Option<String>,
}

/// Whether errors on this path are told in Anthropic's envelope.
pub(crate) fn speaks_anthropic(path: &str) -> bool {
    path.starts_with("/v1/messages")
}

/// The error in a response to a request for this path, in the path's own envelope and no other.
#[track_caller]
pub(crate) fn told(path: &str, response: &Response) -> Told {
    assert_eq!(response.header("content-type"), Some("application/json"), "{path}: {response}");
    assert!(response.header("x-request-id").is_some(), "{path}: {response}");
    if speaks_anthropic(path) { anthropic(&response.json()) } else { openai(&response.json()) }
}

/// OpenAI's envelope: `error` alone, with its four members always there.
#[track_caller]
pub(crate) fn openai(body: &Value) -> Told {
    assert_eq!(names(body), ["error"], "{body}");
    let error = &body["error"];
    let mut members = names(error);
    members.sort_unstable();
    assert_eq!(members, ["code", "message", "param", "type"], "{body}");
    let optional = |name: &str| match &error[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => panic!("{name} is {other} in {body}"),
    };
    let text = |name: &str| optional(name).unwrap_or_else(|| panic!("no {name} in {body}"));
    Told { kind: text("type"), message: text("message"), param: optional("param"), code: optional("code") }
}

/// Anthropic's envelope.
#[track_caller]
pub(crate) fn anthropic(body: &Value) -> Told {
    assert_eq!(body["type"], "error", "{body}");
    assert!(body["request_id"].is_string(), "{body}");
    let error = &body["error"];
    assert_eq!(names(error), ["type", "message"], "{body}");
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
    Told { kind: text("type"), message: text("message"), param: None, code: None }
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        object.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default();
    // serde_json sorts: put the type first, as it is written
    names.sort_by_key(|name| *name != "type");
    names
}
