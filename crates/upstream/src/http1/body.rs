//! Finding the pieces of a response's body.

use bytes::{Buf, Bytes, BytesMut};

use super::Malformed;

/// The most bytes that chunk extensions, or the trailer, may take: nobody reads them.
const IGNORED: u32 = 16 << 10;

/// What is left of a body.
#[derive(Debug)]
pub struct Body {
    state: State,
    /// So many bytes of chunk extensions and trailers have come.
    ignored: u32,
}

#[derive(Debug)]
enum State {
    Ended,
    /// So many bytes are to come.
    Counted(u64),
    Chunked(Chunked),
    UntilTheEnd,
    /// What stands behind the last piece is no chunk.
    Malformed(Malformed),
}

/// Where in a chunked body (RFC 9112 7.1) the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Chunked {
    /// In a chunk's size, of which this much was read; whether there was a digit.
    Size { size: u64, digits: bool },
    /// Behind the size: white space or an extension, up to the end of the line.
    Extension { size: u64 },
    /// Behind the return that ends a size's line.
    SizeEnd { size: u64 },
    /// In a chunk.
    Data { left: u64 },
    /// Behind a chunk: a return, then a line feed.
    DataEnd { returned: bool },
    /// In the trailer, at this byte of a line.
    Trailer { at: Line },
}

/// Where in a line of the trailer.
#[derive(Clone, Copy, Debug)]
enum Line {
    Start,
    Inside,
    /// Behind a return; whether it is all there is on the line.
    Returned {
        empty: bool,
    },
}

impl Body {
    /// There is none.
    pub const fn none() -> Body {
        Body::new(State::Ended)
    }

    /// It has so many bytes.
    pub const fn of_length(length: u64) -> Body {
        Body::new(if length == 0 { State::Ended } else { State::Counted(length) })
    }

    /// It comes in chunks.
    pub const fn chunked() -> Body {
        Body::new(State::Chunked(Chunked::Size { size: 0, digits: false }))
    }

    /// It ends when the connection does.
    pub const fn until_the_end() -> Body {
        Body::new(State::UntilTheEnd)
    }

    const fn new(state: State) -> Body {
        Body { state, ignored: 0 }
    }

    /// Whether everything was read.
    pub const fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether a closed connection is its end, and no cut.
    pub const fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilTheEnd)
    }

    /// How many bytes are to come, if that is known.
    pub const fn left(&self) -> Option<u64> {
        match self.state {
            State::Ended => Some(0),
            State::Counted(left) => Some(left),
            State::Chunked(_) | State::UntilTheEnd | State::Malformed(_) => None,
        }
    }

    /// Takes the next piece off the front of `buffer`. `None`: the body has [ended](Body::ended), or more bytes are
    /// needed. The end is noticed with the last piece if it has arrived with it.
    ///
    /// # Errors
    /// Chunks that are none.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let piece = match &mut self.state {
            State::Ended => return Ok(None),
            State::Malformed(what) => return Err(what.clone()),
            State::UntilTheEnd => return Ok((!buffer.is_empty()).then(|| buffer.split().freeze())),
            State::Counted(left) => {
                let piece = front(buffer, left);
                if *left == 0 {
                    self.state = State::Ended;
                }
                return Ok(piece);
            }
            State::Chunked(chunked) => {
                if !matches!(chunked, Chunked::Data { .. }) && chunked.skip(buffer, &mut self.ignored)? {
                    self.state = State::Ended;
                    return Ok(None);
                }
                let Chunked::Data { left } = chunked else { return Ok(None) };
                let piece = front(buffer, left);
                if *left > 0 {
                    return Ok(piece);
                }
                *chunked = Chunked::DataEnd { returned: false };
                match chunked.skip(buffer, &mut self.ignored) {
                    Ok(true) => self.state = State::Ended,
                    Ok(false) => {}
                    // the piece before it was sound
                    Err(what) => self.state = State::Malformed(what),
                }
                piece
            }
        };
        Ok(piece)
    }
}

