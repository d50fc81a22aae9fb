//! The edges of the listener, one test at least for each.
//!
//! | Edge | Test |
//! |---|---|
//! | bind address | [`it_listens_where_it_is_told_and_nowhere_else`] |
//! | HTTP/1.1 | `edges::one_connection_serves_many_requests_and_pipelines` |
//! | TLS | [`tls_carries_http_1_1_and_plain_http_is_told_so`], [`a_tls_session_is_resumed`], [`a_certificate_that_cannot_be_used_stops_the_start`] |
//! | HTTP/2 by ALPN | [`http_2_is_settled_by_alpn`] |
//! | HTTP/2 by prior knowledge | [`http_2_is_known_by_its_first_bytes_on_the_same_port`] |
//! | many requests on one connection | [`a_hundred_streams_share_a_connection`], [`heads_of_http_2_are_bounded`] |
//! | trusted proxies | [`a_client_has_the_address_that_a_trusted_proxy_saw`]; what no client can do: `http::forwarded` |
//! | header timeout | `slow_clients::a_head_that_drips_in_is_given_up`, [`a_head_of_http_2_that_never_ends_is_given_up`] |
//! | body-idle timeout | `slow_clients::a_body_that_stops_arriving_is_given_up_and_goes_nowhere`, [`a_body_that_stops_arriving_ends_its_stream_alone`] |
//! | write-stall timeout | `slow_clients::a_client_that_stops_reading_is_given_up`, [`a_stream_that_is_not_read_is_given_up_alone`] |
//! | idle timeout | `slow_clients::a_connection_without_a_request_is_closed_and_one_with_is_not`, [`a_connection_without_streams_is_closed`] |
//! | leaving | `leaving::*`, [`a_stream_that_is_reset_closes_its_upstream_alone`] |
//! | shutdown | `shutdown::*`, [`streams_finish_when_the_gateway_ends`] |
//! | `traceparent` | `headers::only_named_headers_go_upstream`, [`http_2_is_known_by_its_first_bytes_on_the_same_port`] |
//! | request bytes in memory | `limits::request_bytes_in_memory_are_bounded_for_all_calls_together` |

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rustls::HandshakeKind;
use serde_json::Value;
use testkit::{Connection, Gate, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Setup, TestGateway};
use crate::peer::{Asked, Certificate, Http2, piece, post, rest, shake, talk};
use crate::vllm::{self, ASK, ASK_STREAM, DELTA, FIRST, LAST, PROBES, REPLY, USAGE, events};

const CHAT: &str = "/v1/chat/completions";

/// Within this time a connection whose clock ran out must be gone.
const SOON: Duration = Duration::from_secs(5);

/// A stream that never ends by itself.
fn endless() -> Reply {
    Reply::sse().event(FIRST).forever(format!("data: {DELTA}\n\n").repeat(50), Duration::ZERO)
}

fn with_tls(setup: Setup, certificate: &Certificate) -> Setup {
    certificate.write(setup.folder());
    setup.env("FERROVIA_TLS_CERT_FILE", "cert.pem").env("FERROVIA_TLS_KEY_FILE", "key.pem")
}

#[tokio::test]
async fn it_listens_where_it_is_told_and_nowhere_else() {
    let gateway = TestGateway::setup().env("FERROVIA_HOST", "127.0.0.2").start().await;
    assert!(gateway.address().starts_with("127.0.0.2:"), "{}", gateway.address());
    assert_eq!(gateway.get("/health").await.status, 200);
    let elsewhere = gateway.address().replace("127.0.0.2", "127.0.0.1");
    assert!(Connection::try_open(&elsewhere).await.is_err(), "it listens on {elsewhere} too");
}

