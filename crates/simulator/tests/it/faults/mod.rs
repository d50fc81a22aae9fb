//! Every fault, seen from the other end of a real socket.

mod breaks;
mod chat;
mod choice;
mod errors;
mod framing;
mod gunzip;
mod speech;
mod streams;

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::Running;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{Answer, LIMIT, begin, read};

const CHAT: &str = "/v1/chat/completions";
/// What an answer to a greeting is.
const ALL_ROUTES: [&str; 4] = [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"];
/// How long nothing has to come to be called silence.
const SILENCE: Duration = Duration::from_millis(100);

/// A request to a generating route, in its own dialect.
fn body(path: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Hello there"}]);
    match path {
        CHAT => json!({"model": "sim", "messages": messages, "stream": stream}),
        "/v1/completions" => json!({"model": "sim", "prompt": "Hello", "max_tokens": 9, "stream": stream}),
        "/v1/responses" => json!({"model": "sim", "input": "Hello", "stream": stream}),
        _ => json!({"model": "sim", "max_tokens": 50, "messages": messages, "stream": stream}),
    }
}

/// Sends a request that asks for a fault, and leaves the answer on the connection.
async fn open(engine: &Running, fault: &str, path: &str, body: &Value) -> TcpStream {
    let headers = [("content-type", "application/json"), ("x-simulate-fault", fault)];
    begin(engine, "POST", path, &headers, &body.to_string()).await
}

/// The answer to a chat request that asks for a fault.
async fn chat(engine: &Running, fault: &str, stream: bool) -> Answer {
    ask(engine, fault, CHAT, &body(CHAT, stream)).await
}

async fn ask(engine: &Running, fault: &str, path: &str, body: &Value) -> Answer {
    let mut stream = open(engine, fault, path, body).await;
    let answer = timeout(LIMIT, read(&mut stream)).await;
    answer.unwrap_or_else(|_| panic!("{fault}: the answer does not end"))
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

/// Everything that comes, and how it ends.
async fn drain(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    let end = timeout(LIMIT, async {
        loop {
            match stream.read_buf(&mut bytes).await {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Reset,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let end = end.await.expect("the connection does not end");
    (bytes, end)
}

/// What has come once nothing more does.
async fn until_silence(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // the first byte may take its time, and may never come
    while let Ok(read) = timeout(SILENCE, stream.read_buf(&mut bytes)).await {
        assert!(read.expect("the connection breaks") > 0, "the connection was closed");
    }
    bytes
}

/// What comes until the connection ends or falls silent, and how it ended if it did.
async fn everything(stream: &mut TcpStream) -> (String, Option<End>) {
    let mut bytes = Vec::new();
    let end = loop {
        match timeout(SILENCE, stream.read_buf(&mut bytes)).await {
            Err(_) => break None,
            Ok(Ok(0)) => break Some(End::Closed),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionReset => break Some(End::Reset),
            Ok(Err(error)) => panic!("{error}"),
        }
    };
    (text(&bytes), end)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The deltas of a chat stream, merged member by member.
fn deltas(answer: &Answer, member: &str) -> String {
    let events = answer.events();
    events.iter().filter_map(|event| event["choices"][0]["delta"][member].as_str()).collect()
}

/// The reason that a chat stream ends with.
fn finish(answer: &Answer) -> Option<String> {
    let events = answer.events();
    let reason = events.iter().find_map(|event| event["choices"][0]["finish_reason"].as_str());
    reason.map(str::to_owned)
}