/// Up to `left` bytes off the front of the buffer.
fn front(buffer: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
    *left -= length as u64;
    match length {
        0 => None,
        all if all == buffer.len() => Some(buffer.split().freeze()),
        some => Some(buffer.split_to(some).freeze()),
    }
}

impl Chunked {
    /// Skips what stands between chunks. True at the end of the body.
    fn skip(&mut self, buffer: &mut BytesMut, ignored: &mut u32) -> Result<bool, Malformed> {
        let mut read = self.hurry(buffer);
        let mut ended = false;
        while let Some(&byte) = buffer.get(read)
            && !ended
            && !matches!(self, Chunked::Data { .. })
        {
            read += 1;
            ended = self.step(byte, ignored)?;
        }
        buffer.advance(read);
        Ok(ended)
    }

    /// Skips what nearly always stands between two chunks, if it is there whole, and says how much that is: the end of
    /// one, and a size without an extension.
    fn hurry(&mut self, input: &[u8]) -> usize {
        let mut read = 0;
        if matches!(self, Chunked::DataEnd { returned: false }) && input.starts_with(b"\r\n") {
            *self = Chunked::Size { size: 0, digits: false };
            read = 2;
        }
        if let Chunked::Size { digits: false, .. } = self {
            let rest = &input[read..];
            let (mut size, mut digits) = (0, 0);
            while let Some(digit) =
                rest.get(digits).and_then(|byte| hexadecimal(*byte)).filter(|_| digits < 15)
            {
                size = size << 4 | digit;
                digits += 1;
            }
            if size > 0 && rest[digits..].starts_with(b"\r\n") {
                *self = Chunked::Data { left: size };
                read += digits + 2;
            }
        }
        read
    }

    /// One byte that is no data. True at the end of the body.
    fn step(&mut self, byte: u8, ignored: &mut u32) -> Result<bool, Malformed> {
        *self = match (*self, byte) {
            (Chunked::Size { size, digits: true } | Chunked::Extension { size }, b'\r') => {
                Chunked::SizeEnd { size }
            }
            (Chunked::Size { size, digits: true }, b' ' | b'\t' | b';') => Chunked::Extension { size },
            (Chunked::Size { size, .. }, _) => {
                let digit = hexadecimal(byte).ok_or(Malformed::new("a chunk's size is no number"))?;
                let size = size.checked_mul(16).ok_or(Malformed::new("a chunk's size is too large"))?;
                Chunked::Size { size: size | digit, digits: true }
            }
            (Chunked::Extension { .. }, b'\n') => {
                return Err(Malformed::new("a chunk's line ends without a return"));
            }
            (Chunked::Extension { size }, _) => {
                count(ignored)?;
                Chunked::Extension { size }
            }
            (Chunked::SizeEnd { size: 0 }, b'\n') => Chunked::Trailer { at: Line::Start },
            (Chunked::SizeEnd { size }, b'\n') => Chunked::Data { left: size },
            (Chunked::DataEnd { returned: false }, b'\r') => Chunked::DataEnd { returned: true },
            (Chunked::DataEnd { returned: true }, b'\n') => Chunked::Size { size: 0, digits: false },
            (Chunked::SizeEnd { .. } | Chunked::DataEnd { .. }, _) => {
                return Err(Malformed::new("a chunk is not as long as it says"));
            }
            (Chunked::Trailer { at: Line::Returned { empty: true } }, b'\n') => return Ok(true),
            (Chunked::Trailer { at: Line::Returned { empty: false } }, b'\n') => {
                Chunked::Trailer { at: Line::Start }
            }
            (Chunked::Trailer { at: Line::Returned { .. } }, _) | (Chunked::Trailer { .. }, b'\n') => {
                return Err(Malformed::new("a line of the trailer does not end as lines do"));
            }
            (Chunked::Trailer { at }, b'\r') => {
                Chunked::Trailer { at: Line::Returned { empty: matches!(at, Line::Start) } }
            }
            (Chunked::Trailer { .. }, _) => {
                count(ignored)?;
                Chunked::Trailer { at: Line::Inside }
            }
            // data is taken in one go, not byte by byte
            (Chunked::Data { left }, _) => Chunked::Data { left },
        };
        Ok(false)
    }
}

