//! The ways in which vLLM says no.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::json;
use super::version::Version;
use crate::reply::Reply;

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The body has not the shape the route wants: pydantic's findings.
    Invalid(Vec<Invalid>),
    /// Anything else.
    Error { status: StatusCode, kind: &'static str, message: String, param: Option<String> },
}

/// One thing that pydantic would find wrong.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) kind: &'static str,
    /// `body.messages`
    pub(crate) place: String,
    pub(crate) says: String,
    /// The offending value, summarised.
    pub(crate) input: String,
    /// More about it, as a Python dictionary prints.
    pub(crate) more: Option<String>,
}

/// How many findings are told.
const TOLD: usize = 10;

impl Refusal {
    /// A 400 about nothing in particular.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Refusal::error(StatusCode::BAD_REQUEST, "BadRequestError", message, None)
    }

    pub(crate) fn error(
        status: StatusCode,
        kind: &'static str,
        message: impl Into<String>,
        param: Option<&str>,
    ) -> Self {
        Refusal::Error { status, kind, message: message.into(), param: param.map(str::to_owned) }
    }

    /// A 400 about one parameter.
    pub(crate) fn parameter(message: &str, param: &str) -> Self {
        let message = format!("{message} (parameter={param})");
        Refusal::error(StatusCode::BAD_REQUEST, "BadRequestError", message, Some(param))
    }

    /// A 400 about one parameter's value.
    pub(crate) fn value(message: &str, param: &str, value: impl std::fmt::Display) -> Self {
        let message = format!("{message} (parameter={param}, value={value})");
        Refusal::error(StatusCode::BAD_REQUEST, "BadRequestError", message, Some(param))
    }

    /// The model is not served. Routes that generate list those that are.
    pub(crate) fn unknown_model(name: &str, aliases: Option<&str>) -> Self {
        match aliases {
            Some(aliases) => Refusal::error(
                StatusCode::NOT_FOUND,
                "NotFoundError",
                format!("The model `{name}` does not exist. Valid aliases: {aliases}."),
                Some("model"),
            ),
            None => Refusal::error(
                StatusCode::NOT_FOUND,
                "NotFoundError",
                format!("The model `{name}` does not exist."),
                None,
            ),
        }
    }

    /// The model is served and cannot do this.
    pub(crate) fn unable(what: &str) -> Self {
        let message = format!("The model does not support {what} API");
        Refusal::error(StatusCode::NOT_IMPLEMENTED, "NotImplementedError", message, None)
    }

    /// Too many requests are in flight.
    pub(crate) fn too_many() -> Self {
        let message = "The server has too many requests in flight (max_num_queued_reqs). Please retry later.";
        Refusal::error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", message, None)
    }

    /// Its status and its message, for an engine that has another shape for them.
    pub(crate) fn told(self) -> (StatusCode, String) {
        match self {
            Refusal::Error { status, message, .. } => (status, message),
            Refusal::Invalid(findings) => (StatusCode::BAD_REQUEST, told(&findings)),
        }
    }

    /// As an answer in OpenAI's shape.
    pub(crate) fn reply(self, version: Version) -> Reply {
        let (status, kind, message, param) = match self {
            Refusal::Error { status, kind, message, param } => (status, kind, message, param),
            Refusal::Invalid(findings) => {
                let param = findings.first().map(|first| first.place.clone());
                (StatusCode::BAD_REQUEST, "Bad Request", told(&findings), param)
            }
        };
        let error = ErrorInfo { message: &message, kind, param: param.as_deref(), code: status.as_u16() };
        if version.flat_errors() {
            return Reply::json(status, json::python(&FlatBody { object: "error", error }));
        }
        Reply::json(status, json::python(&ErrorBody { error }))
    }

    /// As an answer in Anthropic's shape. What pydantic finds never gets that far and stays as it is.
    pub(crate) fn anthropic(self, version: Version) -> Reply {
        match self {
            Refusal::Error { status, kind, message, .. } => {
                let error = AnthropicError { kind, message: &message };
                Reply::json(status, json::python(&AnthropicBody { kind: "error", error }))
            }
            invalid @ Refusal::Invalid(_) => invalid.reply(version),
        }
    }
}

