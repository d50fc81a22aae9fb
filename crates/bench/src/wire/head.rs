//! The head of a request or of a response: its first line, and the few header fields that matter here.

use memchr::memmem;

use super::Malformed;

/// A longer head is refused.
const LONGEST: usize = 64 << 10;

/// How a body says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After a chunk of no bytes.
    Chunked,
    /// Nothing is said: no body in a request, all until the connection closes in a response.
    Unstated,
}

/// A head that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Bytes of the head, the blank line included.
    pub bytes: usize,
    /// `POST /v1/chat/completions HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub first_line: &'a str,
    /// Where the body ends.
    pub framing: Framing,
    /// `connection: close`.
    pub close: bool,
    /// `expect: 100-continue`.
    pub expects_continue: bool,
}

impl<'a> Head<'a> {
    /// Reads a head from the beginning of what was received; `None` while it is not whole.
    pub fn read(received: &'a [u8]) -> Result<Option<Head<'a>>, Malformed> {
        let Some(end) = memmem::find(received, b"\r\n\r\n") else {
            return if received.len() > LONGEST { Err(Malformed("the head is too long")) } else { Ok(None) };
        };
        let text =
            std::str::from_utf8(&received[..end]).map_err(|_| Malformed("the head is not readable"))?;
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default();
        let mut head = Head {
            bytes: end + 4,
            first_line,
            framing: Framing::Unstated,
            close: false,
            expects_continue: false,
        };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Malformed("a header line without a colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") && head.framing != Framing::Chunked {
                let length = value.parse().map_err(|_| Malformed("content-length is not a number"))?;
                head.framing = Framing::Length(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                head.framing = Framing::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                head.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("expect") {
                head.expects_continue = value.eq_ignore_ascii_case("100-continue");
            }
        }
        Ok(Some(head))
    }

    /// The status of a response.
    pub fn status(&self) -> Result<u16, Malformed> {
        let mut words = self.first_line.split(' ');
        let version = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let status = words.next().and_then(|word| word.parse().ok());
        status.filter(|_| version).ok_or(Malformed("the first line is no status line"))
    }

    /// The method and the target of a request.
    pub fn request(&self) -> Result<(&'a str, &'a str), Malformed> {
        let mut words = self.first_line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(version)) if version.starts_with("HTTP/1.") => {
                Ok((method, target))
            }
            _ => Err(Malformed("the first line is no request line")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: Close\r\n\r\nhello";
        for cut in 0..text.len() - 5 {
            assert_eq!(Head::read(&text[..cut]), Ok(None), "cut at {cut}");
        }
        let head = Head::read(text).unwrap().unwrap();
        assert_eq!((head.bytes, head.framing, head.close), (text.len() - 5, Framing::Length(12), true));
        assert_eq!(head.status(), Ok(200));
    }

    #[test]
    fn a_request_tells_its_method_and_its_target() {
        let text = b"POST /v1/models HTTP/1.1\r\nTransfer-Encoding: chunked\r\nexpect: 100-continue\r\n\r\n";
        let head = Head::read(text).unwrap().unwrap();
        assert_eq!(head.request(), Ok(("POST", "/v1/models")));
        assert_eq!((head.framing, head.expects_continue), (Framing::Chunked, true));
        assert!(head.status().is_err());
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(Head::read(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").is_err());
        assert!(Head::read(b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(Head::read(&[b'a'; LONGEST + 1]).is_err());
        assert!(Head::read(b"hello\r\n\r\n").unwrap().unwrap().request().is_err());
    }
}
