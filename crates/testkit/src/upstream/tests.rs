//! Each ability of the fake upstream, seen to work over a socket.

use super::*;
use crate::client::{self, Connection, Leaving, Phase};
use crate::request::Request;
use crate::response::{Ended, NoResponse};
use crate::script::Reply;
use crate::transcript::Side;
use crate::{Gate, chunks};

const CHAT: &str = "/v1/chat/completions";

fn chat(body: &str) -> Request {
    Request::post(CHAT).json(body)
}

async fn answering(reply: Reply) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    upstream.otherwise(reply);
    upstream
}

/// What a bare socket reads after sending a request: everything up to the close.
async fn wire_image(upstream: &FakeUpstream) -> String {
    let mut connection = Connection::open(upstream.url()).await;
    let image = b"GET / HTTP/1.0\r\n\r\n";
    connection.send(image).await.unwrap();
    connection.raw_to_close().await
}

#[tokio::test]
async fn requests_are_kept_as_they_were_sent() {
    let upstream = FakeUpstream::start().await;
    let mut connection = Connection::open(upstream.url()).await;
    let request = Request::post("/v1/a%2Fb?x=1&y").header("X-Odd-Case", "v").header("x-odd-case", "w");
    connection.exchange(&request.clone().json("{\"a\": 1}")).await;
    connection.exchange(&request.body("in chunks, in chunks").chunked(7)).await;
    client::send(upstream.url(), &Request::new("OPTIONS", "*")).await;
    let seen = upstream.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("POST", "/v1/a%2Fb?x=1&y"));
    assert_eq!((seen[0].path(), seen[0].query()), ("/v1/a%2Fb", Some("x=1&y")));
    assert_eq!(seen[0].version, "HTTP/1.1");
    assert_eq!(seen[0].headers[0].0, "host");
    assert_eq!(seen[0].headers[1..3], [("X-Odd-Case".into(), "v".into()), ("x-odd-case".into(), "w".into())]);
    assert_eq!((seen[0].text(), &seen[0].json()["a"]), ("{\"a\": 1}", &serde_json::json!(1)));
    assert_eq!(seen[1].text(), "in chunks, in chunks");
    assert_eq!(seen.iter().map(|seen| seen.connection).collect::<Vec<_>>(), [1, 1, 2]);
    assert!(seen.iter().all(|seen| seen.complete) && seen[0].at <= seen[1].at);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_queue_is_answered_in_order_and_its_last_repeats() {
    let upstream = FakeUpstream::start().await;
    upstream
        .on("POST", CHAT)
        .then(Reply::status(503).header("retry-after", "1"))
        .then(Reply::json(200, "{}"));
    let status = async || client::send(upstream.url(), &chat("{}")).await.status;
    assert_eq!([status().await, status().await, status().await], [503, 200, 200]);
    upstream.on("POST", CHAT).then(Reply::status(500)).then(Reply::status(501));
    assert_eq!([status().await, status().await, status().await], [500, 501, 501]);
    upstream.on("POST", CHAT).now(Reply::status(204));
    assert_eq!(status().await, 204);
}

#[tokio::test]
async fn routes_are_chosen_by_method_path_query_and_body() {
    let upstream = FakeUpstream::start().await;
    upstream.on_match(|request| request.body.starts_with(b"special")).then(Reply::status(299));
    upstream.on("GET", "/a").then(Reply::status(201));
    upstream.on("*", "/a?x=1").then(Reply::status(202));
    upstream.on("*", "/a").then(Reply::status(203));
    upstream.on("*", "/dir/*").then_with(|request| Reply::text(207, request.target.to_uppercase()));
    let send = async |request: Request| client::send(upstream.url(), &request).await;
    assert_eq!(send(Request::get("/a?x=1")).await.status, 201);
    assert_eq!(send(Request::post("/a?x=1")).await.status, 202);
    assert_eq!(send(Request::post("/a?x=2")).await.status, 203);
    assert_eq!(send(Request::post("/a").body("special one")).await.status, 299);
    let computed = send(Request::get("/dir/x?y")).await;
    assert_eq!((computed.status, computed.text()), (207, "/DIR/X?Y".to_owned()));
    let unknown = send(Request::get("/b")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["message"], "the fake upstream has no answer to GET /b");
    upstream.otherwise(Reply::json(418, "{}"));
    assert_eq!(send(Request::get("/b")).await.status, 418);
}

