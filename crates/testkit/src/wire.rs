//! HTTP/1.1 as bytes, for both ends: message heads, and bodies by length, in chunks, or until the close.
//!
//! Strict on purpose: what a sloppy peer would forgive (bare line feeds, two lengths, a length beside
//! chunks) is an error here, so that a test notices it. Follows RFC 9112.

use std::fmt;

/// The most bytes a message head may have before its blank line.
pub(crate) const HEAD_LIMIT: usize = 1024 * 1024;
/// The most bytes of one body that are kept.
pub(crate) const BODY_LIMIT: usize = 256 * 1024 * 1024;
/// The most bytes of one chunk-size line or of all trailers.
const LINE_LIMIT: usize = 64 * 1024;

/// Why bytes are not HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Header fields in order, names in the case in which they came.
pub(crate) type Fields = Vec<(String, String)>;

/// A start line and the fields below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

impl Head {
    /// Reads a head from the front of `bytes`: the head and how many bytes it took, or `None` when its
    /// blank line has not arrived yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > HEAD_LIMIT {
                malformed(format!("a message head of more than {HEAD_LIMIT} bytes"))
            } else {
                Ok(None)
            };
        };
        let mut lines = split_lines(&bytes[..end + 2]);
        let start = text(lines.next().unwrap_or_default());
        let fields = lines.map(field).collect::<Result<Fields, Malformed>>()?;
        if start.contains(['\n', '\r', '\0']) {
            return malformed(format!("a start line with a control character: {start:?}"));
        }
        Ok(Some((Head { start, fields }, end + 4)))
    }
}

/// The lines of `bytes`, each of which ends in CR LF.
fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        Some(line)
    })
}

/// UTF-8 where it is, otherwise one character per byte, so that nothing is lost.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn field(line: &[u8]) -> Result<(String, String), Malformed> {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return malformed(format!("a header line without a colon: {:?}", text(line)));
    };
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return malformed(format!("a header name that is not a token: {:?}", text(name)));
    }
    let value = text(&line[colon + 1..]);
    let value = value.trim_matches([' ', '\t']);
    if value.contains(['\r', '\n', '\0']) {
        return malformed(format!("a control character in the value of {:?}", text(name)));
    }
    Ok((text(name), value.to_owned()))
}

/// Whether `byte` may stand in a header name or a method (RFC 9110 §5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The first value of `name`, any case.
pub(crate) fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Whether the comma-separated values of `name` include `wanted`, any case.
pub(crate) fn lists(fields: &[(String, String)], name: &str, wanted: &str) -> bool {
    fields
        .iter()
        .filter(|(have, _)| have.eq_ignore_ascii_case(name))
        .flat_map(|(_, value)| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// The framing of a request: no length and no chunks is no body.
    pub(crate) fn of_request(fields: &[(String, String)]) -> Result<Framing, Malformed> {
        Ok(Framing::declared(fields)?.unwrap_or(Framing::Length(0)))
    }

    /// The framing of a response to a request with `method` (RFC 9112 §6.3).
    pub(crate) fn of_response(
        status: u16,
        method: &str,
        fields: &[(String, String)],
    ) -> Result<Framing, Malformed> {
        if method == "HEAD" || bodiless(status) {
            return Ok(Framing::Length(0));
        }
        Ok(Framing::declared(fields)?.unwrap_or(Framing::UntilClose))
    }

    fn declared(fields: &[(String, String)]) -> Result<Option<Framing>, Malformed> {
        let coding = find(fields, "transfer-encoding");
        let mut length = None;
        for (_, value) in fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let Some(number) = value.parse::<u64>().ok().filter(|_| digits) else {
                return malformed(format!("content-length is not a number: {value:?}"));
            };
            if length.replace(number).is_some() {
                return malformed("more than one content-length");
            }
        }
        match (coding, length) {
            (Some(_), Some(_)) => malformed("content-length beside transfer-encoding (request smuggling)"),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            (Some(coding), None) => malformed(format!("a transfer-encoding other than chunked: {coding:?}")),
            (None, length) => Ok(length.map(Framing::Length)),
        }
    }
}

/// Whether a response with this status never has a body.
pub(crate) fn bodiless(status: u16) -> bool {
    (100..200).contains(&status) || status == 204 || status == 304
}

