//! A large JSON reply that arrives in pieces, watched while it passes: the few members of its top level that somebody
//! wants, and the brace that ends it, before which a member can be inserted.
//!
//! Nothing is held back or checked beyond what that needs. Below the top level only strings and brackets are followed,
//! so a reply that is broken inside a value passes; one that is cut off, or is no object, does not.

use std::mem;

use bytes::Bytes;

use super::{is_space, words};

/// A wanted value longer than this many bytes is not kept.
pub const MAX_VALUE: usize = 64 * 1024;

/// A member's name longer than this many bytes, as written, is none that is wanted: six bytes for each letter escaped,
/// and names of forty letters at most.
const MAX_NAME: usize = 256;

/// How much is kept of a value that is only noticed: enough to see what it is, and `null`, `[]` and `{}`.
const MAX_BEGINNING: usize = 8;

/// What a piece meant for the document. Offsets are into that piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The document has not ended in this piece.
    Open,
    /// The closing brace of the whole document stands at this offset. A member goes in right before it, with a comma
    /// unless [`TopLevel::has_members`] says that it is the first.
    Closes {
        /// Where in the piece the brace is.
        at: usize,
    },
    /// The document ended in an earlier piece; this one was whitespace.
    Closed,
    /// Not a JSON object, or something comes after it. It stays so.
    Broken,
}

/// Why a reply was not one whole JSON object. Offsets count from the reply's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// Nothing came, or only whitespace.
    Empty,
    /// It ended before its last brace.
    Truncated,
    /// It does not begin with a brace.
    NotAnObject,
    /// Its top level is not that of a JSON object.
    Broken {
        /// Where that was seen.
        at: u64,
    },
    /// Something follows the object.
    Trailing {
        /// Where it begins.
        at: u64,
    },
}

/// The scanner. It gives the same answers however the reply is cut into pieces.
#[derive(Clone, Debug)]
pub struct TopLevel {
    state: State,
    /// How many containers are open, the outermost included.
    depth: usize,
    /// Bytes of earlier pieces.
    before: u64,
    any_member: bool,
    /// The current member's name as written, at most [`MAX_NAME`] bytes and one.
    name: Vec<u8>,
    slots: Vec<Slot>,
    /// The slot that the current member's value goes to.
    capturing: Option<usize>,
}

/// What a reply held, once it is complete.
#[derive(Clone, Debug)]
pub struct Outcome {
    slots: Vec<Slot>,
    any_member: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    name: &'static str,
    /// Whether the value is kept, not only noticed.
    keep: bool,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Missing,
    /// Being read, or the beginning of one that is only noticed.
    Some(Vec<u8>),
    Whole(Bytes),
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    /// After the opening brace.
    FirstName,
    /// After a comma.
    NextName,
    Name,
    NameEscape,
    Colon,
    Value,
    /// A number or a literal of the top level.
    Scalar,
    /// A string, of the top level or below.
    Text,
    TextEscape,
    /// Below the top level, outside of strings.
    Nested,
    AfterValue,
    Closed,
    Failed(Incomplete),
}

