//! Who leaves takes the upstream connection with them, at once, in every phase.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use upstream::{OutBody, Target};

use crate::server::*;

/// What the gateway promises.
const SOON: Duration = Duration::from_millis(100);

/// Drives `client` beside `server` until the server is where it wants to be, drops the client there,
/// and requires that the server sees the close soon.
async fn leaves<S, C>(client: C, server: impl Future<Output = Peer<S>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    C: Future,
{
    let mut client = Box::pin(client);
    let mut peer = tokio::select! {
        _ = &mut client => panic!("the client ended by itself"),
        peer = server => peer,
        () = tokio::time::sleep(LONG) => panic!("the server never got there"),
    };
    let left = Instant::now();
    drop(client);
    let took = peer.closed().await.duration_since(left);
    assert!(took < SOON, "closed after {took:?}");
}

#[tokio::test]
async fn while_the_tls_handshake_waits() {
    let (listener, plain) = listen().await;
    let url = format!("https://127.0.0.1:{}", plain.port());
    let target = std::sync::Arc::new(Target::parse(&url).expect("url"));
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        let mut hello = [0; 16];
        peer.stream.read_exact(&mut hello).await.expect("a hello");
        peer
    };
    leaves(pool.send(&target, get(), &LIMITS), server).await;
}

#[tokio::test]
async fn while_uploading_a_stream_that_waits_for_its_source() {
    let (listener, target) = listen().await;
    let pool = pool();
    let (pieces, request) = streamed(None);
    let client = async {
        let feed = async {
            pieces.send(Ok(Bytes::from_static(b"some"))).await.expect("taken");
            std::future::pending::<()>().await;
        };
        futures_util::future::join(pool.send(&target, request, &LIMITS), feed).await
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.head().await;
        peer
    };
    leaves(client, server).await;
}

#[tokio::test]
async fn while_uploading_to_a_server_that_does_not_read() {
    let (listener, target) = listen().await;
    let pool = pool();
    let big = OutBody::Segments([Bytes::from(vec![7; 64 << 20])].into_iter().collect());
    let server = async {
        let mut peer = accept(&listener).await;
        peer.head().await;
        peer
    };
    leaves(pool.send(&target, with_body(big), &LIMITS), server).await;
}

#[tokio::test]
async fn while_waiting_for_the_head() {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer
    };
    leaves(pool.send(&target, post("{}"), &LIMITS), server).await;
}

#[tokio::test]
async fn while_waiting_for_the_head_on_a_reused_connection() {
    let (listener, target) = listen().await;
    let pool = pool();
    let first = async { text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body") };
    let (_, mut peer) = both(first, async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer
    })
    .await;
    let server = async move {
        peer.request().await;
        peer
    };
    leaves(pool.send(&target, post("2"), &LIMITS), server).await;
}

#[tokio::test]
async fn inside_the_head() {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-ty").await;
        peer
    };
    leaves(pool.send(&target, post("{}"), &LIMITS), server).await;
}

#[tokio::test]
async fn between_the_head_and_the_first_event() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let answer = pool.send(&target, post("{}"), &LIMITS).await.expect("answer");
        text(answer).await
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        peer
    };
    leaves(client, server).await;
}

#[tokio::test]
async fn between_events_and_inside_one() {
    for piece in ["6\r\ndata: \r\n", "ff\r\ndata: "] {
        let (listener, target) = listen().await;
        let pool = pool();
        let (arrived, seen) = tokio::sync::oneshot::channel();
        let client = async {
            let mut answer = pool.send(&target, post("{}"), &LIMITS).await.expect("answer");
            let frame = answer.body.frame().await.expect("a frame").expect("sound");
            assert_eq!(frame.data_ref().expect("data"), "data: ");
            arrived.send(()).expect("the server waits");
            answer.body.frame().await
        };
        let server = async {
            let mut peer = accept(&listener).await;
            peer.request().await;
            peer.say(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{piece}").as_bytes())
                .await;
            seen.await.expect("the frame arrives");
            peer
        };
        leaves(client, server).await;
    }
}

#[tokio::test]
async fn with_a_body_that_nobody_ever_asked_for() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let answer = send(&pool, &target, post("{}")).await.expect("answer");
        let left = Instant::now();
        drop(answer);
        left
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\nxx").await;
        peer.closed().await
    };
    let (left, closed) = both(client, server).await;
    assert!(closed.duration_since(left) < SOON);
    assert_eq!(pool.idle_connections(), 0);
}

#[tokio::test]
async fn before_the_first_poll_there_is_nothing_to_close() {
    let (listener, target) = listen().await;
    let pool = pool();
    drop(pool.send(&target, post("{}"), &LIMITS));
    assert!(pool.send(&target, post("{}"), &LIMITS).now_or_never().is_none());
    let mut peer = accept(&listener).await;
    assert!(peer.request().await.is_none(), "closed before a request was written");
}

#[tokio::test]
async fn a_task_that_is_aborted_takes_its_connection_with_it() {
    let (listener, target) = listen().await;
    let task = tokio::spawn(async move {
        let answer = pool().send(&target, post("{}"), &LIMITS).await.expect("answer");
        text(answer).await
    });
    let mut peer = accept(&listener).await;
    peer.request().await;
    peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    let left = Instant::now();
    task.abort();
    assert!(peer.closed().await.duration_since(left) < SOON);
}
