//! `/tokenize` and `/detokenize`.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::fields::Fields;
use super::generation;
use super::json;
use super::refusal::{Invalid, Refusal};
use super::turns;
use crate::conversation::Conversation;
use crate::engine::Engine;
use crate::reply::Reply;
use crate::tokens;

#[derive(Serialize)]
struct Tokenized {
    count: usize,
    max_model_len: u32,
    tokens: Vec<u32>,
    token_strs: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Detokenized {
    prompt: String,
}

/// Answers `/tokenize`, for a text or a conversation.
pub(crate) fn tokenize(engine: &Engine, body: &Value) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let model = fields.text("model");
    let strings = fields.flag("return_token_strs").unwrap_or(false);
    let tokens = if let Some(Value::String(text)) = fields.get("prompt") {
        tokens::encode(text)
    } else if fields.get("messages").is_some() {
        let turns = turns::messages(&mut fields);
        let (tools, choice) = turns::tools(body)?;
        let unopened = fields.flag("add_generation_prompt") == Some(false);
        let continued = fields.flag("continue_final_message").unwrap_or(false);
        Conversation { turns, tools, choice, unopened, continued, ..Conversation::default() }.prompt()
    } else {
        match fields.get("prompt") {
            Some(other) => {
                let place = fields.place("prompt");
                fields.wrong(Invalid::new("string_type", place, "Input should be a valid string", other));
            }
            None => fields.wrong(Invalid::missing("body.prompt", body)),
        }
        fields.wrong(Invalid::missing("body.messages", body));
        Vec::new()
    };
    fields.finish()?;
    check_model(engine, model)?;
    let token_strs = strings.then(|| tokens.iter().map(|token| tokens::name(*token)).collect());
    let tokenized =
        Tokenized { count: tokens.len(), max_model_len: engine.settings.max_model_len, tokens, token_strs };
    Ok(Reply::json(StatusCode::OK, json::python(&tokenized)))
}

/// Answers `/detokenize`.
pub(crate) fn detokenize(engine: &Engine, body: &Value) -> Result<Reply, Refusal> {
    let mut fields = Fields::new(body);
    let model = fields.text("model");
    let items = fields.required_list("tokens");
    let mut ids = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_i64() {
            // an id that no vocabulary has is no text
            Some(id) => ids.push(u32::try_from(id).unwrap_or(u32::MAX)),
            None => {
                let place = fields.place(&format!("tokens.{index}"));
                fields.wrong(Invalid::new("int_type", place, "Input should be a valid integer", item));
            }
        }
    }
    fields.finish()?;
    check_model(engine, model)?;
    Ok(Reply::json(StatusCode::OK, json::python(&Detokenized { prompt: tokens::decode(&ids) })))
}

fn check_model(engine: &Engine, name: Option<&str>) -> Result<(), Refusal> {
    match engine.model(name, |_| true) {
        Some(_) => Ok(()),
        None => Err(Refusal::unknown_model(
            name.unwrap_or_default(),
            Some(&generation::aliases(engine, |_| true)),
        )),
    }
}