/// FastAPI's own answers: 404 and 405.
pub(crate) fn detail(status: StatusCode) -> Reply {
    let reason = status.canonical_reason().unwrap_or_default();
    Reply::json(status, format!("{{\"detail\":\"{reason}\"}}"))
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorInfo<'a>,
}

#[derive(Serialize)]
struct FlatBody<'a> {
    object: &'static str,
    #[serde(flatten)]
    error: ErrorInfo<'a>,
}

#[derive(Serialize)]
struct ErrorInfo<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: u16,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
}

fn told(findings: &[Invalid]) -> String {
    let errors = if findings.len() == 1 { "error" } else { "errors" };
    let mut message = format!("{} validation {errors}:", findings.len());
    for finding in findings.iter().take(TOLD) {
        message.push_str("\n  ");
        message.push_str(&finding.python());
    }
    if findings.len() > TOLD {
        message.push_str(&format!("\n  ...and {} more {errors}", findings.len() - TOLD));
    }
    message
}

impl Invalid {
    /// A member that is missing.
    pub(crate) fn missing(place: impl Into<String>, whole: &Value) -> Self {
        Invalid::new("missing", place, "Field required", whole)
    }

    pub(crate) fn new(
        kind: &'static str,
        place: impl Into<String>,
        says: impl Into<String>,
        input: &Value,
    ) -> Self {
        Invalid { kind, place: place.into(), says: says.into(), input: summary(input), more: None }
    }

    /// A value outside of a fixed list.
    pub(crate) fn literal(place: impl Into<String>, allowed: &str, input: &Value) -> Self {
        let more = Some(format!("{{'expected': {}}}", repr(allowed)));
        Invalid { more, ..Invalid::new("literal_error", place, format!("Input should be {allowed}"), input) }
    }

    /// A value that a validator of the model rejected.
    pub(crate) fn rejected(place: impl Into<String>, why: &str, input: &Value) -> Self {
        let more = Some(format!("{{'error': ValueError({})}}", repr(why)));
        Invalid { more, ..Invalid::new("value_error", place, format!("Value error, {why}"), input) }
    }

    /// The finding as Python prints the dictionary it is.
    fn python(&self) -> String {
        let Invalid { kind, place, says, input, more } = self;
        let more = more.as_ref().map(|more| format!(", 'ctx': {more}")).unwrap_or_default();
        format!(
            "{{'type': '{kind}', 'loc': {}, 'msg': {}, 'input': {}{more}}}",
            repr(place),
            repr(says),
            repr(input)
        )
    }
}

/// A short stand-in for a value, as vLLM makes one.
fn summary(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => {
            number.as_f64().filter(|_| number.is_f64()).map_or(number.to_string(), json::float)
        }
        Value::String(text) => match text.char_indices().nth(200) {
            Some((end, _)) => format!("{}...[truncated]", &text[..end]),
            None => text.clone(),
        },
        Value::Array(items) => format!("<list of {} items>", items.len()),
        Value::Object(members) => format!("<dict of {} items>", members.len()),
    }
}

/// A text as Python's `repr` quotes it.
pub(crate) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter == quote => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\x{:02x}", letter as u32)),
            letter => quoted.push(letter),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_finding_prints_as_a_python_dictionary() {
        let missing = Invalid::missing("body.messages", &json!({"model": "m"}));
        assert_eq!(
            missing.python(),
            "{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}"
        );
        let role = Invalid::literal("body.role", "'user' or 'system'", &json!("zebra"));
        assert_eq!(
            role.python(),
            "{'type': 'literal_error', 'loc': 'body.role', 'msg': \"Input should be 'user' or 'system'\", \
             'input': 'zebra', 'ctx': {'expected': \"'user' or 'system'\"}}"
        );
    }
}
