//! A chat or a completion that is asked for.

use serde_json::{Map, Value};

use crate::conversation::{Conversation, Turn};
use crate::engine::Engine;
use crate::ticket::Ticket;
use crate::tokens;
use crate::vllm::chat::request;
use crate::vllm::fields::Fields;
use crate::vllm::generation::{self, Asking, Prepared};
use crate::vllm::refusal::Refusal;
use crate::vllm::sampling::Asked;
use crate::vllm::turns;
use crate::vllm::version::Version;

/// What a model must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By a name that is served.
    Served,
    /// By any name: there is only one model, and the answer repeats the name that was given.
    Any,
}

/// A call that is about to begin.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) prepared: Prepared,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// The model as the answer names it.
    pub(crate) model: String,
}

/// Why a call is not answered.
#[derive(Debug)]
pub(crate) enum Trouble {
    Refused(Refusal),
    /// The prompt has so many tokens, and this is the limit.
    TooLong {
        tokens: usize,
        limit: usize,
    },
    TooMany,
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Trouble::Refused(refusal)
    }
}

impl Trouble {
    /// Status and message, where nothing more is to be told.
    pub(crate) fn told(self) -> (http::StatusCode, String) {
        match self {
            Trouble::Refused(refusal) => refusal.told(),
            Trouble::TooLong { tokens, limit } => (
                http::StatusCode::BAD_REQUEST,
                format!("the prompt has {tokens} tokens, and the context holds {limit}"),
            ),
            Trouble::TooMany => {
                (http::StatusCode::SERVICE_UNAVAILABLE, "The request queue is full.".to_owned())
            }
        }
    }
}

/// What an engine lets itself be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Customs {
    pub(crate) naming: Naming,
    /// Members that constrain the answer, and what vLLM calls them.
    pub(crate) constraints: &'static [(&'static str, &'static str)],
    /// A prompt that is too long loses its beginning.
    pub(crate) cuts: bool,
}

/// Reads a chat.
///
/// # Errors
/// What cannot be asked.
pub(crate) fn chat(engine: &Engine, body: &Value, customs: Customs) -> Result<Call, Trouble> {
    let (body, model) = translated(body, customs);
    let (conversation, asked, form, name) = request::read(&body, Version::parse("0.32.0"))?;
    let served = generation::generating(engine, name.as_deref(), "Chat Completions")?;
    if turns::has_media(&body) {
        return Err(Refusal::bad("image input is not supported").into());
    }
    if conversation.turns.is_empty() {
        return Err(Refusal::bad("'messages' must not be empty").into());
    }
    let prompt = fitted(engine, conversation.prompt(), customs)?;
    let asking = vec![Asking { conversation, prompt, plain: false }];
    let prepared = generation::generate(engine, &served, asking, &asked, None)?;
    let model = model.unwrap_or_else(|| served.id.clone());
    Ok(Call { prepared, stream: form.stream, include_usage: form.include_usage, model })
}

/// Reads a completion of one prompt.
///
/// # Errors
/// What cannot be asked.
pub(crate) fn completion(engine: &Engine, body: &Value, customs: Customs) -> Result<Call, Trouble> {
    let (body, model) = translated(body, customs);
    let shape = turns::shape(&body, Version::parse("0.32.0"))?;
    let mut fields = Fields::new(&body);
    let text = fields.text("prompt").unwrap_or_default().to_owned();
    let name = fields.text("model").map(str::to_owned);
    let mut asked = Asked::read(&mut fields);
    asked.max_tokens = fields.integer("max_tokens");
    let stream = fields.flag("stream").unwrap_or(false);
    fields.finish()?;
    if text.is_empty() {
        return Err(Refusal::bad("'prompt' must be a string that is not empty").into());
    }
    let served = generation::generating(engine, name.as_deref(), "Completions")?;
    let prompt = fitted(engine, tokens::encode(&text), customs)?;
    let turns = vec![Turn { role: "user".to_owned(), text, ..Turn::default() }];
    let conversation = Conversation { turns, shape, ..Conversation::default() };
    let asking = vec![Asking { conversation, prompt, plain: true }];
    let prepared = generation::generate(engine, &served, asking, &asked, Some(128))?;
    let options = body.get("stream_options").and_then(|options| options.get("include_usage"));
    let model = model.unwrap_or_else(|| served.id.clone());
    Ok(Call { prepared, stream, include_usage: options == Some(&Value::Bool(true)), model })
}

impl Call {
    /// Asks to be let into the batch.
    ///
    /// # Errors
    /// If too many requests are in flight.
    pub(crate) fn enter(&mut self, ticket: &mut Ticket) -> Result<(), Trouble> {
        self.prepared.enter(ticket).map_err(|_| Trouble::TooMany)
    }
}

/// The request in vLLM's words, and the model's name if the answer is to repeat it.
fn translated(body: &Value, customs: Customs) -> (Value, Option<String>) {
    let mut body = body.clone();
    let mut model = None;
    if let Value::Object(members) = &mut body {
        members.shift_remove("structured_outputs");
        for (theirs, ours) in customs.constraints {
            if let Some(constraint) = members.shift_remove(*theirs).filter(|constraint| !constraint.is_null())
            {
                let constraints = Map::from_iter([((*ours).to_owned(), constraint)]);
                members.insert("structured_outputs".to_owned(), Value::Object(constraints));
            }
        }
        if customs.naming == Naming::Any {
            let name = members.shift_remove("model");
            model = name.and_then(|name| name.as_str().map(str::to_owned)).filter(|name| !name.is_empty());
        }
    }
    (body, model)
}

/// A prompt that leaves room for at least one token.
fn fitted(engine: &Engine, mut prompt: Vec<u32>, customs: Customs) -> Result<Vec<u32>, Trouble> {
    let limit = engine.settings.max_model_len as usize;
    if prompt.len() >= limit {
        if !customs.cuts {
            return Err(Trouble::TooLong { tokens: prompt.len(), limit });
        }
        prompt.drain(..prompt.len() - limit / 2);
    }
    Ok(prompt)
}
