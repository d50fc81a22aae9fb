//! One whole JSON reply: whether it is an answer, and what it reports.

mod as_stream;

use domain::{Dialect, Fault, FaultKind, Operation, Usage};

pub use as_stream::as_stream;

use crate::json::walk::{Cursor, pick};
use crate::{Body, fault, rerank, usage};

/// What a reply answers, as far as that decides whether it is an answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What was asked.
    pub operation: Operation,
    /// In which dialect.
    pub dialect: Dialect,
    /// How many documents were to be sorted.
    pub documents: usize,
    /// There was something to answer: an empty list of vectors would be none.
    pub something: bool,
}

/// What a member must be, told from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Number,
    Text,
    /// A string or an array of them.
    Texts,
    /// Anything but `null`.
    Value,
}

impl Kind {
    fn fits(self, raw: &[u8]) -> bool {
        let first = raw.first().copied().unwrap_or(b'n');
        match self {
            Kind::Array => first == b'[',
            Kind::Number => first == b'-' || first.is_ascii_digit(),
            Kind::Text => first == b'"',
            Kind::Texts => matches!(first, b'"' | b'['),
            Kind::Value => first != b'n',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Array => "an array",
            Kind::Number => "a number",
            Kind::Text => "a string",
            Kind::Texts => "a string or an array",
            Kind::Value => "a value",
        }
    }
}

/// The members of which an answer has at least one. The first is the one that messages name.
///
/// vLLM's score route answers with `data`, SGLang's with `scores`; a text comes back from tokens as `prompt` (vLLM),
/// `content` (llama.cpp) or `text` (SGLang, several at once as a list). What vLLM's IO processors put into `data` is
/// theirs to decide.
fn discriminators(operation: Operation, dialect: Dialect) -> &'static [(&'static str, Kind)] {
    match (operation, dialect) {
        (Operation::Generate, Dialect::Chat) | (Operation::Complete, _) => &[("choices", Kind::Array)],
        (Operation::Generate, Dialect::Messages) => &[("content", Kind::Array)],
        (Operation::Generate, Dialect::Responses) => &[("output", Kind::Array), ("status", Kind::Text)],
        (Operation::CountTokens, _) => &[("input_tokens", Kind::Number)],
        (Operation::Embed | Operation::Classify, _) => &[("data", Kind::Array)],
        (Operation::Score, _) => &[("data", Kind::Array), ("scores", Kind::Array)],
        (Operation::Pool, _) => &[("data", Kind::Value)],
        (Operation::Tokenize, _) => &[("tokens", Kind::Array)],
        (Operation::Detokenize, _) => {
            &[("prompt", Kind::Text), ("content", Kind::Text), ("text", Kind::Texts)]
        }
        (Operation::Rerank, _) => &[("results", Kind::Array)],
        (Operation::Transcribe | Operation::Translate, _) => &[("text", Kind::Text)],
        _ => &[],
    }
}

/// The names of the members of which an answer to this has at least one, for replies that are not read whole. None:
/// anything may be an answer.
pub fn expected(operation: Operation, dialect: Dialect) -> impl Iterator<Item = &'static str> + Clone {
    discriminators(operation, dialect).iter().map(|(name, _)| *name)
}

/// Judges a reply that is too large to be read whole by the first bytes of its members, as `beginning` gives them.
pub fn judge_large<'a>(
    operation: Operation,
    dialect: Dialect,
    beginning: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<(), Fault> {
    let members = discriminators(operation, dialect);
    one_of(members, &beginning)?;
    let has_choices = members.first().is_some_and(|(name, _)| *name == "choices");
    let empty = has_choices && beginning("choices").is_some_and(is_empty_array);
    if empty { Err(no_choices()) } else { Ok(()) }
}

/// Judges the body of a successful, unstreamed reply.
///
/// An error inside becomes the fault that it means; what lacks the member that makes it an answer to what was asked, or
/// has it in a wrong type, is a broken upstream.
pub fn judge(asked: &Asked, body: &Body) -> Result<(), Fault> {
    if let Some(fault) = fault::in_body(body) {
        return Err(fault);
    }
    let raw = |name: &str| body.value(name);
    let members = discriminators(asked.operation, asked.dialect);
    match (asked.operation, asked.dialect) {
        (Operation::Rerank, _) => {
            return rerank::read_reply(body.bytes(), asked.documents, rerank::ReplyShape::Rerank).map(drop);
        }
        (Operation::Generate, Dialect::Chat) | (Operation::Complete, _) => {
            return choices(body);
        }
        (Operation::Generate, Dialect::Messages)
            if raw("type").is_some_and(|kind| !matches!(kind, b"\"message\"" | b"null")) =>
        {
            return Err(unlike("`type` must be \"message\""));
        }
        (Operation::Embed, _) if asked.something && raw("data").is_some_and(is_empty_array) => {
            return Err(unlike("`data` is empty"));
        }
        // vLLM's own pooling reply, not that of an IO processor
        (Operation::Pool, _) if !body.has("request_id") => {
            return one_of(&[("data", Kind::Array)], raw);
        }
        _ => {}
    }
    one_of(members, raw)
}