#[tokio::test]
async fn tls_carries_http_1_1_and_plain_http_is_told_so() {
    let upstream = vllm::talking().await;
    let certificate = Certificate::new();
    let setup = TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_HEADER_TIMEOUT", "1500ms");
    let gateway = with_tls(setup, &certificate).start().await;
    let line = gateway.line("where it listens", |line| line["message"] == "listening").await;
    assert_eq!(line["url"], format!("https://{}", gateway.address()), "{line}");

    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{ASK}", ASK.len());
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = certificate.connect(gateway.address(), alpn).await.expect("a handshake");
        let said = talk(stream, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("Hello"), "{alpn:?}: {said}");
    }
    assert!(
        Certificate::new().connect(gateway.address(), &[]).await.is_err(),
        "another certificate is refused"
    );
    assert!(certificate.connect(gateway.address(), &["spdy/3"]).await.is_err(), "nothing that both speak");

    let plain = TcpStream::connect(gateway.address()).await.unwrap();
    let said = talk(plain, request.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("https://"), "{said}");
    // neither garbage nor silence keeps a connection
    for bytes in [&b"\x00garbage"[..], b"\x16\x03\x01", b""] {
        let began = Instant::now();
        let stranger = TcpStream::connect(gateway.address()).await.unwrap();
        assert_eq!(talk(stranger, bytes).await.len() / 64, 0, "at most an alert");
        assert!(began.elapsed() < SOON * 2, "{bytes:?}: {:?}", began.elapsed());
    }
    let log = gateway.log_text();
    assert!(!log.contains("connection ended"), "a handshake that fails is nobody's business:\n{log}");

    let health = Command::new(env!("CARGO_BIN_EXE_ferrovia"))
        .args(["health", "--timeout", "15s"])
        .env_clear()
        .envs([
            ("PORT", gateway.address().rsplit(':').next().unwrap_or_default()),
            ("FERROVIA_HOST", "127.0.0.1"),
            ("FERROVIA_TLS_CERT_FILE", "cert.pem"),
            ("FERROVIA_TLS_KEY_FILE", "key.pem"),
        ])
        .current_dir(gateway.folder())
        .output()
        .expect("the binary can be started");
    assert!(health.status.success(), "{health:?}");
}

