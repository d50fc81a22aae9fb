//! Going wrong on purpose: which fault a request meets, and what it makes of the answer.
//!
//! A fault has two halves. What is wrong with the answer itself is an edit of the [`Reply`]; what is wrong with
//! how it is sent is a [`Plan`], which `exchange` carries out on the bare connection.

mod answer;
mod asked;
mod bodies;
mod chat;
mod error;
mod gzip;
mod names;
mod plan;
mod schedule;
mod sse;
mod tools;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

pub use names::{Fault, Injection, Parameter};
pub use schedule::{Match, Rule, Schedule, When};

pub(crate) use answer::{answer, instead};
pub(crate) use asked::{Asked, Dialect};
pub(crate) use plan::{Act, Afterwards, Framing, Pacing, Place, Plan};
pub(crate) use schedule::Draws;

use crate::reply::Reply;

/// The header that asks for a fault.
pub(crate) const HEADER: &str = "x-simulate-fault";
/// What the name of a model begins with that asks for a fault: `fault:reset-mid-event/the-model`.
const PREFIX: &str = "fault:";
/// What the id of a served model begins with that always meets a fault: `broken-reset-mid-event`.
const BROKEN: &str = "broken-";

/// How an engine puts an error of its own into words.
pub(crate) type Wording<'a> = &'a dyn Fn(StatusCode, &str) -> Reply;

/// A fault that a request meets.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) injection: Injection,
    pub(crate) asked: Asked,
    /// The body that the engine is to see.
    pub(crate) body: Bytes,
}

/// The model that a request names.
pub(crate) fn model(head: &Parts, body: &Bytes) -> Option<String> {
    Asked::read(head, body).model
}

/// Chooses the fault of a request: by its header, by its model, or by the schedule, in this order.
///
/// # Errors
/// What is wrong with the name of a fault that the request asks for.
pub(crate) fn choose(
    schedule: &Schedule,
    draws: &Draws,
    serves: impl Fn(&str) -> bool,
    head: &Parts,
    body: &Bytes,
) -> Result<Option<Chosen>, String> {
    let header = head.headers.get(HEADER);
    let named = std::str::from_utf8(body).is_ok_and(|text| text.contains(PREFIX) || text.contains(BROKEN));
    if header.is_none() && !named && schedule.rules.is_empty() {
        return Ok(None);
    }
    let mut asked = Asked::read(head, body);
    let by_model = match asked.model.clone() {
        Some(model) if model.starts_with(PREFIX) => {
            let (name, rest) = model[PREFIX.len()..].split_once('/').unwrap_or((&model[PREFIX.len()..], ""));
            let injection: Injection = name.parse()?;
            asked.name_model(rest);
            Some(injection)
        }
        Some(model) if serves(&model) => model.strip_prefix(BROKEN).and_then(|name| name.parse().ok()),
        _ => None,
    };
    let by_header = match header.map(|header| header.to_str()) {
        Some(Ok(name)) => Some(name.parse()?),
        Some(Err(_)) => return Err(format!("{HEADER} is no text")),
        None => None,
    };
    // every request counts for the schedule, whatever else it asks for
    let by_schedule = draws.draw(schedule, &asked);
    Ok(by_header.or(by_model).or(by_schedule).map(|injection| {
        match injection.fault() {
            Fault::JsonForStream => asked.want_stream(false),
            Fault::StreamForJson => asked.want_stream(true),
            _ => {}
        }
        let body = asked.edited_body().unwrap_or_else(|| body.clone());
        Chosen { injection, asked, body }
    }))
}
