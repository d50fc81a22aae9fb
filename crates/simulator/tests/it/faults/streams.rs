//! Bodies that are compressed, cut up, too long, or never end.

use serde_json::Value;
use simulator::Fault;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::gunzip::gunzip;
use super::{ALL_ROUTES, CHAT, ask, body, chat, deltas, drain, open, text};
use crate::client::{LIMIT, engine, get, read, send};

/// Head and body of an answer after which the connection is closed, and the chunks that the body came in.
async fn closing(fault: &str, stream: bool) -> (String, Vec<u8>, Vec<Vec<u8>>) {
    let engine = engine().await;
    let json = [("content-type", "application/json"), ("x-simulate-fault", fault), ("connection", "close")];
    let body = body(CHAT, stream).to_string();
    let mut connection = crate::client::begin(&engine, "POST", CHAT, &json, &body).await;
    let (came, _) = drain(&mut connection).await;
    let end = came.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let (head, mut rest) = (text(&came[..end]), &came[end..]);
    if !head.contains("chunked") {
        return (head, rest.to_vec(), Vec::new());
    }
    let mut chunks = Vec::new();
    loop {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        chunks.push(rest[line + 2..line + 2 + size].to_vec());
        rest = &rest[line + 4 + size..];
    }
    (head, chunks.concat(), chunks)
}

#[tokio::test]
async fn a_body_is_compressed_that_nobody_wanted_compressed() {
    for stream in [false, true] {
        let (head, bytes, chunks) = closing("gzip", stream).await;
        assert!(head.contains("content-encoding: gzip\r\n"));
        let (plain, whole) = gunzip(&bytes).unwrap();
        assert!(whole);
        let plain = text(&plain);
        if stream {
            assert!(plain.starts_with("data: {") && plain.ends_with("data: [DONE]\n\n"), "{plain}");
            assert_eq!(chunks.len(), plain.matches("data: ").count() + 1);
            // an event can be read as soon as its chunk is there
            assert!(gunzip(&chunks[0]).unwrap().0.ends_with(b"\n\n"));
        } else {
            assert!(serde_json::from_str::<Value>(&plain).unwrap()["choices"].is_array());
        }
        let (head, bytes, _) = closing("gzip-garbage", stream).await;
        assert!(head.contains("content-encoding: gzip\r\n") && gunzip(&bytes).is_none());
    }
}

#[tokio::test]
async fn a_small_body_unpacks_to_a_large_one() {
    for stream in [false, true] {
        let (_, bytes, _) = closing("gzip-bomb:3", stream).await;
        assert!(bytes.len() < 25_000, "{}", bytes.len());
        let (plain, whole) = gunzip(&bytes).unwrap();
        assert!(whole && plain.len() == 3 << 20 && plain.iter().all(|byte| *byte == b' '));
    }
}

#[tokio::test]
async fn every_character_is_cut_in_two() {
    let (_, bytes, chunks) = closing("split-utf8", true).await;
    assert!(String::from_utf8(bytes).unwrap().contains("日本語"));
    let inside = chunks.iter().filter(|chunk| chunk.last().is_some_and(|byte| *byte >= 0xc0)).count();
    assert!(inside >= 15, "{inside}");
    assert!(chunks.iter().filter(|chunk| std::str::from_utf8(chunk).is_err()).count() >= inside);
    let engine = engine().await;
    for path in ALL_ROUTES {
        for stream in [false, true] {
            let answer = ask(&engine, "split-utf8", path, &body(path, stream)).await;
            assert!(answer.body.contains("Größe: 日本語"), "{path}");
        }
    }
}

#[tokio::test]
async fn every_byte_comes_by_itself() {
    let (_, plain, chunks) = closing("byte-by-byte", true).await;
    assert!(chunks.len() > 500 && chunks.iter().all(|chunk| chunk.len() == 1));
    assert!(text(&plain).ends_with("data: [DONE]\n\n"));
    let (_, whole, _) = closing("byte-by-byte", false).await;
    assert!(serde_json::from_slice::<Value>(&whole).unwrap()["choices"].is_array());
}