/// Whether one of the members is there and what it must be.
fn one_of<'a>(
    members: &[(&'static str, Kind)],
    beginning: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<(), Fault> {
    let Some((first, _)) = members.first() else { return Ok(()) };
    let mut wrong = None;
    for (name, kind) in members {
        match beginning(name) {
            Some(raw) if kind.fits(raw) => return Ok(()),
            Some(_) => wrong = Some((name, kind)),
            None => {}
        }
    }
    Err(unlike(&match wrong {
        Some((name, kind)) => format!("`{name}` must be {}", kind.word()),
        None => format!("`{first}` is missing"),
    }))
}

fn is_empty_array(raw: &[u8]) -> bool {
    raw.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]"))
}

fn unlike(what: &str) -> Fault {
    Fault::new(FaultKind::Broken, format!("failed to unmarshal response: {what}"))
}

fn no_choices() -> Fault {
    Fault::new(FaultKind::Broken, "provider returned no choices")
}

/// Whether this choice says something.
fn check_choice(place: usize, choice: &[u8]) -> Result<(), Fault> {
    if !choice.starts_with(b"{") {
        return Err(unlike(&format!("`choices[{place}]` must be an object")));
    }
    let Some([message, delta, text]) = pick(choice, ["message", "delta", "text"]) else {
        return Err(unlike(&format!("`choices[{place}]` has a member twice")));
    };
    let begins = |value: Option<&[u8]>, first| value.is_some_and(|value| value.starts_with(first));
    if begins(message, b"{") || begins(delta, b"{") || begins(text, b"\"") {
        return Ok(());
    }
    Err(unlike(&format!("`choices[{place}]` has neither `message` nor `text`")))
}

fn choices(body: &Body) -> Result<(), Fault> {
    let Some(member) = body.find("choices") else { return Err(no_choices()) };
    let raw = &body.bytes()[member.value.clone()];
    if raw == b"null" || is_empty_array(raw) {
        return Err(no_choices());
    }
    // nearly all do, and the scanner saw it
    if raw.starts_with(b"[") && member.items.each_says_one_thing() {
        return Ok(());
    }
    look_at_choices(raw)
}

/// Goes over the choices one by one.
fn look_at_choices(raw: &[u8]) -> Result<(), Fault> {
    let mut cursor = Cursor::new(raw);
    if !cursor.open(b'[') {
        return Err(unlike("`choices` must be an array"));
    }
    for place in 0.. {
        if matches!(cursor.peek(), None | Some(b']')) {
            break;
        }
        check_choice(place, cursor.value())?;
    }
    Ok(())
}

/// The failure that an answer tells in its dialect's own words: a Responses object whose `status` is `failed`.
pub fn told(dialect: Dialect, body: &Body) -> Option<Fault> {
    if dialect != Dialect::Responses || body.string("status").ok().flatten().as_deref() != Some("failed") {
        return None;
    }
    let error = body.value("error").filter(|error| error.starts_with(b"{"));
    let error = error.unwrap_or(b"{\"message\":\"the response failed\"}");
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

/// The usage that a whole reply reports. A verbose transcription may tell the audio's `duration` alone.
pub fn usage(operation: Operation, body: &Body) -> Option<Usage> {
    if let Some(usage) = body.value("usage") {
        return usage::read_checked(usage);
    }
    if !matches!(operation, Operation::Transcribe | Operation::Translate) {
        return None;
    }
    // a number, or a number in quotes
    let duration = body.value("duration")?;
    let seconds: f64 = std::str::from_utf8(duration).ok()?.trim_matches('"').parse().ok()?;
    Some(Usage { audio_seconds: usage::whole_seconds(seconds), ..Usage::default() })
}

/// What a text that is no JSON says, where a transcription may be one: an error or a page in its place is none.
pub fn judge_text(text: &[u8]) -> Result<(), Fault> {
    if let Some(fault) = fault::in_reply(text) {
        return Err(fault);
    }
    let begin: Vec<u8> = text.trim_ascii_start().iter().take(14).map(u8::to_ascii_lowercase).collect();
    let page = begin.starts_with(b"<!doctype html") || begin.starts_with(b"<html");
    if page { Err(not_an_answer(text)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
