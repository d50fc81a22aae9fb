//! The load generator against the mock upstream, over loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::dialect::Dialect;

async fn mock() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::mock::serve(listener));
    address
}

async fn outcome(plan: Plan) -> (Outcome, usize) {
    let opened = Arc::new(AtomicUsize::new(0));
    let heard = opened.clone();
    let crew = Crew::gather(plan).await.unwrap();
    let outcome = crew
        .work(Arc::new(move || {
            heard.fetch_add(1, Ordering::Relaxed);
        }))
        .await;
    (outcome, opened.load(Ordering::Relaxed))
}

#[tokio::test]
async fn calls_are_made_as_often_as_planned_in_every_dialect() {
    let address = mock().await;
    for dialect in Dialect::ALL {
        let plan = Plan {
            dialect,
            connections: 4,
            calls: 50,
            warm: 2,
            limit: Duration::from_secs(20),
            ..Plan::one_call(address, "vllm/bench")
        };
        let (outcome, opened) = outcome(plan).await;
        assert_eq!((outcome.calls, outcome.failed, outcome.capped, opened), (50, 0, false, 1), "{outcome:?}");
        assert_eq!(outcome.bytes, 50 * 932);
        assert!(outcome.latency.p50 > 0.0 && outcome.latency.max >= outcome.latency.p99);
    }
}

#[tokio::test]
async fn every_event_of_a_stream_is_counted() {
    let address = mock().await;
    for (dialect, around) in [(Dialect::Chat, 3), (Dialect::Responses, 5), (Dialect::Messages, 5)] {
        let plan = Plan {
            dialect,
            events: Some(20),
            connections: 3,
            calls: 6,
            warm: 1,
            limit: Duration::from_secs(20),
            ..Plan::one_call(address, "bench")
        };
        let (outcome, _) = outcome(plan).await;
        assert_eq!((outcome.calls, outcome.failed, outcome.events), (6, 0, 6 * (20 + around)), "{outcome:?}");
    }
}

#[tokio::test]
async fn streams_that_open_at_once_are_told_when_all_are_open() {
    let plan = Plan {
        events: Some(3),
        pause: Duration::from_millis(10),
        shape: Shape::AtOnce,
        connections: 200,
        calls: 200,
        limit: Duration::from_secs(20),
        ..Plan::one_call(mock().await, "bench-10ms")
    };
    let (outcome, opened) = outcome(plan).await;
    assert_eq!((outcome.calls, outcome.failed, opened), (200, 0, 1), "{outcome:?}");
    assert!(outcome.seconds >= 0.03, "{outcome:?}");
}

#[tokio::test]
async fn a_slow_client_takes_little_of_a_large_answer() {
    let plan = Plan {
        shape: Shape::Slow { bytes_per_second: 1024 },
        connections: 5,
        calls: 5,
        limit: Duration::from_secs(1),
        ..Plan::one_call(mock().await, "bench-1024k")
    };
    let (outcome, opened) = outcome(plan).await;
    assert_eq!((outcome.calls, outcome.failed, opened), (5, 0, 1), "{outcome:?}");
    assert!(outcome.bytes <= 5 * 2 * 1024, "{outcome:?}");
}

#[tokio::test]
async fn a_load_ends_when_its_time_is_over() {
    let plan =
        Plan { calls: u64::MAX, limit: Duration::from_secs(1), ..Plan::one_call(mock().await, "bench") };
    let (outcome, _) = outcome(plan).await;
    assert!(outcome.capped && outcome.calls > 0 && outcome.failed == 0, "{outcome:?}");
}

#[tokio::test]
async fn failures_are_counted_and_the_first_is_told() {
    let plan = Plan { calls: 3, ..Plan::one_call(mock().await, "no-such-model") };
    let (outcome, _) = outcome(plan).await;
    assert_eq!((outcome.calls, outcome.failed), (0, 3));
    assert!(outcome.first_failure.unwrap().starts_with("status 404: {\"error\""));
}

/// A server that answers each connection with these bytes and closes.
async fn closing(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_cut_answer_is_no_answer() {
    for (answer, events, expect) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", None, "closed after 3 bytes"),
        ("HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", Some(5), "after 1 events without its marker"),
        ("", None, "closed before an answer"),
    ] {
        let plan = Plan { events, calls: 1, ..Plan::one_call(closing(answer).await, "bench") };
        let (outcome, _) = outcome(plan).await;
        let told = outcome.first_failure.unwrap();
        assert!(told.contains(expect), "{told}");
    }
    let plan = Plan { calls: 2, ..Plan::one_call(closing("HTTP/1.1 200 OK\r\n\r\nwhole").await, "bench") };
    assert_eq!(outcome(plan).await.0.calls, 2);
}
