//! Errors in the places where answers should be: every shape that engines and proxies were seen to send.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, RETRY_AFTER};
use serde_json::{Value, json};

use super::sse::{self, DONE};
use super::{Asked, Dialect, Fault, Injection, Wording};
use crate::reply::{Content, EVENTS, Event, Events, Reply};

const MESSAGE: &str = "The simulated engine was told to fail.";

/// What a proxy says in front of an engine that it does not reach.
const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// The answer in the place of the engine's own, for the faults that need none of it.
pub(super) fn instead(injection: &Injection, asked: &Asked, wording: Wording<'_>) -> Option<Reply> {
    let dialect = asked.dialect;
    let number = injection.number("code");
    let code =
        u16::try_from(number).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_default();
    let refused = || wording(code, MESSAGE);
    let after = |value: &str| refused().with(RETRY_AFTER, value);
    let seconds = Duration::from_secs(injection.number("seconds"));
    let date = |at: Option<SystemTime>| httpdate::fmt_http_date(at.unwrap_or(SystemTime::UNIX_EPOCH));
    let object = |members: Value| Reply::json(StatusCode::OK, members.to_string());
    let error = |error: Value| object(json!({"error": error}));
    Some(match injection.fault() {
        Fault::Status | Fault::RetryAfterAbsent => refused(),
        Fault::ErrorTellsKey => {
            let key = asked.key.as_deref().unwrap_or("none");
            wording(code, &format!("{MESSAGE} The key was {key}."))
        }
        Fault::RetryAfterSeconds => after(&seconds.as_secs().to_string()),
        Fault::RetryAfterDate => after(&date(SystemTime::now().checked_add(seconds))),
        Fault::RetryAfterPast => after(&date(SystemTime::now().checked_sub(seconds))),
        Fault::RetryAfterMs => {
            let milliseconds = injection.number("milliseconds").to_string();
            refused().with(HeaderName::from_static("retry-after-ms"), &milliseconds)
        }
        Fault::RetryAfterNonsense => after("soon"),
        Fault::RetryAfterHuge => after("99999999999"),
        Fault::Error200 => {
            error(json!({"message": MESSAGE, "type": kind(number), "param": null, "code": number}))
        }
        Fault::Error200TextCode => {
            let code = number.to_string();
            error(json!({"message": MESSAGE, "type": kind(number), "param": null, "code": code}))
        }
        Fault::Error200ByType => {
            error(json!({"message": MESSAGE, "type": "NotFoundError", "param": null, "code": null}))
        }
        Fault::Error200Nameless => error(json!({"message": MESSAGE})),
        Fault::Error200String => error(json!(MESSAGE)),
        Fault::Error200Flat => object(flat(number)),
        Fault::Html => Reply::text(code, "text/html", PAGE),
        Fault::Empty => Reply::empty(code),
        Fault::EmptyStream => stream(Vec::new()),
        Fault::ErrorFirstEvent => stream(vec![in_stream(injection, dialect), last(dialect)]),
        Fault::ErrorFirstEventFlat | Fault::ErrorFirstEventDouble | Fault::ErrorFirstLine => {
            stream(vec![in_stream(injection, dialect), Bytes::from_static(DONE)])
        }
        _ => return None,
    })
}

/// A stream that is known in advance.
fn stream(events: Vec<Bytes>) -> Reply {
    let due = Instant::now();
    let events = events.into_iter().filter(|bytes| !bytes.is_empty());
    let content = Content::events(events.map(move |bytes| Event { due, bytes }));
    Reply::new(StatusCode::OK, Some(EVENTS), content)
}

/// The error that comes as an event of a stream.
pub(super) fn in_stream(injection: &Injection, dialect: Dialect) -> Bytes {
    let code = injection.number("code");
    match injection.fault() {
        Fault::ErrorFirstEventFlat | Fault::ErrorLaterEventFlat => sse::event(&flat(code)),
        Fault::ErrorFirstEventDouble | Fault::ErrorLaterEventDouble => {
            sse::event(&json!({"error": flat(code)}))
        }
        Fault::ErrorFirstLine | Fault::ErrorLaterLine => {
            let error = json!({"code": code, "message": MESSAGE, "type": "server_error"});
            Bytes::from(format!("error: {error}\n\n"))
        }
        _ => match dialect {
            Dialect::Messages => {
                let error =
                    json!({"type": "error", "error": {"type": anthropic_kind(code), "message": MESSAGE}});
                Bytes::from(format!("event: error\ndata: {error}\n\n"))
            }
            Dialect::Responses => {
                let error = json!({"type": "error", "code": kind(code), "message": MESSAGE, "param": null, "sequence_number": 0});
                Bytes::from(format!("event: error\ndata: {error}\n\n"))
            }
            Dialect::Chat | Dialect::Completions | Dialect::Transcription | Dialect::Other => {
                let error = json!({"message": MESSAGE, "type": kind(code), "param": null, "code": code});
                sse::event(&json!({"error": error}))
            }
        },
    }
}

/// What a dialect still says after an error: nothing where there is no word for the end.
fn last(dialect: Dialect) -> Bytes {
    match dialect {
        Dialect::Chat | Dialect::Completions | Dialect::Transcription | Dialect::Other => {
            Bytes::from_static(DONE)
        }
        Dialect::Responses | Dialect::Messages => Bytes::new(),
    }
}

/// The same events up to a number, and then the error.
pub(super) fn later(events: Events, injection: &Injection, dialect: Dialect) -> Events {
    let after = usize::try_from(injection.number("events")).unwrap_or(usize::MAX);
    let end = match injection.fault() {
        Fault::ErrorLaterEnd => Bytes::new(),
        Fault::ErrorLaterEvent => last(dialect),
        _ => Bytes::from_static(DONE),
    };
    let error = in_stream(injection, dialect);
    let mut events = events.take(after);
    let mut ending = [error, end].into_iter().filter(|bytes| !bytes.is_empty());
    let mut due = Instant::now();
    Box::new(std::iter::from_fn(move || {
        let event = events.next().or_else(|| ending.next().map(|bytes| Event { due, bytes }))?;
        due = event.due;
        Some(event)
    }))
}

/// A response object that failed.
pub(super) fn fail(response: &mut Value) {
    response["status"] = json!("failed");
    response["error"] = json!({"code": "server_error", "message": MESSAGE});
    response["output"] = json!([]);
}

/// The flat error of older versions of vLLM, and of SGLang.
fn flat(code: u64) -> Value {
    json!({"object": "error", "message": MESSAGE, "type": kind(code), "param": null, "code": code})
}

/// Anthropic's name for a status (docs.anthropic.com, "Errors").
fn anthropic_kind(code: u64) -> &'static str {
    match code {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

/// vLLM's name for a status.
fn kind(code: u64) -> &'static str {
    match code {
        400 => "BadRequestError",
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        422 => "UnprocessableEntityError",
        429 => "RateLimitError",
        503 => "ServiceUnavailableError",
        _ => "InternalServerError",
    }
}
