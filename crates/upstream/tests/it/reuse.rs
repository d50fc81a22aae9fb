//! When a connection serves again, and when it must not.

use std::time::Duration;

use bytes::Bytes;
use upstream::{Limits, OutBody, Pool, PoolSettings, SendError};

use crate::server::*;

#[tokio::test]
async fn a_connection_read_to_its_end_serves_the_next_request() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        for round in 0..3 {
            let answer = send(&pool, &target, post("{}")).await.expect("answer");
            assert_eq!(answer.status, 200);
            assert_eq!(answer.reused, round > 0);
            assert_eq!(answer.connected_in.is_some(), round == 0);
            assert_eq!(text(answer).await.expect("body"), "ok");
            assert_eq!(pool.idle_connections(), 1);
        }
    };
    let server = async {
        let mut peer = accept(&listener).await;
        for _ in 0..3 {
            peer.serve().await;
        }
        peer
    };
    both(client, server).await;
    nobody(&listener).await;
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_free_at_once() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let empty = send(&pool, &target, get()).await.expect("answer");
        assert_eq!((empty.status.as_u16(), pool.idle_connections()), (204, 1));
        let mut request = get();
        request.method = http::Method::HEAD;
        let head = send(&pool, &target, request).await.expect("answer");
        assert!(head.reused);
        assert_eq!(head.headers["content-length"], "99");
        assert!(send(&pool, &target, get()).await.expect("answer").reused);
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n").await;
        peer.serve().await;
        peer
    };
    both(client, server).await;
}

#[tokio::test]
async fn two_targets_never_share_a_connection() {
    let (listener, one) = listen().await;
    let two = target(listener.local_addr().expect("address"));
    let pool = pool();
    let client = async {
        text(send(&pool, &one, get()).await.expect("answer")).await.expect("body");
        let other = send(&pool, &two, get()).await.expect("answer");
        assert!(!other.reused);
    };
    let server = async { (accept(&listener).await.serve().await, accept(&listener).await.serve().await) };
    both(client, server).await;
    pool.forget(&one);
    assert_eq!(pool.idle_connections(), 0);
}

#[tokio::test]
async fn a_connection_that_says_close_is_not_kept() {
    for head in
        ["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2", "HTTP/1.0 200 OK\r\ncontent-length: 2"]
    {
        let (listener, target) = listen().await;
        let pool = pool();
        let client = async {
            let answer = send(&pool, &target, post("{}")).await.expect("answer");
            assert_eq!(text(answer).await.expect("body"), "ok");
            assert_eq!(pool.idle_connections(), 0);
        };
        let server = async {
            let mut peer = accept(&listener).await;
            peer.request().await;
            peer.say(format!("{head}\r\n\r\nok").as_bytes()).await;
            peer.closed().await;
        };
        both(client, server).await;
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_read_whole() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        let answer = send(&pool, &target, post("{}")).await.expect("answer");
        assert_eq!(text(answer).await.expect("body"), "until the end");
        assert_eq!(pool.idle_connections(), 0);
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_nothing_even_a_stream() {
    let (listener, target) = listen().await;
    let pool = pool();
    let first = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
    };
    let served = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer
    };
    let ((), peer) = both(first, served).await;
    assert_eq!(pool.idle_connections(), 1);
    drop(peer);
    // The runtime learns of the close when it looks at its sockets, which it does before it sleeps.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(pool.idle_connections(), 1, "not yet looked through");
    let client = async {
        let pieces = futures_util::stream::iter([Ok(Bytes::from_static(b"whole"))]);
        let answer = send(&pool, &target, from_stream(pieces, None)).await.expect("answer");
        assert!(!answer.reused);
        text(answer).await.expect("body")
    };
    let (_, got) = both(client, async { accept(&listener).await.serve().await }).await;
    assert_eq!(got.body, b"whole");
}

#[tokio::test]
async fn a_goodbye_on_an_idle_connection_is_not_taken_for_an_answer() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let answer = send(&pool, &target, post("2")).await.expect("answer");
        assert_eq!((answer.status.as_u16(), answer.reused), (200, false));
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await;
        (accept(&listener).await.serve().await, peer)
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_reused_connection_that_dies_before_a_byte_is_replaced_once() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        let request =
            with_body(OutBody::Segments([Bytes::from("se"), Bytes::from("cond")].into_iter().collect()));
        let answer = send(&pool, &target, request).await.expect("answer");
        assert!(!answer.reused);
        assert_eq!(text(answer).await.expect("body"), "ok");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        let lost = peer.request().await.expect("the second request");
        drop(peer);
        let again = accept(&listener).await.serve().await;
        assert_eq!(lost.body, b"second");
        assert_eq!((again.head, again.body), (lost.head, lost.body));
    };
    both(client, server).await;
}

