//! A request as a test wants to send it: readable to write, exact on the wire.

use crate::transcript::Side;
use crate::wire::{self, Fields};

/// A request to be sent by a [`Connection`](crate::Connection). Adds `host` and the framing header unless the
/// test sets them itself; nothing else.
///
/// ```
/// # use testkit::Request;
/// let request = Request::post("/v1/chat/completions").bearer("sk-1").json(r#"{"model":"fast"}"#);
/// assert!(request.to_bytes("localhost").starts_with(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) method: String,
    target: String,
    headers: Fields,
    body: Option<Vec<u8>>,
    pieces: Option<usize>,
}

impl Request {
    /// A request without headers or body. The target is sent as it is, whatever it holds.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            pieces: None,
        }
    }

    /// `GET target`.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// `POST target`.
    pub fn post(target: &str) -> Request {
        Request::new("POST", target)
    }

    /// The request that a transcript's `>>> client` tells. A body without a content type is sent as JSON.
    ///
    /// # Panics
    /// When its head line is not a method and a target.
    pub fn from_side(side: &Side) -> Request {
        let mut request = Request::new(side.method(), side.target());
        request.headers = side.headers.clone();
        if side.body.is_empty() {
            return request;
        }
        let typed = wire::find(&request.headers, "content-type").is_some();
        if typed { request.body(&side.body) } else { request.json(&side.body) }
    }

    /// Adds a header, in the case and order given.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `authorization: Bearer key`.
    #[must_use]
    pub fn bearer(self, key: &str) -> Request {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sets the body; it goes with `content-length`, or as [`Request::chunked`] says.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sets the body and `content-type: application/json`. The bytes are not looked at.
    #[must_use]
    pub fn json(self, body: impl AsRef<[u8]>) -> Request {
        self.header("content-type", "application/json").body(body)
    }

    /// Sends the body in chunks of at most this many bytes.
    ///
    /// # Panics
    /// When `bytes` is 0: an empty chunk ends a body.
    #[must_use]
    pub fn chunked(mut self, bytes: usize) -> Request {
        assert!(bytes > 0, "chunks of 0 bytes never end");
        self.pieces = Some(bytes);
        self
    }

    /// The whole request for a server named `host`.
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = self.head_bytes(host);
        bytes.extend(self.body_bytes());
        bytes
    }

    /// The request line and the headers with their blank line.
    pub fn head_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut field = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        let has = |name: &str| wire::find(&self.headers, name).is_some();
        if !has("host") {
            field("host", host);
        }
        self.headers.iter().for_each(|(name, value)| field(name, value));
        if !has("content-length") && !has("transfer-encoding") {
            match (&self.body, self.pieces) {
                (Some(_), Some(_)) => field("transfer-encoding", "chunked"),
                (Some(body), None) => field("content-length", &body.len().to_string()),
                (None, _) if self.method == "POST" || self.method == "PUT" => field("content-length", "0"),
                (None, _) => {}
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The body as it goes on the wire, chunk framing included.
    pub fn body_bytes(&self) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        let Some(size) = self.pieces.filter(|_| self.body.is_some()) else {
            return body.to_vec();
        };
        let mut bytes = Vec::new();
        for piece in body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &Request) -> String {
        String::from_utf8(request.to_bytes("h")).unwrap()
    }

    #[test]
    fn a_request_is_exactly_what_was_written() {
        assert_eq!(text(&Request::get("/a?b")), "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(
            text(&Request::post("/a").header("X-Y", "1").json("{ }")),
            "POST /a HTTP/1.1\r\nhost: h\r\nX-Y: 1\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n{ }"
        );
        assert_eq!(
            text(&Request::post("/a").body("hello").chunked(3)),
            "POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
        );
        assert_eq!(text(&Request::post("/")), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
        let own = Request::post("/").header("Host", "x").header("Content-Length", "9").body("abc");
        assert_eq!(text(&own), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    }
}
