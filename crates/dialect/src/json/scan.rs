//! One pass over a whole JSON text: is it JSON, and where do the members of its top level lie?
//!
//! Safe on any input: no recursion, no allocation but the index. What is accepted here, serde_json decodes into a
//! `Value` with its default settings, and the other way round, with two exceptions on the strict side: a text with
//! more than [`MAX_MEMBERS`] members at the top level is refused, and so is a byte order mark.

use std::ops::Range;

use super::{is_space, words};

/// How many arrays and objects may lie in each other: as many as serde_json decodes.
pub const MAX_DEPTH: usize = 127;

/// How many members the top level may have, so that the index stays small beside the text.
pub const MAX_MEMBERS: usize = 4096;

/// Numbers shorter than this, with an exponent of at most two digits, cannot be too large for a double.
const LONG_NUMBER: usize = 200;

/// What a text turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Whether the text is an object. If not, `members` is empty.
    pub is_object: bool,
    /// The members of the top level, in the order in which they stand.
    pub members: Vec<Member>,
}

/// Where one member of the top level lies in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name, without its quotes.
    pub name: Range<usize>,
    /// Whether the name has to be unescaped before it can be compared.
    pub escaped: bool,
    /// The value, without the whitespace around it.
    pub value: Range<usize>,
    /// Whether the value, if it is an array, holds objects and nothing else.
    pub only_objects: bool,
}

impl Member {
    /// From the name's opening quote to the end of the value.
    pub fn whole(&self) -> Range<usize> {
        self.name.start - 1..self.value.end
    }
}

/// Why a text is not JSON that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    at: usize,
    message: &'static str,
}

const TOO_DEEP: &str = "nested too deeply";

impl Flaw {
    /// Where in the text, in bytes.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// A few words, without the place.
    pub fn message(&self) -> &'static str {
        self.message
    }

    /// Whether the text may be JSON, but has more than [`MAX_DEPTH`] levels.
    pub fn is_too_deep(&self) -> bool {
        self.message == TOO_DEEP
    }

    /// Line and column, counted from one; the column counts characters. `text` is the one that was scanned.
    pub fn position(&self, text: &[u8]) -> (usize, usize) {
        let before = text.get(..self.at).unwrap_or(text);
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let is_first_of_a_character = |byte: &&u8| **byte & 0xc0 != 0x80;
        (line, 1 + before[start..].iter().filter(is_first_of_a_character).count())
    }
}

