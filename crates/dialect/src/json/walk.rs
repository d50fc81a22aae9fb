//! Going over a JSON text that is known to be one: where the members of an object lie.
//!
//! Nothing is checked, so these give nonsense for a text that was not [scanned](super::scan) before; they end on any
//! input all the same, and never look outside of it.

use super::{past_space, words};

/// A member's name as it was written, without its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    written: &'a [u8],
    escaped: bool,
}

impl Name<'_> {
    /// Whether this is what the name means, however it is written.
    #[inline]
    pub(crate) fn is(&self, name: &str) -> bool {
        if self.escaped { self.means(name) } else { self.written == name.as_bytes() }
    }

    #[cold]
    fn means(&self, name: &str) -> bool {
        let quoted = [b"\"", self.written, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).is_ok_and(|meant| meant == name)
    }
}

/// The values of these members of an object, which has no whitespace before it. `None` if it is no object, or if one of
/// them stands twice.
pub(crate) fn pick<'a, const N: usize>(object: &'a [u8], names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
    let mut values = [None; N];
    let mut cursor = Cursor::new(object);
    if !cursor.open(b'{') {
        return None;
    }
    while let Some((name, value)) = cursor.member() {
        let Some(place) = names.iter().position(|known| name.is(known)) else { continue };
        if values[place].replace(value).is_some() {
            return None;
        }
    }
    Some(values)
}

/// Past the string whose opening quote stands at `at`, and whether it has escapes.
#[inline(always)]
fn string_end(text: &[u8], at: usize) -> (usize, bool) {
    let stop = words::string_stop(text, at + 1);
    match text.get(stop) {
        Some(b'"') => (stop + 1, false),
        _ => (rest_of_string(text, stop), true),
    }
}

fn rest_of_string(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
        at = words::string_stop(text, at);
    }
}

/// Past the value that begins at `at`.
#[inline(always)]
fn value_end(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at).0,
        Some(b'{' | b'[') => container_end(text, at),
        Some(b'n' | b't') => text.len().min(at + 4),
        Some(b'f') => text.len().min(at + 5),
        _ => {
            let goes_on = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
            let rest = text.get(at..).unwrap_or_default();
            at + rest.iter().position(|byte| !goes_on(byte)).unwrap_or(rest.len())
        }
    }
}

/// Past the array or the object that begins at `at`.
fn container_end(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    loop {
        match text.get(at) {
            Some(b'"') => {
                at = words::bracket_stop(text, string_end(text, at).0);
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => depth = depth.saturating_sub(1),
            Some(_) => {}
            None => return text.len(),
        }
        at += 1;
        if depth == 0 {
            return at;
        }
        at = words::bracket_stop(text, at);
    }
}

/// A place in a text, and the ways on from it.
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a value, which has no whitespace before it.
    pub(crate) fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// The byte that stands here.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Goes into the array or the object that begins here with this bracket. False if none does.
    pub(crate) fn open(&mut self, bracket: u8) -> bool {
        let opens = self.peek() == Some(bracket);
        if opens {
            self.at = past_space(self.text, self.at + 1);
        }
        opens
    }

    /// The next member of the object that the cursor is in: its name, and its value as it was written.
    #[inline(always)]
    pub(crate) fn member(&mut self) -> Option<(Name<'a>, &'a [u8])> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let (end, escaped) = string_end(self.text, self.at);
        let written = self.text.get(self.at + 1..end.saturating_sub(1))?;
        self.at = past_space(self.text, end);
        if self.peek() == Some(b':') {
            self.at = past_space(self.text, self.at + 1);
        }
        Some((Name { written, escaped }, self.value()))
    }

    /// The value that begins here, as it was written.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> &'a [u8] {
        let end = value_end(self.text, self.at);
        let value = self.text.get(self.at..end).unwrap_or_default();
        self.at = past_space(self.text, end);
        if self.peek() == Some(b',') {
            self.at = past_space(self.text, self.at + 1);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\\n\\\\\"{}\\[\\]_Yé]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-z_\"\\\\{]{0,6}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_those_that_serde_json_finds(value in any_value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("a value is text");
            let read = |raw: &[u8]| serde_json::from_slice::<Value>(raw).expect("a part of a value is one");
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.open(b'{');
            let members = std::iter::from_fn(|| if value.is_object() { cursor.member() } else { None });
            let found: Vec<(String, Value)> = members
                .map(|(name, raw)| {
                    let quoted = [b"\"", name.written, b"\""].concat();
                    let meant: String = serde_json::from_slice(&quoted).expect("a name is a string");
                    assert!(name.is(&meant) && !name.is("no such name"));
                    (meant, read(raw))
                })
                .collect();
            let expect: Vec<_> =
                value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
            prop_assert_eq!(found, expect);
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'['), Just(b'{'), Just(b'\\')], 0..60)) {
            let mut cursor = Cursor::new(&bytes);
            cursor.open(b'{');
            let mut count = 0;
            while cursor.member().is_some() {
                count += 1;
                prop_assert!(count <= bytes.len());
            }
        }
    }
}
