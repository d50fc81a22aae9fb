//! Replies in pieces: however they are cut, the same is seen.

use bytes::Bytes;
use dialect::json::top_level::{Incomplete, MAX_VALUE, Progress, TopLevel};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::texts;

const KEPT: [&str; 3] = ["usage", "error", "model"];
const NOTICED: [&str; 1] = ["provider"];

/// Everything the scanner has to say about a reply, offsets counted from its first byte.
#[derive(Debug, PartialEq)]
struct Seen {
    closes: Option<usize>,
    broken: bool,
    values: Vec<Option<Bytes>>,
    present: Vec<bool>,
    has_members: bool,
    end: Result<(), Incomplete>,
}

fn see(pieces: &[&[u8]]) -> Seen {
    let mut scanner = TopLevel::new(&KEPT, &NOTICED);
    let mut last = Progress::Open;
    let (mut closes, mut offset) = (None, 0);
    for piece in pieces {
        let progress = scanner.push(piece);
        match (last, progress) {
            (Progress::Broken, now) => assert_eq!(now, Progress::Broken, "what is broken stays so"),
            (Progress::Closes { .. } | Progress::Closed, now) => {
                assert!(matches!(now, Progress::Closed | Progress::Broken), "{now:?}");
            }
            (_, Progress::Closes { at }) => {
                assert_eq!(piece[at], b'}');
                closes = Some(offset + at);
            }
            (_, now) => assert!(matches!(now, Progress::Open | Progress::Broken), "{now:?}"),
        }
        last = progress;
        offset += piece.len();
    }
    let broken = last == Progress::Broken;
    let values: Vec<Option<Bytes>> = KEPT.iter().map(|name| scanner.value(name).cloned()).collect();
    let present: Vec<bool> = KEPT.iter().chain(&NOTICED).map(|name| scanner.has(name)).collect();
    let has_members = scanner.has_members();
    let end = scanner.finish().map(|outcome| {
        assert_eq!(KEPT.iter().map(|name| outcome.value(name).cloned()).collect::<Vec<_>>(), values);
        assert_eq!(outcome.has_members(), has_members);
        assert_eq!(KEPT.iter().chain(&NOTICED).map(|name| outcome.has(name)).collect::<Vec<_>>(), present);
    });
    assert_eq!(
        broken,
        matches!(end, Err(Incomplete::NotAnObject | Incomplete::Broken { .. } | Incomplete::Trailing { .. }))
    );
    // A brace that was followed by more in one piece is only known to have closed when the pieces are apart.
    let closes = if broken { None } else { closes };
    Seen { closes, broken, values, present, has_members, end }
}

fn end(text: &str) -> Result<(), Incomplete> {
    see(&[text.as_bytes()]).end
}

/// A reply with a chance of the members that are looked for, once or twice, with and without escapes.
fn reply() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => prop::sample::select(vec!["\"usage\"", "\"error\"", "\"model\"", "\"provider\"", "\"us\\u0061ge\"", "\"\\u0070rovider\""])
            .prop_map(String::from),
        2 => texts::string(),
    ];
    texts::object_of(vec((name, texts::json()), 0..6))
}