/// Checks a whole text and finds the members of its top level.
pub fn scan(text: &[u8]) -> Result<Document, Flaw> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Flaw { at: error.valid_up_to(), message: "invalid UTF-8" });
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Flaw { at: 0, message: "byte order mark before the JSON text" });
    }
    let mut scanner = Scanner { text, at: 0, depth: 0, kinds: 0 };
    scanner.document()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// How many containers are open; at most [`MAX_DEPTH`], so that `kinds` has a bit for each.
    depth: usize,
    /// The open containers, innermost in the lowest bit: set for an object.
    kinds: u128,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<Document, Flaw> {
        self.skip_space();
        let is_object = self.peek() == Some(b'{');
        let mut members = Vec::new();
        if is_object {
            members.reserve(16);
        }
        let mut name = Name { inside: 0..0, escaped: false };
        let mut value_start = 0;
        let mut only_objects = true;
        'value: loop {
            // an item of an array that is a member of the top level
            if self.depth == 2 && self.kinds & 0b11 == 0b10 {
                only_objects &= self.peek() == Some(b'{');
            }
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{') => {
                    self.descend(true)?;
                    if self.peek() != Some(b'}') {
                        let read = self.name()?;
                        if self.depth == 1 {
                            (name, value_start, only_objects) = (read, self.at, true);
                        }
                        continue 'value;
                    }
                    self.ascend();
                }
                Some(b'[') => {
                    self.descend(false)?;
                    if self.peek() != Some(b']') {
                        continue 'value;
                    }
                    self.ascend();
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(_) => return Err(self.flaw("expected a value")),
                None if self.at == 0 => return Err(self.flaw("the body is empty")),
                None => return Err(self.flaw("the text ends where a value is expected")),
            }
            // A value has ended: close what ends with it.
            loop {
                if self.depth == 0 {
                    break 'value;
                }
                let in_object = self.kinds & 1 == 1;
                if self.depth == 1 && in_object {
                    if members.len() == MAX_MEMBERS {
                        return Err(self.flaw("too many members at the top level"));
                    }
                    let value = value_start..self.at;
                    members.push(Member {
                        name: name.inside.clone(),
                        escaped: name.escaped,
                        value,
                        only_objects,
                    });
                }
                self.skip_space();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        if in_object {
                            let read = self.name()?;
                            if self.depth == 1 {
                                (name, value_start, only_objects) = (read, self.at, true);
                            }
                        }
                        continue 'value;
                    }
                    Some(b'}') if in_object => self.ascend(),
                    Some(b']') if !in_object => self.ascend(),
                    Some(_) if in_object => return Err(self.flaw("expected `,` or `}`")),
                    Some(_) => return Err(self.flaw("expected `,` or `]`")),
                    None if in_object => return Err(self.flaw("the text ends inside an object")),
                    None => return Err(self.flaw("the text ends inside an array")),
                }
            }
        }
        self.skip_space();
        match self.peek() {
            None => Ok(Document { is_object, members }),
            Some(_) => Err(self.flaw("text after the end of the JSON value")),
        }
    }

    /// Past the opening bracket and the whitespace after it.
    fn descend(&mut self, object: bool) -> Result<(), Flaw> {
        if self.depth == MAX_DEPTH {
            return Err(self.flaw(TOO_DEEP));
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(object);
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn ascend(&mut self) {
        self.depth -= 1;
        self.kinds >>= 1;
        self.at += 1;
    }

    /// A member's name, the colon, and the whitespace up to the value.
    fn name(&mut self) -> Result<Name, Flaw> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.flaw("expected a member's name in double quotes")),
            None => return Err(self.flaw("the text ends inside an object")),
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let inside = start..self.at - 1;
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.flaw("expected `:`")),
            None => return Err(self.flaw("the text ends inside an object")),
        }
        self.skip_space();
        Ok(Name { inside, escaped })
    }

    /// A string from its opening quote to past its closing one. Says whether there was an escape in it.
    #[inline]
    fn string(&mut self) -> Result<bool, Flaw> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at = words::string_stop(self.text, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.flaw("control character in a string")),
                None => return Err(self.flaw("the text ends inside a string")),
            }
        }
    }

    #[inline]
    fn escape(&mut self) -> Result<(), Flaw> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            Some(_) => Err(self.flaw("unknown escape in a string")),
            None => Err(self.flaw_at(self.text.len(), "the text ends inside a string")),
        }
    }

    /// `\uXXXX`, and the second half if this is the first one of a surrogate pair.
    fn unicode_escape(&mut self) -> Result<(), Flaw> {
        let unit = self.hex()?;
        match unit {
            0xd800..=0xdbff => {
                let first = self.at;
                self.at += 6;
                if self.text.get(self.at..self.at + 2) != Some(b"\\u")
                    || !(0xdc00..=0xdfff).contains(&self.hex()?)
                {
                    return Err(self.flaw_at(first, "half of a surrogate pair"));
                }
            }
            0xdc00..=0xdfff => return Err(self.flaw("half of a surrogate pair")),
            _ => {}
        }
        self.at += 6;
        Ok(())
    }

    /// The four digits after the `\u` at the current place.
    fn hex(&self) -> Result<u16, Flaw> {
        let digits = self.text.get(self.at + 2..self.at + 6).unwrap_or_default();
        let value =
            digits.iter().try_fold(0u32, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?));
        match value.and_then(|value| u16::try_from(value).ok()) {
            Some(value) if digits.len() == 4 => Ok(value),
            _ => Err(self.flaw("`\\u` without four hexadecimal digits")),
        }
    }

    fn number(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => {
                self.digits();
            }
            _ => return Err(self.flaw("expected a digit")),
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.flaw("a number must not begin with a zero"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.flaw("expected a digit after the decimal point"));
            }
        }
        let mut may_overflow = false;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            match self.digits() {
                0 => return Err(self.flaw("expected a digit in the exponent")),
                1 | 2 => {}
                _ => may_overflow = true,
            }
        }
        let number = &self.text[start..self.at];
        if (may_overflow || number.len() > LONG_NUMBER)
            && serde_json::from_slice::<serde_json::Value>(number).is_err()
        {
            return Err(self.flaw_at(start, "number out of range"));
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Flaw> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.flaw("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[cold]
    fn flaw(&self, message: &'static str) -> Flaw {
        self.flaw_at(self.at, message)
    }

    #[cold]
    fn flaw_at(&self, at: usize, message: &'static str) -> Flaw {
        Flaw { at, message }
    }
}

struct Name {
    inside: Range<usize>,
    escaped: bool,
}
