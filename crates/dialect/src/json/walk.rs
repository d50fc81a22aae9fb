//! Going over a JSON text that is known to be one: where the items of an array and the members of an object lie.
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

/// The items of an array, each as it was written. Empty if the text is no array.
pub(crate) fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = if array.first() == Some(&b'[') { skip_space(array, 1) } else { array.len() };
    std::iter::from_fn(move || {
        if matches!(array.get(at), None | Some(b']')) {
            return None;
        }
        let end = value_end(array, at);
        let item = &array[at..end];
        at = skip_space(array, end);
        if array.get(at) == Some(&b',') {
            at = skip_space(array, at + 1);
        }
        (!item.is_empty()).then_some(item)
    })
}

/// The members of an object: names without their quotes and with whatever escapes they have, values as written. Empty if
/// the text is no object.
pub(crate) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = if object.first() == Some(&b'{') { skip_space(object, 1) } else { object.len() };
    std::iter::from_fn(move || {
        if object.get(at) != Some(&b'"') {
            return None;
        }
        let end = string_end(object, at);
        let name = object.get(at + 1..end.saturating_sub(1))?;
        let mut start = skip_space(object, end);
        if object.get(start) == Some(&b':') {
            start = skip_space(object, start + 1);
        }
        let end = value_end(object, start);
        at = skip_space(object, end);
        if object.get(at) == Some(&b',') {
            at = skip_space(object, at + 1);
        }
        Some((name, &object[start..end]))
    })
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
        fn items_and_members_are_those_that_serde_json_finds(value in any_value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("a value is text");
            let read = |raw: &[u8]| serde_json::from_slice::<Value>(raw).expect("a part of a value is one");
            let found: Vec<Value> = items(text.as_bytes()).map(read).collect();
            prop_assert_eq!(found, value.as_array().cloned().unwrap_or_default());
            let found: Vec<(String, Value)> = members(text.as_bytes())
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
            prop_assert!(items(&bytes).count() <= bytes.len());
            prop_assert!(members(&bytes).count() <= bytes.len());
        }
    }
}
