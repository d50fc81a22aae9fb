//! One pass over a whole JSON text: is it JSON, and where do the members of its top level lie?
//!
//! Safe on any input: no recursion, no allocation but the index. What is accepted here, serde_json decodes into a
//! `Value` with its default settings, and the other way round, with two exceptions on the strict side: a text with
//! more than [`MAX_MEMBERS`] members at the top level is refused, and so is a byte order mark.

use std::ops::Range;

use super::{past_space, tokens};

/// How many arrays and objects may lie in each other: as many as serde_json decodes.
pub const MAX_DEPTH: usize = 127;

/// How many members the top level may have, so that the index stays small beside the text.
pub const MAX_MEMBERS: usize = 4096;

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
    /// What the value holds, if it is an array.
    pub items: Items,
}

/// What was noted of the items of an array of the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items {
    /// They are objects and nothing else.
    pub only_objects: bool,
    /// Those before the last each have one member that says something, and no second one of such a name.
    earlier_say_one: bool,
    /// How many members with such names the last one has, as far as that can be counted here.
    names: u8,
    /// How many of them say something.
    saying: u8,
}

/// What the value of a member of this name begins with if it says something, as a model's choices do. None: it never
/// does.
#[inline(always)]
fn saying(name: &[u8]) -> Option<u8> {
    match name {
        b"message" | b"delta" => Some(b'{'),
        b"text" => Some(b'"'),
        _ => None,
    }
}

impl Items {
    /// Nothing was noted yet.
    const NONE: Items = Items { only_objects: true, earlier_say_one: true, names: 1, saying: 1 };

    /// Whether each is an object that says something in one member, and has no other that could. What does not is to be
    /// looked at more closely.
    pub(crate) fn each_says_one_thing(&self) -> bool {
        self.only_objects && self.earlier_say_one && self.names == 1 && self.saying == 1
    }

    /// An item begins with this byte.
    #[inline(always)]
    fn begin(&mut self, first: Option<&u8>) {
        self.only_objects &= first == Some(&b'{');
        self.earlier_say_one &= self.names == 1 && self.saying == 1;
        (self.names, self.saying) = (0, 0);
    }

    /// An item has a member of this name, with a value that begins with this byte.
    #[inline(always)]
    fn note(&mut self, name: &[u8], escaped: bool, first: Option<&u8>) {
        match saying(name) {
            Some(begin) => {
                self.names = self.names.saturating_add(1);
                self.saying = self.saying.saturating_add(u8::from(first == Some(&begin)));
            }
            // who knows what it means
            None if escaped => self.names = u8::MAX,
            None => {}
        }
    }
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
    #[cold]
    pub(super) fn new(at: usize, message: &'static str) -> Flaw {
        Flaw { at, message }
    }

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
    // most texts are ASCII, which is seen sooner than that something is UTF-8
    if !text.is_ascii()
        && let Err(error) = std::str::from_utf8(text)
    {
        return Err(Flaw::new(error.valid_up_to(), "invalid UTF-8"));
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(Flaw::new(0, "byte order mark before the JSON text"));
    }
    document(text)
}

/// The arrays and objects around the place where the scanner is.
struct Open {
    /// How many; at most [`MAX_DEPTH`].
    depth: usize,
    /// Whether the innermost is an object.
    in_object: bool,
    /// The same of those around it, by how many lie around them.
    outer: [bool; MAX_DEPTH],
}

impl Open {
    #[inline(always)]
    fn push(&mut self, object: bool, at: usize) -> Result<(), Flaw> {
        let Some(outer) = self.outer.get_mut(self.depth) else { return Err(Flaw::new(at, TOO_DEEP)) };
        *outer = std::mem::replace(&mut self.in_object, object);
        self.depth += 1;
        Ok(())
    }

    #[inline(always)]
    fn pop(&mut self) {
        self.depth -= 1;
        self.in_object = self.outer[self.depth];
    }
}

