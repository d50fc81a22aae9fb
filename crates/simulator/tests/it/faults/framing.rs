//! Bodies that are not what their heads say, and connections after the answer.

use simulator::Running;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CHAT, End, body, chat, drain, everything, open};
use crate::client::{LIMIT, engine, read};

/// An answer as it came.
struct Raw {
    head: String,
    body: String,
    end: Option<End>,
}

async fn raw(engine: &Running, fault: &str, stream: bool) -> Raw {
    let mut connection = open(engine, fault, CHAT, &body(CHAT, stream)).await;
    let (came, end) = everything(&mut connection).await;
    let (head, body) = came.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{fault}: {came}"));
    Raw { head: format!("{head}\r\n"), body: body.to_owned(), end }
}

impl Raw {
    fn lengths(&self) -> Vec<usize> {
        let values = self.head.lines().filter_map(|line| line.strip_prefix("content-length: "));
        values.map(|value| value.parse().unwrap()).collect()
    }

    fn chunked(&self) -> bool {
        self.head.contains("transfer-encoding: chunked\r\n")
    }
}

#[tokio::test]
async fn a_body_is_shorter_or_longer_than_its_head_says() {
    let engine = engine().await;
    let long = raw(&engine, "length-too-long:25", false).await;
    assert_eq!((long.lengths(), long.end), (vec![long.body.len() + 25], Some(End::Closed)));
    let short = raw(&engine, "length-too-short:25", false).await;
    assert_eq!((short.lengths(), short.end), (vec![short.body.len() - 25], None));
    serde_json::from_str::<serde_json::Value>(&short.body).unwrap();
    let long = raw(&engine, "length-too-long:25", true).await;
    assert!(long.chunked() && long.body.ends_with("data: [DONE]\n\n\r\n19\r\n"), "{}", long.body);
    assert_eq!(long.end, Some(End::Closed));
    let short = raw(&engine, "length-too-short:4", true).await;
    let (size, rest) = short.body.split_once("\r\n").unwrap();
    let size = usize::from_str_radix(size, 16).unwrap();
    assert_eq!(rest.find("\r\n"), Some(size + 4), "{rest}");
}

#[tokio::test]
async fn an_answer_contradicts_itself_about_its_length() {
    let engine = engine().await;
    let two = raw(&engine, "two-lengths", false).await;
    assert_eq!((two.lengths(), two.chunked()), (vec![two.body.len(), two.body.len() + 10], false));
    for stream in [false, true] {
        let both = raw(&engine, "length-and-chunks", stream).await;
        assert!(
            both.chunked() && both.lengths().len() == 1 && both.body.ends_with("0\r\n\r\n"),
            "{}",
            both.head
        );
        let bad = raw(&engine, "bad-chunk-size", stream).await;
        assert!(bad.chunked() && bad.body.contains("size\r\n"), "{}", bad.body);
        let close = raw(&engine, "until-close", stream).await;
        assert!(!close.chunked() && close.lengths().is_empty() && close.end == Some(End::Closed));
        assert!(close.body.starts_with(if stream { "data: {" } else { "{" }), "{}", close.body);
        let open_end = raw(&engine, "unterminated", stream).await;
        assert_eq!((open_end.chunked(), open_end.end), (true, Some(End::Closed)));
        assert!(!open_end.body.ends_with("0\r\n\r\n") && open_end.body.ends_with("\r\n"));
    }
}

#[tokio::test]
async fn the_content_type_is_wrong_or_missing() {
    let engine = engine().await;
    for (fault, whole, stream) in [
        ("content-type-text", Some("text/plain; charset=utf-8"), Some("text/plain; charset=utf-8")),
        ("content-type-absent", None, None),
        ("content-type-swapped", Some("text/event-stream; charset=utf-8"), Some("application/json")),
    ] {
        let answer = chat(&engine, fault, false).await;
        assert_eq!(answer.header("content-type"), whole, "{fault}");
        assert!(answer.json()["choices"].is_array(), "{fault}");
        let answer = chat(&engine, fault, true).await;
        assert_eq!(answer.header("content-type"), stream, "{fault}");
        assert_eq!(answer.events().last().unwrap(), "[DONE]", "{fault}");
    }
}

#[tokio::test]
async fn an_answer_ends_early_as_if_it_were_complete() {
    let engine = engine().await;
    let whole = raw(&engine, "truncate", false).await;
    assert_eq!((whole.lengths(), whole.end), (vec![whole.body.len()], None));
    assert!(serde_json::from_str::<serde_json::Value>(&whole.body).is_err());
    let stream = chat(&engine, "truncate:3", true).await;
    assert!(!stream.body.ends_with('\n') && stream.body.matches("data: ").count() == 4, "{}", stream.body);
    let unfinished = chat(&engine, "no-finish", true).await.events();
    assert!(unfinished.len() > 2);
    assert!(unfinished.iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
    let undone = chat(&engine, "no-done", true).await.events();
    assert_eq!(undone.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

/// One more request on a connection that has answered.
async fn again(connection: &mut TcpStream) {
    // a connection that is closed or reset refuses it, now or at the next read
    let _ = connection.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n").await;
}

#[tokio::test]
async fn a_connection_dies_when_it_is_used_again() {
    let engine = engine().await;
    for (fault, end) in [("close-on-reuse", End::Closed), ("reset-on-reuse", End::Reset)] {
        for stream in [false, true] {
            let mut connection = open(&engine, fault, CHAT, &body(CHAT, stream)).await;
            let answer = timeout(LIMIT, read(&mut connection)).await.unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, None), "{fault}");
            assert_eq!(everything(&mut connection).await, (String::new(), None), "{fault}");
            again(&mut connection).await;
            assert_eq!(drain(&mut connection).await, (Vec::new(), end), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_connection_closes_after_an_answer_that_let_it_be_kept() {
    let engine = engine().await;
    let mut connection = open(&engine, "close-after-answer", CHAT, &body(CHAT, false)).await;
    let answer = timeout(LIMIT, read(&mut connection)).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert_eq!(drain(&mut connection).await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn other_faults_leave_the_connection_as_it_was() {
    let engine = engine().await;
    for fault in
        ["status:503", "error-200", "empty", "gzip", "tool-object", "byte-by-byte", "split-utf8", "no-done"]
    {
        for stream in [false, true] {
            let mut connection = open(&engine, fault, CHAT, &body(CHAT, stream)).await;
            everything(&mut connection).await;
            again(&mut connection).await;
            let answer = timeout(LIMIT, read(&mut connection)).await.unwrap();
            assert_eq!(answer.body, r#"{"version":"0.32.0"}"#, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_request_sent_ahead_is_answered_after_the_fault() {
    let engine = engine().await;
    let mut connection = open(&engine, "stall-mid-event:50", CHAT, &body(CHAT, true)).await;
    again(&mut connection).await;
    let faulted = timeout(LIMIT, read(&mut connection)).await.unwrap();
    assert_eq!(faulted.events().last().unwrap(), "[DONE]");
    let next = timeout(LIMIT, read(&mut connection)).await.unwrap();
    assert_eq!(next.body, r#"{"version":"0.32.0"}"#);
}
