//! JSON looked at without being decoded: where things lie in a text, and whether it is JSON at all.
//!
//! [`scan`] takes a whole text (a request), checks all of its syntax and finds the members of the top level.
//! `walk` goes over a text that was scanned before, and finds what lies deeper.
//! [`top_level`] takes a text in pieces (a large reply), believes its inside and watches its outermost object.

pub mod scan;
pub mod top_level;
pub(crate) mod walk;
mod words;

/// Whitespace as JSON knows it.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
