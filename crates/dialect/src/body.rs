//! A request body that has not forgotten how it was written.
//!
//! The bytes stay as they arrived; an index says where each top-level member lies in them. Reading decodes one
//! member, changing splices (see [`crate::edit`]); nothing is ever re-encoded.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use domain::Fault;
use serde::de::DeserializeOwned;

use crate::edit::{self, Edit, Segments};
use crate::json::scan::{self, Document, MAX_DEPTH, Member};

/// Members that decide where a call goes and how it is accounted. An upstream that meets one of them twice may believe
/// the other one, so they must not stand twice.
const GUARDED: [&str; 4] = ["model", "provider", "stream", "stream_options"];

/// What makes a body unfit to be understood. Nothing of it has gone upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// JSON, but not an object.
    NotAnObject,
    /// Not JSON. Line and column count from one, the column in characters.
    Syntax {
        /// The line of the flaw.
        line: usize,
        /// The character in that line.
        column: usize,
        /// What is wrong, in a few words.
        message: &'static str,
    },
    /// More arrays and objects in each other than anybody needs, see [`MAX_DEPTH`].
    TooDeep,
    /// A guarded member stands twice, perhaps once with escapes or in other letter case: some parsers would take one,
    /// some the other.
    Duplicate(&'static str),
    /// A member has a value of the wrong type.
    WrongType {
        /// The member.
        name: String,
        /// What it must be, to go after `must be`.
        expected: &'static str,
    },
}

impl Reject {
    /// A sentence for the client.
    pub fn message(&self) -> String {
        match self {
            Reject::NotAnObject => "invalid request body: expected a JSON object".into(),
            Reject::Syntax { line, column, message } => {
                format!("invalid request body: {message} (line {line}, column {column})")
            }
            Reject::TooDeep => format!("invalid request body: nested more than {MAX_DEPTH} levels deep"),
            Reject::Duplicate(name) => {
                format!("invalid request body: member `{name}` stands twice; send it once, in lower case")
            }
            Reject::WrongType { name, expected } => format!("`{name}` must be {expected}"),
        }
    }

    /// The member at fault, if it is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Reject::NotAnObject | Reject::Syntax { .. } | Reject::TooDeep => None,
            Reject::Duplicate(name) => Some(name),
            Reject::WrongType { name, .. } => Some(name),
        }
    }

    fn wrong_type(name: &str, expected: &'static str) -> Reject {
        Reject::WrongType { name: name.into(), expected }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Reject {}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Fault {
        let fault = Fault::invalid(reject.message());
        match reject.param() {
            Some(param) => fault.param(param),
            None => fault,
        }
    }
}

/// A JSON object as it arrived, its whole syntax checked, and where each top-level member lies in it.
///
/// A member that stands twice is legal unless it is guarded; the last one counts, as with serde_json and most parsers.
#[derive(Clone)]
pub struct Body {
    bytes: Bytes,
    members: Vec<Member>,
    /// The names that were written with escapes, unescaped, by their place in `members`. Nearly always empty.
    unescaped: Vec<(usize, String)>,
}

impl Body {
    /// Checks the whole syntax and indexes the top level, in one pass. The values stay where they are.
    pub fn read(bytes: Bytes) -> Result<Body, Reject> {
        let Document { is_object, members } = scan::scan(&bytes).map_err(|flaw| {
            if flaw.is_too_deep() {
                return Reject::TooDeep;
            }
            let (line, column) = flaw.position(&bytes);
            Reject::Syntax { line, column, message: flaw.message() }
        })?;
        if !is_object {
            return Err(Reject::NotAnObject);
        }
        let mut unescaped = Vec::new();
        for (place, member) in members.iter().enumerate().filter(|(_, member)| member.escaped) {
            let quoted = &bytes[member.name.start - 1..member.name.end + 1];
            let name =
                serde_json::from_slice(quoted).expect("the scanner takes only strings that serde_json takes");
            unescaped.push((place, name));
        }
        let body = Body { bytes, members, unescaped };
        body.check_guarded()?;
        Ok(body)
    }

    /// The bytes as they arrived.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many bytes the body has.
    #[expect(clippy::len_without_is_empty, reason = "an object is never empty: it has its braces")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A member's value as it was written.
    pub fn raw(&self, name: &str) -> Option<Bytes> {
        self.find(name).map(|member| self.bytes.slice(member.value.clone()))
    }