#[tokio::test]
async fn a_stream_is_byte_exact_however_it_is_cut() {
    let stream = Reply::sse()
        .event("{\"id\":1}")
        .comment("alive")
        .named_event("end", "é")
        .raw("data: [DO")
        .raw("NE]\n\n");
    let expected = "data: {\"id\":1}\n\n: alive\n\nevent: end\ndata: é\n\ndata: [DONE]\n\n";
    let upstream = FakeUpstream::start().await;
    let route = upstream.on("GET", "/");
    for size in [1, 2, 37, 1000] {
        route.now(stream.clone().cut_into(size).cut_head_into(size));
        let response = client::send(upstream.url(), &Request::get("/")).await;
        assert_eq!(
            (response.text().as_str(), response.ended),
            (expected, Ended::Clean),
            "in pieces of {size}"
        );
        assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    }
    for at in 0..expected.len() {
        route.now(stream.clone().cut_at(&[at]));
        assert_eq!(client::send(upstream.url(), &Request::get("/")).await.text(), expected, "cut at {at}");
    }
}

#[tokio::test]
async fn each_write_is_a_chunk_on_the_wire() {
    let reply = Reply::sse().raw("0123456789ab").raw("cd").trailer("x-sum", "9");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let end = "0\r\nx-sum: 9\r\n\r\n";
    let upstream = answering(reply.clone()).await;
    assert_eq!(wire_image(&upstream).await, format!("{head}c\r\n0123456789ab\r\n2\r\ncd\r\n{end}"));
    upstream.otherwise(reply.clone().cut_into(9));
    assert_eq!(wire_image(&upstream).await, format!("{head}9\r\n012345678\r\n5\r\n9abcd\r\n{end}"));
    upstream.otherwise(reply.cut_at(&[1, 13]));
    assert_eq!(wire_image(&upstream).await, format!("{head}1\r\n0\r\nc\r\n123456789abc\r\n1\r\nd\r\n{end}"));
    upstream.otherwise(Reply::text(200, "whole").until_close().content_type(""));
    assert_eq!(wire_image(&upstream).await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole");
    upstream.otherwise(Reply::wire("HTTP/1.1 2"));
    assert_eq!(wire_image(&upstream).await, "HTTP/1.1 2");
}

#[tokio::test]
async fn pauses_and_gates_hold_back_what_follows_them() {
    let (head, middle) = (Gate::new(), Gate::new());
    let pause = Duration::from_millis(60);
    let reply = Reply::sse().before_head(pause).gate_before_head(&head).event("1").gate(&middle);
    let upstream = answering(reply.event("2").pause(pause).event("3")).await;
    let started = Instant::now();
    let mut connection = Connection::open(upstream.url()).await;
    connection.request(&Request::get("/")).await.unwrap();
    head.reached(1).await;
    assert!(started.elapsed() >= pause);
    head.open();
    assert_eq!(connection.next_event().await.unwrap().1.data.as_deref(), Some("1"));
    middle.reached(1).await;
    assert_eq!(upstream.written(1), 9);
    middle.open();
    let (second, event) = connection.next_event().await.unwrap();
    assert_eq!(event.data.as_deref(), Some("2"));
    let (third, event) = connection.next_event().await.unwrap();
    assert_eq!(event.data.as_deref(), Some("3"));
    assert!(third - second >= pause / 2, "{:?}", third - second);
    assert_eq!(connection.next_event().await, None);
}

#[tokio::test]
async fn every_bad_ending_looks_like_itself_to_the_client() {
    let stream = || Reply::sse().event("1");
    let sized = || Reply::json(200, "{\"a\":1}");
    let cases = [
        (stream(), 9, Ended::Clean),
        (stream().close(), 9, Ended::Cut),
        (stream().half_close(), 9, Ended::Cut),
        (stream().end().close(), 9, Ended::Clean),
        (stream().connection_close(), 9, Ended::Clean),
        (stream().truncate_after(4), 4, Ended::Cut),
        (stream().truncate_after(4).pause(Duration::from_millis(1)).half_close(), 4, Ended::Cut),
        (stream().until_close(), 9, Ended::Clean),
        (sized().close(), 7, Ended::Clean),
        (sized().truncate_after(3), 3, Ended::Cut),
        (sized().truncate_after(0), 0, Ended::Cut),
        (sized().wrong_length(100), 7, Ended::Cut),
        (sized().wrong_length(2), 2, Ended::Clean),
        (sized().chunked(), 7, Ended::Clean),
        (Reply::status(200), 0, Ended::Clean),
        (Reply::html(200, "<p>"), 3, Ended::Clean),
    ];
    for (index, (reply, length, ended)) in cases.into_iter().enumerate() {
        let upstream = answering(reply.clone()).await;
        let response = client::send(upstream.url(), &Request::get("/")).await;
        assert_eq!((response.body.len(), response.ended), (length, ended), "case {index}: {reply:?}");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_in_every_phase() {
    // Without a byte, after half a head, after the head, inside the body, after events that were read.
    let upstream = answering(Reply::no_response().reset()).await;
    let attempt = async || {
        let mut connection = Connection::open(upstream.url()).await;
        connection.request(&Request::get("/")).await.unwrap();
        connection.try_response().await
    };
    assert_eq!(attempt().await.unwrap_err(), NoResponse::Reset(Vec::new()));
    let gate = Gate::new();
    upstream.otherwise(Reply::sse().event("1").gate(&gate).reset());
    let mut connection = Connection::open(upstream.url()).await;
    connection.request(&Request::get("/")).await.unwrap();
    assert!(connection.next_event().await.is_some());
    gate.open();
    let response = connection.response().await;
    assert_eq!((response.ended, response.events().len()), (Ended::Reset, 1));
}

#[tokio::test]
async fn no_response_is_closed_silent_or_nonsense_as_asked() {
    let upstream = answering(Reply::no_response()).await;
    let attempt = async |limit: u64| {
        let mut connection = Connection::open(upstream.url()).await;
        connection.limit(Duration::from_millis(limit));
        connection.request(&Request::get("/")).await.unwrap();
        connection.try_response().await.unwrap_err()
    };
    assert_eq!(attempt(10_000).await, NoResponse::Closed(Vec::new()));
    upstream.otherwise(Reply::no_response().stall());
    assert!(matches!(attempt(50).await, NoResponse::TimedOut(..)));
    upstream.otherwise(Reply::wire("HTTP/1.1 200 OK\r\nconte"));
    assert_eq!(attempt(10_000).await, NoResponse::Closed(b"HTTP/1.1 200 OK\r\nconte".to_vec()));
    upstream.otherwise(Reply::wire("SSH-2.0-OpenSSH\r\n\r\n"));
    assert!(matches!(attempt(10_000).await, NoResponse::Malformed(_)));
    upstream.otherwise(Reply::sse().raw("data: 1\n\n").stall());
    let NoResponse::TimedOut(_, so_far) = attempt(100).await else { panic!("a stalled stream does not end") };
    assert!(so_far.contains("9 bytes of body"), "{so_far}");
}

#[tokio::test]
async fn the_client_leaving_is_noticed_in_every_phase() {
    let request = chat("{\"model\":\"m\"}");
    let endless = Reply::sse().event("1").event("2").event("3").forever(": on\n\n", Duration::from_millis(1));
    let cases = [
        (Phase::PartialBody, endless.clone()),
        (Phase::BeforeAnswer, Reply::no_response().stall()),
        (Phase::BeforeAnswer, Reply::json(200, "{}").before_head(Duration::from_secs(20))),
        (Phase::AfterHead, Reply::sse().stall()),
        (Phase::AfterEvents(2), Reply::sse().event("1").event("2").stall()),
        (Phase::AfterEvents(3), endless.clone()),
        (Phase::AfterBytes(12), Reply::sse().raw("data: 1\n\ndata: 2").pause(Duration::from_secs(20))),
        (Phase::AfterBytes(2_000_000), Reply::sse().forever("x".repeat(100_000), Duration::ZERO)),
    ];
    for (phase, reply) in cases {
        for how in [Leaving::Close, Leaving::Reset] {
            let upstream = answering(reply.clone()).await;
            let connection = Connection::open(upstream.url()).await;
            let left = connection.leave_in(&request, phase, how).await;
            let noticed = upstream.wait_for_hangup(1).await;
            let delay = noticed.saturating_duration_since(left);
            // Far from the 20 s of the pauses, and from what a busy machine may add.
            assert!(delay < Duration::from_secs(8), "{phase:?}, {how:?}: noticed after {delay:?}");
            upstream.wait_for_open_connections(0).await;
        }
    }
}

#[tokio::test]
async fn half_a_head_is_no_request_but_is_told() {
    let upstream = FakeUpstream::start().await;
    let connection = Connection::open(upstream.url()).await;
    connection.leave_in(&chat("{}"), Phase::PartialHead, Leaving::Close).await;
    upstream.wait_for_connections(1).await;
    upstream.wait_for_open_connections(0).await;
    assert!(upstream.requests().is_empty());
    assert!(upstream.malformed()[0].contains("the client left after"), "{:?}", upstream.malformed());
}

#[tokio::test]
async fn an_upload_is_seen_while_it_comes() {
    let upstream = FakeUpstream::start().await;
    let mut connection = Connection::open(upstream.url()).await;
    connection.send("POST /up HTTP/1.1\r\ncontent-length: 10\r\n\r\n01234").await.unwrap();
    let part = upstream.wait_for_body(1, 5).await;
    assert_eq!((part.text(), part.complete), ("01234", false));
    connection.send("56789").await.unwrap();
    let whole = upstream.wait_for_request(1).await;
    assert_eq!((whole.text(), whole.complete), ("0123456789", true));
    assert_eq!(connection.response().await.status, 404);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let upstream = FakeUpstream::start().await;
    upstream.on("POST", "/up").then(Reply::json(413, "{}").early()).then(Reply::status(200));
    let mut connection = Connection::open(upstream.url()).await;
    connection.send("POST /up HTTP/1.1\r\ncontent-length: 10\r\n\r\n01234").await.unwrap();
    assert_eq!(connection.response().await.status, 413);
    assert!(!upstream.requests()[0].complete);
    connection.send("56789").await.unwrap();
    assert_eq!(connection.exchange(&Request::post("/up")).await.status, 200);
    assert_eq!(upstream.requests()[0].body, b"0123456789");
}

#[tokio::test]
async fn a_client_that_asks_whether_to_go_on_is_told_to() {
    let upstream = answering(Reply::status(200)).await;
    let mut connection = Connection::open(upstream.url()).await;
    connection.send("POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    assert_eq!(connection.raw_to_blank_line().await, "HTTP/1.1 100 Continue\r\n\r\n");
    connection.send("ok").await.unwrap();
    assert_eq!(connection.response().await.status, 200);
}

#[tokio::test]
async fn connections_are_kept_alive_until_told_otherwise() {
    let upstream = answering(Reply::json(200, "{}")).await;
    let mut kept = Connection::open(upstream.url()).await;
    for _ in 0..3 {
        assert_eq!(kept.exchange(&Request::get("/")).await.status, 200);
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(kept.exchange(&Request::new("HEAD", "/")).await.header("content-length"), Some("2"));
    upstream.close_idle();
    kept.wait_for_close().await;
    upstream.keep_alive_for(Duration::from_millis(30));
    let mut kept = Connection::open(upstream.url()).await;
    kept.exchange(&Request::get("/")).await;
    let answered = Instant::now();
    assert!(kept.wait_for_close().await - answered >= Duration::from_millis(25));
    let mut closing = Connection::open(upstream.url()).await;
    let response = closing.exchange(&Request::get("/").header("Connection", "close")).await;
    assert_eq!(response.header("connection"), Some("close"));
    closing.wait_for_close().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let upstream = FakeUpstream::start().await;
    upstream.otherwise(Reply::sse().event("1"));
    upstream.on("*", "*").then_with(|request| Reply::text(200, &request.target));
    let mut connection = Connection::open(upstream.url()).await;
    let three: Vec<u8> =
        ["/1", "/2", "/3"].iter().flat_map(|path| Request::get(path).to_bytes("h")).collect();
    for piece in chunks::random(&three, 5) {
        connection.send(piece).await.unwrap();
    }
    for path in ["/1", "/2", "/3"] {
        assert_eq!(connection.response().await.text(), path);
    }
}

#[tokio::test]
async fn a_connection_meets_the_fate_it_was_given() {
    let upstream = answering(Reply::status(200)).await;
    upstream.on_connect([Fate::Close, Fate::Reset, Fate::Ignore]);
    Connection::open(upstream.url()).await.wait_for_close().await;
    // The reset may come before the client knows that it is connected.
    match Connection::try_open(upstream.url()).await {
        Ok(mut reset) => assert!(matches!(reset.try_response().await, Err(NoResponse::Reset(_)))),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let mut ignored = Connection::open(upstream.url()).await;
    ignored.limit(Duration::from_millis(50));
    ignored.request(&Request::get("/")).await.unwrap();
    assert!(matches!(ignored.try_response().await, Err(NoResponse::TimedOut(..))));
    assert_eq!(client::send(upstream.url(), &Request::get("/")).await.status, 200);
    assert_eq!((upstream.connections(), upstream.requests().len()), (4, 1));
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_told() {
    let upstream = answering(Reply::status(200)).await;
    for (index, (nonsense, word)) in [
        ("GET / HTTP/2.0\r\n\r\n", "HTTP/1.x"),
        ("GET  / HTTP/1.1\r\n\r\n", "three words"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "colon"),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "smuggling"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "hexadecimal"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = Connection::open(upstream.url()).await;
        connection.send(nonsense).await.unwrap();
        assert_eq!(connection.response().await.status, 400, "{nonsense:?}");
        let told = upstream.malformed();
        assert!(told.len() == index + 1 && told[index].contains(word), "{nonsense:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_transcripts_answer_is_played_as_it_stands() {
    let body = "data: {\"id\":1}\n\ndata: [DONE]\n\n";
    let side = Side::new("200 text/event-stream", body).with_header("x-request-id", "7");
    let upstream = answering(Reply::from_side(&side).cut_into(5)).await;
    let response = client::send(upstream.url(), &Request::from_side(&Side::new("POST /v1/x", "{}"))).await;
    assert_eq!((response.status, response.text().as_str()), (200, body));
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    assert_eq!(response.header("x-request-id"), Some("7"));
    assert_eq!(upstream.requests()[0].header("content-type"), Some("application/json"));
    upstream.otherwise(Reply::from_side(&Side::new("503", "").with_header("Content-Type", "text/plain")));
    let response = client::send(upstream.url(), &Request::get("/")).await;
    assert_eq!((response.status, response.header("content-length")), (503, Some("0")));
    assert_eq!(response.header_all("content-type"), ["text/plain"]);
}

#[tokio::test]
async fn dropping_it_stops_everything_and_the_address_can_be_taken_again() {
    let upstream = answering(Reply::sse().event("1").stall()).await;
    let mut streaming = Connection::open(upstream.url()).await;
    streaming.request(&Request::get("/")).await.unwrap();
    assert!(streaming.next_event().await.is_some());
    let address = upstream.stop();
    assert!(!streaming.response().await.is_whole());
    assert!(Connection::try_open(address.to_string()).await.is_err());
    let upstream = FakeUpstream::start_at(address).await;
    upstream.otherwise(Reply::status(200));
    assert_eq!(client::send(address.to_string(), &Request::get("/")).await.status, 200);
}

#[tokio::test]
async fn waiting_for_what_cannot_come_tells_the_story() {
    let upstream = answering(Reply::status(200)).await;
    client::send(upstream.url(), &chat("{}")).await;
    upstream.wait_for_answered(1).await;
    let waiting = tokio::spawn(async move { upstream.wait_for_hangup(1).await });
    let panic = waiting.await.unwrap_err().into_panic();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("request 1 was answered whole"), "{message}");
    assert!(
        message.contains("1. POST /v1/chat/completions on connection 1, body 2 B: answered"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn its_clock_is_its_own() {
    let upstream = answering(Reply::status(200).before_head(Duration::from_millis(50))).await;
    let stream = std::net::TcpStream::connect(upstream.address()).unwrap();
    std::io::Write::write_all(&mut &stream, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let came = upstream.wait_for_request(1).await.at;
    let answered = upstream.wait_for_answered(1).await;
    assert!(answered - came >= Duration::from_millis(50));
}
