//! What a request asks of the mock upstream. Everything is in the request, by members that gateways pass on:
//!
//! - the model, behind its last slash: `bench`, then any of `-16k` (size of a whole answer in KiB) and `-10ms` (pause
//!   before a whole answer, or before each token of a stream);
//! - `max_tokens` or `max_output_tokens`: how many tokens a stream has;
//! - `stream`, and `stream_options.include_usage`.

use std::time::Duration;

use memchr::memmem;

use crate::dialect::Dialect;

/// The models that the mock lists: those that scenarios ask for.
pub const MODELS: [&str; 4] = ["bench", "bench-1024k", "bench-10ms", "bench-2000ms"];

/// A stream has no more tokens than this.
const MOST_EVENTS: u32 = 100_000;

/// A request, as far as the mock looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In whose words to answer.
    pub dialect: Dialect,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Whether a chat stream ends with its usage.
    pub usage: bool,
    /// Tokens of a stream.
    pub events: u32,
    /// Before a whole answer, or before each token.
    pub pause: Duration,
    /// Size of a whole answer in bytes; 0 is the small one.
    pub size: usize,
}

impl Wanted {
    /// Reads a request; `None` if there is no such route or no such model.
    pub fn read(path: &str, body: &[u8]) -> Option<Wanted> {
        let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.path() == path)?;
        let (size, pause) = model(behind(body, b"\"model\"")?)?;
        let limit = behind(body, format!("\"{}\"", dialect.limit_member()).as_bytes());
        let is_true = |member: &[u8]| behind(body, member).is_some_and(|value| value.starts_with(b"true"));
        Some(Wanted {
            dialect,
            stream: is_true(b"\"stream\""),
            usage: is_true(b"\"include_usage\""),
            events: limit.map_or(16, number).min(MOST_EVENTS),
            pause,
            size,
        })
    }
}

/// Members that say something stand within so many bytes of the beginning or the end: not all of a long prompt is read.
const NEAR: usize = 2048;

/// What follows a member's name and its colon. Quotes inside of prompts are escaped, so that no text can look like a
/// member.
fn behind<'a>(body: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    let far = body.len().saturating_sub(NEAR);
    let begin = &body[..body.len().min(NEAR)];
    [&body[far..], begin].into_iter().find_map(|part| {
        let at = memmem::find(part, member)?;
        let value = part[at + member.len()..].trim_ascii_start().strip_prefix(b":")?;
        Some(value.trim_ascii_start())
    })
}

fn number(value: &[u8]) -> u32 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u32, |sum, byte| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
}

/// Size and pause out of a model's name.
fn model(value: &[u8]) -> Option<(usize, Duration)> {
    let name = value.strip_prefix(b"\"")?;
    let name = std::str::from_utf8(&name[..memchr::memchr(b'"', name)?]).ok()?;
    let name = name.rsplit('/').next()?;
    if !MODELS.contains(&name) {
        return None;
    }
    let (mut size, mut pause) = (0, Duration::ZERO);
    for part in name.split('-').skip(1) {
        if let Some(kib) = part.strip_suffix('k') {
            size = kib.parse::<usize>().ok()? << 10;
        } else {
            pause = Duration::from_millis(part.strip_suffix("ms")?.parse().ok()?);
        }
    }
    Some((size, pause))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Wanted> {
        Wanted::read("/v1/chat/completions", body.as_bytes())
    }

    #[test]
    fn a_request_says_what_it_wants() {
        let wanted = read(
            r#"{"messages":[{"role":"user","content":"\"model\":\"x\""}], "model": "vllm/bench-10ms","max_tokens": 64,"stream":true,"stream_options":{"include_usage":true}}"#,
        )
        .unwrap();
        assert!(wanted.stream && wanted.usage);
        assert_eq!((wanted.events, wanted.pause, wanted.size), (64, Duration::from_millis(10), 0));
        let wanted = read(r#"{"model":"bench-1024k","stream":false}"#).unwrap();
        assert!(!wanted.stream && !wanted.usage);
        assert_eq!((wanted.events, wanted.pause, wanted.size), (16, Duration::ZERO, 1 << 20));
    }

    #[test]
    fn every_listed_model_can_be_asked_for_and_no_other() {
        for name in MODELS {
            assert!(read(&format!(r#"{{"model":"any/thing/{name}"}}"#)).is_some(), "{name}");
        }
        for name in ["other", "bench-99k", "bench-"] {
            assert_eq!(read(&format!(r#"{{"model":"{name}"}}"#)), None, "{name}");
        }
        assert_eq!(read("{}"), None);
        assert_eq!(Wanted::read("/v1/embeddings", br#"{"model":"bench"}"#), None);
    }

    #[test]
    fn what_is_asked_may_stand_before_or_behind_a_long_prompt() {
        let prompt = "word ".repeat(5000);
        for body in [
            format!(r#"{{"model":"bench","stream":true,"messages":["{prompt}"]}}"#),
            format!(r#"{{"messages":["{prompt}"],"model":"bench","stream":true}}"#),
        ] {
            assert!(read(&body).unwrap().stream);
        }
    }

    #[test]
    fn no_stream_is_endless() {
        assert_eq!(read(r#"{"model":"bench","max_tokens":99999999999}"#).unwrap().events, MOST_EVENTS);
    }
}
