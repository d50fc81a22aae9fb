//! A large reply watched in pieces: the same however it is cut, and what serde_json finds in the whole.

use bytes::Bytes;
use dialect::json::top_level::{Incomplete, Progress, TopLevel};
use serde_json::Value;

use crate::truth;

const KEPT: [&str; 3] = ["usage", "error", "model"];
const NOTICED: [&str; 2] = ["provider", "choices"];

/// How many places of a long text are tried.
const PLACES: usize = 200;

pub(crate) fn run(text: &[u8]) {
    let whole = see([text]);
    assert_eq!(see(text.chunks(1)), whole, "byte by byte");
    for cut in (0..text.len()).step_by(text.len() / PLACES + 1) {
        let (one, other) = text.split_at(cut);
        assert_eq!(see([one, other]), whole, "cut at {cut}");
    }
    let is_object = matches!(serde_json::from_slice::<Value>(text), Ok(Value::Object(_)));
    if !is_object {
        return;
    }
    assert_eq!(whole.end, Ok(()), "serde_json takes it");
    assert_eq!(whole.closes, text.iter().rposition(|byte| *byte == b'}'));
    let members = truth::members(text).expect("an object");
    let last = |name: &str| members.iter().rev().find(|(other, _)| other == name).map(|(_, raw)| raw);
    assert_eq!(whole.has_members, !members.is_empty());
    for (place, name) in KEPT.iter().enumerate() {
        let expected = last(name).map(|raw| Bytes::copy_from_slice(raw.as_bytes()));
        assert_eq!(whole.values[place], expected, "{name}");
    }
    for (place, name) in KEPT.iter().chain(&NOTICED).enumerate() {
        assert_eq!(whole.present[place], last(name).is_some(), "{name}");
    }
    for (place, name) in NOTICED.iter().enumerate() {
        let beginning = last(name).map(|raw| raw.as_bytes()[..raw.len().min(8)].to_vec());
        assert_eq!(whole.beginnings[place], beginning, "{name}");
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    closes: Option<usize>,
    values: Vec<Option<Bytes>>,
    present: Vec<bool>,
    beginnings: Vec<Option<Vec<u8>>>,
    has_members: bool,
    end: Result<(), Incomplete>,
}

fn see<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut scanner = TopLevel::new(&KEPT, &NOTICED);
    let (mut closes, mut before, mut broken) = (None, 0, false);
    for piece in pieces {
        match scanner.push(piece) {
            Progress::Closes { at } => {
                assert_eq!(piece[at], b'}');
                assert!(closes.is_none() && !broken, "it closes once");
                closes = Some(before + at);
            }
            Progress::Broken => broken = true,
            Progress::Open | Progress::Closed => assert!(!broken, "what is broken stays so"),
        }
        before += piece.len();
    }
    let values = KEPT.iter().map(|name| scanner.value(name).cloned()).collect();
    let present = KEPT.iter().chain(&NOTICED).map(|name| scanner.has(name)).collect();
    let beginnings = NOTICED.iter().map(|name| scanner.beginning(name).map(<[u8]>::to_vec)).collect();
    let has_members = scanner.has_members();
    let end = scanner.finish().map(drop);
    // that text follows the last brace is only known apart from it when the pieces are
    let closes = closes.filter(|_| end.is_ok());
    Seen { closes, values, present, beginnings, has_members, end }
}
