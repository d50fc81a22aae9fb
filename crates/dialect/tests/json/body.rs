//! Reading bodies: members, types, what is refused and how it is said.

use bytes::Bytes;
use dialect::body::{Body, Reject};
use domain::{Fault, FaultKind};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::texts;

fn body(text: &str) -> Body {
    Body::read(Bytes::copy_from_slice(text.as_bytes())).expect("a body")
}

fn refused(text: &str) -> Reject {
    Body::read(Bytes::copy_from_slice(text.as_bytes())).expect_err("no body")
}

#[test]
fn members_are_read_where_they_stand() {
    let text = " {\"model\" : \"m\\u0041\", \"stream\":true,\n\"n\":3, \"x\": [1, 2] , \"none\":null} ";
    let body = body(text);
    assert_eq!(body.bytes(), text.as_bytes());
    assert_eq!(body.len(), text.len());
    assert_eq!(body.string("model"), Ok(Some("mA".into())));
    assert_eq!(body.bool("stream"), Ok(Some(true)));
    assert_eq!(body.unsigned("n"), Ok(Some(3)));
    assert_eq!(body.raw("x"), Some(Bytes::from_static(b"[1, 2]")));
    assert_eq!(body.parse::<Vec<u8>>("x"), Ok(Some(vec![1, 2])));
    assert_eq!(body.names().collect::<Vec<_>>(), ["model", "stream", "n", "x", "none"]);
}

#[test]
fn a_value_is_a_slice_of_the_body_and_not_a_copy() {
    let body = body("{\"a\":\"b\"}");
    assert_eq!(body.raw("a").unwrap().as_ptr(), body.bytes()[5..].as_ptr());
}

#[test]
fn null_and_missing_read_alike_but_are_told_apart() {
    let body = body("{\"a\":null}");
    assert_eq!(body.string("a"), Ok(None));
    assert_eq!(body.bool("a"), Ok(None));
    assert_eq!(body.unsigned("a"), Ok(None));
    assert_eq!(body.parse::<u8>("a"), Ok(None));
    assert_eq!(body.string("b"), Ok(None));
    assert!(body.has("a"));
    assert!(!body.has("b"));
    assert_eq!(body.raw("a"), Some(Bytes::from_static(b"null")));
    assert_eq!(body.raw("b"), None);
}

#[test]
fn a_wrong_type_names_the_member_and_what_it_must_be() {
    let body = body("{\"model\":1,\"stream\":\"true\",\"n\":-1,\"m\":1.0,\"t\":{}}");
    let reject = body.string("model").unwrap_err();
    assert_eq!(reject.message(), "`model` must be a string");
    assert_eq!(reject.param(), Some("model"));
    assert_eq!(body.bool("stream").unwrap_err().message(), "`stream` must be true or false");
    assert_eq!(body.unsigned("n").unwrap_err().message(), "`n` must be a whole number, zero or above");
    assert!(body.unsigned("m").is_err());
    assert_eq!(body.parse::<Vec<u8>>("t").unwrap_err().param(), Some("t"));
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["[]", "1", "\"a\"", "null", " true "] {
        assert_eq!(refused(text), Reject::NotAnObject, "{text}");
    }
    assert_eq!(Reject::NotAnObject.message(), "invalid request body: expected a JSON object");
    assert_eq!(Reject::NotAnObject.param(), None);
}

#[test]
fn a_syntax_error_says_where_it_is() {
    let reject = refused("{\"model\": \"m\",\n \"n\": }");
    assert_eq!(reject, Reject::Syntax { line: 2, column: 7, message: "expected a value" });
    assert_eq!(reject.message(), "invalid request body: expected a value (line 2, column 7)");
    assert_eq!(refused("").message(), "invalid request body: the body is empty (line 1, column 1)");
    assert_eq!(refused(&"[".repeat(200)), Reject::TooDeep);
    assert_eq!(Reject::TooDeep.message(), "invalid request body: nested more than 127 levels deep");
}

