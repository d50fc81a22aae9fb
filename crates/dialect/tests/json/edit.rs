//! Splices: what they change, and that they change nothing else.

use bytes::Bytes;
use dialect::body::Body;
use dialect::edit::{Edit, json_string};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::texts;

fn spliced(text: &str, edits: &[Edit]) -> String {
    let segments = Body::read(Bytes::copy_from_slice(text.as_bytes())).expect("a body").apply(edits);
    let bytes = segments.to_bytes();
    assert_eq!(segments.len(), bytes.len());
    assert!(!segments.is_empty());
    let pieces = segments.into_pieces();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    assert_eq!(pieces.concat(), bytes);
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn set(name: &'static str, json: &'static str) -> Edit {
    Edit::set(name, json)
}

#[test]
fn without_an_edit_the_body_itself_goes_out() {
    let body = Body::read(Bytes::from_static(b" {\"a\" : 1} ")).unwrap();
    let nothing = [Edit::remove("b"), Edit::default_to("a", "2"), set("a", "1")];
    for edits in [&[][..], &nothing] {
        let [one] = &*body.apply(edits).into_pieces() else { panic!("one segment") };
        assert_eq!((one.as_ptr(), one.len()), (body.bytes().as_ptr(), body.len()));
    }
}

#[test]
fn a_member_is_set_in_place_and_the_rest_keeps_its_spacing() {
    let text = "{ \"model\" : \"vllm/m\",\n\t\"messages\":[ ] }";
    assert_eq!(spliced(text, &[set("model", "\"m\"")]), "{ \"model\" : \"m\",\n\t\"messages\":[ ] }");
}

#[test]
fn what_is_not_replaced_is_not_copied() {
    let body = Body::read(Bytes::from_static(b"{\"model\":\"a/b\",\"x\":1}")).unwrap();
    let pieces = body.apply(&[set("model", "\"b\"")]).into_pieces();
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[0].as_ptr(), body.bytes().as_ptr());
    assert_eq!(pieces[2].as_ptr(), body.bytes()[14..].as_ptr());
}

#[test]
fn a_missing_member_is_added_behind_the_last_one() {
    assert_eq!(spliced("{\"a\":1 }", &[set("b", "2")]), "{\"a\":1,\"b\":2 }");
    assert_eq!(spliced("{}", &[set("b", "2")]), "{\"b\":2}");
    assert_eq!(spliced(" { } ", &[set("b", "2"), set("c", "3")]), " {\"b\":2,\"c\":3 } ");
    assert_eq!(spliced("{}", &[set("a\"\n", "1")]), "{\"a\\\"\\n\":1}");
}

#[test]
fn a_default_gives_way_to_what_is_there() {
    let default = [Edit::default_to("a", "2")];
    assert_eq!(spliced("{\"a\":1}", &default), "{\"a\":1}");
    assert_eq!(spliced("{\"a\":null}", &default), "{\"a\":null}");
    assert_eq!(spliced("{\"b\":1}", &default), "{\"b\":1,\"a\":2}");
}

#[test]
fn a_dropped_member_takes_one_comma_with_it() {
    let text = "{\"a\":1, \"b\":2 , \"c\":3}";
    let drop =
        |names: &[&'static str]| spliced(text, &names.iter().map(|n| Edit::remove(*n)).collect::<Vec<_>>());
    assert_eq!(drop(&["a"]), "{\"b\":2 , \"c\":3}");
    assert_eq!(drop(&["b"]), "{\"a\":1, \"c\":3}");
    assert_eq!(drop(&["c"]), "{\"a\":1, \"b\":2}");
    assert_eq!(drop(&["b", "c"]), "{\"a\":1}");
    assert_eq!(drop(&["a", "b"]), "{\"c\":3}");
    assert_eq!(drop(&["a", "c"]), "{\"b\":2}");
    assert_eq!(drop(&["c", "a", "b"]), "{}");
    assert_eq!(spliced("{\"a\":1}", &[Edit::remove("a"), set("b", "2")]), "{\"b\":2}");
    assert_eq!(spliced("{\"a\":1,\"c\":3}", &[Edit::remove("c"), set("b", "2")]), "{\"a\":1,\"b\":2}");
}

#[test]
fn a_member_that_stood_twice_stands_once_when_it_was_set() {
    assert_eq!(spliced("{\"n\":1,\"a\":0,\"\\u006e\":2}", &[set("n", "3")]), "{\"a\":0,\"\\u006e\":3}");
    assert_eq!(spliced("{\"n\":1,\"n\":2}", &[set("n", "2")]), "{\"n\":2}");
    assert_eq!(spliced("{\"n\":1,\"a\":0,\"n\":2}", &[Edit::remove("n")]), "{\"a\":0}");
    assert_eq!(
        spliced("{\"n\":1,\"n\":2,\"a\":0}", &[Edit::default_to("n", "3")]),
        "{\"n\":1,\"n\":2,\"a\":0}"
    );
}

#[test]
fn edits_of_one_member_take_effect_in_order() {
    assert_eq!(spliced("{\"a\":1}", &[set("a", "2"), set("a", "3")]), "{\"a\":3}");
    assert_eq!(spliced("{\"a\":1}", &[set("a", "2"), Edit::remove("a")]), "{}");
    assert_eq!(spliced("{\"a\":1}", &[Edit::remove("a"), Edit::default_to("a", "4")]), "{\"a\":4}");
    assert_eq!(spliced("{}", &[Edit::default_to("a", "4"), Edit::default_to("a", "5")]), "{\"a\":4}");
    assert_eq!(spliced("{}", &[set("a", "4"), Edit::remove("a")]), "{}");
}

#[test]
fn a_text_becomes_a_json_string() {
    assert_eq!(json_string("a\"\\\n\u{1}ä😀/"), "\"a\\\"\\\\\\n\\u0001ä😀/\"");
}

/// Few names, so that edits meet members, and members each other.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "d", "e\"f"])
}

