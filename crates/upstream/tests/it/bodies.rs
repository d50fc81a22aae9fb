//! Bodies in both directions: exact, paced, and answered early.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use upstream::{BodyError, OutBody, SendError};

use crate::server::*;

#[tokio::test]
async fn segments_arrive_byte_for_byte_under_their_length() {
    let (listener, target) = listen().await;
    let pool = pool();
    let parts: Vec<Bytes> = (0..100_usize)
        .map(|n| (0..n * 700).map(|i| (i * 31 + n) as u8).collect::<Vec<u8>>().into())
        .collect();
    let whole = parts.concat();
    let client = async {
        for _ in 0..2 {
            let answer = send(&pool, &target, with_body(OutBody::Segments(parts.clone().into())))
                .await
                .expect("answer");
            text(answer).await.expect("body");
        }
    };
    let server = async {
        let mut peer = accept(&listener).await;
        for _ in 0..2 {
            let got = peer.serve().await;
            assert!(got.head.starts_with("POST /base/v1/x?y=1 HTTP/1.1\r\n"), "{}", got.head);
            assert_eq!(got.header("host"), Some(target.host_header().to_str().expect("ascii")));
            assert_eq!(got.header("content-length"), Some(whole.len().to_string().as_str()));
            assert_eq!(got.header("content-type"), Some("application/json"));
            assert!(got.body == whole);
        }
    };
    both(client, server).await;
}

