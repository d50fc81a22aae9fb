//! Reading the head of a response.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use smallvec::SmallVec;

use super::{Malformed, body::Body};

/// The most bytes that a head may take.
const LONGEST_HEAD: usize = 64 << 10;

/// The most fields that a head may have.
const MOST_FIELDS: usize = 100;

const TOO_LARGE: Malformed =
    Malformed::new("its response head is larger than 64 KiB or has more than 100 headers");

/// The head of a final response, and how its body is delimited.
pub struct Head {
    /// The status, which is final.
    pub status: StatusCode,
    /// The fields as they came.
    pub headers: HeaderMap,
    /// What is to come.
    pub body: Body,
    /// Whether the connection may serve again after the body.
    pub keep: bool,
}

/// Finds heads in what arrives.
#[derive(Default)]
pub struct Heads {
    /// So many bytes were looked at and are no whole head.
    looked_at: usize,
}

impl Heads {
    /// Takes the head of the final response to a request of this method off the front of `buffer`, once it is there
    /// whole. Informational heads before it are dropped. The fields go into `headers`, whose memory is used again.
    ///
    /// # Errors
    /// What is no HTTP head, or one that can be read in two ways.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        method: &Method,
        headers: &mut HeaderMap,
    ) -> Result<Option<Head>, Malformed> {
        while self.may_be_whole(buffer) {
            headers.clear();
            let Some((status, is_http_1_1)) = parse(buffer, headers)? else {
                if buffer.len() >= LONGEST_HEAD {
                    return Err(TOO_LARGE);
                }
                self.looked_at = buffer.len();
                return Ok(None);
            };
            self.looked_at = 0;
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Malformed::new("status 101 without having been asked for an upgrade"));
            }
            if !status.is_informational() {
                let (body, delimited_once) = delimited(method, status, is_http_1_1, headers)?;
                let keep =
                    is_http_1_1 && delimited_once && !body.ends_with_connection() && !says_close(headers);
                return Ok(Some(Head { status, headers: std::mem::take(headers), body, keep }));
            }
        }
        Ok(None)
    }

    /// What it means that nothing more comes: that a head was cut off, or that what there is was none.
    ///
    /// # Errors
    /// What is no HTTP head.
    pub fn close(self, buffer: &[u8]) -> Result<(), Malformed> {
        parse(&mut buffer.into(), &mut HeaderMap::new()).map(|_| ())
    }

    /// Whether reading again may find more than the last time. A head that comes byte by byte would otherwise be read
    /// from its beginning at each of them.
    fn may_be_whole(&self, buffer: &[u8]) -> bool {
        if self.looked_at == 0 || buffer.len() >= LONGEST_HEAD {
            return !buffer.is_empty();
        }
        let news = &buffer[self.looked_at.saturating_sub(3)..];
        news.windows(2).any(|pair| pair == b"\n\n") || news.windows(3).any(|three| three == b"\n\r\n")
    }
}

/// Takes one head, if it is whole: its status and whether it is of HTTP/1.1, its fields into `headers`.
fn parse(buffer: &mut BytesMut, headers: &mut HeaderMap) -> Result<Option<(StatusCode, bool)>, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let read =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, buffer, &mut room);
    let length = match read {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) if length <= LONGEST_HEAD => length,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(error) => return Err(Malformed(error.to_string().into())),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed::new("its status is no number from 100 to 999"))?;
    let is_http_1_1 = parsed.version == Some(1);
    // where the fields lie: the bytes under them are about to be cut off the buffer
    let start = buffer.as_ptr() as usize;
    let place = |piece: &[u8]| {
        let from = piece.as_ptr() as usize - start;
        from..from + piece.len()
    };
    let fields: SmallVec<[_; 16]> =
        parsed.headers.iter().map(|field| (place(field.name.as_bytes()), place(field.value))).collect();
    let head = buffer.split_to(length).freeze();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(&head[name]);
        let name = name.map_err(|_| Malformed::new("a header's name holds characters that it may not"))?;
        let value = HeaderValue::from_maybe_shared(head.slice(value));
        let value = value.map_err(|_| Malformed::new("a header's value holds characters that it may not"))?;
        headers.append(name, value);
    }
    Ok(Some((status, is_http_1_1)))
}

/// How the body is delimited (RFC 9112 6.3), and whether the head says so in one way only.
fn delimited(
    method: &Method,
    status: StatusCode,
    is_http_1_1: bool,
    headers: &HeaderMap,
) -> Result<(Body, bool), Malformed> {
    let coded = headers.contains_key(TRANSFER_ENCODING);
    let length = declared_length(headers)?;
    if *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Body::none(), true));
    }
    match (coded, length) {
        (false, Some(length)) => Ok((Body::of_length(length), true)),
        (false, None) => Ok((Body::until_the_end(), true)),
        (true, _) if !is_http_1_1 => Err(Malformed::new("a transfer coding in HTTP/1.0")),
        (true, length) => {
            let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
            let only = codings.next().filter(|_| codings.next().is_none());
            if !only.is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
                return Err(Malformed::new("a transfer coding other than chunked, which nobody asked for"));
            }
            // chunked wins, but whoever says both may have been lied to by somebody behind it
            Ok((Body::chunked(), length.is_none()))
        }
    }
}