fn members() -> impl Strategy<Value = Vec<(String, String)>> {
    let written = (name(), any::<bool>()).prop_map(|(name, escaped)| match (name, escaped) {
        ("a", true) => "\"\\u0061\"".to_owned(),
        (name, _) => serde_json::to_string(name).expect("a string"),
    });
    let value = texts::json()
        .prop_filter("whole characters only", |text| serde_json::from_str::<Value>(text).is_ok());
    vec((written, value), 0..6)
}

fn edit() -> impl Strategy<Value = Edit> {
    let json = texts::leaf()
        .prop_filter("whole characters only", |text| serde_json::from_str::<Value>(text).is_ok());
    (name(), 0..3u8, json).prop_map(|(name, kind, json)| match kind {
        0 => Edit::set(name, json),
        1 => Edit::default_to(name, json),
        _ => Edit::remove(name),
    })
}

/// What the edits mean, on decoded members.
fn model(object: &mut Map<String, Value>, edits: &[Edit]) {
    for edit in edits {
        match edit {
            Edit::Set { name, json } => {
                object.insert(name.to_string(), serde_json::from_slice(json).expect("an edit holds JSON"));
            }
            Edit::Default { name, json } => {
                let value = || serde_json::from_slice(json).expect("an edit holds JSON");
                object.entry(name.to_string()).or_insert_with(value);
            }
            Edit::Drop { name } => {
                object.remove(&**name);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_splice_means_what_the_edits_mean(text in texts::object_of(members()), edits in vec(edit(), 0..5)) {
        let after = spliced(&text, &edits);
        let mut expected = serde_json::from_str(&text).unwrap();
        model(&mut expected, &edits);
        prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&after).unwrap(), expected, "{}\n{}", text, after);
        // And our own reader agrees.
        let body = Body::read(Bytes::from(after.clone())).unwrap();
        for edit in &edits {
            let last = edits.iter().rev().find(|other| other.name() == edit.name()).unwrap();
            match last {
                Edit::Set { name, json } => {
                    prop_assert_eq!(body.raw(name), Some(json.clone()));
                    prop_assert_eq!(body.names().filter(|n| n == name).count(), 1, "{}", after);
                }
                Edit::Default { name, .. } => prop_assert!(body.has(name)),
                Edit::Drop { name } => prop_assert!(!body.has(name)),
            }
        }
    }

    #[test]
    fn members_without_an_edit_keep_every_byte_and_their_order(
        text in texts::object_of(members()), edits in vec(edit(), 0..5),
    ) {
        let edited = |name: &str| edits.iter().any(|edit| edit.name() == name);
        let untouched = |text: &str| -> Vec<(String, String)> {
            texts::members(text.as_bytes()).unwrap().into_iter().filter(|(name, _)| !edited(name)).collect()
        };
        prop_assert_eq!(untouched(&spliced(&text, &edits)), untouched(&text));
    }

    #[test]
    fn edits_of_different_members_commute(
        text in texts::object_of(members()), edits in vec(edit(), 2..5), seed in any::<prop::sample::Index>(),
    ) {
        let mut distinct: Vec<Edit> = Vec::new();
        for edit in edits {
            if distinct.iter().all(|other| other.name() != edit.name()) {
                distinct.push(edit);
            }
        }
        let one_way: Value = serde_json::from_str(&spliced(&text, &distinct)).unwrap();
        let middle = seed.index(distinct.len());
        distinct.rotate_left(middle);
        distinct.reverse();
        let other_way: Value = serde_json::from_str(&spliced(&text, &distinct)).unwrap();
        prop_assert_eq!(one_way, other_way);
    }

    #[test]
    fn any_text_is_escaped_as_serde_json_escapes_it(text in any::<String>()) {
        let json = json_string(&text);
        prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}
