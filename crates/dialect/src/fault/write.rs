//! A fault in the words of the client's dialect: as a whole body, or as the last event of a stream.

use bytes::Bytes;
use domain::{Dialect, Fault, FaultKind};
use http::StatusCode;
use serde::Serialize;

/// The status that goes with a fault.
pub fn status(fault: &Fault) -> StatusCode {
    match fault.kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        FaultKind::Forbidden => StatusCode::FORBIDDEN,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        FaultKind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        FaultKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FaultKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        FaultKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        FaultKind::Refused(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
        FaultKind::Unreachable | FaultKind::Broken => StatusCode::BAD_GATEWAY,
        FaultKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The `type` of OpenAI's envelope, as GoModel chooses it.
fn openai_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        501 => "invalid_request_error",
        400..=499 => "invalid_request_error",
        _ => "provider_error",
    }
}

/// The `type` of Anthropic's envelope (docs.anthropic.com, "Errors").
fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 | 501 => "invalid_request_error",
        _ => "api_error",
    }
}

#[derive(Serialize)]
struct OpenAi<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    r#type: &'a str,
    message: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct Anthropic<'a> {
    r#type: &'a str,
    error: AnthropicError<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
}

/// The error event of a Responses stream. The nested object repeats it in the shape at which official SDKs raise.
#[derive(Serialize)]
struct ResponsesEvent<'a> {
    r#type: &'a str,
    sequence_number: u64,
    code: Option<&'a str>,
    message: &'a str,
    param: Option<&'a str>,
    error: OpenAiError<'a>,
}

fn openai(fault: &Fault) -> OpenAiError<'_> {
    OpenAiError {
        r#type: openai_type(status(fault)),
        message: &fault.message,
        param: fault.param.as_deref(),
        code: fault.code.as_deref(),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and numbers always serialise")
}

/// The whole body of an error reply.
pub fn body(dialect: Dialect, fault: &Fault, request_id: &str) -> Bytes {
    if dialect.is_anthropic() {
        let error = AnthropicError { r#type: anthropic_type(status(fault)), message: &fault.message };
        return json(&Anthropic { r#type: "error", error, request_id: Some(request_id) }).into();
    }
    json(&OpenAi { error: openai(fault) }).into()
}

/// The last event of a stream that failed after its status was sent. No finish and no `[DONE]` follow it.
///
/// `sequence` numbers it among the events of a Responses stream.
pub fn event(dialect: Dialect, fault: &Fault, request_id: &str, sequence: u64) -> Bytes {
    let (name, data) = match dialect {
        Dialect::Messages => ("event: error\n", body(dialect, fault, request_id).to_vec()),
        Dialect::Responses => (
            "event: error\n",
            json(&ResponsesEvent {
                r#type: "error",
                sequence_number: sequence,
                code: fault.code.as_deref(),
                message: &fault.message,
                param: fault.param.as_deref(),
                error: openai(fault),
            }),
        ),
        _ => ("", body(dialect, fault, request_id).to_vec()),
    };
    [name.as_bytes(), b"data: ", &data, b"\n\n"].concat().into()
}
