//! Tokens, wherever a dialect reports them.

use domain::Usage;
use serde::Deserialize;

/// Every spelling of a usage object that our upstreams use; what is absent is zero.
///
/// Chat and completions: `prompt_tokens`, `completion_tokens` with `*_details`. Responses and Messages: `input_tokens`,
/// `output_tokens`; Messages counts cached tokens outside `input_tokens`. Pooling and rerank: `total_tokens` alone.
/// Transcriptions: as Responses, or `seconds` of audio (OpenAI's `type: duration`).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    seconds: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// Reads a usage object as it was written. `None` if it is not an object of counts, or says nothing.
pub fn read(json: &[u8]) -> Option<Usage> {
    // serde would take a list for a struct
    if !json.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let wire: Wire = serde_json::from_slice(json).ok()?;
    // an upstream may say any number
    let (read, written) = (wire.cache_read_input_tokens, wire.cache_creation_input_tokens);
    let outside = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
    let output = wire.output_tokens.or(wire.completion_tokens);
    let input = match wire.input_tokens.or(wire.prompt_tokens) {
        Some(input) => Some(input.saturating_add(outside)),
        None => wire.total_tokens.map(|total| total.saturating_sub(output.unwrap_or(0))),
    };
    let audio_seconds = wire.seconds.map(whole_seconds);
    if input.is_none() && output.is_none() && audio_seconds.is_none() {
        return None;
    }
    let cached = |details: &Option<Details>| details.as_ref().and_then(|d| d.cached_tokens);
    let reasoning = |details: &Option<Details>| details.as_ref().and_then(|d| d.reasoning_tokens);
    Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cached: cached(&wire.prompt_tokens_details)
            .or(cached(&wire.input_tokens_details))
            .or(wire.cache_read_input_tokens)
            .unwrap_or(0),
        reasoning: reasoning(&wire.completion_tokens_details)
            .or(reasoning(&wire.output_tokens_details))
            .unwrap_or(0),
        audio_seconds: audio_seconds.unwrap_or(0),
        estimated: false,
    })
}

/// Seconds as they are billed: every one that was begun.
pub(crate) fn whole_seconds(seconds: f64) -> u64 {
    // a cast from a float saturates, and takes what is no number for 0
    seconds.ceil() as u64
}

/// What is known after a later report: Messages tells the input at its start and the output at its end.
pub fn later(before: Option<Usage>, now: Usage) -> Usage {
    let Some(before) = before else { return now };
    Usage {
        input: if now.input == 0 { before.input } else { now.input },
        output: if now.output == 0 { before.output } else { now.output },
        cached: now.cached.max(before.cached),
        reasoning: now.reasoning.max(before.reasoning),
        audio_seconds: now.audio_seconds.max(before.audio_seconds),
        estimated: now.estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expect: Option<(u64, u64, u64, u64)>) {
        let usage = read(json.as_bytes()).map(|u| (u.input, u.output, u.cached, u.reasoning));
        assert_eq!(usage, expect, "{json}");
    }

    #[test]
    fn every_spelling_is_understood() {
        check(
            r#"{"prompt_tokens":10,"total_tokens":18,"completion_tokens":8,"prompt_tokens_details":null}"#,
            Some((10, 8, 0, 0)),
        );
        check(
            r#"{"prompt_tokens":10,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}"#,
            Some((10, 8, 4, 3)),
        );
        check(
            r#"{"input_tokens":5,"output_tokens":2,"input_tokens_details":{"cached_tokens":1},"output_tokens_details":{"reasoning_tokens":1}}"#,
            Some((5, 2, 1, 1)),
        );
        check(
            r#"{"input_tokens":5,"output_tokens":2,"cache_read_input_tokens":7,"cache_creation_input_tokens":1}"#,
            Some((13, 2, 7, 0)),
        );
        check(
            r#"{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}"#,
            Some((14, 45, 0, 0)),
        );
        let heard = |json: &str| read(json.as_bytes()).map(|usage| usage.audio_seconds);
        assert_eq!(heard(r#"{"type":"duration","seconds":3.2}"#), Some(4));
        assert_eq!(heard(r#"{"type":"duration","seconds":-1}"#), Some(0));
        check(r#"{"total_tokens":9}"#, Some((9, 0, 0, 0)));
        check(
            r#"{"input_tokens":18446744073709551615,"cache_read_input_tokens":18446744073709551615}"#,
            Some((u64::MAX, 0, u64::MAX, 0)),
        );
        check("{}", None);
        check("null", None);
        check("[1,2]", None);
        check(r#"{"prompt_tokens":"many"}"#, None);
    }
}
