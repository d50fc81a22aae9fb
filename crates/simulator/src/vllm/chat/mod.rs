//! `/v1/chat/completions`.

mod chunks;
pub(crate) mod request;
mod whole;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use super::generation::{self, Asking};
use super::refusal::Refusal;
use super::version::{ThoughtName, Version};
use super::{fingerprint, json, request_id, turns};
use crate::engine::{self, Engine};
use crate::reply::{Event, Reply};
use crate::script::Finish;
use crate::ticket::Ticket;

/// Answers a request.
pub(crate) fn answer(
    engine: &Arc<Engine>,
    head: &Parts,
    body: &Value,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let version = Version::parse(&engine.settings.version);
    let (conversation, asked, form, model) = request::read(body, version)?;
    let served = generation::generating(engine, model.as_deref(), "Chat Completions")?;
    let limit = if body.get("max_completion_tokens").is_some_and(|limit| !limit.is_null()) {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    generation::check_output_limit(engine, limit, asked.max_tokens)?;
    if turns::has_media(body) {
        return Err(Refusal::bad(format!("{} is not a multimodal model", served.id)));
    }
    let prompt = generation::prompt(engine, &conversation)?;
    let asking = vec![Asking { conversation, prompt, plain: false }];
    let mut prepared = generation::generate(engine, &served, asking, &asked, None)?;
    prepared.enter(ticket)?;
    let id = format!("chatcmpl-{}", request_id(head));
    let about = About {
        id,
        created: engine::now(),
        model: served.id.clone(),
        fingerprint: fingerprint(engine),
        thoughts: version.thoughts(),
    };
    if form.stream {
        return Ok(Reply::stream(|admission| chunks::Chunks::new(prepared.begin(admission), form, about)));
    }
    Ok(Reply::later(move |admission| json::python(&whole::whole(&prepared.begin(admission), &form, &about))))
}

/// What every part of an answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
    pub(crate) thoughts: ThoughtName,
}

/// The text of a thought under the names that a version has for it: the old one, the new one.
type Named<T> = (Option<T>, Option<T>);

fn named<T: Clone>(thought: T, names: ThoughtName) -> Named<T> {
    match names {
        ThoughtName::Old => (Some(thought), None),
        ThoughtName::Both => (Some(thought.clone()), Some(thought)),
        ThoughtName::New => (None, Some(thought)),
    }
}

/// `stop_reason`: the stop string, the stop token, or null.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum StopReason {
    Text(String),
    Token(u32),
    None,
}

impl From<&Finish> for StopReason {
    fn from(finish: &Finish) -> Self {
        match finish {
            Finish::StopText(text) => StopReason::Text(text.clone()),
            Finish::StopToken(token) => StopReason::Token(*token),
            Finish::Stop | Finish::Length => StopReason::None,
        }
    }
}

/// A new id for a tool call.
pub(crate) fn call_id() -> String {
    format!("chatcmpl-tool-{}", engine::id())
}

/// One server-sent event.
pub(crate) fn event(due: Instant, data: &impl Serialize) -> Event {
    Event { due, bytes: Bytes::from(format!("data: {}\n\n", json::event(data))) }
}
