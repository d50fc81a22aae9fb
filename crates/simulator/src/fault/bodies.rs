//! Bodies that are too long, too odd, or do not end where they should.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Dialect;
use super::sse::{self, data, with_data};
use crate::reply::{Content, Event, Events};

/// Text of characters that take two, three and four bytes.
const BEYOND_ASCII: &str = "Größe: 日本語, naïve façade, Ελλάδα, 🚂🚃🚃";

/// A piece of something endless.
const FILLING: usize = 16 << 10;

/// Text beyond ASCII in the place of the first text.
pub(super) fn beyond_ascii(content: Content, dialect: Dialect) -> Content {
    replaced(content, dialect, BEYOND_ASCII.to_owned())
}

/// The first text, or the whole body, as long as this.
pub(super) fn huge(content: Content, dialect: Dialect, bytes: usize) -> Content {
    replaced(content, dialect, "x".repeat(bytes))
}

/// Another text in the place of the first. A whole body without text grows by white space; a transcript that is no JSON
/// is nothing but text.
fn replaced(content: Content, dialect: Dialect, text: String) -> Content {
    match content {
        Content::Whole(bytes) => {
            if dialect == Dialect::Transcription && !bytes.starts_with(b"{") {
                return Content::Whole(text.into());
            }
            Content::Whole(edit_whole(bytes, |whole| match sse::text_of_whole(dialect, whole) {
                Some(place) => {
                    *place = json!(text);
                    0
                }
                None => text.len(),
            }))
        }
        Content::Events(events) => {
            let mut text = Some(text);
            Content::Events(sse::edit_each(events, move |event| {
                if text.is_some()
                    && let Some(place) = sse::text_of(dialect, event)
                {
                    *place = text.take().into();
                }
            }))
        }
        other => other,
    }
}

/// A whole body edited; what the edit returns is added in white space. What is no JSON stays.
pub(super) fn edit_whole(bytes: Bytes, edit: impl FnOnce(&mut Value) -> usize) -> Bytes {
    let Ok(mut whole) = serde_json::from_slice(&bytes) else { return bytes };
    let padding = edit(&mut whole);
    let mut text = whole.to_string();
    text.extend(std::iter::repeat_n(' ', padding));
    text.into()
}

/// The first event with text, over and over; white space in the place of a whole body.
pub(super) fn endless(content: Content, dialect: Dialect) -> Content {
    match content {
        Content::Events(mut events) => {
            let mut repeated: Option<Bytes> = None;
            Content::events(std::iter::from_fn(move || match &repeated {
                Some(bytes) => Some(Event { due: Instant::now(), bytes: bytes.clone() }),
                None => {
                    let event = events.next()?;
                    let mut value = data(&event.bytes);
                    if value.as_mut().is_some_and(|value| sse::text_of(dialect, value).is_some()) {
                        repeated = Some(event.bytes.clone());
                    }
                    Some(event)
                }
            }))
        }
        _ => Content::events(fill(b' ')),
    }
}

/// The first event with text, whose text never ends; the same with a whole body.
pub(super) fn endless_event(content: Content, dialect: Dialect) -> Content {
    const MARK: &str = "\u{e000}";
    let cut = |text: &str| Bytes::copy_from_slice(text.split(MARK).next().unwrap_or_default().as_bytes());
    match content {
        Content::Events(mut events) => {
            let mut open = false;
            let mut filling = fill(b'x');
            Content::events(std::iter::from_fn(move || {
                if open {
                    return filling.next();
                }
                let event = events.next()?;
                let Some(mut value) = data(&event.bytes) else { return Some(event) };
                let Some(text) = sse::text_of(dialect, &mut value) else { return Some(event) };
                *text = json!(MARK);
                open = true;
                let bytes = with_data(&event.bytes, &value);
                Some(Event { bytes: cut(&String::from_utf8_lossy(&bytes)), ..event })
            }))
        }
        Content::Whole(bytes) => {
            let whole = edit_whole(bytes, |whole| {
                if let Some(text) = sse::text_of_whole(dialect, whole) {
                    *text = json!(MARK);
                }
                0
            });
            let first = Event { due: Instant::now(), bytes: cut(&String::from_utf8_lossy(&whole)) };
            Content::events(std::iter::once(first).chain(fill(b'x')))
        }
        other => other,
    }
}

fn fill(byte: u8) -> impl Iterator<Item = Event> + Send {
    let bytes = Bytes::from(vec![byte; FILLING]);
    std::iter::repeat_with(move || Event { due: Instant::now(), bytes: bytes.clone() })
}

/// What happens at the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Without,
    Twice,
    /// The last event with text comes once more, after the end.
    AndText,
}

/// A stream with another ending.
pub(super) fn ending(events: Events, dialect: Dialect, ending: Ending) -> Events {
    let mut events = events.peekable();
    let mut after: Vec<Event> = Vec::new();
    let mut spoken: Option<Event> = None;
    Box::new(std::iter::from_fn(move || {
        let Some(event) = events.next() else { return after.pop() };
        if events.peek().is_none() {
            match ending {
                Ending::Without => return None,
                Ending::Twice => after.push(event.clone()),
                Ending::AndText => after.extend(spoken.take()),
            }
        } else if ending == Ending::AndText
            && data(&event.bytes).as_mut().is_some_and(|value| sse::text_of(dialect, value).is_some())
        {
            spoken = Some(event.clone());
        }
        Some(event)
    }))
}

/// A stream that ends before the event that gives the reason.
pub(super) fn unfinished(events: Events, dialect: Dialect) -> Events {
    Box::new(
        events
            .take_while(move |event| data(&event.bytes).is_none_or(|value| !sse::finishes(dialect, &value))),
    )
}

/// The beginning of the body: so many events and half of the next, or half of a whole one.
pub(super) fn truncated(content: Content, after: usize) -> Content {
    match content {
        Content::Whole(bytes) => Content::Whole(bytes.slice(..bytes.len() / 2)),
        Content::Events(events) => {
            Content::events(events.take(after + 1).enumerate().map(move |(index, event)| {
                let length = if index == after { event.bytes.len() / 2 } else { event.bytes.len() };
                Event { bytes: event.bytes.slice(..length), ..event }
            }))
        }
        other => other,
    }
}

/// The same events with other line ends.
pub(super) fn with_carriage_returns(events: Events) -> Events {
    Box::new(events.map(|event| {
        let text = String::from_utf8_lossy(&event.bytes).replace('\n', "\r\n");
        Event { bytes: text.into(), ..event }
    }))
}

/// The same events with comments before each of them.
pub(super) fn with_comments(events: Events) -> Events {
    Box::new(events.map(|event| {
        let bytes = [b": keep-alive\n\n\n:\n\n".as_slice(), &event.bytes].concat();
        Event { bytes: bytes.into(), ..event }
    }))
}