/// The value of a hexadecimal digit.
fn hexadecimal(digit: u8) -> Option<u64> {
    (digit as char).to_digit(16).map(u64::from)
}

/// One byte more of what nobody reads.
fn count(ignored: &mut u32) -> Result<(), Malformed> {
    *ignored += 1;
    if *ignored > IGNORED {
        return Err(Malformed::new("its chunk extensions or trailers take more than 16 KiB"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pieces joined, and what is left in the buffer behind the body's end; `None` if the end has not come.
    fn read(mut body: Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<Vec<u8>>), Malformed> {
        let (mut buffer, mut whole) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(data) = body.take(&mut buffer)? {
                assert!(!data.is_empty());
                whole.extend_from_slice(&data);
            }
        }
        Ok((whole, body.ended().then(|| buffer.to_vec())))
    }

    fn chunked(text: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), Malformed> {
        read(Body::chunked(), &[text.as_bytes()])
    }

    #[test]
    fn counted_bytes_and_no_more() {
        let (whole, rest) = read(Body::of_length(5), &[b"ab", b"c", b"defg"]).expect("sound");
        assert_eq!((&whole[..], rest.as_deref()), (&b"abcde"[..], Some(&b"fg"[..])));
        assert_eq!(read(Body::of_length(5), &[b"abcd"]).expect("sound"), (b"abcd".to_vec(), None));
        assert!(Body::of_length(0).ended());
    }

    #[test]
    fn chunks_with_everything_that_they_may_have() {
        let text = "5;a=b\r\nhello\r\n1 \r\n,\r\n0A\r\n 012345678\r\n0;x\r\nx-sum: 1\r\ny: 2\r\n\r\nHTTP";
        let (whole, rest) = chunked(text).expect("sound");
        assert_eq!((&whole[..], rest.as_deref()), (&b"hello, 012345678"[..], Some(&b"HTTP"[..])));
    }

    #[test]
    fn the_end_is_noticed_with_the_last_piece() {
        let mut body = Body::chunked();
        let piece = body.take(&mut BytesMut::from(&b"2\r\nok\r\n0\r\n\r\n"[..]));
        assert_eq!(piece, Ok(Some(Bytes::from_static(b"ok"))));
        assert!(body.ended());
    }

    #[test]
    fn what_came_before_a_fault_is_given() {
        let (mut body, mut buffer) = (Body::chunked(), BytesMut::from(&b"2\r\nok\r\nzz\r\n"[..]));
        assert_eq!(body.take(&mut buffer), Ok(Some(Bytes::from_static(b"ok"))));
        assert!(body.take(&mut buffer).is_err() && body.take(&mut buffer).is_err());
        assert!(!body.ended());
    }

    #[test]
    fn chunks_that_are_none() {
        for text in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na",
            "0x1\r\na",
            ";a\r\n",
            " 1\r\na",
            "1\na",
            "1;a\na",
            "1\ra",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r0",
            "10000000000000000\r\n",
            "0\r\n\n",
            "0\r\na: b\n",
            "0\r\na\rb",
            "0\r\n\rX",
        ] {
            assert!(chunked(text).is_err(), "{text:?}");
        }
        assert!(chunked(&format!("1;{}", "a".repeat(17 << 10))).is_err());
        assert!(chunked(&format!("0\r\n{}", "a: b\r\n".repeat(5 << 10))).is_err());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_body_was_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1usize..9, 1..20),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\nrest");
            let (mut pieces, mut rest, mut sizes) = (Vec::new(), &text[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*sizes.next().expect("endless")).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let (whole, left) = read(Body::chunked(), &pieces).expect("sound");
            prop_assert_eq!(whole, chunks.concat());
            prop_assert_eq!(left.expect("ended"), b"rest");
        }
    }
}