fn document(text: &[u8]) -> Result<Document, Flaw> {
    let mut at = past_space(text, 0);
    let is_object = text.get(at) == Some(&b'{');
    let mut members = Vec::with_capacity(if is_object { 16 } else { 0 });
    // the member of the top level that is being read
    let mut member = Member { name: 0..0, escaped: false, value: 0..0, items: Items::NONE };
    let mut open = Open { depth: 0, in_object: false, outer: [false; MAX_DEPTH] };
    'value: loop {
        at = match text.get(at) {
            Some(b'"') => tokens::string(text, at)?.end,
            Some(b'n') => tokens::literal(text, at, b"null")?,
            Some(b'-' | b'0'..=b'9') => tokens::number(text, at)?,
            Some(b'{') => {
                open.push(true, at)?;
                at = past_space(text, at + 1);
                if text.get(at) != Some(&b'}') {
                    at = name(text, at, open.depth, &mut member)?;
                    continue 'value;
                }
                open.pop();
                at + 1
            }
            Some(b'[') => {
                open.push(false, at)?;
                at = past_space(text, at + 1);
                if text.get(at) != Some(&b']') {
                    if open.depth == 2 {
                        member.items.begin(text.get(at));
                    }
                    continue 'value;
                }
                open.pop();
                at + 1
            }
            Some(b't') => tokens::literal(text, at, b"true")?,
            Some(b'f') => tokens::literal(text, at, b"false")?,
            Some(_) => return Err(Flaw::new(at, "expected a value")),
            None if at == 0 => return Err(Flaw::new(at, "the body is empty")),
            None => return Err(Flaw::new(at, "the text ends where a value is expected")),
        };
        // A value has ended: close what ends with it.
        while open.depth > 0 {
            if open.depth == 1 && is_object {
                if members.len() == MAX_MEMBERS {
                    return Err(Flaw::new(at, "too many members at the top level"));
                }
                member.value.end = at;
                members.push(member.clone());
            }
            if !matches!(text.get(at), Some(b',' | b'}' | b']')) {
                at = past_space(text, at);
            }
            match text.get(at) {
                Some(b',') => {
                    at = past_space(text, at + 1);
                    if open.in_object {
                        at = name(text, at, open.depth, &mut member)?;
                    } else if open.depth == 2 {
                        member.items.begin(text.get(at));
                    }
                    continue 'value;
                }
                Some(b'}') if open.in_object => open.pop(),
                Some(b']') if !open.in_object => open.pop(),
                Some(_) if open.in_object => return Err(Flaw::new(at, "expected `,` or `}`")),
                Some(_) => return Err(Flaw::new(at, "expected `,` or `]`")),
                None if open.in_object => return Err(Flaw::new(at, tokens::ENDS_IN_OBJECT)),
                None => return Err(Flaw::new(at, "the text ends inside an array")),
            }
            at += 1;
        }
        break;
    }
    at = past_space(text, at);
    match text.get(at) {
        None => Ok(Document { is_object, members }),
        Some(_) => Err(Flaw::new(at, "text after the end of the JSON value")),
    }
}

/// Past a member's name, the colon, and the whitespace up to the value. One of the top level begins here.
#[inline(always)]
fn name(text: &[u8], at: usize, depth: usize, member: &mut Member) -> Result<usize, Flaw> {
    match text.get(at) {
        Some(b'"') => {}
        Some(_) => return Err(Flaw::new(at, "expected a member's name in double quotes")),
        None => return Err(Flaw::new(at, tokens::ENDS_IN_OBJECT)),
    }
    let string = tokens::string(text, at)?;
    let colon = match text.get(string.end) {
        Some(b':') => string.end,
        _ => far_colon(text, string.end)?,
    };
    let value = past_space(text, colon + 1);
    let name = at + 1..string.end - 1;
    match depth {
        1 => *member = Member { name, escaped: string.escaped, value: value..value, items: Items::NONE },
        3 => member.items.note(&text[name], string.escaped, text.get(value)),
        _ => {}
    }
    Ok(value)
}

/// The colon behind whitespace, which hardly anybody writes there.
#[cold]
fn far_colon(text: &[u8], at: usize) -> Result<usize, Flaw> {
    let at = past_space(text, at);
    match text.get(at) {
        Some(b':') => Ok(at),
        Some(_) => Err(Flaw::new(at, "expected `:`")),
        None => Err(Flaw::new(at, tokens::ENDS_IN_OBJECT)),
    }
}
