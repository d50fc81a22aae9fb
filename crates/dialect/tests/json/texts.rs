//! JSON texts as people and programs write them, and texts that are nearly JSON.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Any JSON text, with whitespace anywhere, all kinds of numbers and escapes.
pub(crate) fn json() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            (vec((space(), inner.clone(), space()), 0..4), space()).prop_map(|(items, empty)| {
                let items: Vec<String> = items.into_iter().map(|(a, item, b)| a + &item + &b).collect();
                format!("[{}]", if items.is_empty() { empty } else { items.join(",") })
            }),
            object_of(vec((string(), inner), 0..4)),
        ]
    })
}

/// An object with these members, in this order, with whitespace anywhere. The names are JSON strings.
pub(crate) fn object_of(
    members: impl Strategy<Value = Vec<(String, String)>>,
) -> impl Strategy<Value = String> {
    (members, vec(space(), 12)).prop_map(|(members, spaces)| {
        let mut spaces = spaces.into_iter().cycle();
        let mut space = || spaces.next().expect("cycles");
        let members: Vec<String> = members
            .into_iter()
            .map(|(name, value)| format!("{}{name}{}:{}{value}{}", space(), space(), space(), space()))
            .collect();
        let inside = if members.is_empty() { space() } else { members.join(",") };
        format!("{}{{{inside}}}{}", space(), space())
    })
}

pub(crate) fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(String::from),
        number(),
        string(),
    ]
}

pub(crate) fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \n\r\t]{1,3}"]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,4})",
        "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,20}",
        "-?(0|[1-9])(\\.[0-9])?[eE][+-]?[0-9]{1,3}",
        "[1-9][0-9]{290,320}",
    ]
}

/// A JSON string, quotes included; now and then with half of a surrogate pair.
pub(crate) fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9 .,:{}\\[\\]_-]{0,12}",
        2 => "[äß漢字😀\u{7f}\u{ad}]{1,4}",
        2 => prop_oneof![
            Just("\\\""), Just("\\\\"), Just("\\/"), Just("\\b"), Just("\\f"), Just("\\n"), Just("\\r"), Just("\\t"),
            Just("\\u0041"), Just("\\u00e4"), Just("\\uFFFF"), Just("\\ud83d\\ude00"), Just("\\u0000"),
        ]
        .prop_map(String::from),
    ];
    let half = prop_oneof![
        60 => Just(""), 1 => Just("\\ud83d"), 1 => Just("\\ude00"), 1 => Just("\\ud83dx"), 1 => Just("\\ud83d\\u0041"),
    ];
    (vec(piece, 0..4), half).prop_map(|(pieces, half)| format!("\"{}{half}\"", pieces.concat()))
}

/// A text with a few bytes changed, most of them into ones that mean something.
pub(crate) fn mutated(text: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), 0..3u8, meaningful_byte());
    (text, vec(change, 1..4)).prop_map(|(text, changes)| {
        let mut text = text.into_bytes();
        for (place, kind, byte) in changes {
            let place = place.index(text.len() + 1);
            match kind {
                0 => text.insert(place, byte),
                _ if place == text.len() => {}
                1 => text[place] = byte,
                _ => {
                    text.remove(place);
                }
            }
        }
        text
    })
}

/// Bytes, most of which JSON knows.
pub(crate) fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(meaningful_byte(), 0..40)
}

fn meaningful_byte() -> impl Strategy<Value = u8> {
    prop_oneof![8 => prop::sample::select(b"{}[]\",:\\ \n-+.0123456789eEutrflasn".to_vec()), 1 => any::<u8>()]
}

/// Every cut of a text into pieces that the cutting points give.
pub(crate) fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|window| &text[window[0]..window[1]]).collect()
}

/// The members of an object as serde_json sees them, values as they were written.
pub(crate) fn members(text: &[u8]) -> Option<Vec<(String, String)>> {
    struct Members(Vec<(String, String)>);
    struct Collect;

    impl<'de> Visitor<'de> for Collect {
        type Value = Members;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, value.get().to_owned()));
            }
            Ok(Members(members))
        }
    }

    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
            deserializer.deserialize_map(Collect)
        }
    }

    serde_json::from_slice::<Members>(text).ok().map(|members| members.0)
}