#[tokio::test]
async fn a_replacement_that_dies_too_is_the_end() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        let error = send(&pool, &target, post("2")).await.expect_err("both died");
        assert!(matches!(error, SendError::Reset { .. }), "{error:?}");
        assert!(error.sentence().contains("before answering"), "{error}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer.request().await;
        drop(peer);
        accept(&listener).await.request().await;
    };
    both(client, server).await;
    nobody(&listener).await;
}

#[tokio::test]
async fn a_stream_gets_a_connection_of_its_own_and_is_not_sent_again() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        let pieces = futures_util::stream::iter([Ok(Bytes::from_static(b"once"))]);
        let error = send(&pool, &target, from_stream(pieces, Some(4))).await.expect_err("died");
        assert!(matches!(error, SendError::Reset { .. }), "{error:?}");
        // what was kept is there for who can lose it
        assert!(send(&pool, &target, post("2")).await.expect("answer").reused);
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        assert_eq!(accept(&listener).await.request().await.expect("request").body, b"once");
        peer.serve().await;
    };
    both(client, server).await;
    nobody(&listener).await;
}

#[tokio::test]
async fn a_reused_connection_that_dies_inside_the_head_is_not_replaced() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        let error = send(&pool, &target, post("2")).await.expect_err("cut");
        assert!(matches!(error, SendError::Reset { .. }), "{error:?}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200").await;
    };
    both(client, server).await;
    nobody(&listener).await;
}

#[tokio::test]
async fn an_idle_connection_past_its_time_is_not_used() {
    let (listener, target) = listen().await;
    let pool = pool();
    let limits = Limits { idle_pool: Duration::from_millis(30), ..LIMITS };
    let client = async {
        let first = pool.send(&target, post("1"), &limits).await.expect("answer");
        text(first).await.expect("body");
        tokio::time::sleep(Duration::from_millis(40)).await;
        let second = pool.send(&target, post("2"), &limits).await.expect("answer");
        assert!(!second.reused);
        text(second).await.expect("body");
    };
    let server = async {
        let mut first = accept(&listener).await;
        first.serve().await;
        first.closed().await;
        let mut second = accept(&listener).await;
        second.serve().await;
        // Nothing more is sent: the pool's own round closes this one.
        second.closed().await;
    };
    both(client, server).await;
    assert_eq!(pool.idle_connections(), 0);
}

#[tokio::test]
async fn a_connection_closed_by_the_server_does_not_linger_in_the_pool() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer
    };
    let ((), peer) = both(client, server).await;
    assert_eq!(pool.idle_connections(), 1);
    drop(peer);
    let emptied = async {
        while pool.idle_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, emptied).await.expect("the pool's own round finds it");
}

#[tokio::test]
async fn no_more_than_the_allowed_number_stays_idle() {
    let (listener, target) = listen().await;
    let pool = Pool::new(PoolSettings { max_idle_per_target: 2, ..PoolSettings::default() });
    let client = async {
        let sends = (0..5).map(|_| async { send(&pool, &target, post("{}")).await.expect("answer") });
        let answers = futures_util::future::join_all(sends).await;
        for answer in answers {
            text(answer).await.expect("body");
        }
        assert_eq!(pool.idle_connections(), 2);
    };
    let server = async {
        let mut peers = Vec::new();
        for _ in 0..5 {
            peers.push(accept(&listener).await);
        }
        for peer in &mut peers {
            peer.serve().await;
        }
        let mut closed = 0;
        for peer in &mut peers {
            closed +=
                usize::from(tokio::time::timeout(Duration::from_millis(50), peer.closed()).await.is_ok());
        }
        assert_eq!(closed, 3);
    };
    both(client, server).await;
}

#[tokio::test]
async fn dropping_the_pool_closes_its_idle_connections() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async move {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        drop(pool);
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer.closed().await;
    };
    both(client, server).await;
}