/// The length that a head declares. Saying it twice is no fault if it is the same.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut declared = None;
    for text in
        headers.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','))
    {
        let digits = text.trim_ascii();
        let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
        let length: Option<u64> = number.and_then(|digits| digits.parse().ok());
        let length = length.ok_or(Malformed::new("its content-length is no number"))?;
        if declared.is_some_and(|before| before != length) {
            return Err(Malformed::new("it has two different content-lengths"));
        }
        declared = Some(length);
    }
    Ok(declared)
}

fn says_close(headers: &HeaderMap) -> bool {
    let words = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    words.map(<[u8]>::trim_ascii).any(|word| word.eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, text: &str) -> Result<Option<Head>, Malformed> {
        Heads::default().take(&mut text.as_bytes().into(), method, &mut HeaderMap::new())
    }

    fn got(text: &str) -> Head {
        read(&Method::POST, text).expect("well formed").expect("whole")
    }

    #[test]
    fn a_head_is_taken_and_the_body_left() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: 1\r\nX-A: 2\r\ncontent-length: 4\r\n\r\nbody";
        let mut buffer = BytesMut::from(&text[..]);
        let head = Heads::default().take(&mut buffer, &Method::POST, &mut HeaderMap::new());
        let head = head.expect("well formed").expect("whole");
        assert_eq!((head.status.as_u16(), head.keep, head.headers.len()), (200, true, 4));
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(head.body.left(), Some(4));
        assert_eq!(&buffer[..], b"body");
    }

    #[test]
    fn a_head_is_found_wherever_it_is_cut() {
        let text = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 201 Created\r\na: b\r\ncontent-length: 1\r\n\r\nx";
        for sizes in [1, 2, 3, 7, 40] {
            let (mut heads, mut buffer, mut found) = (Heads::default(), BytesMut::new(), None);
            for piece in text.chunks(sizes) {
                buffer.extend_from_slice(piece);
                if found.is_none() {
                    found =
                        heads.take(&mut buffer, &Method::GET, &mut HeaderMap::new()).expect("well formed");
                }
            }
            let head = found.expect("whole");
            assert_eq!((head.status.as_u16(), head.headers.len()), (201, 2), "pieces of {sizes}");
            assert_eq!(&buffer[..], b"x", "pieces of {sizes}");
        }
    }

    #[test]
    fn how_a_body_ends() {
        let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert_eq!(got(&with("content-length: 3, 3\r\ncontent-length: 3\r\n")).body.left(), Some(3));
        assert!(got(&with("transfer-encoding: Chunked\r\n")).keep);
        assert!(!got(&with("transfer-encoding: chunked\r\ncontent-length: 3\r\n")).keep, "two ways");
        assert!(got(&with("")).body.ends_with_connection());
        assert!(!got(&with("")).keep);
        assert!(!got(&with("content-length: 0\r\nconnection: x, CLOSE\r\n")).keep);
        assert!(!got("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n").keep);
        for text in
            ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"]
        {
            assert!(got(text).body.ended() && got(text).keep, "{text}");
        }
        let head = read(&Method::HEAD, &with("content-length: 9\r\n")).expect("well formed").expect("whole");
        assert!(head.body.ended() && head.keep);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for fields in [
            "content-length: 3\r\ncontent-length: 4\r\n",
            "content-length: 3, 4\r\n",
            "content-length: +3\r\n",
            "content-length: -1\r\n",
            "content-length:\r\n",
            "content-length: 3 3\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked\r\ncontent-length: many\r\n",
            "x : 1\r\n",
            "a: 1\r\n b\r\n",
            "x: \u{1}\r\n",
        ] {
            let refused = read(&Method::POST, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            assert!(refused.is_err(), "{fields:?}");
        }
        assert!(read(&Method::POST, "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        for text in ["HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 99 No\r\n\r\n", "HTTP/1.1 101 Hm\r\n\r\n", "nonsense"]
        {
            assert!(read(&Method::POST, text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_beyond_every_limit_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(LONGEST_HEAD));
        assert_eq!(read(&Method::GET, &long).err(), Some(TOO_LARGE));
        assert_eq!(read(&Method::GET, &format!("{long}\r\n\r\n")).err(), Some(TOO_LARGE));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: 1\r\n".repeat(MOST_FIELDS + 1));
        assert_eq!(read(&Method::GET, &many).err(), Some(TOO_LARGE));
    }
}
