//! One whole JSON reply: whether it is an answer, and what it reports.

use domain::{Dialect, Fault, FaultKind, Usage};

use crate::{Body, fault, usage};

/// Judges the body of a successful, unstreamed reply.
///
/// An error inside becomes the fault that it means; what is not a JSON object, or is a chat answer without a choice,
/// is a broken upstream. (vLLM's pooling and tokenising replies are objects too.)
pub fn judge(dialect: Dialect, body: &Body) -> Result<(), Fault> {
    if let Some(fault) = fault::in_reply(body.bytes()) {
        return Err(fault);
    }
    let missing = |name: &str| {
        let empty = |raw: &[u8]| raw == b"null" || raw.iter().all(|b| b"[] \r\n\t".contains(b));
        body.raw(name).is_none_or(|raw| empty(&raw))
    };
    if matches!(dialect, Dialect::Chat | Dialect::Completions) && missing("choices") {
        return Err(Fault::new(FaultKind::Broken, "provider returned no choices"));
    }
    Ok(())
}

/// The failure that an answer tells in its dialect's own words: a Responses object whose `status` is `failed`.
pub fn told(dialect: Dialect, body: &Body) -> Option<Fault> {
    if dialect != Dialect::Responses || body.string("status").ok().flatten().as_deref() != Some("failed") {
        return None;
    }
    let error = body.raw("error").filter(|error| error.starts_with(b"{"));
    let error = error.as_deref().unwrap_or(b"{\"message\":\"the response failed\"}");
    fault::in_event(b"error", &[b"{\"error\":", error, b"}"].concat())
}

/// The fault of a body that is no JSON object.
pub fn not_an_answer(body: &[u8]) -> Fault {
    let text = body.trim_ascii_start();
    let message = match text.first() {
        None => "provider returned empty response".to_owned(),
        Some(b'<') => "provider returned an HTML page instead of JSON".to_owned(),
        Some(_) => "failed to unmarshal response: it is not a JSON object".to_owned(),
    };
    Fault::new(FaultKind::Broken, message)
}

/// The usage that a whole reply reports.
pub fn usage(body: &Body) -> Option<Usage> {
    usage::read(&body.raw("usage")?)
}
