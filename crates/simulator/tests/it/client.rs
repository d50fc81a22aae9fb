//! A small HTTP client that shows what is on the wire, and engines to point it at.

use std::time::Duration;

use serde_json::Value;
use simulator::{Model, Running, Settings, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing here takes longer unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// An engine that serves `sim` as fast as it can.
pub(crate) async fn engine() -> Running {
    engine_with(|_| {}).await
}

/// The same with other settings.
pub(crate) async fn engine_with(change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings { models: vec![Model::named("sim")], ..Settings::default() }.at_full_speed();
    change(&mut settings);
    start(settings).await.unwrap()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// How many chunks a chunked body came in.
    pub(crate) chunks: usize,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The data of each event, as JSON; `[DONE]` as a string.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned())))
            .collect()
    }
}

pub(crate) async fn get(engine: &Running, path: &str) -> Answer {
    send(engine, "GET", path, &[], "").await
}

pub(crate) async fn post(engine: &Running, path: &str, body: &Value) -> Answer {
    send(engine, "POST", path, &[("content-type", "application/json")], &body.to_string()).await
}

pub(crate) async fn send(
    engine: &Running,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = begin(engine, method, path, headers, body).await;
    timeout(LIMIT, read(&mut stream)).await.expect("the answer does not end")
}

/// Sends a request and leaves the answer to be read.
pub(crate) async fn begin(
    engine: &Running,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(engine.address()).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {}\r\n\r\n",
        engine.address(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

/// Reads one answer and leaves the connection where the next one begins.
pub(crate) async fn read(stream: &mut TcpStream) -> Answer {
    let head = until(stream, b"\r\n\r\n").await;
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new(), chunks: 0 };
    let mut body = Vec::new();
    if let Some(length) = answer.header("content-length") {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    } else {
        loop {
            let size = usize::from_str_radix(until(stream, b"\r\n").await.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.unwrap();
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
            answer.chunks += 1;
        }
    }
    answer.body = String::from_utf8(body).unwrap();
    answer
}

async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        bytes.push(stream.read_u8().await.expect("the connection ended early"));
    }
    String::from_utf8(bytes).unwrap()
}

/// A text with its ids, times and fingerprints replaced.
pub(crate) fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut run = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_ascii_hexdigit() && !letter.is_ascii_uppercase() {
            run.push(letter);
            continue;
        }
        let digits = run.chars().all(|letter| letter.is_ascii_digit());
        match run.len() {
            8 if masked.ends_with("vllm-0.32.0-") => masked.push('F'),
            10 if digits => masked.push('0'),
            16 | 32 => masked.push_str("ID"),
            _ => masked.push_str(&run),
        }
        run.clear();
        masked.push(letter);
    }
    masked.pop();
    masked
}
