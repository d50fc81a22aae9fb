//! What a body is taken for: serde_json's answer, or a rejection.
//!
//! A gateway that reads a body otherwise than the engine behind it can be talked past: of a member that stands twice one
//! takes the first, the other the last. Whatever decides where a call goes must therefore mean the same to everybody.

use bytes::Bytes;
use dialect::Body;
use dialect::body::Reject;
use dialect::json::scan::{MAX_MEMBERS, scan};
use serde_json::Value;

use crate::truth;

/// What decides where a call goes and how it is accounted.
const GUARDED: [&str; 4] = ["model", "provider", "stream", "stream_options"];

pub(crate) fn run(text: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(text).ok();
    let members = theirs.as_ref().and_then(|_| truth::members(text));
    let too_many = members.as_ref().is_some_and(|members| members.len() > MAX_MEMBERS);

    match scan(text) {
        Ok(document) => {
            let value = theirs.as_ref().expect("what the scanner takes, serde_json takes");
            assert_eq!(document.is_object, value.is_object());
            for member in &document.members {
                assert_eq!(text[member.name.start - 1], b'"');
                assert_eq!(text[member.name.end], b'"');
                assert!(member.name.end < member.value.start && member.value.end <= text.len());
            }
        }
        Err(flaw) => {
            assert!(theirs.is_none() || too_many, "serde_json takes it: {}", flaw.message());
            let (line, column) = flaw.position(text);
            assert!(flaw.offset() <= text.len() && line >= 1 && column >= 1 && !flaw.message().is_empty());
        }
    }

    let body = match Body::read(Bytes::copy_from_slice(text)) {
        Ok(body) => body,
        Err(reject) => {
            assert!(!reject.message().is_empty());
            match (&members, &reject) {
                (Some(members), Reject::Duplicate(name)) => {
                    assert!(meaning(members, name) > 1, "`{name}` stands once");
                }
                (Some(_), reject) => assert!(too_many, "serde_json takes it: {reject}"),
                (None, Reject::NotAnObject) => assert!(theirs.is_some(), "no object, and no JSON"),
                (None, _) => assert!(theirs.is_none(), "serde_json takes it: {reject}"),
            }
            return;
        }
    };
    let (members, value) = (members.expect("a body is an object"), theirs.expect("a body is JSON"));
    assert_eq!(body.bytes(), text);
    assert!(body.names().eq(members.iter().map(|(name, _)| name.as_str())));
    for name in GUARDED {
        assert!(meaning(&members, name) <= 1, "`{name}` means two things");
    }
    for (name, _) in &members {
        let last = members.iter().rev().find(|(other, _)| other == name).map(|(_, raw)| raw.as_bytes());
        assert_eq!(body.raw(name).as_deref(), last, "{name}");
    }
    for name in GUARDED.into_iter().chain(["n", "temperature"]) {
        let of = |found: Option<Value>, fits: bool| match value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) if fits => Ok(found),
            Some(_) => Err(()),
        };
        let there = value.get(name);
        let text = there.and_then(Value::as_str).map(Value::from);
        let yes = there.and_then(Value::as_bool).map(Value::from);
        let count = there.and_then(Value::as_u64).map(Value::from);
        assert_eq!(
            body.string(name).map(|v| v.map(Value::from)).map_err(drop),
            of(text.clone(), text.is_some())
        );
        assert_eq!(body.bool(name).map(|v| v.map(Value::from)).map_err(drop), of(yes.clone(), yes.is_some()));
        assert_eq!(
            body.unsigned(name).map(|v| v.map(Value::from)).map_err(drop),
            of(count.clone(), count.is_some())
        );
        assert_eq!(body.has(name), there.is_some());
    }
}

/// How many members some parser would take for `name`: letter case aside, and with the two letters that Go's decoder
/// folds to ASCII.
fn meaning(members: &[(String, String)], name: &str) -> usize {
    let folded =
        |written: &str| written.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase();
    members.iter().filter(|(written, _)| folded(written) == name).count()
}
