//! The format, read and written; and that nothing is lost between the two.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const STORY: &str = "\
# A streamed chat call is tried again after a 503

The first answer is no answer to the client.
# not a title: only the first line is one

--- setup
provider = vllm
api key = sk-test
empty =
>>> client      POST /v1/chat/completions
Authorization: Bearer sk-1
x-empty:

{\"model\":\"fast\",\"text\":\"a\\nb\"}
>>> upstream    POST http://upstream/v1/chat/completions

{\"model\":\"m\",\"text\":\"a\\nb\"}
<<< upstream    503 application/json
retry-after: 1
>>> upstream    POST http://upstream/v1/chat/completions

{\"model\":\"m\",\"text\":\"a\\nb\"}
<<< upstream    200 text/event-stream

data: {\"id\":1}

: comment

data: [DONE]


<<< client      200 text/event-stream

\\data: with carriage return\\r
\\--- looks like a marker
\\\\\\ begins with a backslash
\\half a character: \\xc3
=== changes     request.model
=== usage       input=3 output=5
=== lost
=== a-long-note-name-indeed value
";

#[test]
fn a_whole_story_is_read() {
    let story = Transcript::parse(STORY).unwrap();
    assert_eq!(story.title, "A streamed chat call is tried again after a 503");
    assert!(
        story.prose.starts_with("The first answer") && story.prose.ends_with("only the first line is one")
    );
    assert_eq!(story.setting("api key"), Some("sk-test"));
    assert_eq!(story.setting("empty"), Some(""));
    assert_eq!((story.request.method(), story.request.target()), ("POST", "/v1/chat/completions"));
    assert_eq!(story.request.header("authorization"), Some("Bearer sk-1"));
    assert_eq!(story.request.header("x-empty"), Some(""));
    assert_eq!(story.request.body, br#"{"model":"fast","text":"a\nb"}"#);
    assert_eq!(story.exchanges.len(), 2);
    let replies: Vec<&Side> = story.upstream_replies().collect();
    assert_eq!((replies[0].status(), replies[0].body.len()), (503, 0));
    assert_eq!(replies[1].body, b"data: {\"id\":1}\n\n: comment\n\ndata: [DONE]\n\n");
    assert_eq!(replies[1].content_type(), Some("text/event-stream"));
    let reply = story.reply.as_ref().unwrap();
    let odd = b"data: with carriage return\r\n--- looks like a marker\n\\ begins with a backslash\n\
                half a character: \xc3";
    assert_eq!(reply.body, odd);
    assert_eq!(story.note("usage"), Some("input=3 output=5"));
    assert_eq!(story.note("lost"), Some(""));
    assert_eq!(story.note("a-long-note-name-indeed"), Some("value"));
    assert_eq!(story.note("end"), None);
}

#[test]
fn a_uniform_file_is_written_back_identically() {
    assert_eq!(Transcript::parse(STORY).unwrap().to_string(), STORY);
    let least = "# t\n>>> client      GET /\n";
    assert_eq!(Transcript::parse(least).unwrap().to_string(), least);
}

#[test]
fn what_people_write_otherwise_means_the_same() {
    let sloppy = "# t\r\n\r\n>>> client GET /\r\n\r\n<<<   upstream\t200   text/plain\r\n\r\n\\hi\r\n=== end  complete\r\n\r\n";
    let story = Transcript::parse(sloppy).unwrap();
    assert_eq!(
        story.to_string(),
        "# t\n>>> client      GET /\n<<< upstream    200   text/plain\n\nhi\n=== end         complete\n"
    );
    assert_eq!(story.upstream_replies().next().unwrap().content_type(), Some("text/plain"));
    let without_final_line_feed = Transcript::parse("# t\n>>> client GET /\n\nabc").unwrap();
    assert_eq!(without_final_line_feed.request.body, b"abc");
}

#[test]
fn line_feeds_at_the_end_of_a_body_are_its_own_but_for_one() {
    for (text, body) in
        [("", ""), ("\n", ""), ("\na\n", "a"), ("\na\n\n", "a\n"), ("\n\n\n", "\n"), ("\n\na\n", "\na")]
    {
        for end in ["", "=== end\n"] {
            let story = Transcript::parse(&format!("# t\n>>> client GET /\n{text}{end}")).unwrap();
            assert_eq!(story.request.body, body.as_bytes(), "{text:?} before {end:?}");
        }
    }
}

#[test]
fn what_is_given_leaves_out_what_is_produced() {
    let given = Transcript::parse(STORY).unwrap().given();
    assert_eq!((given.reply.as_ref(), given.notes.len()), (None, 0));
    assert_eq!(given.exchanges.len(), 2);
    assert!(given.exchanges.iter().all(|exchange| exchange.request.is_none()));
    assert_eq!(Transcript::parse(&given.to_string()).unwrap(), given);
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (text, line, word) in [
        ("", 1, "title"),
        ("title\n", 1, "title"),
        ("# t\nprose\n", 2, ">>> client"),
        ("# t\n<<< client 200\n", 2, "before"),
        ("# t\n>>> server GET /\n", 2, "before"),
        ("# t\n>>> client GET /\n>>> server GET /\n", 3, "no section"),
        ("# t\n>>> client GET /\n>>> client GET /\n", 3, "once"),
        ("# t\n--- setup\nkey\n", 3, "key = value"),
        ("# t\n--- setup\nx = 1\n--- setup\n", 4, "once"),
        ("# t\n>>> client GET /\n--- setup\n", 3, "once"),
        ("# t\n>>> client GET /\n{\"a\":1}\n", 3, "blank line"),
        ("# t\n>>> client GET /\ndata: x\n", 3, "blank line"),
        ("# t\n>>> client GET /\n\nok\n\\\\q\n", 5, "escape"),
        ("# t\n>>> client GET /\n=== end complete\nmore\n", 4, "nothing below"),
        ("# t\n>>> client GET /\n=== end complete\n<<< client 200\n", 4, "last"),
        ("# t\n>>> client GET /\n<<< client 200\n>>> upstream GET /\n", 4, "after"),
        ("# t\n>>>  \n", 2, "a name follows"),
        ("# t\n>>> client GET /\n\na\rb\n", 4, "carriage return"),
    ] {
        let error = Transcript::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.message.contains(word), "{text:?}: {error}");
    }
}

#[test]
fn notes_are_replaced_or_added() {
    let mut story = Transcript::new("t", Side::new("GET /", ""));
    story.set_note("end", "complete");
    story.set_note("usage", "-");
    story.set_note("end", "cut");
    assert_eq!(story.notes, [("end".into(), "cut".into()), ("usage".into(), "-".into())]);
}

#[test]
fn a_directory_is_loaded_in_order_and_refused_with_every_fault() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let path = directory.path().to_owned();
    let message = |path: PathBuf| {
        let panic = std::panic::catch_unwind(|| load_dir(path)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    assert!(message(path.clone()).contains("no transcript"));
    write("b.txt", "# second\n>>> client GET /\n");
    write("a/z.txt", "# first\n>>> client GET /\n");
    write("notes.md", "not one");
    let loaded = load_dir(&path);
    let titles: Vec<&str> = loaded.iter().map(|(_, story)| story.title.as_str()).collect();
    assert_eq!(titles, ["first", "second"]);
    write("c.txt", "# third\nprose only\n");
    write("d.txt", "no title");
    let message = message(path);
    assert!(message.contains("c.txt:2:") && message.contains("d.txt:1:"), "{message}");
}

/// Bodies of what makes trouble: markers, escapes, line ends, bytes that are not UTF-8.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b">>> client".to_vec()),
        Just(b"--- ".to_vec()),
        Just(b"=== end x".to_vec()),
        Just(b"# ".to_vec()),
        Just("\u{feff}é\u{85}\u{2028}".as_bytes().to_vec()),
        Just(b"data: {\"a\":\"\\n\"}\n\n".to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn side_of(head: &'static str) -> impl Strategy<Value = Side> {
    let name = "[a-zA-Z!#$%&'*+.^_`|~-][a-zA-Z0-9-]{0,6}"
        .prop_filter("an event's field", |name| !["data", "event", "id", "retry"].contains(&name.as_str()));
    let value = prop_oneof![Just(String::new()), "[ -~]{0,9}[!-~]", "[\\\\é\\r:\\x00]{1,4}"]
        .prop_map(|value| value.trim().to_owned());
    (head, vec((name, value), 0..4), body()).prop_map(|(head, headers, body)| Side { head, headers, body })
}

fn story() -> impl Strategy<Value = Transcript> {
    let reply = || side_of("[1-5][0-9]{2}( [a-z/]{1,9})?");
    let exchange = (side_of("(GET|POST) /[!-~]{0,9}"), option::of(reply()))
        .prop_map(|(request, reply)| Exchange { request: Some(request), reply });
    let word = "[a-z][a-z0-9 .=]{0,8}[a-z0-9]";
    (
        "[!-~]([ -~]{0,20}[!-~])?",
        prop_oneof![Just(String::new()), "([a-z#][a-z ]{0,9}\n){0,2}[a-z]{1,9}"],
        vec(("[a-z][a-z ]{0,5}[a-z]", prop_oneof![Just(String::new()), word.prop_map(String::from)]), 0..3),
        side_of("(GET|POST) /[!-~]{0,9}"),
        vec(exchange, 0..3),
        option::of(reply()),
        vec(("[a-z_-]{1,18}", prop_oneof![Just(String::new()), word.prop_map(String::from)]), 0..3),
    )
        .prop_map(|(title, prose, setup, request, exchanges, reply, notes)| Transcript {
            title,
            prose,
            setup,
            request,
            exchanges,
            reply,
            notes,
        })
}

proptest! {
    // What fails once belongs into a test of its own, not into a file beside the source.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_as_the_same(story in story()) {
        let text = story.to_string();
        let read = Transcript::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&read, &story, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(lines in vec("(# |--- |>>> |<<< |=== )?(setup|client|upstream)?[ -~\\r]{0,8}", 0..12)) {
        let text = format!("# t\n{}", lines.join("\n"));
        if let Ok(story) = Transcript::parse(&text) {
            prop_assert_eq!(Transcript::parse(&story.to_string()).unwrap(), story);
        }
    }
}
