//! The scanner's verdict is serde_json's, and the members lie where serde_json finds them.

use dialect::json::scan::{MAX_DEPTH, MAX_MEMBERS, scan};
use proptest::prelude::*;
use serde_json::Value;

use crate::texts;

fn agrees_with_serde(text: &[u8]) {
    let shown = String::from_utf8_lossy(text);
    let ours = scan(text);
    let theirs = serde_json::from_slice::<Value>(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{shown}\nours: {ours:?}\ntheirs: {theirs:?}");
    let Ok(document) = ours else { return };
    let found: Option<Vec<(String, String)>> = document.is_object.then(|| {
        let text_of =
            |range: std::ops::Range<usize>| std::str::from_utf8(&text[range]).expect("taken, so UTF-8");
        let member = |member: &dialect::json::scan::Member| {
            let quoted = text_of(member.name.start - 1..member.name.end + 1);
            assert_eq!(member.escaped, quoted.contains('\\'), "{quoted}");
            assert_eq!(member.whole(), member.name.start - 1..member.value.end);
            (
                serde_json::from_str(quoted).expect("taken, so a string"),
                text_of(member.value.clone()).to_owned(),
            )
        };
        document.members.iter().map(member).collect()
    });
    assert_eq!(found, texts::members(text), "{shown}");
}

proptest! {
    #[test]
    fn what_is_json_is_judged_as_serde_json_judges_it(text in texts::json()) {
        agrees_with_serde(text.as_bytes());
    }

    #[test]
    fn what_is_nearly_json_is_judged_as_serde_json_judges_it(text in texts::mutated(texts::json())) {
        agrees_with_serde(&text);
    }

    #[test]
    fn noise_is_judged_as_serde_json_judges_it(text in texts::noise()) {
        agrees_with_serde(&text);
    }

    #[test]
    fn any_bytes_are_judged_as_serde_json_judges_them(text in prop::collection::vec(any::<u8>(), 0..60)) {
        agrees_with_serde(&text);
    }

    #[test]
    fn a_text_that_was_cut_off_is_never_taken(text in texts::object_of(prop::collection::vec((texts::string(), texts::json()), 0..4)), cut in any::<prop::sample::Index>()) {
        let text = text.trim_end();
        prop_assert!(scan(&text.as_bytes()[..cut.index(text.len())]).is_err());
    }
}

#[test]
fn hard_cases_are_judged_as_serde_json_judges_them() {
    let cases = [
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\"\\",
        "\"\\u",
        "\"\\u12",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\\",
        "-",
        "-a",
        "01",
        "-01",
        "00",
        "0",
        "-0",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "1E+05",
        "0.0e-0",
        "+1",
        "1 2",
        "--1",
        "1e308",
        "1e309",
        "-1e309",
        "1e400",
        "0e400",
        "0.0e99999999999999999999",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0x10",
        "Infinity",
        "NaN",
        "nul",
        "nulll",
        "null ",
        "truE",
        "true,",
        "fals",
        "{}",
        "{ }",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{1:2}",
        "{a:1}",
        "{\"a\":1}}",
        "{\"a\":1]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,2",
        "[1}",
        "[]]",
        "[[],[]]",
        "[{},{}]",
        "{\"a\":[}]",
        "{\"a\":{\"b\":[{}]}} x",
        "{\"a\":1}\u{0}",
        "\u{b}{}",
        "\u{a0}{}",
        "// x\n{}",
        "{\"a\":1/**/}",
        "\"\t\"",
        "\"\n\"",
        "\"\u{7f}\"",
        "\"\u{0}\"",
        "'a'",
        "\"\\x41\"",
        "\"\\'\"",
        "\"\\U0041\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800\\udc00\"",
        "\"\\uD83D\\uDE00\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\",
        "\"\\ud83d\\u",
        "{\"\\ud800\":1}",
        "\u{feff}{}",
        "{}\u{feff}",
    ];
    for case in cases {
        agrees_with_serde(case.as_bytes());
    }
    let cut_off_character: &[&[u8]] =
        &[b"\"\xff\"", b"\"\xc3\"", b"\"\xed\xa0\x80\"", b"\xef\xbb", b"{\"a\":\"\xc0\x80\"}"];
    for case in cut_off_character {
        agrees_with_serde(case);
    }
    agrees_with_serde("9".repeat(308).as_bytes());
    agrees_with_serde("9".repeat(309).as_bytes());
    agrees_with_serde(format!("0.{}1e300", "0".repeat(290)).as_bytes());
    agrees_with_serde(format!("{}e99", "9".repeat(195)).as_bytes());
    agrees_with_serde(format!("{}e99", "9".repeat(250)).as_bytes());
}

#[test]
fn depth_is_limited_as_serde_json_limits_it() {
    for depth in [1, 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 2] {
        for (open, inside, close) in [("[", "", "]"), ("{\"a\":", "1", "}"), ("[{\"a\":", "1", "}]")] {
            let times = depth.div_ceil(open.matches(['[', '{']).count());
            agrees_with_serde((open.repeat(times) + inside + &close.repeat(times)).as_bytes());
        }
    }
    let flaw = scan("[".repeat(1_000_000).as_bytes()).unwrap_err();
    assert!(flaw.is_too_deep());
    assert_eq!(flaw.offset(), MAX_DEPTH);
}

#[test]
fn the_index_cannot_grow_without_bound() {
    let object = |members: usize| format!("{{{}}}", vec!["\"a\":1"; members].join(","));
    assert_eq!(scan(object(MAX_MEMBERS).as_bytes()).unwrap().members.len(), MAX_MEMBERS);
    assert_eq!(
        scan(object(MAX_MEMBERS + 1).as_bytes()).unwrap_err().message(),
        "too many members at the top level"
    );
    let below = format!("{{\"a\":{}}}", object(MAX_MEMBERS + 1));
    assert_eq!(scan(below.as_bytes()).unwrap().members.len(), 1);
}

#[test]
fn a_flaw_says_where_it_is() {
    let position = |text: &str| {
        let flaw = scan(text.as_bytes()).unwrap_err();
        (flaw.position(text.as_bytes()), flaw.message())
    };
    assert_eq!(position(""), ((1, 1), "the body is empty"));
    assert_eq!(position("{\"a\":1,}"), ((1, 8), "expected a member's name in double quotes"));
    assert_eq!(position("{\n  \"ä\": x\n}"), ((2, 8), "expected a value"));
    assert_eq!(position("{\"a\": [1, 2\n\n"), ((3, 1), "the text ends inside an array"));
    assert_eq!(position("{\"a\": 1}\n{}"), ((2, 1), "text after the end of the JSON value"));
    assert_eq!(position("[\"\\ud83d\"]"), ((1, 3), "half of a surrogate pair"));
    assert_eq!(position("[\"a\nb\"]"), ((1, 4), "control character in a string"));
    assert_eq!(position("\u{feff}{}"), ((1, 1), "byte order mark before the JSON text"));
    let flaw = scan(b"{\"a\":\"x\xff\"}").unwrap_err();
    assert_eq!((flaw.offset(), flaw.message()), (7, "invalid UTF-8"));
}
