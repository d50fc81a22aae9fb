//! What is not HTTP, what does not come, and what is not there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use upstream::{BodyError, ConnectFault, Limits, SendError, Target};

use crate::server::*;

/// The error for an upstream that answers with these bytes and closes.
async fn answered_with(bytes: &[u8]) -> SendError {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(bytes).await;
    };
    let (result, ()) = both(send(&pool, &target, post("{}")), server).await;
    result.expect_err("no answer")
}

/// The text until the error, for an upstream that answers with these bytes and closes.
async fn body_of(bytes: &[u8]) -> Result<String, BodyError> {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(bytes).await;
    };
    let client = async { text(send(&pool, &target, post("{}")).await.expect("answer")).await };
    let (result, ()) = both(client, server).await;
    assert_eq!(pool.idle_connections(), 0);
    result
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let error = send(&pool(), &target(address), post("{}")).await.expect_err("refused");
    assert!(matches!(error, SendError::Connect { fault: ConnectFault::Refused, .. }), "{error:?}");
    assert!(!error.timed_out());
    assert_eq!(error.sentence(), format!("connection to {address} refused: no server listens there"));
}

#[tokio::test]
async fn a_name_without_an_address() {
    let target = Arc::new(Target::parse("http://no..such..name:8000").expect("url"));
    let error = send(&pool(), &target, post("{}")).await.expect_err("unknown");
    assert!(matches!(error, SendError::Connect { fault: ConnectFault::Dns, .. }), "{error:?}");
    assert!(error.sentence().contains("no..such..name:8000"), "{error}");
}

#[tokio::test]
async fn a_name_is_resolved_and_both_families_are_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let target = Arc::new(Target::parse(&format!("http://localhost:{port}")).expect("url"));
    let pool = pool();
    let client = async { text(send(&pool, &target, get()).await.expect("answer")).await.expect("body") };
    let server = async { accept(&listener).await.serve().await };
    let (_, got) = both(client, server).await;
    assert_eq!(got.header("host"), Some(format!("localhost:{port}").as_str()));
}

#[tokio::test]
async fn nobody_accepts() {
    // A listener whose queue is full drops further attempts without an answer.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("address").into()).expect("bind");
    full.listen(0).expect("listen");
    let address = full.local_addr().expect("address").as_socket().expect("inet");
    let mut queued = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream.expect("queued"));
        assert!(queued.len() < 64, "the queue never fills");
    }
    let limits = Limits { connect: Duration::from_millis(100), ..LIMITS };
    let began = std::time::Instant::now();
    let error = pool().send(&target(address), post("{}"), &limits).await.expect_err("no connection");
    assert!(matches!(error, SendError::ConnectTimeout { .. }) && error.timed_out(), "{error:?}");
    assert_eq!(error.sentence(), format!("no connection to {address} within 100 ms"));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn no_head_in_time_closes_the_connection() {
    let (listener, target) = listen().await;
    let limits = Limits { first_byte: Duration::from_millis(50), ..LIMITS };
    let pool = pool();
    let client = async {
        let error = pool.send(&target, post("{}"), &limits).await.expect_err("silence");
        assert!(matches!(error, SendError::FirstByteTimeout { .. }) && error.timed_out(), "{error:?}");
        assert!(error.sentence().contains("within 50 ms"), "{error}");
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.closed().await;
    };
    both(client, server).await;
    nobody(&listener).await;
}

#[tokio::test]
async fn no_head_in_time_on_a_reused_connection_is_not_tried_again() {
    let (listener, target) = listen().await;
    let limits = Limits { first_byte: Duration::from_millis(50), ..LIMITS };
    let pool = pool();
    let client = async {
        text(send(&pool, &target, post("1")).await.expect("answer")).await.expect("body");
        pool.send(&target, post("2"), &limits).await.expect_err("silence").timed_out()
    };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.serve().await;
        peer.closed().await;
    };
    assert!(both(client, server).await.0);
    nobody(&listener).await;
}

#[tokio::test]
async fn the_connection_ends_before_a_head() {
    let error = answered_with(b"").await;
    assert!(matches!(error, SendError::Reset { .. }), "{error:?}");
    assert!(error.sentence().ends_with("not a byte of a response came"), "{error}");
    let error = answered_with(b"HTTP/1.1 200 OK\r\ncontent-type: te").await;
    assert!(matches!(error, SendError::Reset { .. }), "{error:?}");
    assert!(error.sentence().ends_with("the response head was cut off"), "{error}");
}

#[tokio::test]
async fn what_comes_is_not_http() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x0a plus some more",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let error = answered_with(bytes).await;
        assert!(matches!(error, SendError::InvalidHead { .. }), "{:?}: {error:?}", bytes.escape_ascii());
        assert!(error.sentence().contains("valid HTTP"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_not_http() {
    let (listener, target) = listen().await;
    let pool = pool();
    let server = async {
        let mut peer = accept(&listener).await;
        peer.say(b"220 mail ready\r\n").await;
        peer.closed().await;
    };
    let (result, _) = both(send(&pool, &target, post("{}")), server).await;
    let error = result.expect_err("no answer");
    assert!(matches!(error, SendError::InvalidHead { .. }), "{error:?}");
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let endless = format!("HTTP/1.1 200 OK\r\nx-pad: {}", "a".repeat(200_000));
    let error = answered_with(endless.as_bytes()).await;
    assert!(matches!(error, SendError::InvalidHead { .. }), "{error:?}");
    assert!(error.sentence().contains("64 KiB"), "{error}");
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let error = answered_with(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()).await;
    assert!(matches!(error, SendError::InvalidHead { .. }), "{error:?}");
}

#[tokio::test]
async fn informational_heads_are_skipped() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nreal";
    assert_eq!(body_of(bytes).await.expect("sound"), "real");
}

#[tokio::test]
async fn a_body_cut_short_is_no_clean_end() {
    let known = body_of(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert!(matches!(known, Err(BodyError::Cut)), "{known:?}");
    let between = body_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    assert!(matches!(between, Err(BodyError::Cut)), "{between:?}");
    let inside = body_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf").await;
    assert!(matches!(inside, Err(BodyError::Cut)), "{inside:?}");
}

#[tokio::test]
async fn chunks_that_are_none_are_invalid() {
    let bad = body_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n").await;
    assert!(matches!(bad, Err(BodyError::Invalid { .. })), "{bad:?}");
}

#[tokio::test]
async fn a_reset_inside_a_body_is_no_clean_end() {
    let (listener, target) = listen().await;
    let pool = pool();
    let client = async { text(send(&pool, &target, post("{}")).await.expect("answer")).await };
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await;
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        // Closing with a linger of zero sends a reset.
        socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    };
    let (result, ()) = both(client, server).await;
    assert!(matches!(result, Err(BodyError::Reset { .. })), "{result:?}");
}

#[tokio::test]
async fn a_path_that_no_url_may_hold_sends_nothing() {
    let (listener, target) = listen().await;
    for path in ["/a b", "no-slash", "/line\nbreak", ""] {
        let mut request = post("{}");
        request.path_and_query = path.into();
        let error = send(&pool(), &target, request).await.expect_err("refused");
        assert!(matches!(error, SendError::InvalidRequest(_)) && error.is_callers(), "{path:?}: {error:?}");
    }
    nobody(&listener).await;
}