#[test]
fn a_guarded_member_must_not_stand_twice_however_it_is_written() {
    let twice = [
        ("{\"model\":\"a\",\"model\":\"b\"}", "model"),
        ("{\"model\":\"a\",\"model\":\"a\"}", "model"),
        ("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", "model"),
        ("{\"\\u006dodel\":\"a\",\"mod\\u0065l\":\"b\"}", "model"),
        ("{\"stream\":false,\"x\":1,\"stream\":true}", "stream"),
        ("{\"stream_options\":null,\"stream_options\":{}}", "stream_options"),
        ("{\"provider\":\"a\",\"provider\":\"b\"}", "provider"),
        // What Go's decoder takes for the same member.
        ("{\"model\":\"a\",\"Model\":\"b\"}", "model"),
        ("{\"STREAM\":true,\"stream\":false}", "stream"),
        ("{\"stream\":true,\"\u{17f}tream\":false}", "stream"),
        ("{\"stream\":true,\"\\u017ftream\":false}", "stream"),
    ];
    for (text, name) in twice {
        let reject = refused(text);
        assert_eq!(reject, Reject::Duplicate(name), "{text}");
        assert_eq!(reject.param(), Some(name));
        assert!(reject.message().contains(&format!("`{name}` stands twice")), "{}", reject.message());
    }
    // Below the top level nobody routes by them.
    assert!(Body::read(Bytes::from_static(b"{\"model\":1,\"x\":{\"model\":1,\"model\":2}}")).is_ok());
    assert!(Body::read(Bytes::from_static(b"{\"model\":1,\"models\":2,\"mode\":3,\"odel\":4}")).is_ok());
}

#[test]
fn of_another_member_that_stands_twice_the_last_one_counts() {
    let body = body("{\"n\":1,\"a\":0,\"\\u006e\":2}");
    assert_eq!(body.unsigned("n"), Ok(Some(2)));
    assert_eq!(body.names().collect::<Vec<_>>(), ["n", "a", "n"]);
}

#[test]
fn a_rejection_becomes_a_fault_that_names_the_member() {
    let fault = Fault::from(refused("{\"model\":1,\"model\":2}"));
    assert_eq!(fault.kind, FaultKind::Invalid);
    assert_eq!(fault.param.as_deref(), Some("model"));
    assert_eq!(Fault::from(refused("[]")).param, None);
}

#[test]
fn a_body_does_not_print_what_is_in_it() {
    let shown = format!("{:?}", body("{\"prompt\":\"my secret\"}"));
    assert!(shown.contains("prompt") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #[test]
    fn every_member_reads_as_serde_json_reads_it(
        text in texts::object_of(vec((texts::string(), texts::json()), 0..6)),
    ) {
        let Ok(body) = Body::read(Bytes::from(text.clone())) else { return Ok(()) };
        let members = texts::members(text.as_bytes()).unwrap();
        let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        prop_assert_eq!(body.names().collect::<Vec<_>>(), names);
        for (name, _) in &members {
            let (_, last) = members.iter().rev().find(|(other, _)| other == name).unwrap();
            prop_assert_eq!(body.raw(name).unwrap(), last.as_bytes());
            prop_assert_eq!(body.string(name).ok(), serde_json::from_str::<Option<String>>(last).ok());
            prop_assert_eq!(body.unsigned(name).ok(), serde_json::from_str::<Option<u64>>(last).ok());
            prop_assert_eq!(body.bool(name).ok(), serde_json::from_str::<Option<bool>>(last).ok());
        }
    }
}

#[test]
fn it_is_known_which_arrays_hold_nothing_but_objects() {
    for (value, expect) in [
        ("[]", true),
        ("[ ]", true),
        ("[{}]", true),
        (r#"[{"a":[1,[2]]} , {"b":{"c":["x"]}}]"#, true),
        (r#"[{"a":1},[{}]]"#, false),
        (r#"["{",{}]"#, false),
        ("[{},null]", false),
        ("[1]", false),
        ("{\"a\":[1]}", true),
        ("\"text\"", true),
    ] {
        for around in [("{", "}"), (r#"{"before":["x"],"#, r#","after":[1]}"#)] {
            let text = format!("{}\"messages\": {value} {}", around.0, around.1);
            let body = Body::read(Bytes::from(text.clone())).expect(&text);
            assert_eq!(body.only_objects("messages"), expect, "{text}");
            assert!(body.only_objects("missing"));
        }
    }
    let twice = Body::read(Bytes::from_static(br#"{"messages":[{}],"messages":[1]}"#)).expect("JSON");
    assert!(!twice.only_objects("messages"), "the last one counts");
}
