//! Forms with files (`multipart/form-data`, RFC 7578), looked at while they arrive.
//!
//! A [`Scanner`] is fed bytes and gives them all back, in order, as [`Piece`]s: what stands between values, and the
//! values themselves. Putting the pieces together again gives the form byte for byte, so that a form whose model's name
//! is changed differs in nothing else.
//!
//! It is stricter than the standard wherever two readers might find different parts in the same bytes: lines end with
//! CRLF, nothing stands before the first delimiter or behind the last one, and the delimiter occurs nowhere else. What
//! clients write is none of that; what is smuggled past a gateway would be.

mod head;

use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

pub use head::{Part, boundary};

/// The longest head of a part, in bytes.
const HEAD: usize = 16 << 10;

/// The most parts of a form.
const PARTS: usize = 1_000;

/// The most blank bytes behind the last delimiter.
const EPILOGUE: usize = 1 << 10;

/// Why something is no form that every reader would read alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw(pub(crate) String);

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid multipart body: {}", self.0)
    }
}

impl std::error::Error for Flaw {}

fn flaw<T>(what: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw(what.into()))
}

/// Some of a form's bytes, or where a part begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Delimiters and heads of parts.
    Frame(Bytes),
    /// A part begins: its value follows.
    Begin(Part),
    /// Bytes of the value of the part that began last.
    Data(Bytes),
    /// That value is whole.
    End,
}

impl Piece {
    /// The bytes, if it is some.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Piece::Frame(bytes) | Piece::Data(bytes) => Some(bytes),
            Piece::Begin(_) | Piece::End => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Start,
    /// Behind a delimiter: another part, or the end.
    Delimiter,
    /// In the head of a part.
    Head,
    /// In the value of a part.
    Data,
    /// Behind the last delimiter, and how many bytes were seen there.
    Epilogue(usize),
}

/// Finds the parts of a form in bytes that arrive in any pieces.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// `--` and the boundary.
    delimiter: Finder<'static>,
    state: State,
    /// What cannot be told yet.
    held: BytesMut,
    parts: usize,
}

impl Scanner {
    /// A scanner for forms with this boundary, as [`boundary`] gives it.
    pub fn new(boundary: &str) -> Scanner {
        let delimiter = Finder::new(format!("--{boundary}").as_bytes()).into_owned();
        Scanner { delimiter, state: State::Start, held: BytesMut::new(), parts: 0 }
    }

    /// Takes the next bytes and appends what they show.
    ///
    /// # Errors
    /// What makes this no form. Nothing may be made of the pieces that came before.
    pub fn push(&mut self, bytes: Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        let mut input = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(&bytes);
            self.held.split().freeze()
        };
        while !input.is_empty() {
            let before = (input.len(), self.state);
            match self.state {
                State::Start => self.start(&mut input, out)?,
                State::Delimiter => self.delimiter(&mut input, out)?,
                State::Head => self.head(&mut input, out)?,
                State::Data => self.data(&mut input, out)?,
                State::Epilogue(seen) => self.epilogue(seen, &mut input, out)?,
            }
            if before == (input.len(), self.state) {
                break; // more must come first
            }
        }
        self.held.extend_from_slice(&input);
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// If that is not the end of a form.
    pub fn finish(&self) -> Result<(), Flaw> {
        match self.state {
            State::Epilogue(_) => Ok(()),
            State::Start if self.held.is_empty() => flaw("it is empty"),
            _ => flaw("it ends before its last delimiter"),
        }
    }

    fn start(&mut self, input: &mut Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        let delimiter = self.delimiter.needle();
        // some clients begin with an empty line
        let blank = if input.starts_with(b"\r\n") { 2 } else { 0 };
        let rest = &input[blank..];
        if rest.starts_with(delimiter) {
            out.push(Piece::Frame(input.split_to(blank + delimiter.len())));
            self.state = State::Delimiter;
            return Ok(());
        }
        if delimiter.starts_with(rest) || &input[..] == b"\r" {
            return Ok(());
        }
        flaw("it does not begin with its boundary")
    }

    fn delimiter(&mut self, input: &mut Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        if input.len() < 2 {
            return Ok(());
        }
        self.state = match &input[..2] {
            b"\r\n" => State::Head,
            b"--" if self.parts > 0 => State::Epilogue(0),
            b"--" => return flaw("it has no parts"),
            _ => return flaw("its boundary stands in it where no part begins"),
        };
        out.push(Piece::Frame(input.split_to(2)));
        Ok(())
    }

    fn head(&mut self, input: &mut Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else {
            if input.len() > HEAD {
                return flaw(format!("the head of a part is longer than {HEAD} bytes"));
            }
            return Ok(());
        };
        if end > HEAD {
            return flaw(format!("the head of a part is longer than {HEAD} bytes"));
        }
        if self.delimiter.find(&input[..end]).is_some() {
            return flaw("its boundary stands in it where no part begins");
        }
        self.parts += 1;
        if self.parts > PARTS {
            return flaw(format!("it has more than {PARTS} parts"));
        }
        let part = head::part(&input[..end])?;
        out.push(Piece::Frame(input.split_to(end + 4)));
        out.push(Piece::Begin(part));
        self.state = State::Data;
        Ok(())
    }

    fn data(&mut self, input: &mut Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        let length = self.delimiter.needle().len();
        let Some(at) = self.delimiter.find(input) else {
            // the end may hold the line break and the beginning of a delimiter
            let known = input.len().saturating_sub(length + 1);
            if known > 0 {
                out.push(Piece::Data(input.split_to(known)));
            }
            return Ok(());
        };
        if at < 2 || &input[at - 2..at] != b"\r\n" {
            return flaw("its boundary stands in it where no part begins");
        }
        if at > 2 {
            out.push(Piece::Data(input.split_to(at - 2)));
        }
        out.push(Piece::End);
        out.push(Piece::Frame(input.split_to(2 + length)));
        self.state = State::Delimiter;
        Ok(())
    }

    fn epilogue(&mut self, seen: usize, input: &mut Bytes, out: &mut Vec<Piece>) -> Result<(), Flaw> {
        let seen = seen + input.len();
        if seen > EPILOGUE || !input.iter().all(u8::is_ascii_whitespace) {
            return flaw("something follows its last delimiter");
        }
        out.push(Piece::Frame(std::mem::take(input)));
        self.state = State::Epilogue(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