#[tokio::test]
async fn one_event_is_huge() {
    let engine = engine().await;
    for path in ALL_ROUTES {
        let stream = ask(&engine, "huge-event:1", path, &body(path, true)).await;
        let longest = stream.body.lines().map(str::len).max().unwrap();
        assert!(longest > 1 << 20 && longest < (1 << 20) + 1_000, "{path}: {longest}");
        let whole = ask(&engine, "huge-event:1", path, &body(path, false)).await;
        assert!(whole.json()["usage"].is_object() && whole.body.len() > 1 << 20, "{path}");
    }
    let default = ask(&engine, "huge-event", CHAT, &body(CHAT, true)).await;
    assert!(default.body.len() > 10 << 20);
    let models = send(&engine, "GET", "/v1/models", &[("x-simulate-fault", "huge-event:1")], "").await;
    assert!(models.body.len() > 1 << 20 && models.json()["data"].is_array());
}

/// Reads so many bytes.
async fn take(connection: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(LIMIT, connection.read_exact(&mut bytes)).await.expect("it ends").unwrap();
    bytes
}

#[tokio::test]
async fn a_stream_never_ends_and_stops_when_the_client_does() {
    let engine = engine().await;
    for fault in ["endless", "endless-event"] {
        for path in ALL_ROUTES {
            for stream in [false, true] {
                let mut connection = open(&engine, fault, path, &body(path, stream)).await;
                let came = text(&take(&mut connection, 2 << 20).await);
                let events = came.matches("data: ").count();
                match (fault, stream) {
                    ("endless", true) => assert!(events > 1_000, "{path}: {events}"),
                    ("endless-event", true) => {
                        assert!(events < 10 && came.ends_with("xxxx"), "{path}: {events}");
                    }
                    _ => assert_eq!(events, 0, "{path}"),
                }
                drop(connection);
                timeout(LIMIT, async {
                    while engine.seen().pop().unwrap().ended.is_none() {
                        tokio::task::yield_now().await;
                    }
                })
                .await
                .expect("it goes on");
            }
        }
    }
    assert_eq!(get(&engine, "/health").await.status, 200);
}

#[tokio::test]
async fn the_end_comes_twice_or_is_no_end() {
    let engine = engine().await;
    let twice = chat(&engine, "double-done", true).await.events();
    assert_eq!(twice[twice.len() - 2..], ["[DONE]", "[DONE]"]);
    let after = chat(&engine, "after-done", true).await;
    let events = after.events();
    assert_eq!(events[events.len() - 2], "[DONE]");
    assert!(!events[events.len() - 1]["choices"][0]["delta"]["content"].as_str().unwrap().is_empty());
    let messages = ask(&engine, "double-done", "/v1/messages", &body("/v1/messages", true)).await.events();
    let kinds: Vec<&Value> = messages.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["message_stop", "message_stop"]);
}

#[tokio::test]
async fn events_are_written_in_ways_that_are_allowed() {
    let engine = engine().await;
    let full = deltas(&chat(&engine, "error-null", true).await, "content");
    let lines = chat(&engine, "crlf-events", true).await;
    assert!(lines.body.contains("\r\n\r\ndata: ") && !lines.body.replace("\r\n", "").contains('\n'));
    assert_eq!(deltas(&lines, "content"), full);
    let comments = chat(&engine, "comment-events", true).await;
    assert!(comments.body.starts_with(": keep-alive\n\n\n:\n\ndata: {"), "{}", comments.body);
    assert_eq!(deltas(&comments, "content"), full);
}

#[tokio::test]
async fn a_fault_that_does_not_apply_changes_nothing() {
    let engine = engine().await;
    let mut plain = open(&engine, "close-on-reuse", CHAT, &body(CHAT, false)).await;
    let plain = timeout(LIMIT, read(&mut plain)).await.unwrap().json();
    let said = plain["choices"][0]["message"]["content"].as_str().unwrap();
    for fault in Fault::ALL.iter().filter(|fault| !fault.applies(CHAT, false)) {
        let answer = chat(&engine, fault.name(), false).await.json();
        assert_eq!(answer["choices"], plain["choices"], "{fault}");
    }
    for fault in Fault::ALL.iter().filter(|fault| !fault.applies(CHAT, true)) {
        let answer = chat(&engine, fault.name(), true).await;
        assert_eq!(deltas(&answer, "content"), said, "{fault}");
        assert_eq!(answer.events().last().unwrap(), "[DONE]", "{fault}");
    }
    for fault in Fault::ALL.iter().filter(|fault| !fault.applies("/v1/models", false)) {
        let headers = [("x-simulate-fault", fault.name())];
        let answer = send(&engine, "GET", "/v1/models", &headers, "").await;
        assert_eq!(answer.json()["data"][0]["id"], "sim", "{fault}");
    }
}
