//! Writing the head of a request.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

use crate::{
    error::SendError,
    fields::{belongs_to_the_pool, field},
};

/// The head of a request, as far as it does not depend on the connection.
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) host: &'a HeaderValue,
    /// Fields that are written out already.
    pub(crate) fixed: &'a [u8],
    /// Whatever framing stands here would contradict the body that is really sent, so it is left out.
    pub(crate) headers: &'a HeaderMap,
    /// The body's length; `None` makes it chunked.
    pub(crate) length: Option<u64>,
}

/// Whether this may stand in a request line: the characters that a URL may hold, and what is not ASCII.
///
/// # Errors
/// [`SendError::InvalidRequest`]; nothing has been sent.
pub(crate) fn check_target(target: &str) -> Result<(), SendError> {
    let allowed = |byte: u8| matches!(byte, b'!'..=b'~' | 0x80..) && !matches!(byte, b'#' | b'<' | b'>');
    if !target.bytes().all(allowed) {
        return Err(SendError::InvalidRequest("the request path holds characters that no URL may hold"));
    }
    if !target.starts_with('/') {
        return Err(SendError::InvalidRequest("the request path must begin with a slash"));
    }
    Ok(())
}

impl Head<'_> {
    /// Appends the head to `out`, the empty line at its end included.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let length: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        out.reserve(length + self.target.len() + self.host.len() + self.fixed.len() + 96);
        for piece in [self.method.as_str(), " ", self.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
        field(out, &HOST, self.host.as_bytes());
        match self.length {
            // RFC 9110 8.6: a method that expects content says that there is none.
            Some(0) if !matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => field(out, &CONTENT_LENGTH, decimal(length, &mut [0; 20])),
            None => field(out, &TRANSFER_ENCODING, b"chunked"),
        }
        out.extend_from_slice(self.fixed);
        for (name, value) in self.headers.iter().filter(|(name, _)| !belongs_to_the_pool(name)) {
            field(out, name, value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn decimal(mut number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut at = room.len();
    loop {
        at -= 1;
        room[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &room[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn written(method: &Method, length: Option<u64>, headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let host = HeaderValue::from_static("gpu-1:8000");
        let mut out = Vec::new();
        Head { method, target: "/v1/x?y=1", host: &host, fixed: b"x-b: 2\r\n", headers: &headers, length }
            .write(&mut out);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn the_line_the_host_the_framing_and_then_the_rest() {
        let left_over = [
            ("accept", "*/*"),
            ("connection", "close"),
            ("content-length", "7"),
            ("host", "evil"),
            ("x-a", "1"),
        ];
        assert_eq!(
            written(&Method::POST, Some(12), &left_over),
            "POST /v1/x?y=1 HTTP/1.1\r\nhost: gpu-1:8000\r\ncontent-length: 12\r\nx-b: 2\r\naccept: */*\r\nx-a: 1\r\n\r\n"
        );
    }

    #[test]
    fn a_body_says_how_it_ends() {
        for (method, length, framing) in [
            (Method::POST, None, "transfer-encoding: chunked\r\n"),
            (Method::GET, None, "transfer-encoding: chunked\r\n"),
            (Method::POST, Some(0), "content-length: 0\r\n"),
            (Method::GET, Some(0), ""),
            (Method::DELETE, Some(3), "content-length: 3\r\n"),
            (Method::POST, Some(u64::MAX), "content-length: 18446744073709551615\r\n"),
        ] {
            assert_eq!(
                written(&method, length, &[]),
                format!("{method} /v1/x?y=1 HTTP/1.1\r\nhost: gpu-1:8000\r\n{framing}x-b: 2\r\n\r\n")
            );
        }
    }

    #[test]
    fn a_target_never_ends_the_line() {
        for good in ["/", "/v1/a%20b?q=\"{}|[]&x=1", "/ünï"] {
            assert!(check_target(good).is_ok(), "{good}");
        }
        for bad in ["", "x", "*", "/a b", "/a\r\nx: y", "/a\tb", "/a#b", "/a\u{7f}"] {
            assert!(check_target(bad).is_err(), "{bad:?}");
        }
    }
}
