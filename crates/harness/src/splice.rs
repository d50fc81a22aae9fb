//! Edits: the result means what they mean, and nothing else has changed by a byte.
//!
//! Input: the body, then edits, each after a record separator: `s` (set), `r` (remove) or anything else (a default),
//! then `name=json`.

use bytes::Bytes;
use dialect::body::Body;
use dialect::edit::Edit;
use serde_json::{Map, Value};

use crate::{parts, truth};

/// More edits than any call has.
const MOST: usize = 12;

pub(crate) fn run(input: &[u8]) {
    let mut parts = parts(input);
    let Ok(body) = Body::read(Bytes::copy_from_slice(parts.next().unwrap_or_default())) else { return };
    let edits: Vec<Edit> = parts.filter_map(edit).take(MOST).collect();
    let segments = body.apply(&edits);
    let after = segments.to_bytes();
    assert_eq!(segments.len(), after.len());
    comes_from(&body, &segments.into_pieces());

    let mut expected: Map<String, Value> = serde_json::from_slice(body.bytes()).expect("a body is an object");
    for edit in &edits {
        change(&mut expected, edit);
    }
    let found: Map<String, Value> =
        serde_json::from_slice(&after).unwrap_or_else(|error| panic!("{error}: {}", shown(&after)));
    assert_eq!(found, expected, "{}", shown(&after));

    let untouched = |text: &[u8]| -> Vec<(String, String)> {
        let members = truth::members(text).expect("an object");
        members.into_iter().filter(|(name, _)| edits.iter().all(|edit| edit.name() != name)).collect()
    };
    assert_eq!(untouched(&after), untouched(body.bytes()), "{}", shown(&after));
    // however often it stood: what was set stands once, what was removed stands nowhere
    let names: Vec<String> =
        truth::members(&after).expect("an object").into_iter().map(|(name, _)| name).collect();
    for edit in &edits {
        let last = edits.iter().rev().find(|other| other.name() == edit.name());
        let times = names.iter().filter(|name| *name == edit.name()).count();
        match last {
            Some(Edit::Set { .. }) => assert_eq!(times, 1, "{}", edit.name()),
            Some(Edit::Drop { .. }) => assert_eq!(times, 0, "{}", edit.name()),
            _ => assert!(times >= 1, "{}", edit.name()),
        }
    }
}

/// The pieces that lie in the body stand in its order, and no byte of it comes twice.
fn comes_from(body: &Body, pieces: &[Bytes]) {
    let whole = body.bytes().as_ptr_range();
    let mut at = whole.start;
    for piece in pieces {
        assert!(!piece.is_empty());
        let range = piece.as_ptr_range();
        if whole.contains(&range.start) {
            assert!(range.start >= at && range.end <= whole.end);
            at = range.end;
        }
    }
}

fn edit(part: &[u8]) -> Option<Edit> {
    let (kind, rest) = part.split_first()?;
    let at = rest.iter().position(|byte| *byte == b'=').unwrap_or(rest.len());
    let name = std::str::from_utf8(&rest[..at]).ok()?.to_owned();
    if *kind == b'r' {
        return Some(Edit::remove(name));
    }
    let json = rest.get(at + 1..)?;
    serde_json::from_slice::<Value>(json).ok()?;
    let json = Bytes::copy_from_slice(json);
    Some(if *kind == b's' { Edit::set(name, json) } else { Edit::default_to(name, json) })
}

/// What an edit means, on decoded members.
fn change(object: &mut Map<String, Value>, edit: &Edit) {
    let value = |json: &Bytes| serde_json::from_slice(json).expect("an edit holds JSON");
    match edit {
        Edit::Set { name, json } => drop(object.insert(name.to_string(), value(json))),
        Edit::Default { name, json } => drop(object.entry(name.to_string()).or_insert_with(|| value(json))),
        Edit::Drop { name } => drop(object.remove(&**name)),
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
