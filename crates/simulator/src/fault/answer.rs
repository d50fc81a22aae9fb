//! What a fault makes of an answer.

use http::header::{CONTENT_ENCODING, HeaderValue};
use serde_json::{Value, json};

use super::bodies::{self, Ending};
use super::gzip::{self, Gzip};
use super::tools::{self, Call};
use super::{Chosen, Dialect, Fault, Wording, chat, error, sse};
use crate::reply::{Content, EVENTS, Event, Events, Reply};

/// The answer in the place of the engine's own, for the faults that need none of it.
pub(crate) fn instead(chosen: &Chosen, wording: Wording<'_>) -> Option<Reply> {
    error::instead(&chosen.injection, &chosen.asked, wording)
}

/// The engine's answer with the fault in it.
pub(crate) fn answer(chosen: Chosen, mut reply: Reply) -> Reply {
    let fault = chosen.injection.fault();
    match fault {
        Fault::ContentTypeText => reply.kind = Some("text/plain; charset=utf-8"),
        Fault::ContentTypeAbsent => reply.kind = None,
        Fault::ContentTypeSwapped => {
            reply.kind = Some(if reply.content.streamed() { "application/json" } else { EVENTS });
        }
        Fault::Gzip | Fault::GzipGarbage | Fault::GzipBomb => {
            reply.extra.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
        }
        // what never ends has no length
        Fault::Endless | Fault::EndlessEvent if !reply.content.streamed() => {
            if let Content::Later { streamed, .. } = &mut reply.content {
                *streamed = true;
            }
        }
        _ => {}
    }
    let content = std::mem::replace(&mut reply.content, Content::Empty);
    reply.content = content.edited(move |content| edit(content, &chosen));
    reply
}

fn edit(content: Content, chosen: &Chosen) -> Content {
    let (injection, dialect) = (&chosen.injection, chosen.asked.dialect);
    let number = |name| usize::try_from(injection.number(name)).unwrap_or(usize::MAX);
    match injection.fault() {
        Fault::SplitUtf8 => bodies::beyond_ascii(content, dialect),
        Fault::HugeEvent => bodies::huge(content, dialect, number("megabytes") << 20),
        Fault::Endless => bodies::endless(content, dialect),
        Fault::EndlessEvent => bodies::endless_event(content, dialect),
        Fault::Truncate => bodies::truncated(content, number("events")),
        Fault::Gzip => zipped(content),
        Fault::GzipBomb => Content::Whole(gzip::spaces(number("megabytes") << 20)),
        _ => match content {
            Content::Whole(bytes) => Content::Whole(bodies::edit_whole(bytes, |value| {
                whole(value, chosen);
                0
            })),
            Content::Events(events) => Content::Events(stream(events, chosen)),
            other => other,
        },
    }
}

fn stream(events: Events, chosen: &Chosen) -> Events {
    let (injection, dialect) = (&chosen.injection, chosen.asked.dialect);
    match injection.fault() {
        Fault::ErrorLaterEvent
        | Fault::ErrorLaterEventFlat
        | Fault::ErrorLaterEventDouble
        | Fault::ErrorLaterLine
        | Fault::ErrorLaterEnd => error::later(events, injection, dialect),
        Fault::ErrorNull => sse::edit_each(events, |event| event["error"] = Value::Null),
        Fault::NoDone => bodies::ending(events, dialect, Ending::Without),
        Fault::DoubleDone => bodies::ending(events, dialect, Ending::Twice),
        Fault::AfterDone => bodies::ending(events, dialect, Ending::AndText),
        Fault::NoFinish => bodies::unfinished(events, dialect),
        Fault::CrlfEvents => bodies::with_carriage_returns(events),
        Fault::CommentEvents => bodies::with_comments(events),
        Fault::ResponsesFailed if dialect == Dialect::Responses => failed(events),
        fault if dialect == Dialect::Chat && fault.is_about_thoughts() => chat::rename(events, fault),
        Fault::ToolContentLost if dialect == Dialect::Chat => tools::lose_last_piece(events),
        fault if dialect == Dialect::Chat && fault.is_about_calls() => {
            Call::new(fault, &chosen.asked).stream(events)
        }
        _ => events,
    }
}

fn whole(value: &mut Value, chosen: &Chosen) {
    let (fault, dialect) = (chosen.injection.fault(), chosen.asked.dialect);
    match fault {
        Fault::ErrorNull => value["error"] = Value::Null,
        Fault::ResponsesFailed if dialect == Dialect::Responses => error::fail(value),
        Fault::ToolContentLost if dialect == Dialect::Chat => tools::lose_last_word(value),
        fault if dialect == Dialect::Chat && fault.is_about_thoughts() => chat::rename_whole(value, fault),
        fault if dialect == Dialect::Chat && fault.is_about_calls() => {
            Call::new(fault, &chosen.asked).put(value)
        }
        _ => {}
    }
}

/// A stream of the Responses dialect whose last event says that it failed.
fn failed(events: Events) -> Events {
    Box::new(events.map(|event| match sse::data(&event.bytes) {
        Some(mut value) if sse::finishes(Dialect::Responses, &value) => {
            value["type"] = json!("response.failed");
            error::fail(&mut value["response"]);
            let bytes = format!("event: response.failed\ndata: {value}\n\n");
            Event { bytes: bytes.into(), ..event }
        }
        _ => event,
    }))
}

/// The body, compressed; each event can be read as soon as it comes.
fn zipped(content: Content) -> Content {
    let mut gzip = Gzip::new();
    match content {
        Content::Whole(bytes) => Content::Whole([gzip.piece(&bytes), gzip.end()].concat().into()),
        Content::Events(mut events) => {
            let mut ended = None;
            Content::events(std::iter::from_fn(move || match events.next() {
                Some(event) => {
                    ended = Some(event.due);
                    Some(Event { bytes: gzip.piece(&event.bytes), ..event })
                }
                None => ended.take().map(|due| Event { due, bytes: gzip.end() }),
            }))
        }
        other => other,
    }
}
