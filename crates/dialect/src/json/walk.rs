//! Going over a JSON text that is known to be one: where the members of an object lie.
//!
//! Nothing is checked, so these give nonsense for a text that was not [scanned](super::scan) before; they end on any
//! input all the same, and never look outside of it.

use super::{is_space, words};

/// The first byte at or after `at` that is no whitespace; the text's length if there is none.
fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// Past the string whose opening quote stands at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at = words::string_stop(text, at);
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// Past the value that begins at `at`.
fn value_end(text: &[u8], mut at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => string_end(text, at),
        Some(b'{' | b'[') => {
            let mut depth = 0usize;
            loop {
                match text.get(at) {
                    Some(b'"') => {
                        at = words::bracket_stop(text, string_end(text, at));
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
        _ => {
            while text.get(at).is_some_and(|byte| !is_space(*byte) && !b",]}".contains(byte)) {
                at += 1;
            }
            at
        }
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
            self.at = skip_space(self.text, self.at + 1);
        }
        opens
    }

    /// The next member of the object that the cursor is in: its name without quotes and with whatever escapes it has, its
    /// value as it was written. At its end the cursor leaves it.
    pub(crate) fn member(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        if self.peek() != Some(b'"') {
            if self.peek() == Some(b'}') {
                self.leave();
            }
            return None;
        }
        let end = string_end(self.text, self.at);
        let name = self.text.get(self.at + 1..end.saturating_sub(1))?;
        self.at = skip_space(self.text, end);
        if self.peek() == Some(b':') {
            self.at = skip_space(self.text, self.at + 1);
        }
        Some((name, self.value()))
    }

    fn value(&mut self) -> &'a [u8] {
        let end = value_end(self.text, self.at);
        let value = &self.text[self.at..end];
        self.at = end;
        self.separate();
        value
    }

    fn leave(&mut self) {
        self.at += 1;
        self.separate();
    }

    /// Past the comma, if one follows.
    fn separate(&mut self) {
        self.at = skip_space(self.text, self.at);
        if self.peek() == Some(b',') {
            self.at = skip_space(self.text, self.at + 1);
        }
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
                    let quoted = [b"\"", name, b"\""].concat();
                    (serde_json::from_slice(&quoted).expect("a name is a string"), read(raw))
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
