//! Silence, and connections that end too early.

use std::time::{Duration, Instant};

use simulator::Ending;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{ALL_ROUTES, CHAT, End, body, drain, open, text, until_silence};
use crate::client::{LIMIT, engine, read};

/// What must have come, and what must not.
fn check_place(place: &str, came: &str, stream: bool) {
    let (head, rest) = came.split_once("\r\n\r\n").unwrap_or((came, ""));
    match place {
        "before-head" => assert_eq!(came, ""),
        "after-head" => assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && rest.is_empty(), "{came}"),
        "mid-event" if stream => {
            assert_eq!(rest.matches("\n\n\r\n").count(), 2, "{came}");
            assert!(!rest.ends_with("\n\n\r\n") && rest.matches("data: ").count() == 3, "{came}");
        }
        "between-events" if stream => {
            assert_eq!(rest.matches("data: ").count(), 2, "{came}");
            assert!(rest.ends_with("\n\n\r\n"), "{came}");
        }
        _ => {
            let length: usize = header(head, "content-length").parse().unwrap();
            assert!(!rest.is_empty() && rest.len() < length && rest.starts_with('{'), "{came}");
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

const PLACES: [&str; 4] = ["before-head", "after-head", "mid-event", "between-events"];

#[tokio::test]
async fn a_connection_ends_at_every_place() {
    let engine = engine().await;
    for (act, end) in [("close", End::Closed), ("reset", End::Reset), ("half-close", End::Closed)] {
        for place in PLACES {
            for stream in [false, true] {
                let fault = format!("{act}-{place}");
                let mut connection = open(&engine, &fault, CHAT, &body(CHAT, stream)).await;
                let (came, ended) = drain(&mut connection).await;
                assert_eq!(ended, end, "{fault}");
                // a reset may overtake what was sent before it
                if act != "reset" {
                    check_place(place, &text(&came), stream);
                }
                drop(connection);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_a_fault_cut_is_remembered_as_such() {
    let engine = engine().await;
    let mut connection = open(&engine, "reset-mid-event", CHAT, &body(CHAT, true)).await;
    let (_, ended) = drain(&mut connection).await;
    assert_eq!(ended, End::Reset);
    let seen = engine.seen().pop().unwrap();
    assert_eq!(seen.fault.unwrap().to_string(), "reset-mid-event");
    assert!(matches!(seen.ended, Some(Ending::Cut { .. })), "{:?}", seen.ended);
    assert_eq!((engine.running(), engine.aborted()), (0, 0));
}

#[tokio::test]
async fn a_half_closed_connection_is_still_read() {
    let engine = engine().await;
    let mut connection = open(&engine, "half-close-after-head", CHAT, &body(CHAT, true)).await;
    drain(&mut connection).await;
    // a closed socket would answer this with a reset, and the second write would fail
    for _ in 0..3 {
        connection.write_all(&[b'x'; 1_000]).await.expect("the engine still reads");
        assert_eq!(drain(&mut connection).await, (Vec::new(), End::Closed));
    }
}

#[tokio::test]
async fn an_answer_stalls_at_every_place() {
    let engine = engine().await;
    let mut stalled = Vec::new();
    for place in PLACES {
        for stream in [false, true] {
            let fault = format!("stall-{place}");
            let mut connection = open(&engine, &fault, CHAT, &body(CHAT, stream)).await;
            check_place(place, &text(&until_silence(&mut connection).await), stream);
            stalled.push(connection);
        }
    }
    let mut never = open(&engine, "no-response", CHAT, &body(CHAT, false)).await;
    assert_eq!(until_silence(&mut never).await, b"");
    drop((stalled, never));
}

#[tokio::test]
async fn a_stall_ends_where_it_has_a_time() {
    let engine = engine().await;
    for place in PLACES {
        for stream in [false, true] {
            let fault = format!("stall-{place}:80");
            let begun = Instant::now();
            let mut connection = open(&engine, &fault, CHAT, &body(CHAT, stream)).await;
            let answer = timeout(LIMIT, read(&mut connection)).await.expect("it never ends");
            assert!(begun.elapsed() >= Duration::from_millis(80), "{fault}");
            if stream {
                assert_eq!(answer.events().last().unwrap(), "[DONE]", "{fault}");
            } else {
                assert!(answer.json()["choices"].is_array(), "{fault}");
            }
            assert_eq!(engine.seen().pop().unwrap().ended, Some(Ending::Completed), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stalled_answer_is_noticed() {
    let engine = engine().await;
    for fault in ["no-response", "stall-after-head", "stall-mid-event", "stall-between-events"] {
        let mut connection = open(&engine, fault, CHAT, &body(CHAT, true)).await;
        until_silence(&mut connection).await;
        let left = Instant::now();
        drop(connection);
        timeout(LIMIT, async {
            while engine.seen().pop().unwrap().ended.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("not noticed");
        match engine.seen().pop().unwrap().ended {
            Some(Ending::Aborted { at, .. }) => assert!(at.duration_since(left) < Duration::from_millis(100)),
            other => panic!("{fault}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn every_dialect_breaks_after_as_many_events_as_asked() {
    let engine = engine().await;
    for path in ALL_ROUTES {
        for count in [1, 4] {
            let fault = format!("close-between-events:{count}");
            let mut connection = open(&engine, &fault, path, &body(path, true)).await;
            let (came, _) = drain(&mut connection).await;
            assert_eq!(text(&came).matches("data: ").count(), count, "{path}");
        }
    }
}