#[tokio::test]
async fn a_tls_session_is_resumed() {
    let certificate = Certificate::new();
    let gateway = with_tls(TestGateway::setup(), &certificate).start().await;
    let client = certificate.client(&["http/1.1"]);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = shake(&client, gateway.address()).await.expect("a handshake");
        kinds.push(stream.get_ref().1.handshake_kind());
        // the ticket comes with the first answer
        let said = talk(&mut stream, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    Certificate::new().write(folder.path());
    let other = tempfile::tempdir().expect("a folder");
    Certificate::new().write(other.path());
    let foreign = other.path().join("key.pem").display().to_string();
    for (command, cert, key, parts) in [
        ("serve", "cert.pem", foreign.as_str(), ["server.tls", "does not belong"]),
        ("check", "cert.pem", foreign.as_str(), ["server.tls", "does not belong"]),
        ("serve", "missing.pem", "key.pem", ["server.tls.cert_file", "missing.pem cannot be read"]),
        ("serve", "cert.pem", "cert.pem", ["server.tls.key_file", "no private key"]),
        ("serve", "cert.pem", "", ["server.tls.cert_file", "FERROVIA_TLS_KEY_FILE"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ferrovia"))
            .arg(command)
            .env_clear()
            .envs([("PORT", "0"), ("FERROVIA_HOST", "127.0.0.1"), ("LOG_FORMAT", "json")])
            .envs([("FERROVIA_TLS_CERT_FILE", cert), ("FERROVIA_TLS_KEY_FILE", key)])
            .current_dir(folder.path())
            .output()
            .expect("the binary can be started");
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{command} {cert} {key}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{command} {cert} {key}: {said}");
        assert!(!said.contains("-----BEGIN"), "no key is shown: {said}");
    }
}

#[tokio::test]
async fn http_2_is_settled_by_alpn() {
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then(Reply::json(200, REPLY)).then(vllm::stream());
    let certificate = Certificate::new();
    let gateway = with_tls(TestGateway::setup().vllm("vllm", &upstream), &certificate).start().await;
    let stream = certificate.connect(gateway.address(), &["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2::with(&h2::client::Builder::new(), stream).await;
    let answer = client.post(CHAT, "r-1", ASK).await.whole().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("Hello"), "{}", answer.text);
    let answer = client.post(CHAT, "r-2", ASK_STREAM).await.whole().await;
    assert_eq!(answer.text, events(&[FIRST, DELTA, LAST, USAGE, "[DONE]"]));
    assert_eq!(gateway.call_line("r-2").await["outcome"], "complete");
}

#[tokio::test]
async fn http_2_is_known_by_its_first_bytes_on_the_same_port() {
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then(vllm::stream().header("keep-alive", "timeout=5"));
    let gateway = TestGateway::before(&upstream).await;
    let mut client = Http2::plain(gateway.address()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = post(CHAT, "r-1").header("traceparent", trace);
    let answer = client.begin(request, Some(ASK_STREAM)).await.whole().await;
    assert_eq!((answer.status.as_u16(), answer.text), (200, events(&[FIRST, DELTA, LAST, USAGE, "[DONE]"])));
    for name in ["connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"] {
        assert!(!answer.headers.contains_key(name), "{name} of {:?}", answer.headers);
    }
    assert_eq!(answer.headers.get("x-request-id").map(|id| id.as_bytes()), Some(&b"r-1"[..]));
    let received = upstream.requests().pop().unwrap();
    assert_eq!(received.header("traceparent"), Some(trace));
    assert_eq!(received.body, ASK_STREAM.as_bytes());
    assert_eq!(gateway.call_line("r-1").await["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    // the rest of the API, and HTTP/1.1 beside it
    assert_eq!(client.get("/health").await.text, r#"{"status":"ok"}"#);
    assert_eq!(client.get("/v1/nothing").await.status, 404);
    assert_eq!(gateway.get("/health").await.status, 200);
    // a request that begins as HTTP/2 does is none
    let almost = TcpStream::connect(gateway.address()).await.unwrap();
    let said = talk(almost, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 ") || said.is_empty(), "{said}");
}

#[tokio::test]
async fn a_hundred_streams_share_a_connection() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then_with({
        let gate = gate.clone();
        move |request| {
            let delta = DELTA.replace("Hello", &format!("Hello {}", request.json()["tag"]));
            Reply::sse().event(FIRST).gate(&gate).event(&delta).event(LAST).event(USAGE).done()
        }
    });
    let gateway = TestGateway::before(&upstream).await;
    let mut client = Http2::plain(gateway.address()).await;
    client.get("/health").await;
    assert_eq!(client.most_streams(), 256);
    let mut asked = Vec::new();
    for tag in 0..100 {
        let body = ASK_STREAM.replacen('{', &format!("{{\"tag\":{tag},"), 1);
        asked.push(client.post(CHAT, &format!("r-{tag}"), &body).await);
    }
    // all of them are under way at the same time
    upstream.wait_for_request(PROBES + 100).await;
    gate.open();
    // read side by side: a client of this library ends a connection on which much lies unread in small pieces
    let answers = futures_util::future::join_all(asked.into_iter().map(Asked::whole)).await;
    for (tag, answer) in answers.into_iter().enumerate() {
        let delta = DELTA.replace("Hello", &format!("Hello {tag}"));
        assert_eq!(answer.text, events(&[FIRST, &delta, LAST, USAGE, "[DONE]"]));
    }
}

#[tokio::test]
async fn heads_of_http_2_are_bounded() {
    let gateway = TestGateway::setup().start().await;
    let mut client = Http2::plain(gateway.address()).await;
    let long = |bytes: usize| Request::get("http://gateway/health").header("x-long", "x".repeat(bytes));
    assert_eq!(client.begin(long(30_000), Some("")).await.whole().await.status, 200);
    let refused = client.begin(long(70_000), Some("")).await.whole().await;
    assert_eq!(refused.status, 431, "{}", refused.text);
    let error: Value = serde_json::from_str(&refused.text).unwrap();
    assert_eq!(error["error"]["code"], "request_header_fields_too_large", "{error}");
    assert_eq!(client.get("/health").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_client_has_the_address_that_a_trusted_proxy_saw() {
    let upstream = vllm::talking().await;
    let direct = TestGateway::before(&upstream).await;
    let behind = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("FERROVIA_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")
        .start()
        .await;
    let xff = "x-forwarded-for";
    for (gateway, lines, client) in [
        (&direct, &[(xff, "203.0.113.7")][..], "127.0.0.1"),
        (&behind, &[], "127.0.0.1"),
        (&behind, &[(xff, "203.0.113.7")], "203.0.113.7"),
        (&behind, &[(xff, "6.6.6.6, 203.0.113.7, 10.1.2.3")], "203.0.113.7"),
        (&behind, &[(xff, "6.6.6.6"), (xff, "203.0.113.7:4711"), (xff, "10.1.2.3")], "203.0.113.7"),
        (&behind, &[(xff, "6.6.6.6, nonsense, 10.1.2.3")], "10.1.2.3"),
        (&behind, &[("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https")], "2001:db8::7"),
    ] {
        let mut request = testkit::Request::post(CHAT).json(ASK);
        for (name, value) in lines {
            request = request.header(name, value);
        }
        let response = gateway.send(&request).await;
        assert_eq!(gateway.line_of(&response).await["client"], client, "{lines:?}");
    }
    // the same on a stream of HTTP/2
    let request = post(CHAT, "r-h2").header(xff, "203.0.113.8");
    Http2::plain(behind.address()).await.begin(request, Some(ASK)).await.whole().await;
    assert_eq!(behind.call_line("r-h2").await["client"], "203.0.113.8");
}

#[tokio::test]
async fn a_head_of_http_2_that_never_ends_is_given_up() {
    let gateway = TestGateway::setup().env("FERROVIA_HEADER_TIMEOUT", "300ms").start().await;
    let mut client = TcpStream::connect(gateway.address()).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // HEADERS without END_HEADERS, then nothing
    client.write_all(&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]).await.unwrap();
    let began = Instant::now();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(SOON, client.read_to_end(&mut said)).await.expect("it is closed");
    assert!(began.elapsed() >= Duration::from_millis(250), "it had its time: {:?}", began.elapsed());
    // a client that has sent its whole head may be silent
    let mut quiet = Http2::plain(gateway.address()).await;
    quiet.get("/health").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(quiet.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_body_that_stops_arriving_ends_its_stream_alone() {
    let upstream = vllm::talking().await;
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_BODY_IDLE_TIMEOUT", "300ms").start().await;
    let mut client = Http2::plain(gateway.address()).await;
    let mut slow = client.begin(post(CHAT, "r-1"), None).await;
    slow.body.send_data(Bytes::from_static(b"{\"model\":"), false).unwrap();
    let answer = slow.whole().await;
    assert_eq!(answer.status, 408, "{}", answer.text);
    assert_eq!(gateway.call_line("r-1").await["attempts"], 0);
    assert_eq!(upstream.requests().len(), PROBES);
    assert_eq!(client.post(CHAT, "r-2", ASK).await.whole().await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_given_up_alone() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then(endless()).then(Reply::sse().event(FIRST).gate(&gate).event(LAST).done());
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("STREAM_STALL_TIMEOUT", "500ms").start().await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    // room for 16 KiB on each stream; the connection has more than that
    let mut client = Http2::with(h2::client::Builder::new().initial_window_size(16 << 10), stream).await;
    let mut stalled = client.post(CHAT, "r-stalled", ASK_STREAM).await;
    let mut unread = stalled.head().await.into_body();
    let mut read = client.post(CHAT, "r-read", ASK_STREAM).await;
    let mut body = read.head().await.into_body();
    upstream.wait_for_hangup(PROBES + 1).await;
    assert_eq!(gateway.call_line("r-stalled").await["outcome"], "client_gone");
    // the other one was silent for longer than that, because its upstream was
    gate.open();
    assert!(rest(&mut body).await.expect("it is whole").ends_with("data: [DONE]\n\n"));
    let mut reset = None;
    while let Some(piece) = piece(&mut unread).await {
        if let Err(error) = piece {
            reset = error.reason();
            break;
        }
    }
    assert_eq!(reset, Some(h2::Reason::CANCEL));
    assert_eq!(client.get("/health").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_connection_without_streams_is_closed() {
    let upstream = vllm::engine().await;
    upstream.on("POST", CHAT).then(Reply::json(200, REPLY).before_head(Duration::from_millis(1600)));
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("FERROVIA_IDLE_TIMEOUT", "1s").start().await;
    let mut client = Http2::plain(gateway.address()).await;
    assert_eq!(client.post(CHAT, "r-1", ASK).await.whole().await.status, 200, "a slow answer is no idleness");
    let began = Instant::now();
    client.closed().await.expect("it is told to go");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_that_is_reset_closes_its_upstream_alone() {
    let gate = Gate::new();
    let upstream = vllm::engine().await;
    upstream
        .on("POST", CHAT)
        .then(Reply::sse().event(FIRST).stall())
        .then(Reply::no_response().stall())
        .then(Reply::sse().event(FIRST).gate(&gate).event(LAST).done());
    let gateway = TestGateway::before(&upstream).await;
    let mut client = Http2::plain(gateway.address()).await;
    let mut begun = client.post(CHAT, "r-1", ASK_STREAM).await;
    let mut body = begun.head().await.into_body();
    piece(&mut body).await.expect("an event").expect("an event");
    let waiting = client.post(CHAT, "r-2", ASK_STREAM).await;
    upstream.wait_for_request(PROBES + 2).await;
    let mut third = client.post(CHAT, "r-3", ASK_STREAM).await;
    let mut other = third.head().await.into_body();
    for (n, asked) in [(1, begun), (2, waiting)] {
        let left = Instant::now();
        asked.reset();
        let took = upstream.wait_for_hangup(PROBES + n).await.saturating_duration_since(left);
        assert!(took < Duration::from_millis(200), "the upstream of r-{n} heard of it after {took:?}");
        assert_eq!(gateway.call_line(&format!("r-{n}")).await["outcome"], "client_gone");
    }
    gate.open();
    assert!(rest(&mut other).await.expect("it is whole").ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn streams_finish_when_the_gateway_ends() {
    let gate = Gate::new();
    let upstream = vllm::streaming(Reply::sse().event(FIRST).gate(&gate).event(LAST).done()).await;
    let mut gateway = TestGateway::before(&upstream).await;
    let mut client = Http2::plain(gateway.address()).await;
    let idle = {
        let mut idle = Http2::plain(gateway.address()).await;
        idle.get("/health").await;
        idle
    };
    let mut asked = client.post(CHAT, "r-1", ASK_STREAM).await;
    let mut body = asked.head().await.into_body();
    let first = piece(&mut body).await.expect("an event").expect("an event");
    gateway.terminate();
    idle.closed().await.expect("it is told to go");
    gate.open();
    let all = String::from_utf8_lossy(&first).into_owned() + &rest(&mut body).await.expect("it is whole");
    assert_eq!(all, events(&[FIRST, LAST, "[DONE]"]));
    client.closed().await.expect("it is told to go");
    assert!(gateway.exited().await.success());
    assert_eq!(gateway.call_line("r-1").await["outcome"], "complete");
}