impl TopLevel {
    /// Keeps the values of the members in `kept`, and notices whether those in `noticed` are there.
    pub fn new(kept: &[&'static str], noticed: &[&'static str]) -> TopLevel {
        let slot = |keep| move |name: &&'static str| Slot { name, keep, value: Value::Missing };
        TopLevel {
            state: State::Before,
            depth: 0,
            before: 0,
            any_member: false,
            name: Vec::new(),
            slots: kept.iter().map(slot(true)).chain(noticed.iter().map(slot(false))).collect(),
            capturing: None,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) -> Progress {
        let mut closes = None;
        // Where the part of the piece begins that belongs to the value or name being kept.
        let mut kept_from = 0;
        let mut at = 0;
        while let Some(byte) = piece.get(at).copied() {
            match self.state {
                State::Text => {
                    at = words::string_stop(piece, at);
                    match piece.get(at) {
                        Some(b'"') if self.depth == 1 => {
                            at += 1;
                            self.end_value(&piece[kept_from..at]);
                        }
                        Some(b'"') => {
                            at += 1;
                            self.state = State::Nested;
                        }
                        Some(b'\\') => {
                            at += 1;
                            self.state = State::TextEscape;
                        }
                        // A control character: not ours to mind.
                        Some(_) => at += 1,
                        None => {}
                    }
                }
                State::TextEscape => {
                    at += 1;
                    self.state = State::Text;
                }
                State::Nested => {
                    at = words::bracket_stop(piece, at);
                    match piece.get(at) {
                        Some(b'"') => self.state = State::Text,
                        Some(b'{' | b'[') => self.depth += 1,
                        Some(b'}' | b']') => {
                            self.depth -= 1;
                            if self.depth == 1 {
                                self.end_value(&piece[kept_from..=at]);
                            }
                        }
                        _ => {}
                    }
                    at += usize::from(at < piece.len());
                }
                State::Scalar => {
                    let length = piece[at..].iter().position(|byte| ends_scalar(*byte));
                    at = length.map_or(piece.len(), |length| at + length);
                    if length.is_some() {
                        self.end_value(&piece[kept_from..at]);
                    }
                }
                State::Name => {
                    at = words::string_stop(piece, at);
                    match piece.get(at) {
                        Some(b'"') => {
                            self.extend_name(&piece[kept_from..at]);
                            self.end_name();
                        }
                        Some(b'\\') => self.state = State::NameEscape,
                        _ => {}
                    }
                    at += usize::from(at < piece.len());
                }
                State::NameEscape => {
                    at += 1;
                    self.state = State::Name;
                }
                State::Failed(_) => break,
                _ if is_space(byte) => at += 1,
                State::Before if byte == b'{' => {
                    at += 1;
                    self.depth = 1;
                    self.state = State::FirstName;
                }
                State::Before => self.state = State::Failed(Incomplete::NotAnObject),
                State::FirstName | State::NextName if byte == b'"' => {
                    at += 1;
                    kept_from = at;
                    self.any_member = true;
                    self.name.clear();
                    self.state = State::Name;
                }
                State::FirstName | State::AfterValue if byte == b'}' => {
                    closes = Some(at);
                    at += 1;
                    self.depth = 0;
                    self.state = State::Closed;
                }
                State::Colon if byte == b':' => {
                    at += 1;
                    self.state = State::Value;
                }
                State::Value if !matches!(byte, b',' | b':' | b'}' | b']') => {
                    kept_from = at;
                    self.state = match byte {
                        b'"' => State::Text,
                        b'{' | b'[' => {
                            self.depth += 1;
                            State::Nested
                        }
                        _ => State::Scalar,
                    };
                    at += 1;
                }
                State::AfterValue if byte == b',' => {
                    at += 1;
                    self.state = State::NextName;
                }
                State::Closed => {
                    self.state = State::Failed(Incomplete::Trailing { at: self.before + at as u64 });
                }
                _ => self.state = State::Failed(Incomplete::Broken { at: self.before + at as u64 }),
            }
        }
        match self.state {
            State::Name | State::NameEscape => self.extend_name(&piece[kept_from..]),
            State::Text | State::TextEscape | State::Nested | State::Scalar => {
                self.extend_value(&piece[kept_from..])
            }
            _ => {}
        }
        self.before += piece.len() as u64;
        match (self.state, closes) {
            (State::Failed(_), _) => Progress::Broken,
            (State::Closed, Some(at)) => Progress::Closes { at },
            (State::Closed, None) => Progress::Closed,
            _ => Progress::Open,
        }
    }

    /// Whether a member of this name, kept or noticed, has been seen so far.
    pub fn has(&self, name: &str) -> bool {
        has(&self.slots, name)
    }

    /// A kept member's value, once it has been seen to its end.
    pub fn value(&self, name: &str) -> Option<&Bytes> {
        value(&self.slots, name)
    }

    /// The first bytes of a noticed member's value, as far as they have been seen: they tell its type, and whether it
    /// is `null` or empty.
    pub fn beginning(&self, name: &str) -> Option<&[u8]> {
        let slot = self.slots.iter().find(|slot| slot.name == name && !slot.keep)?;
        match &slot.value {
            Value::Some(beginning) => Some(beginning),
            _ => None,
        }
    }

    /// Whether the top level has had any member so far.
    pub fn has_members(&self) -> bool {
        self.any_member
    }

    /// The reply is over: what it held, or why it is none.
    pub fn finish(self) -> Result<Outcome, Incomplete> {
        match self.state {
            State::Closed => Ok(Outcome { slots: self.slots, any_member: self.any_member }),
            State::Before => Err(Incomplete::Empty),
            State::Failed(why) => Err(why),
            _ => Err(Incomplete::Truncated),
        }
    }

    fn extend_name(&mut self, part: &[u8]) {
        let room = (MAX_NAME + 1).saturating_sub(self.name.len());
        self.name.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end_name(&mut self) {
        self.state = State::Colon;
        self.capturing = self.slots.iter().position(|slot| is_name(&self.name, slot.name));
        if let Some(place) = self.capturing {
            self.slots[place].value = Value::Some(Vec::new());
        }
    }

    fn extend_value(&mut self, part: &[u8]) {
        let Some(slot) = self.capturing.map(|place| &mut self.slots[place]) else { return };
        if let Value::Some(value) = &mut slot.value {
            if !slot.keep {
                let room = MAX_BEGINNING - value.len();
                value.extend_from_slice(&part[..part.len().min(room)]);
            } else if value.len() + part.len() > MAX_VALUE {
                slot.value = Value::TooLong;
                self.capturing = None;
            } else {
                value.extend_from_slice(part);
            }
        }
    }

    fn end_value(&mut self, part: &[u8]) {
        self.state = State::AfterValue;
        self.extend_value(part);
        let Some(slot) = self.capturing.take().map(|place| &mut self.slots[place]) else { return };
        if !slot.keep {
            return;
        }
        if let Value::Some(value) = &mut slot.value {
            slot.value = Value::Whole(mem::take(value).into());
        }
    }
}

impl Outcome {
    /// A kept member's value as it was written; `None` if it is missing or longer than [`MAX_VALUE`]. The last one, if
    /// it stood twice.
    pub fn value(&self, name: &str) -> Option<&Bytes> {
        value(&self.slots, name)
    }

    /// Whether a member of this name, kept or noticed, is there.
    pub fn has(&self, name: &str) -> bool {
        has(&self.slots, name)
    }

    /// Whether the object has any member.
    pub fn has_members(&self) -> bool {
        self.any_member
    }
}

fn has(slots: &[Slot], name: &str) -> bool {
    slots.iter().any(|slot| slot.name == name && !matches!(slot.value, Value::Missing))
}

fn value<'a>(slots: &'a [Slot], name: &str) -> Option<&'a Bytes> {
    slots.iter().find(|slot| slot.name == name).and_then(|slot| match &slot.value {
        Value::Whole(value) => Some(value),
        _ => None,
    })
}

/// Whether a name as written, without its quotes, means `name`.
fn is_name(written: &[u8], name: &str) -> bool {
    if written.len() > MAX_NAME || !written.contains(&b'\\') {
        return written == name.as_bytes();
    }
    let quoted = [b"\"", written, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).is_ok_and(|unescaped| unescaped == name)
}

fn ends_scalar(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[')
}