#[tokio::test]
async fn framing_is_the_pools_whatever_the_caller_left_in_the_headers() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let mut request = post("four");
        for (name, value) in [
            ("host", "evil"),
            ("content-length", "999"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
        ] {
            request.headers.insert(name, value.parse().expect("value"));
        }
        text(send(&pool, &target, request).await.expect("answer")).await.expect("body");
        let bare = with_body(OutBody::Empty);
        text(send(&pool, &target, bare).await.expect("answer")).await.expect("body");
        text(send(&pool, &target, get()).await.expect("answer")).await.expect("body");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        let got = peer.serve().await;
        assert_eq!(got.header("content-length"), Some("4"));
        assert_eq!((got.header("transfer-encoding"), got.header("connection")), (None, None));
        assert_ne!(got.header("host"), Some("evil"));
        assert_eq!(peer.serve().await.header("content-length"), Some("0"), "a POST says that it is empty");
        assert_eq!(peer.serve().await.header("content-length"), None, "a GET need not");
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_stream_flows_as_it_comes_chunked_or_under_its_length() {
    for length in [None, Some(9)] {
        let (listener, target) = listen().await;
        let pool = pool();
        let (pieces, request) = streamed(length);
        let client = async {
            let feed = async {
                for piece in ["one", "two", "six"] {
                    pieces.send(Ok(Bytes::from(piece))).await.expect("taken");
                }
                drop(pieces);
            };
            let (answer, ()) = both(send(&pool, &target, request), feed).await;
            text(answer.expect("answer")).await.expect("body");
            assert_eq!(pool.idle_connections(), 1);
        };
        let server = async {
            let mut peer = accept(&listener).await;
            let got = peer.serve().await;
            assert_eq!(got.body, b"onetwosix");
            assert_eq!(got.header("content-length"), length.map(|_| "9"));
            assert_eq!(got.header("transfer-encoding").is_some(), length.is_none());
            peer
        };
        both(client, server).await;
    }
}

#[tokio::test]
async fn a_stream_waits_for_an_upstream_that_does_not_read() {
    let (listener, target) = listen().await;
    let pool = pool();
    let given = Arc::new(AtomicUsize::new(0));
    let counter = given.clone();
    let endless = futures_util::stream::repeat_with(move || {
        counter.fetch_add(64 << 10, Ordering::Relaxed);
        Ok(Bytes::from_static(&[0; 64 << 10]))
    });
    let server = async {
        let peer = accept(&listener).await;
        let mut before = usize::MAX;
        while before != given.load(Ordering::Relaxed) {
            before = given.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What the two socket buffers hold; the source has no end.
        assert!(before < 64 << 20, "{before} bytes were taken");
        drop(peer);
    };
    tokio::select! {
        _ = pool.send(&target, from_stream(endless, None), &LIMITS) => panic!("nobody answered"),
        () = server => {}
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_waits_in_the_upstream() {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
        let mut written = 0_usize;
        while let Ok(n) =
            tokio::time::timeout(Duration::from_millis(200), peer.stream.write(&[0; 64 << 10])).await
        {
            written += n.expect("write");
            assert!(written < 64 << 20, "somebody reads");
        }
    };
    let (answer, ()) = both(send(&pool, &target, post("{}")), server).await;
    drop(answer);
}

#[tokio::test]
async fn frames_come_one_by_one_as_the_upstream_writes_them() {
    let (listener, target) = listen().await;
    let pool = pool();
    let (go, mut went) = tokio::sync::mpsc::channel::<()>(1);
    let client = async {
        let mut answer = send(&pool, &target, post("{}")).await.expect("answer");
        let mut seen = Vec::new();
        while let Some(frame) = answer.body.frame().await {
            seen.push(frame.expect("sound").into_data().expect("data"));
            let _ = go.send(()).await;
        }
        assert!(answer.body.is_end_stream());
        assert!(answer.body.frame().await.is_none(), "the end stays the end");
        assert_eq!(pool.idle_connections(), 1);
        seen
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for event in ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"] {
            // The next one is written only when the last one was received.
            peer.say(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await;
            went.recv().await.expect("received");
        }
        peer.say(b"0\r\n\r\n").await;
        peer
    };
    let (seen, _) = both(client, server).await;
    assert_eq!(seen, ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"]);
}

#[tokio::test]
async fn the_length_of_an_answer_is_known_ahead() {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer
    };
    let (answer, _peer) = both(send(&pool, &target, post("{}")), server).await;
    let body = answer.expect("answer").body;
    assert_eq!(body.size_hint().exact(), Some(2));
}

#[tokio::test]
async fn an_early_refusal_during_an_upload_is_the_answer() {
    let (listener, target) = listen().await;
    let pool = pool();
    let (pieces, request) = streamed(None);
    let client = async {
        pieces.send(Ok(Bytes::from_static(b"the first of many"))).await.expect("taken");
        // The source then stays silent, but does not end.
        let answer = send(&pool, &target, request).await.expect("answer");
        assert_eq!(answer.status, 413);
        assert_eq!(text(answer).await.expect("body"), "too large");
        assert_eq!(pool.idle_connections(), 0, "the upload is unfinished");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.head().await;
        peer.say(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 9\r\n\r\ntoo large").await;
        peer.closed().await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn an_early_refusal_is_read_though_the_upstream_slammed_the_door() {
    let (listener, target) = listen().await;
    let pool = pool();
    for _ in 0..50 {
        let endless = futures_util::stream::repeat_with(|| Ok(Bytes::from_static(&[0; 16 << 10])));
        let client = async {
            let answer = send(&pool, &target, from_stream(endless, None)).await.expect("answer");
            assert_eq!(answer.status, 413);
        };
        let server = async {
            let mut peer = accept(&listener).await;
            peer.head().await;
            // Closed with unread data: the kernel resets the connection.
            peer.say(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n").await;
        };
        both(client, server).await;
    }
    assert_eq!(pool.idle_connections(), 0);
}

#[tokio::test]
async fn an_early_refusal_is_read_though_the_next_write_finds_nobody() {
    use std::{io::Write, task::Poll};

    // Everything happens inside one poll of the body, between a look at the socket and a write to it:
    // the server answers and closes, and the write fails while the answer waits unread.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let target = target(listener.local_addr().expect("address"));
    let pool = pool();
    let mut step = 0;
    let pieces = futures_util::stream::poll_fn(move |cx| {
        step += 1;
        match step {
            1 => Poll::Ready(Some(Ok(Bytes::from_static(b"unread, so that the close is a reset")))),
            2 => {
                // Now what was given so far is written.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            3 => {
                let (mut server, _) = listener.accept().expect("accept");
                server
                    .write_all(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 9\r\n\r\ntoo large")
                    .expect("write");
                drop(server);
                Poll::Ready(Some(Ok(Bytes::from_static(b"written to nobody"))))
            }
            _ => Poll::Pending,
        }
    });
    let answer = send(&pool, &target, from_stream(pieces, None)).await.expect("answer");
    assert_eq!(answer.status, 413);
    assert_eq!(text(answer).await.expect("body"), "too large");
    assert_eq!(pool.idle_connections(), 0);
}

#[tokio::test]
async fn an_event_wakes_its_reader_once() {
    const EVENTS: usize = 50;
    let (listener, target) = listen().await;
    let pool = pool();
    let (go, mut went) = tokio::sync::mpsc::channel::<()>(1);
    let client = tokio::spawn(async move {
        let answer = send(&pool, &target, post("{}")).await.expect("answer");
        let mut body = answer.body;
        let (mut polls, mut events) = (0, 0);
        std::future::poll_fn(|cx| {
            polls += 1;
            while let std::task::Poll::Ready(frame) = std::pin::Pin::new(&mut body).poll_frame(cx) {
                match frame {
                    Some(frame) => drop(frame.expect("sound")),
                    None => return std::task::Poll::Ready(()),
                }
                events += 1;
                go.try_send(()).expect("room");
            }
            std::task::Poll::Pending
        })
        .await;
        (polls, events)
    });
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..EVENTS {
            peer.say(b"a\r\ndata: {}\n\n\r\n").await;
            went.recv().await.expect("received");
        }
        peer.say(b"0\r\n\r\n").await;
        peer
    };
    let (counts, _) = both(client, server).await;
    let (polls, events) = counts.expect("client");
    assert_eq!(events, EVENTS);
    assert!(polls < EVENTS * 3 / 2, "{polls} polls for {events} events");
}

#[tokio::test]
async fn a_request_body_that_fails_is_its_senders_fault() {
    let (listener, target) = listen().await;
    let pool = pool();
    let (pieces, request) = streamed(None);
    let client = async {
        pieces.send(Ok(Bytes::from_static(b"half"))).await.expect("taken");
        let feed = async { pieces.send(Err("the client hung up".into())).await.expect("taken") };
        let (result, ()) = both(send(&pool, &target, request), feed).await;
        let error = result.expect_err("failed");
        assert!(matches!(error, SendError::ClientBody(_)) && error.is_callers(), "{error:?}");
        assert!(error.sentence().contains("the client hung up"), "{error}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.head().await;
        peer.closed().await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_request_body_shorter_than_announced_is_its_senders_fault() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let pieces = futures_util::stream::iter([Ok(Bytes::from_static(b"half"))]);
        let error = send(&pool, &target, from_stream(pieces, Some(8))).await.expect_err("failed");
        assert!(matches!(error, SendError::ClientBody(_)), "{error:?}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        assert!(peer.request().await.is_none());
    };
    both(client, server).await;
}

#[tokio::test]
async fn an_upload_that_fails_during_the_answer_is_its_senders_fault() {
    let (listener, target) = listen().await;
    let pool = pool();
    let (pieces, request) = streamed(None);
    let client = async {
        let answer = send(&pool, &target, request).await.expect("answer");
        let feed = async { pieces.send(Err("the client hung up".into())).await.expect("taken") };
        let (result, ()) = both(text(answer), feed).await;
        let error = result.expect_err("failed");
        assert!(matches!(error, BodyError::ClientBody(_)) && error.is_callers(), "{error:?}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.head().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfour").await;
        peer.closed().await;
    };
    both(client, server).await;
}
