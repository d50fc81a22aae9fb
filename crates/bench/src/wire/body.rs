//! A body as it arrives: which bytes are payload, and whether it has ended.

use super::{Framing, Malformed};

/// Where one is inside of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes of payload are still to come, and then the end.
    Counted(u64),
    /// In the line that tells a chunk's size; `true` once a digit has come, `true` behind a semicolon.
    Size(u64, bool, bool),
    /// So many bytes of a chunk are still to come.
    Chunk(u64),
    /// At the line break behind a chunk.
    Behind,
    /// In the lines behind the last chunk; how long the present one is so far.
    Trailer(usize),
    /// Payload until the connection closes.
    Endless,
    /// Over.
    Ended,
}

/// Takes a body apart, in whatever pieces it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    place: Place,
}

impl Body {
    /// The body of a response.
    pub fn of_response(framing: Framing) -> Body {
        Body::new(framing, Place::Endless)
    }

    /// The body of a request.
    pub fn of_request(framing: Framing) -> Body {
        Body::new(framing, Place::Ended)
    }

    fn new(framing: Framing, unstated: Place) -> Body {
        let place = match framing {
            Framing::Length(0) => Place::Ended,
            Framing::Length(bytes) => Place::Counted(bytes),
            Framing::Chunked => Place::Size(0, false, false),
            Framing::Unstated => unstated,
        };
        Body { place }
    }

    /// Whether all of it has arrived.
    pub fn ended(&self) -> bool {
        self.place == Place::Ended
    }

    /// Whether the close of the connection is an end, and not a cut.
    pub fn may_close(&self) -> bool {
        matches!(self.place, Place::Ended | Place::Endless)
    }

    /// Takes what belongs to the body from the beginning of `input`, shows the payload in it, and tells how many bytes
    /// it took.
    pub fn take(&mut self, input: &[u8], mut payload: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() && !self.ended() {
            let rest = &input[at..];
            match self.place {
                Place::Counted(left) => {
                    let piece = part(rest, left);
                    payload(piece);
                    at += piece.len();
                    self.place = match left - piece.len() as u64 {
                        0 => Place::Ended,
                        left => Place::Counted(left),
                    };
                }
                Place::Chunk(left) => {
                    let piece = part(rest, left);
                    payload(piece);
                    at += piece.len();
                    self.place = match left - piece.len() as u64 {
                        0 => Place::Behind,
                        left => Place::Chunk(left),
                    };
                }
                Place::Endless => {
                    payload(rest);
                    at = input.len();
                }
                _ => {
                    self.framing_byte(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// One byte that is not payload.
    fn framing_byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.place = match (self.place, byte) {
            (Place::Size(size, _, false), _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                let larger = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                Place::Size(larger.ok_or(Malformed("a chunk too large to be true"))?, true, false)
            }
            (Place::Size(0, true, _), b'\n') => Place::Trailer(0),
            (Place::Size(size, true, _), b'\n') => Place::Chunk(size),
            (Place::Size(size, true, extension), b'\r' | b' ') => Place::Size(size, true, extension),
            (Place::Size(size, true, _), b';') => Place::Size(size, true, true),
            (Place::Size(size, true, true), _) => Place::Size(size, true, true),
            (Place::Behind, b'\r') => Place::Behind,
            (Place::Behind, b'\n') => Place::Size(0, false, false),
            (Place::Trailer(0), b'\n') => Place::Ended,
            (Place::Trailer(_), b'\n') => Place::Trailer(0),
            (Place::Trailer(length), b'\r') => Place::Trailer(length),
            (Place::Trailer(length), _) => Place::Trailer(length + 1),
            _ => return Err(Malformed("a chunk begins or ends where none can")),
        };
        Ok(())
    }
}

/// As much of `input` as `most` allows.
fn part(input: &[u8], most: u64) -> &[u8] {
    &input[..usize::try_from(most).map_or(input.len(), |most| most.min(input.len()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds it in two pieces, for every place to cut.
    fn check(framing: Framing, input: &[u8], expect: &str, left_over: usize) {
        for cut in 0..=input.len() {
            let mut body = Body::of_response(framing);
            let (mut got, mut taken) = (Vec::new(), 0);
            for piece in [&input[..cut], &input[cut..]] {
                taken += body.take(piece, |bytes| got.extend_from_slice(bytes)).unwrap();
            }
            assert_eq!((String::from_utf8_lossy(&got).as_ref(), input.len() - taken), (expect, left_over));
            assert!(body.may_close());
        }
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_is_cut() {
        check(Framing::Length(5), b"helloHTTP", "hello", 4);
        check(Framing::Length(0), b"HTTP", "", 4);
        check(
            Framing::Chunked,
            b"5\r\nhello\r\nB;x=1\r\n sweet home\r\n0\r\n\r\nHTTP",
            "hello sweet home",
            4,
        );
        check(Framing::Chunked, b"1\r\na\r\n0\r\nx-trailer: 1\r\n\r\n", "a", 0);
        check(Framing::Unstated, b"all of it", "all of it", 0);
    }

    #[test]
    fn a_request_that_states_nothing_has_no_body() {
        assert!(Body::of_request(Framing::Unstated).ended());
    }

    #[test]
    fn a_cut_body_is_no_end() {
        let mut body = Body::of_response(Framing::Chunked);
        body.take(b"5\r\nhel", |_| {}).unwrap();
        assert!(!body.ended() && !body.may_close());
    }

    #[test]
    fn nonsense_between_chunks_is_refused() {
        for text in ["x\r\n", "\r\n", "2\r\nabc\r\n", "fffffffffffffffff\r\n"] {
            assert!(Body::of_response(Framing::Chunked).take(text.as_bytes(), |_| {}).is_err(), "{text:?}");
        }
    }
}
