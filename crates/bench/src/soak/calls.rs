//! What the clients of the mix ask, and what becomes of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::{Body, Head};

/// No call takes longer, whatever goes wrong.
const LIMIT: Duration = Duration::from_secs(60);

/// Who has read so much of an answer leaves: some never end.
const ENOUGH: usize = 256 << 10;

/// Path and body of everything that is asked. `$` stands for a number that differs from call to call.
const ASKED: [(&str, &str); 16] = [
    (
        "POST /v1/chat/completions",
        r#"{"model":"vllm/sim","messages":[{"role":"user","content":"Count to $"}],"max_tokens":24}"#,
    ),
    (
        "POST /v1/chat/completions",
        r#"{"messages":[{"role":"user","content":"Count to $"}],"model":"vllm/sim","max_tokens":24,"stream":true}"#,
    ),
    (
        "POST /v1/chat/completions",
        r#"{"model":"sim","messages":[{"role":"user","content":"$"}],"max_tokens":8,"stream":true,"stream_options":{"include_usage":true}}"#,
    ),
    ("POST /v1/completions", r#"{"model":"sim","prompt":"Once $ times","max_tokens":16}"#),
    ("POST /v1/completions", r#"{"model":"sim","prompt":"Once $ times","max_tokens":16,"stream":true}"#),
    ("POST /v1/responses", r#"{"model":"sim","input":"Name $ colours","max_output_tokens":16}"#),
    (
        "POST /v1/responses",
        r#"{"model":"sim","input":"Name $ colours","max_output_tokens":16,"stream":true}"#,
    ),
    ("POST /v1/messages", r#"{"model":"sim","max_tokens":16,"messages":[{"role":"user","content":"$"}]}"#),
    (
        "POST /v1/messages",
        r#"{"model":"sim","max_tokens":16,"messages":[{"role":"user","content":"$"}],"stream":true}"#,
    ),
    ("POST /v1/embeddings", r#"{"model":"sim","input":["a","$"]}"#),
    ("POST /v1/rerank", r#"{"model":"sim","query":"$","documents":["a","b",{"text":"c"}],"top_n":2}"#),
    ("POST /v1/tokenize", r#"{"model":"sim","prompt":"$"}"#),
    ("POST /p/vllm/tokenize", r#"{"model":"sim","prompt":"$"}"#),
    ("GET /v1/models", ""),
    // refused by the gateway itself
    ("POST /v1/chat/completions", r#"{"model":"nobody-has-$","messages":[]}"#),
    ("POST /v1/chat/completions", r#"{"model":"sim","#),
];

/// How many different things there are to ask.
pub(super) const KINDS: u64 = ASKED.len() as u64;

/// What is asked, in a word.
pub(super) fn target(kind: u64) -> &'static str {
    ASKED[usize::try_from(kind % KINDS).unwrap_or(0)].0
}

/// The bytes of a request.
pub(super) fn request(kind: u64, number: u64, key: &str) -> Vec<u8> {
    let (target, body) = ASKED[usize::try_from(kind % KINDS).unwrap_or(0)];
    let body = body.replace('$', &number.to_string());
    let head = format!(
        "{target} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// An answer with this status, whole.
    Whole(u16),
    /// An answer that broke off.
    Cut,
    /// The client left in the middle of it.
    Left,
}

/// A client with one connection, which it keeps as long as it can.
pub(super) struct Caller {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl Caller {
    pub(super) fn new(address: SocketAddr) -> Caller {
        Caller { address, stream: None, received: Vec::new() }
    }

    /// One call. With `leave` the client goes once it has so many bytes of the answer, however far that is.
    pub(super) async fn call(&mut self, request: &[u8], leave: Option<usize>) -> Result<End, String> {
        let end = tokio::time::timeout(LIMIT, self.exchange(request, leave)).await;
        let end = end.unwrap_or_else(|_| Err(format!("no end within {} s", LIMIT.as_secs())));
        if !matches!(end, Ok(End::Whole(_))) {
            self.stream = None;
        }
        end
    }

    async fn exchange(&mut self, request: &[u8], leave: Option<usize>) -> Result<End, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await.map_err(told)?,
        };
        stream.write_all(request).await.map_err(told)?;
        self.received.clear();
        let (status, mut body, close) = loop {
            match stream.read_buf(&mut self.received).await {
                Ok(1..) => {}
                _ if self.received.is_empty() => return Err("no answer at all".to_owned()),
                _ => return Ok(End::Cut),
            }
            if let Some(head) = Head::read(&self.received).map_err(|error| error.to_string())? {
                let status = head.status().map_err(|error| error.to_string())?;
                let (bytes, framing, close) = (head.bytes, head.framing, head.close);
                self.received.drain(..bytes);
                break (status, Body::of_response(framing), close);
            }
        };
        let mut bytes = 0;
        loop {
            bytes += self.received.len();
            body.take(&self.received, |_| {}).map_err(|error| error.to_string())?;
            self.received.clear();
            if body.ended() {
                break;
            }
            if leave.is_some_and(|leave| bytes >= leave) || bytes > ENOUGH {
                return Ok(End::Left);
            }
            match stream.read_buf(&mut self.received).await {
                Ok(1..) => {}
                _ if body.may_close() => break,
                _ => return Ok(End::Cut),
            }
        }
        if !close && body.ended() {
            self.stream = Some(stream);
        }
        Ok(End::Whole(status))
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below this number.
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.roll() % most.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_and_differ() {
        for kind in 0..KINDS {
            let text = String::from_utf8(request(kind, 7, "key")).unwrap();
            let head = Head::read(text.as_bytes()).unwrap().expect("a head");
            let body = &text[head.bytes..];
            assert!(
                text.contains(&format!("content-length: {}\r\n", body.len())) && !body.contains('$'),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn what_becomes_of_a_call_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nok",
            "",
        ];
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut room = [0; 1024];
                assert!(stream.read(&mut room).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let request = request(0, 1, "k");
        let mut ends = Vec::new();
        for leave in [None, None, Some(1), None] {
            ends.push(Caller::new(address).call(&request, leave).await);
        }
        assert_eq!(ends[..3], [Ok(End::Whole(200)), Ok(End::Cut), Ok(End::Left)]);
        assert!(ends[3].is_err());
    }
}
