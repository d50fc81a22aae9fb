//! The only ways in which a body may be changed without being re-encoded, and what comes of it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::body::Body;
use crate::json;

/// One change to one top-level member. Edits of one member take effect in the order given; edits of different members
/// do not touch each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The member has this value afterwards and stands exactly once: where its last occurrence stood, if it was there,
    /// otherwise behind the last member. So no upstream can read another value than the one set.
    Set {
        /// The member's name, unescaped.
        name: Cow<'static, str>,
        /// Its value: a JSON text.
        json: Bytes,
    },
    /// Like `Set` if the member is missing; nothing otherwise, even if it is `null`.
    Default {
        /// The member's name, unescaped.
        name: Cow<'static, str>,
        /// Its value: a JSON text.
        json: Bytes,
    },
    /// The member is gone afterwards, however often it stood.
    Drop {
        /// The member's name, unescaped.
        name: Cow<'static, str>,
    },
}

impl Edit {
    /// See [`Edit::Set`].
    pub fn set(name: impl Into<Cow<'static, str>>, json: impl Into<Bytes>) -> Edit {
        Edit::Set { name: name.into(), json: json.into() }
    }

    /// See [`Edit::Default`].
    pub fn default_to(name: impl Into<Cow<'static, str>>, json: impl Into<Bytes>) -> Edit {
        Edit::Default { name: name.into(), json: json.into() }
    }

    /// See [`Edit::Drop`].
    pub fn remove(name: impl Into<Cow<'static, str>>) -> Edit {
        Edit::Drop { name: name.into() }
    }

    /// The member that it is about.
    pub fn name(&self) -> &str {
        match self {
            Edit::Set { name, .. } | Edit::Default { name, .. } | Edit::Drop { name } => name,
        }
    }
}

/// A text as a JSON string, quotes included.
pub fn json_string(text: &str) -> Bytes {
    // most likely exactly as long as it is, so that nothing is moved when it becomes shared
    let mut json = Vec::with_capacity(text.len() + 2);
    push_string(&mut json, text);
    json.into()
}

fn push_string(json: &mut Vec<u8>, text: &str) {
    if json::is_plain(text) {
        json.push(b'"');
        json.extend_from_slice(text.as_bytes());
        json.push(b'"');
    } else {
        serde_json::to_writer(json, text).expect("a string always encodes");
    }
}

/// What goes on the wire: untouched ranges and new pieces, in order, for one gathered write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segments(SmallVec<[Bytes; 4]>);

impl Segments {
    /// Bytes of all segments together: the content length.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is not a byte.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The segments; none of them is empty.
    pub fn into_pieces(self) -> SmallVec<[Bytes; 4]> {
        self.0
    }

    /// All in one piece; copies only if there are several.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.0 {
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }

    fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.0.push(segment);
        }
    }
}

impl From<Bytes> for Segments {
    fn from(bytes: Bytes) -> Segments {
        let mut segments = Segments::default();
        segments.push(bytes);
        segments
    }
}

/// What becomes of one member, after all edits of it.
struct Fate<'a> {
    name: &'a str,
    /// Whether it was there before.
    was_there: bool,
    outcome: Outcome<'a>,
}

#[derive(Clone, Copy)]
enum Outcome<'a> {
    Kept,
    Has(&'a Bytes),
    Gone,
}

impl Fate<'_> {
    /// Whether the member is there, as the edits so far left it.
    fn is_there(&self) -> bool {
        match self.outcome {
            Outcome::Kept => self.was_there,
            Outcome::Has(_) => true,
            Outcome::Gone => false,
        }
    }
}

fn fates<'a>(body: &Body, edits: &'a [Edit]) -> SmallVec<[Fate<'a>; 4]> {
    let mut fates: SmallVec<[Fate<'a>; 4]> = SmallVec::new();
    for edit in edits {
        let name = edit.name();
        let place = fates.iter().position(|fate| fate.name == name).unwrap_or_else(|| {
            fates.push(Fate { name, was_there: body.has(name), outcome: Outcome::Kept });
            fates.len() - 1
        });
        let fate = &mut fates[place];
        match edit {
            Edit::Set { json, .. } => fate.outcome = Outcome::Has(json),
            Edit::Default { json, .. } if !fate.is_there() => fate.outcome = Outcome::Has(json),
            Edit::Default { .. } => {}
            Edit::Drop { .. } => fate.outcome = Outcome::Gone,
        }
    }
    fates
}

/// What is replaced, and by what.
type Cuts = SmallVec<[(Range<usize>, Bytes); 4]>;

pub(crate) fn splice(body: &Body, edits: &[Edit]) -> Segments {
    if edits.is_empty() {
        return body.bytes().clone().into();
    }
    let members = body.members();
    let mut cuts: Cuts = SmallVec::new();
    let mut dropped: SmallVec<[usize; 4]> = SmallVec::new();
    let mut added: Vec<u8> = Vec::new();
    for fate in &fates(body, edits) {
        match fate.outcome {
            Outcome::Kept => {}
            Outcome::Gone => dropped.extend(body.places(fate.name)),
            Outcome::Has(json) if fate.was_there => {
                // the last one counts
                let mut others = body.places(fate.name);
                let value = others.next_back().map_or(0..0, |last| members[last].value.clone());
                dropped.extend(others);
                if body.bytes()[value.clone()] != **json {
                    cuts.push((value, json.clone()));
                }
            }
            Outcome::Has(json) => {
                // comma, colon and quotes
                added.reserve_exact(fate.name.len() + json.len() + 4);
                added.push(b',');
                push_string(&mut added, fate.name);
                added.push(b':');
                added.extend_from_slice(json);
            }
        }
    }
    dropped.sort_unstable();
    let stays = |place: &usize| dropped.binary_search(place).is_err();
    match (0..members.len()).rev().find(stays) {
        Some(last) => {
            // A member goes together with the comma behind it; those behind the last one that stays, with theirs before.
            for place in dropped.iter().take_while(|place| **place < last) {
                cuts.push((members[*place].whole().start..members[place + 1].whole().start, Bytes::new()));
            }
            let tail = members[last].value.end..members[members.len() - 1].value.end;
            if !tail.is_empty() || !added.is_empty() {
                cuts.push((tail, added.into()));
            }
        }
        None => {
            let all = match (members.first(), members.last()) {
                (Some(first), Some(last)) => first.whole().start..last.value.end,
                _ => {
                    let brace = memchr::memchr(b'{', body.bytes()).expect("a body is an object");
                    brace + 1..brace + 1
                }
            };
            let first_comma = usize::from(!added.is_empty());
            cuts.push((all, Bytes::from(added).slice(first_comma..)));
        }
    }
    cuts.sort_by_key(|(range, _)| (range.start, range.end));
    join(body.bytes(), cuts)
}

/// The text with each range replaced; the ranges are sorted and do not overlap.
fn join(text: &Bytes, cuts: Cuts) -> Segments {
    let mut segments = Segments::default();
    let mut at = 0;
    for (range, new) in cuts {
        segments.push(text.slice(at..range.start));
        segments.push(new);
        at = range.end;
    }
    segments.push(text.slice(at..));
    segments
}