proptest! {
    #[test]
    fn every_cutting_of_a_reply_gives_the_same(text in reply(), cuts in vec(any::<prop::sample::Index>(), 0..12)) {
        let whole = see(&[text.as_bytes()]);
        prop_assert_eq!(&see(&texts::pieces(text.as_bytes(), &cuts)), &whole);
        prop_assert_eq!(&see(&text.as_bytes().chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn every_cutting_of_a_broken_reply_gives_the_same(
        text in texts::mutated(reply()), cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let whole = see(&[&text]);
        prop_assert_eq!(&see(&texts::pieces(&text, &cuts)), &whole);
        prop_assert_eq!(&see(&text.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn what_it_keeps_is_what_serde_json_finds(text in reply()) {
        let seen = see(&[text.as_bytes()]);
        prop_assert_eq!(seen.end, Ok(()));
        prop_assert_eq!(seen.closes, text.rfind('}'));
        // A name with half a surrogate pair in it is nothing to serde_json; the scanner does not mind it.
        let Some(members) = texts::members(text.as_bytes()) else { return Ok(()) };
        let last = |name: &str| members.iter().rev().find(|(other, _)| other == name);
        for (place, name) in KEPT.iter().enumerate() {
            let expected = last(name).map(|(_, value)| Bytes::from(value.clone()));
            prop_assert_eq!(&seen.values[place], &expected, "{}", name);
        }
        for (place, name) in KEPT.iter().chain(&NOTICED).enumerate() {
            prop_assert_eq!(seen.present[place], last(name).is_some(), "{}", name);
        }
        prop_assert_eq!(seen.has_members, !members.is_empty());
    }

    #[test]
    fn what_serde_json_takes_for_an_object_is_complete(text in texts::mutated(reply())) {
        let is_object = matches!(serde_json::from_slice::<Value>(&text), Ok(Value::Object(_)));
        prop_assert!(!is_object || see(&[&text]).end.is_ok());
    }

    #[test]
    fn a_reply_that_was_cut_off_is_truncated(text in reply(), cut in any::<prop::sample::Index>()) {
        let text = text.trim();
        let cut = cut.index(text.len());
        let expected = if cut == 0 { Incomplete::Empty } else { Incomplete::Truncated };
        prop_assert_eq!(end(&String::from_utf8_lossy(&text.as_bytes()[..cut])), Err(expected));
    }

    #[test]
    fn a_member_put_before_the_closing_brace_makes_an_object_again(
        text in reply(), cuts in vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let Some(mut expected) = texts::members(text.as_bytes()) else { return Ok(()) };
        let mut scanner = TopLevel::new(&[], &[]);
        let mut out = Vec::new();
        for piece in texts::pieces(text.as_bytes(), &cuts) {
            match scanner.push(piece) {
                Progress::Closes { at } => {
                    out.extend_from_slice(&piece[..at]);
                    out.extend_from_slice(if scanner.has_members() { b",\"new\":1" } else { b"\"new\":1" });
                    out.extend_from_slice(&piece[at..]);
                }
                _ => out.extend_from_slice(piece),
            }
        }
        expected.push(("new".into(), "1".into()));
        prop_assert_eq!(texts::members(&out).unwrap(), expected);
    }
}

#[test]
fn what_is_not_one_whole_object_is_told_apart() {
    assert_eq!(end("{\"a\":1}"), Ok(()));
    assert_eq!(end(" {} \n"), Ok(()));
    assert_eq!(end(""), Err(Incomplete::Empty));
    assert_eq!(end(" \n"), Err(Incomplete::Empty));
    assert_eq!(end("[1]"), Err(Incomplete::NotAnObject));
    assert_eq!(end("<html>"), Err(Incomplete::NotAnObject));
    assert_eq!(end("{\"a\":[1,2"), Err(Incomplete::Truncated));
    assert_eq!(end("{\"a\":\"}"), Err(Incomplete::Truncated));
    assert_eq!(end("{\"a\":1} x"), Err(Incomplete::Trailing { at: 8 }));
    assert_eq!(end("{\"a\":1}{"), Err(Incomplete::Trailing { at: 7 }));
    assert_eq!(end("{\"a\":1]"), Err(Incomplete::Broken { at: 6 }));
    assert_eq!(end("{\"a\" 1}"), Err(Incomplete::Broken { at: 5 }));
    assert_eq!(end("{\"a\":}"), Err(Incomplete::Broken { at: 5 }));
    assert_eq!(end("{\"a\":1,}"), Err(Incomplete::Broken { at: 7 }));
    assert_eq!(end("{,}"), Err(Incomplete::Broken { at: 1 }));
}

#[test]
fn the_same_names_below_the_top_level_are_not_meant() {
    let seen = see(&[br#"{"choices":[{"usage":1,"provider":2,"x":"\"usage\":3}"}],"m":{"error":1}}"#]);
    assert_eq!(seen.values, [None, None, None]);
    assert_eq!(seen.present, [false; 4]);
    assert_eq!(seen.end, Ok(()));
}

#[test]
fn a_value_too_long_to_keep_is_noticed_but_not_kept() {
    let text = |length: usize| format!("{{\"error\":\"{}\",\"usage\":{{}}}}", "x".repeat(length - 2));
    for (length, kept) in [(MAX_VALUE, true), (MAX_VALUE + 1, false), (3 * MAX_VALUE, false)] {
        let text = text(length);
        for piece in [1, 7, 4096, text.len()] {
            let seen = see(&text.as_bytes().chunks(piece).collect::<Vec<_>>());
            assert_eq!(seen.values[1].is_some(), kept, "{length} in pieces of {piece}");
            assert!(seen.present[1]);
            assert_eq!(seen.values[0].as_deref(), Some(&b"{}"[..]));
        }
    }
    let long_name = format!("{{\"{}\":1,\"model\":2}}", "usage".repeat(100));
    assert_eq!(see(&[long_name.as_bytes()]).values[2].as_deref(), Some(&b"2"[..]));
}
