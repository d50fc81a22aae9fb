//! JSON looked at without being decoded: where things lie in a text, and whether it is JSON at all.
//!
//! [`scan`] takes a whole text (a request), checks all of its syntax and finds the members of the top level.
//! `walk` goes over a text that was scanned before, and finds what lies deeper.
//! `tokens` checks strings and numbers; `words` skips what is of no interest.
//! [`top_level`] takes a text in pieces (a large reply), believes its inside and watches its outermost object.

pub mod scan;
mod tokens;
pub mod top_level;
pub(crate) mod walk;
pub(crate) mod words;

/// Whitespace as JSON knows it.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The first place at or after `at` where no whitespace stands; the text's length if there is none.
#[inline(always)]
fn past_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// Whether a text stands in a JSON string as it is.
pub(crate) fn is_plain(text: &str) -> bool {
    words::string_stop(text.as_bytes(), 0) == text.len()
}
