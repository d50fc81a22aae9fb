//! Tokens, wherever a dialect reports them.

use domain::Usage;

use crate::json::scan::scan;
use crate::json::walk::pick;

/// Reads a usage object as it was written. `None` if it is not an object of counts, or says nothing.
pub fn read(json: &[u8]) -> Option<Usage> {
    scan(json).ok()?;
    read_checked(json.trim_ascii())
}

/// The same for one that is known to be JSON, without whitespace around it. Every spelling that our upstreams use is
/// understood; what is absent is zero.
///
/// Chat and completions: `prompt_tokens`, `completion_tokens` with `*_details`. Responses and Messages: `input_tokens`,
/// `output_tokens`; Messages counts cached tokens outside `input_tokens`. Pooling and rerank: `total_tokens` alone.
/// Transcriptions: as Responses, or `seconds` of audio (OpenAI's `type: duration`).
pub(crate) fn read_checked(json: &[u8]) -> Option<Usage> {
    let [prompt, completion, input, output, total, seconds, cache_read, cache_written, details @ ..] = pick(
        json,
        [
            "prompt_tokens",
            "completion_tokens",
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "seconds",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "prompt_tokens_details",
            "input_tokens_details",
            "completion_tokens_details",
            "output_tokens_details",
        ],
    )?;
    let (input, output) = (count(input)?.or(count(prompt)?), count(output)?.or(count(completion)?));
    let (total, cache_read, cache_written) = (count(total)?, count(cache_read)?, count(cache_written)?);
    let [prompt_details, input_details, completion_details, output_details] = details;
    let cached = part(prompt_details, "cached_tokens")?.or(part(input_details, "cached_tokens")?);
    let reasoning =
        part(completion_details, "reasoning_tokens")?.or(part(output_details, "reasoning_tokens")?);
    // an upstream may say any number
    let outside = cache_read.unwrap_or(0).saturating_add(cache_written.unwrap_or(0));
    let input = match input {
        Some(input) => Some(input.saturating_add(outside)),
        None => total.map(|total| total.saturating_sub(output.unwrap_or(0))),
    };
    let audio_seconds = match seconds {
        Some(raw) => serde_json::from_slice::<Option<f64>>(raw).ok()?.map(whole_seconds),
        None => None,
    };
    if input.is_none() && output.is_none() && audio_seconds.is_none() {
        return None;
    }
    Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cached: cached.or(cache_read).unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
        audio_seconds: audio_seconds.unwrap_or(0),
        estimated: false,
    })
}

/// A count that may be missing or `null`. `None` if it is something else.
fn count(raw: Option<&[u8]>) -> Option<Option<u64>> {
    match raw {
        None | Some(b"null") => Some(None),
        Some(raw) => raw.iter().try_fold(0u64, with_digit).map(Some),
    }
}

/// A whole number with one more digit behind it, if that is one and there is room for it.
fn with_digit(number: u64, digit: &u8) -> Option<u64> {
    let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
    number.checked_mul(10)?.checked_add(digit)
}

/// A count in a `*_details` member, which may be missing or `null` as well.
fn part(details: Option<&[u8]>, name: &str) -> Option<Option<u64>> {
    match details {
        None | Some(b"null") => Some(None),
        Some(details) => {
            let [part] = pick(details, [name])?;
            count(part)
        }
    }
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
