//! The leaves of a JSON text, checked: each function takes a text and the place where a token begins, and gives the place
//! behind it.

use super::scan::Flaw;
use super::words;

/// Numbers shorter than this, with an exponent of at most two digits, cannot be too large for a double.
const LONG_NUMBER: usize = 200;

pub(super) const ENDS_IN_OBJECT: &str = "the text ends inside an object";
const ENDS_IN_STRING: &str = "the text ends inside a string";

/// A string that was checked.
pub(super) struct Text {
    /// Past its closing quote.
    pub(super) end: usize,
    /// Whether there is an escape in it.
    pub(super) escaped: bool,
}

/// A string, from its opening quote.
#[inline(always)]
pub(super) fn string(text: &[u8], at: usize) -> Result<Text, Flaw> {
    let stop = words::string_stop(text, at + 1);
    if text.get(stop) == Some(&b'"') {
        return Ok(Text { end: stop + 1, escaped: false });
    }
    Ok(Text { end: rest_of_string(text, stop)?, escaped: true })
}

/// The rest of a string, from an escape. Anything else here is a flaw.
#[inline(never)]
fn rest_of_string(text: &[u8], mut at: usize) -> Result<usize, Flaw> {
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(text, at)?,
            Some(_) => return Err(Flaw::new(at, "control character in a string")),
            None => return Err(Flaw::new(at, ENDS_IN_STRING)),
        }
        at = words::string_stop(text, at);
    }
}

#[inline(always)]
fn escape(text: &[u8], at: usize) -> Result<usize, Flaw> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => unicode_escape(text, at),
        Some(_) => Err(Flaw::new(at, "unknown escape in a string")),
        None => Err(Flaw::new(text.len(), ENDS_IN_STRING)),
    }
}

/// `\uXXXX`, and the second half if this is the first one of a surrogate pair.
#[inline(never)]
fn unicode_escape(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let half = || Flaw::new(at, "half of a surrogate pair");
    match code_unit(text, at)? {
        0xd800..=0xdbff => {
            let second = at + 6;
            if text.get(second..second + 2) != Some(b"\\u")
                || !(0xdc00..=0xdfff).contains(&code_unit(text, second)?)
            {
                return Err(half());
            }
            Ok(second + 6)
        }
        0xdc00..=0xdfff => Err(half()),
        _ => Ok(at + 6),
    }
}

/// What the four digits behind the `\u` say that stands here.
fn code_unit(text: &[u8], at: usize) -> Result<u32, Flaw> {
    let digits = text.get(at + 2..at + 6).unwrap_or_default();
    let value = digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?));
    match value {
        Some(value) if digits.len() == 4 => Ok(value),
        _ => Err(Flaw::new(at, "`\\u` without four hexadecimal digits")),
    }
}

/// A number, from its sign or its first digit.
#[inline]
pub(super) fn number(text: &[u8], start: usize) -> Result<usize, Flaw> {
    let mut at = start + usize::from(text.get(start) == Some(&b'-'));
    match text.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at = past_digits(text, at + 1),
        _ => return Err(Flaw::new(at, "expected a digit")),
    }
    let mut may_overflow = false;
    match text.get(at) {
        Some(b'0'..=b'9') => return Err(Flaw::new(at, "a number must not begin with a zero")),
        Some(b'.' | b'e' | b'E') => (at, may_overflow) = fraction_and_exponent(text, at)?,
        _ => {}
    }
    if (may_overflow || at - start > LONG_NUMBER)
        && serde_json::from_slice::<serde_json::Value>(&text[start..at]).is_err()
    {
        return Err(Flaw::new(start, "number out of range"));
    }
    Ok(at)
}

/// What follows the whole part of a number, and whether the exponent may be too large.
fn fraction_and_exponent(text: &[u8], mut at: usize) -> Result<(usize, bool), Flaw> {
    if text.get(at) == Some(&b'.') {
        let digits = at + 1;
        at = past_digits(text, digits);
        if at == digits {
            return Err(Flaw::new(at, "expected a digit after the decimal point"));
        }
    }
    if !matches!(text.get(at), Some(b'e' | b'E')) {
        return Ok((at, false));
    }
    let digits = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
    at = past_digits(text, digits);
    if at == digits {
        return Err(Flaw::new(at, "expected a digit in the exponent"));
    }
    Ok((at, at - digits > 2))
}

#[inline(always)]
fn past_digits(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// `null`, `true` or `false`.
#[inline(always)]
pub(super) fn literal<const N: usize>(text: &[u8], at: usize, word: &[u8; N]) -> Result<usize, Flaw> {
    match text[at..].first_chunk() == Some(word) {
        true => Ok(at + N),
        false => Err(Flaw::new(at, "expected a value")),
    }
}