/// Takes a body out of its framing, however the bytes arrive.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    trailers: Fields,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Size(Vec<u8>),
    Data(u64),
    DataEnd(u8),
    Trailers(Vec<u8>),
    UntilClose,
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(Vec::new()),
            Framing::UntilClose => State::UntilClose,
        };
        Decoder { state, trailers: Vec::new() }
    }

    /// Whether the body is whole.
    pub(crate) fn done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the peer's close at this point ends the body as it should.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// The fields after the last chunk.
    pub(crate) fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Takes what belongs to the body from the front of `input`, appends its content to `body`, and says
    /// how many bytes were taken. What is left over belongs to the next message.
    pub(crate) fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut used = 0;
        while used < input.len() && !self.done() {
            used += self.step(&input[used..], body)?;
            if body.len() > BODY_LIMIT {
                return malformed(format!("a body of more than {BODY_LIMIT} bytes"));
            }
        }
        Ok(used)
    }

    fn step(&mut self, input: &[u8], body: &mut Vec<u8>) -> Result<usize, Malformed> {
        match &mut self.state {
            State::Done => Ok(0),
            State::UntilClose => {
                body.extend_from_slice(input);
                Ok(input.len())
            }
            State::Length(left) | State::Data(left) => {
                let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                body.extend_from_slice(&input[..count]);
                *left -= count as u64;
                if *left == 0 {
                    self.state = if matches!(self.state, State::Data(_)) {
                        State::DataEnd(b'\r')
                    } else {
                        State::Done
                    };
                }
                Ok(count)
            }
            State::DataEnd(expected) => {
                if input[0] != *expected {
                    return malformed(format!(
                        "a chunk longer than its size: then came {:?}",
                        input[0] as char
                    ));
                }
                self.state = if *expected == b'\r' { State::DataEnd(b'\n') } else { State::Size(Vec::new()) };
                Ok(1)
            }
            State::Size(line) => {
                line.push(input[0]);
                if line.ends_with(b"\r\n") {
                    let size = chunk_size(&line[..line.len() - 2])?;
                    self.state = if size == 0 { State::Trailers(Vec::new()) } else { State::Data(size) };
                } else if line.len() > LINE_LIMIT {
                    return malformed("an endless chunk-size line");
                }
                Ok(1)
            }
            State::Trailers(block) => {
                block.push(input[0]);
                if block == b"\r\n" || block.ends_with(b"\r\n\r\n") {
                    let lines = &block[..block.len() - 2];
                    self.trailers = split_lines(lines).map(field).collect::<Result<Fields, Malformed>>()?;
                    self.state = State::Done;
                } else if block.len() > LINE_LIMIT {
                    return malformed("endless trailers");
                }
                Ok(1)
            }
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = text(digits);
    let digits = digits.trim_end_matches([' ', '\t']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return malformed(format!("a chunk size that is not hexadecimal: {:?}", text(line)));
    }
    u64::from_str_radix(digits, 16)
        .map_err(|_| Malformed(format!("a chunk size that is too large: {digits}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks;

    fn head(text: &str) -> Result<Option<(Head, usize)>, Malformed> {
        Head::parse(text.as_bytes())
    }

    fn fields(text: &str) -> Fields {
        head(&format!("GET / HTTP/1.1\r\n{text}\r\n")).unwrap().unwrap().0.fields
    }

    #[test]
    fn a_head_keeps_order_and_case_of_its_fields() {
        let (head, used) =
            head("POST /a HTTP/1.1\r\nX-B: 1\r\nx-a:  two \r\nX-b:3\r\n\r\nrest").unwrap().unwrap();
        assert_eq!(head.start, "POST /a HTTP/1.1");
        let expected = [("X-B", "1"), ("x-a", "two"), ("X-b", "3")];
        assert_eq!(head.fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(used, 47);
    }

    #[test]
    fn a_head_is_awaited_until_its_blank_line() {
        let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(head(&whole[..end]).unwrap(), None, "after {end} bytes");
        }
        assert!(head(whole).unwrap().is_some());
    }

    #[test]
    fn sloppy_heads_are_refused() {
        for sloppy in ["GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nname : v\r\n\r\n"] {
            assert!(head(sloppy).is_err(), "{sloppy:?}");
        }
        assert!(head("GET / HTTP/1.1\nhost: a\r\n\r\n").is_err());
        assert!(head("GET / HTTP/1.1\r\na: 1\nb: 2\r\n\r\n").is_err());
        assert!(head("GET / HTTP/1.1\r\n folded: 2\r\n\r\n").is_err());
    }

    #[test]
    fn framing_that_could_smuggle_is_refused() {
        for dangerous in [
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            "content-length: 3\r\ncontent-length: 3\r\n",
            "content-length: +3\r\n",
            "content-length: 3, 3\r\n",
            "transfer-encoding: gzip, chunked\r\n",
        ] {
            assert!(Framing::of_request(&fields(dangerous)).is_err(), "{dangerous:?}");
        }
        assert_eq!(Framing::of_request(&fields("")), Ok(Framing::Length(0)));
        assert_eq!(Framing::of_response(200, "GET", &[]), Ok(Framing::UntilClose));
        let length = fields("Content-Length: 9\r\n");
        assert_eq!(Framing::of_response(200, "HEAD", &length), Ok(Framing::Length(0)));
        assert_eq!(Framing::of_response(304, "GET", &length), Ok(Framing::Length(0)));
    }

    #[test]
    fn a_chunked_body_is_the_same_however_it_arrives() {
        let wire = b"4\r\nWiki\r\n5;ext=1\r\npedia\r\nA \r\n0123456789\r\n0\r\nx-sum: 7\r\n\r\nNEXT";
        for cutting in chunks::battery(wire, 20) {
            let mut decoder = Decoder::new(Framing::Chunked);
            let (mut body, mut left) = (Vec::new(), Vec::new());
            for piece in &cutting.pieces {
                let used = decoder.feed(piece, &mut body).unwrap();
                left.extend_from_slice(&piece[used..]);
            }
            assert!(decoder.done(), "{cutting}");
            assert_eq!(body, b"Wikipedia0123456789", "{cutting}");
            assert_eq!(left, b"NEXT", "{cutting}");
            assert_eq!(find(decoder.trailers(), "X-Sum"), Some("7"), "{cutting}");
        }
    }

    #[test]
    fn a_body_by_length_leaves_what_follows() {
        let mut decoder = Decoder::new(Framing::Length(5));
        let mut body = Vec::new();
        assert_eq!(decoder.feed(b"he", &mut body).unwrap(), 2);
        assert!(!decoder.may_close());
        assert_eq!(decoder.feed(b"lloGET", &mut body).unwrap(), 3);
        assert!(decoder.done());
        assert_eq!(body, b"hello");
    }

    #[test]
    fn bad_chunks_are_refused() {
        for bad in [&b"g\r\n"[..], b"\r\n", b"-1\r\n", b"0x4\r\n", b"1\r\nab", b"fffffffffffffffff\r\n"] {
            let mut decoder = Decoder::new(Framing::Chunked);
            assert!(decoder.feed(bad, &mut Vec::new()).is_err(), "{:?}", text(bad));
        }
    }
}
