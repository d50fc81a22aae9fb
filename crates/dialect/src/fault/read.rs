//! What an upstream says when it refuses, in whichever shape, and under whichever status.

use domain::{Blame, Fault, FaultKind, Retry};
use serde::Deserialize;
use serde_json::Value;

use crate::Body;

/// The most of an upstream's text that is passed on when it is not an error object.
const TEXT_LIMIT: usize = 600;

/// The error shapes that engines send: OpenAI's `{"error":{…}}`, vLLM's `{"error":"Unauthorized"}`, older vLLM's
/// `{"object":"error","message":…}`, FastAPI's `{"detail":…}`, Anthropic's `{"type":"error","error":{…}}`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    object: Option<Value>,
    error: Option<Value>,
    detail: Option<Value>,
    message: Option<Value>,
    r#type: Option<Value>,
    param: Option<Value>,
    code: Option<Value>,
    // what an answer has and an error has not
    choices: Option<serde::de::IgnoredAny>,
    data: Option<serde::de::IgnoredAny>,
    results: Option<serde::de::IgnoredAny>,
    output: Option<serde::de::IgnoredAny>,
    content: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, PartialEq)]
struct Said {
    message: String,
    kind: Option<String>,
    param: Option<String>,
    code: Option<String>,
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Wire {
    fn read(json: &[u8]) -> Option<Wire> {
        // serde would take a list for a struct
        if !json.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    fn said(&self) -> Option<Said> {
        match self.error.as_ref() {
            Some(Value::Object(error)) if !error.is_empty() => {
                // some routers wrap the real reason: `metadata.raw`
                let message = text(error.get("message")).or_else(|| text(error.get("detail")));
                Some(Said {
                    message: message.unwrap_or_else(|| Value::Object(error.clone()).to_string()),
                    kind: text(error.get("type")),
                    param: text(error.get("param")),
                    code: text(error.get("code")),
                })
            }
            Some(Value::String(message)) if !message.is_empty() => {
                Some(Said { message: message.clone(), code: text(self.code.as_ref()), ..Said::default() })
            }
            _ if self.object.as_ref().and_then(Value::as_str) == Some("error") => Some(Said {
                message: text(self.message.as_ref()).unwrap_or_default(),
                kind: text(self.r#type.as_ref()),
                param: text(self.param.as_ref()),
                code: text(self.code.as_ref()),
            }),
            _ => None,
        }
    }

    fn is_an_answer(&self) -> bool {
        self.choices.is_some()
            || self.data.is_some()
            || self.results.is_some()
            || self.output.is_some()
            || self.content.is_some()
    }
}

/// The status that an error inside a 200 means: `error.code` if it is one, else what its type says, else 502.
pub fn status_named_in(code: Option<&str>, kind: Option<&str>) -> u16 {
    if let Some(status) = code.and_then(|c| c.parse::<u16>().ok()).filter(|s| (400..600).contains(s)) {
        return status;
    }
    for word in [kind, code].into_iter().flatten() {
        match word {
            "BadRequestError" | "invalid_request_error" | "BadRequest" => return 400,
            // codes of Responses objects that failed (platform.openai.com, "Response error")
            "invalid_prompt" | "context_length_exceeded" => return 400,
            "AuthenticationError" | "authentication_error" => return 401,
            "PermissionDeniedError" | "permission_error" => return 403,
            "NotFoundError" | "not_found_error" | "model_not_found" => return 404,
            "RateLimitError" | "rate_limit_error" | "rate_limit_exceeded" => return 429,
            "InternalServerError" | "internal_server_error" | "server_error" | "api_error" => return 500,
            "ServiceUnavailable" | "ServiceUnavailableError" | "overloaded_error" => return 503,
            _ => {}
        }
    }
    502
}

/// A message of more than this many bytes inside an error of more than a reply's judged beginning is shortened.
const MESSAGE_LIMIT: usize = 1024;

/// Cuts a very long message of an upstream's down to what a person reads.
pub fn shorten(message: &mut String) {
    let whole = message.len();
    if whole <= MESSAGE_LIMIT {
        return;
    }
    message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
    message.push_str(&format!("… ({whole} bytes in all)"));
}

/// Blame and retry of an upstream's status: 5xx and 429 are the upstream's state, other 4xx the caller's request.
fn refused(status: u16, said: Said) -> Fault {
    let kind = if (400..600).contains(&status) { FaultKind::Refused(status) } else { FaultKind::Broken };
    let message = match said.message.trim().is_empty() {
        true => format!("the upstream reported an error {status} without a message"),
        false => said.message,
    };
    let mut fault = Fault::new(kind, message);
    fault.blame =
        if status >= 500 || !(400..600).contains(&status) { Blame::Upstream } else { Blame::Caller };
    fault.retry =
        if matches!(status, 429 | 502 | 503 | 504 | 522 | 524) { Retry::Same } else { Retry::Never };
    fault.param = said.param;
    fault.code = said.code;
    fault.upstream_status = Some(status);
    fault
}

/// Reads a refusal: an answer whose status is not a success.
///
/// The message is the upstream's own if it sent an error object, its text if that is short and readable, and a sentence
/// about the status otherwise. HTML is not passed on.
pub fn refusal(status: u16, body: &[u8]) -> Fault {
    let wire = Wire::read(body);
    let said = wire.as_ref().and_then(Wire::said).or_else(|| {
        let wire = wire.as_ref()?;
        let message = match wire.detail.as_ref().or(wire.message.as_ref())? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(Said { message, ..Said::default() })
    });
    let said = said.unwrap_or_else(|| Said { message: readable(status, body), ..Said::default() });
    refused(status, said)
}

fn readable(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_LIMIT)]);
    let text = text.trim();
    if text.is_empty() {
        return format!("the upstream answered {status} without a body");
    }
    if text.starts_with('<') {
        return format!("the upstream answered {status} with an HTML page");
    }
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// An error inside a whole JSON reply that came with a success status. `None` for an answer.
///
/// An `error` member beside `choices`, `data`, `results`, `output` or `content` is part of an answer, as is a null one.
pub fn in_reply(body: &[u8]) -> Option<Fault> {
    let wire = Wire::read(body)?;
    if wire.is_an_answer() {
        return None;
    }
    inside_a_success(wire.said()?)
}

/// The same for a reply whose members are known. Nearly all show at a glance that they are no error.
pub fn in_body(body: &Body) -> Option<Fault> {
    let error = body.value("error").is_some_and(|raw| raw != b"null");
    let object = body.value("object").is_some_and(|raw| is_called(raw, "error"));
    if error || object { in_reply(body.bytes()) } else { None }
}

/// Whether a JSON text is this string, however it is written.
fn is_called(raw: &[u8], word: &str) -> bool {
    match memchr::memchr(b'\\', raw) {
        None => raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")) == Some(word.as_bytes()),
        Some(_) => serde_json::from_slice::<String>(raw).is_ok_and(|text| text == word),
    }
}

/// An error that an event of a stream carries. `name` is the event's name, if it has one.
pub fn in_event(name: &[u8], data: &[u8]) -> Option<Fault> {
    let wire = Wire::read(data)?;
    if name == b"error" || wire.r#type.as_ref().and_then(Value::as_str) == Some("error") {
        let said = wire.said().unwrap_or_else(|| Said {
            message: text(wire.message.as_ref()).unwrap_or_else(|| "the upstream reported an error".into()),
            kind: None,
            param: text(wire.param.as_ref()),
            code: text(wire.code.as_ref()),
        });
        return inside_a_success(said);
    }
    if wire.is_an_answer() {
        return None;
    }
    inside_a_success(wire.said()?)
}

fn inside_a_success(said: Said) -> Option<Fault> {
    let mut fault = refused(status_named_in(said.code.as_deref(), said.kind.as_deref()), said);
    fault.upstream_status = Some(200);
    Some(fault)
}

/// Whether a 404 is about the model, so that another route of the same upstream would not help.
pub fn is_about_the_model(body: &[u8]) -> bool {
    let Some(said) = Wire::read(body).as_ref().and_then(Wire::said) else { return false };
    let names_a_model = |text: &str| text.to_ascii_lowercase().contains("model");
    said.param.as_deref() == Some("model")
        || said.code.as_deref().is_some_and(names_a_model)
        || names_a_model(&said.message)
}
