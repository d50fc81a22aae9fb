//! `/v1/messages` and `/v1/messages/count_tokens`, Anthropic's dialect as vLLM speaks it.

mod request;
mod stream;

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::generation::{self, Asking, Generation};
use super::refusal::{Invalid, Refusal};
use super::sampling::Asked;
use super::usage::AnthropicUsage;
use super::{chat, json as wire, request_id, turns};
use crate::engine::Engine;
use crate::reply::Reply;
use crate::script::{Finish, Script};
use crate::ticket::Ticket;

/// Answers a message.
pub(crate) fn answer(
    engine: &Arc<Engine>,
    head: &Parts,
    body: &Value,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let conversation = request::conversation(&mut fields);
    let max_tokens = match fields.required("max_tokens") {
        Some(_) => fields.integer("max_tokens"),
        None => None,
    };
    if let Some(wrong) = max_tokens.filter(|max_tokens| *max_tokens <= 0) {
        let place = fields.place("max_tokens");
        fields.wrong(Invalid::rejected(place, "max_tokens must be positive", &json!(wrong)));
    }
    request::check_thinking(&mut fields, max_tokens);
    let asked = Asked {
        temperature: fields.number("temperature"),
        top_p: fields.number("top_p"),
        top_k: fields.integer("top_k"),
        max_tokens,
        stops: fields.texts("stop_sequences"),
        ..Asked::default()
    };
    let stream = fields.flag("stream").unwrap_or(false);
    let model = fields.text("model");
    fields.finish()?;
    let served = generation::generating(engine, model, "Messages")?;
    generation::check_output_limit(engine, "max_completion_tokens", max_tokens)?;
    if turns::has_media(body) {
        return Err(Refusal::bad(format!("{} is not a multimodal model", served.id)));
    }
    let prompt = generation::prompt(engine, &conversation)?;
    let asking = vec![Asking { conversation, prompt, plain: false }];
    let mut prepared = generation::generate(engine, &served, asking, &asked, None)?;
    prepared.enter(ticket)?;
    let (id, model) = (format!("chatcmpl-{}", request_id(head)), served.id.clone());
    let details = engine.settings.prompt_tokens_details;
    if stream {
        return Ok(Reply::stream(move |admission| {
            stream::Events::new(prepared.begin(admission), id, model, details)
        }));
    }
    Ok(Reply::later(move |admission| {
        let generation = prepared.begin(admission);
        let usage = usage(&generation, details);
        wire::python(&Message::whole(&id, &model, &generation.scripts[0], usage))
    }))
}

/// Counts the tokens of a prompt.
pub(crate) fn count_tokens(engine: &Arc<Engine>, body: &Value) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let conversation = request::conversation(&mut fields);
    let model = fields.text("model");
    fields.finish()?;
    generation::generating(engine, model, "Messages")?;
    let tokens = generation::prompt(engine, &conversation)?.len();
    let counted = json!({"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}});
    Ok(Reply::json(StatusCode::OK, wire::python(&counted)))
}

/// What was used. What the cache spared is told apart, and only where details are told at all.
fn usage(generation: &Generation, details: bool) -> AnthropicUsage {
    let cached = if details { generation.cached } else { 0 };
    AnthropicUsage {
        input_tokens: generation.work.prompt_tokens - cached,
        output_tokens: generation.work.output_tokens,
        cache_creation_input_tokens: details.then_some(0),
        cache_read_input_tokens: details.then_some(cached),
    }
}

/// `stop_reason` and `stop_sequence`.
fn stop(script: &Script, called: bool) -> (&'static str, Option<String>) {
    match script.finish() {
        Finish::Length => ("max_tokens", None),
        Finish::StopText(text) if !called => ("stop_sequence", Some(text.clone())),
        _ if called => ("tool_use", None),
        _ => ("end_turn", None),
    }
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    content: Vec<Block>,
    model: &'a str,
    stop_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequence: Option<String>,
    usage: AnthropicUsage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Thinking { thinking: String, signature: String },
    Text { text: String },
    ToolUse { id: String, name: String, input: Value },
}

impl<'a> Message<'a> {
    fn whole(id: &'a str, model: &'a str, script: &Script, usage: AnthropicUsage) -> Self {
        let whole = script.whole();
        let (stop_reason, stop_sequence) = stop(script, whole.call.is_some());
        let mut content = Vec::new();
        content.extend(whole.thought.map(|thinking| Block::Thinking { thinking, signature: signature() }));
        content.extend(whole.text.filter(|text| !text.is_empty()).map(|text| Block::Text { text }));
        content.extend(whole.call.map(|(name, arguments)| Block::ToolUse {
            id: chat::call_id(),
            name,
            input: serde_json::from_str(&arguments).unwrap_or(Value::Object(Map::new())),
        }));
        if content.is_empty() {
            content.push(Block::Text { text: String::new() });
        }
        Message { id, kind: "message", role: "assistant", content, model, stop_reason, stop_sequence, usage }
    }
}

fn signature() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