    /// The same, for a look that ends before the body does.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(|member| &self.bytes[member.value.clone()])
    }

    /// Whether a member, if it is an array, holds objects and nothing else.
    pub fn only_objects(&self, name: &str) -> bool {
        self.find(name).is_none_or(|member| member.items.only_objects)
    }

    /// Whether the member is there, be it as `null`.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A string member, not copied unless it was written with escapes; `None` if it is missing or `null`.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'_, str>>, Reject> {
        let wrong = || Reject::wrong_type(name, "a string");
        match self.value(name) {
            None | Some(b"null") => Ok(None),
            Some([b'"', inside @ .., b'"']) if memchr::memchr(b'\\', inside).is_none() => {
                // what was scanned is UTF-8
                std::str::from_utf8(inside).map(|text| Some(Cow::Borrowed(text))).map_err(|_| wrong())
            }
            Some(value) => {
                serde_json::from_slice(value).map(|text| Some(Cow::Owned(text))).map_err(|_| wrong())
            }
        }
    }

    /// A string member; `None` if it is missing or `null`.
    pub fn string(&self, name: &str) -> Result<Option<String>, Reject> {
        Ok(self.text(name)?.map(Cow::into_owned))
    }

    /// A boolean member; `None` if it is missing or `null`.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Reject> {
        match self.value(name) {
            None | Some(b"null") => Ok(None),
            Some(b"true") => Ok(Some(true)),
            Some(b"false") => Ok(Some(false)),
            Some(_) => Err(Reject::wrong_type(name, "true or false")),
        }
    }

    /// A whole number that is not negative; `None` if it is missing or `null`. `1.0` is not one.
    pub fn unsigned(&self, name: &str) -> Result<Option<u64>, Reject> {
        self.read_member(name, "a whole number, zero or above")
    }

    /// A member of any type; `None` if it is missing or `null`.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Reject> {
        self.read_member(name, "of the documented type")
    }

    /// The names of the members, unescaped, in the order in which they stand. One that stands twice comes twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.members.len()).map(|place| self.name(place))
    }

    /// Splices the edits in; see [`Edit`] for what each does. Without edits the one segment *is* the body.
    pub fn apply(&self, edits: &[Edit]) -> Segments {
        edit::splice(self, edits)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The unescaped name of the member at this place of the index.
    pub(crate) fn name(&self, place: usize) -> &str {
        let member = &self.members[place];
        if member.escaped {
            let found = self.unescaped.binary_search_by_key(&place, |(place, _)| *place);
            return &self.unescaped[found.expect("every escaped name was unescaped")].1;
        }
        std::str::from_utf8(&self.bytes[member.name.clone()]).expect("the scanner takes only UTF-8")
    }

    /// The last member of this name: the one that counts.
    pub(crate) fn find(&self, name: &str) -> Option<&Member> {
        let members = self.members.iter().enumerate();
        members.rev().find(|(place, member)| self.is_called(*place, member, name)).map(|(_, member)| member)
    }

    /// The places of the members of this name in the index.
    pub(crate) fn places(&self, name: &str) -> impl DoubleEndedIterator<Item = usize> {
        let members = self.members.iter().enumerate();
        members.filter(move |(place, member)| self.is_called(*place, member, name)).map(|(place, _)| place)
    }

    /// Whether the member at this place has this name; cheaper than comparing with [`Body::name`].
    #[inline(always)]
    fn is_called(&self, place: usize, member: &Member, name: &str) -> bool {
        match member.escaped {
            true => self.name(place) == name,
            // nearly every name shows by its length that it is another
            false => member.name.len() == name.len() && self.bytes[member.name.clone()] == *name.as_bytes(),
        }
    }

    fn read_member<T: DeserializeOwned>(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<T>, Reject> {
        match self.value(name) {
            None | Some(b"null") => Ok(None),
            Some(value) => {
                serde_json::from_slice(value).map(Some).map_err(|_| Reject::wrong_type(name, expected))
            }
        }
    }

    fn check_guarded(&self) -> Result<(), Reject> {
        let mut seen = [false; GUARDED.len()];
        for (at, member) in self.members.iter().enumerate() {
            let name = match member.escaped {
                true => self.name(at).as_bytes(),
                false => &self.bytes[member.name.clone()],
            };
            // nearly every name shows by its first letter that it is none of them
            if !name.first().is_some_and(|first| may_begin_a_guarded_name(*first)) {
                continue;
            }
            let Some(place) = guarded(name) else { continue };
            if std::mem::replace(&mut seen[place], true) {
                return Err(Reject::Duplicate(GUARDED[place]));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Body {
    /// Names and size only: values are the caller's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("len", &self.len())
            .field("names", &self.names().collect::<Vec<_>>())
            .finish()
    }
}

/// Whether a name with this first byte could be a guarded one in some letter case: `model`, `provider`, `stream…`, or
/// something that is no ASCII letter and folds to one.
const fn may_begin_a_guarded_name(first: u8) -> bool {
    matches!(first, b'm' | b'M' | b'p' | b'P' | b's' | b'S') || !first.is_ascii()
}

/// Which of the guarded names a parser that ignores letter case, as Go's does, takes this one for.
fn guarded(name: &[u8]) -> Option<usize> {
    match name.is_ascii() {
        true => GUARDED.iter().position(|guarded| name.eq_ignore_ascii_case(guarded.as_bytes())),
        false => GUARDED.iter().position(|guarded| folds_to(name, guarded)),
    }
}

/// Whether it does so with a name that is not ASCII. Go folds two letters that are not to ones that are: the long s and
/// the Kelvin sign.
#[cold]
fn folds_to(name: &[u8], guarded: &str) -> bool {
    // Two bytes more per letter is the most that folding can take away.
    name.len() <= guarded.len() * 3
        && String::from_utf8_lossy(name)
            .replace('\u{17f}', "s")
            .replace('\u{212a}', "k")
            .eq_ignore_ascii_case(guarded)
}
