//! Each ability of the client, seen to work against the fake upstream.

use super::*;
use crate::response::Ended;
use crate::script::Reply;
use crate::upstream::FakeUpstream;

async fn answering(reply: Reply) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    upstream.otherwise(reply);
    upstream
}

#[tokio::test]
async fn a_response_is_shown_as_it_came() {
    let reply = Reply::json(429, "{\"error\":{\"code\":429}}").header("Retry-After", "1").header("X-A", "b");
    let upstream = answering(reply.header("x-a", "c").reason("Slow Down")).await;
    let response = send(upstream.url(), &Request::get("/")).await;
    assert_eq!((response.status, response.reason.as_str()), (429, "Slow Down"));
    assert_eq!(response.headers[1], ("Retry-After".to_owned(), "1".to_owned()));
    assert_eq!(response.header_all("X-a"), ["b", "c"]);
    assert_eq!(response.json()["error"]["code"], 429);
    assert!(response.is_whole() && response.head_at <= response.ended_at);
    let shown = response.to_string();
    assert!(shown.starts_with("429 Slow Down\ncontent-type: application/json\n"), "{shown}");
}

#[tokio::test]
async fn events_carry_the_time_at_which_they_came() {
    let pause = Duration::from_millis(80);
    let reply = Reply::sse().event("1").pause(pause).raw("data: ").pause(pause).raw("2\n\n").raw("data: cut");
    let upstream = answering(reply.trailer("x-sum", "1")).await;
    let response = send(upstream.url(), &Request::get("/")).await;
    let events = response.timed_events();
    let data: Vec<_> = events.iter().map(|(_, event)| event.data.as_deref().unwrap()).collect();
    assert_eq!(data, ["1", "2", "cut"]);
    assert!(events[0].1.complete && !events[2].1.complete);
    assert!(events[1].0 - events[0].0 >= pause, "{:?}", events[1].0 - events[0].0);
    assert_eq!(response.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn what_was_read_by_events_is_part_of_the_response_too() {
    let upstream = answering(Reply::sse().event("1").event("2").event("3")).await;
    let mut connection = Connection::open(upstream.url()).await;
    connection.request(&Request::get("/")).await.unwrap();
    assert_eq!(connection.head().await.header("Content-Type"), Some("text/event-stream; charset=utf-8"));
    connection.next_event().await.unwrap();
    assert_eq!(connection.body_at_least(18).await[..18], *b"data: 1\n\ndata: 2\n\n");
    assert_eq!(connection.next_event().await.unwrap().1.data.as_deref(), Some("2"));
    assert_eq!(connection.response().await.events().len(), 3);
    assert_eq!(connection.exchange(&Request::get("/")).await.events().len(), 3);
}

#[tokio::test]
async fn an_upload_can_be_slow() {
    let upstream = answering(Reply::status(200)).await;
    let mut connection = Connection::open(upstream.url()).await;
    let request = Request::post("/").body("0123456789").chunked(4);
    let started = Instant::now();
    let head = request.head_bytes(connection.host());
    connection.send(head).await.unwrap();
    connection.send_slowly(&request.body_bytes(), 5, Duration::from_millis(10)).await.unwrap();
    assert_eq!(connection.response().await.status, 200);
    let seen = upstream.wait_for_request(1).await;
    assert_eq!(seen.body, b"0123456789");
    assert!(started.elapsed() >= Duration::from_millis(50), "{:?}", started.elapsed());
    assert!(seen.header("host").unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn our_direction_can_close_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = Connection::open(listener.local_addr().unwrap().to_string()).await;
    let (mut accepted, _) = listener.accept().await.unwrap();
    connection.send("bytes").await.unwrap();
    connection.half_close().await.unwrap();
    let mut seen = Vec::new();
    accepted.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen, b"bytes");
    accepted.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 OK\r\n\r\nstill here").await.unwrap();
    drop(accepted);
    let response = connection.response().await;
    assert_eq!(
        (response.status, response.text().as_str(), response.ended),
        (200, "still here", Ended::Clean)
    );
}

#[tokio::test]
async fn a_close_and_a_reset_differ_for_the_other_side() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for (how, kind) in [(Leaving::Close, None), (Leaving::Reset, Some(io::ErrorKind::ConnectionReset))] {
        let connection = Connection::open(&address).await;
        let (mut accepted, _) = listener.accept().await.unwrap();
        connection.leave(how);
        let read = accepted.read(&mut [0; 8]).await;
        assert_eq!(read.map_err(|error| error.kind()).err(), kind, "{how:?}");
    }
}

#[tokio::test]
async fn a_phase_that_never_comes_is_a_failure() {
    let upstream = answering(Reply::sse().event("1")).await;
    let connection = Connection::open(upstream.url()).await;
    let leaving = tokio::spawn(async move {
        connection.leave_in(&Request::get("/"), Phase::AfterEvents(2), Leaving::Close).await
    });
    let panic = leaving.await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "the response ended before event 2 of 2");
}
