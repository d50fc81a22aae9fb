//! The texts that pooling routes are given: strings, token ids, or conversations.

use serde_json::Value;

use super::fields::Fields;
use super::generation::{self, Served};
use super::refusal::{Invalid, Refusal};
use super::turns;
use crate::conversation::Conversation;
use crate::engine::Engine;
use crate::scheduler::Job;
use crate::settings::Tasks;
use crate::ticket::{Ticket, Work};
use crate::tokens;

/// How many texts one request may bring; each may become a vector in the answer.
const MOST: usize = 16_384;

/// One text, and how many tokens it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) text: String,
    pub(crate) tokens: usize,
}

impl Input {
    /// A text with the token that ends it.
    pub(crate) fn text(text: &str) -> Self {
        Input { text: text.to_owned(), tokens: tokens::count(text) + 1 }
    }
}

/// Finds the model that a request to a pooling route names.
///
/// # Errors
/// vLLM's 404, or its 501 if that model has another task.
pub(crate) fn pooling(
    engine: &Engine,
    name: Option<&str>,
    able: impl Fn(Tasks) -> bool,
    route: &str,
) -> Result<Served, Refusal> {
    let model =
        engine.model(name, &able).ok_or_else(|| Refusal::unknown_model(name.unwrap_or_default(), None))?;
    if able(model.tasks) { Ok(model) } else { Err(Refusal::unable(route)) }
}

/// Reads `input` or `messages`; `missing` are the members to miss, in the order pydantic tries its models.
pub(crate) fn read(fields: &mut Fields<'_>, missing: &[&str]) -> Vec<Input> {
    if fields.get("messages").is_some() {
        let turns = turns::messages(fields);
        let text = turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n");
        let tokens = Conversation { turns, ..Conversation::default() }.prompt().len();
        return vec![Input { text, tokens }];
    }
    let Some(input) = fields.get("input") else {
        let whole = fields.whole();
        missing.iter().for_each(|name| fields.wrong(Invalid::missing(format!("body.{name}"), whole)));
        return Vec::new();
    };
    let ids = |ids: &[Value]| -> Option<Input> {
        let ids: Option<Vec<u32>> = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        ids.map(|ids| Input { text: tokens::decode(&ids), tokens: ids.len() })
    };
    let found: Option<Vec<Input>> = match input {
        Value::String(text) => Some(vec![Input::text(text)]),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_u64) => {
            ids(items).map(|one| vec![one])
        }
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some(Input::text(text)),
                Value::Array(item) => ids(item),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let place = fields.place("input");
        fields.wrong(Invalid::new("list_type", &place, "Input should be a valid list", input));
        fields.wrong(Invalid::new("string_type", place, "Input should be a valid string", input));
        Vec::new()
    })
}

/// Checks the lengths, cutting where the request wants that, and counts the tokens.
///
/// # Errors
/// vLLM's 400 for no text at all, and for one that is too long.
pub(crate) fn measure(
    engine: &Engine,
    inputs: &mut [Input],
    truncate: Option<i64>,
) -> Result<usize, Refusal> {
    if inputs.is_empty() {
        return Err(Refusal::bad("You must pass at least one prompt"));
    }
    if inputs.len() > MOST {
        return Err(Refusal::bad(format!("the simulated engine takes at most {MOST} texts per request")));
    }
    for input in &mut *inputs {
        let keep =
            truncate.map(|keep| usize::try_from(keep).unwrap_or(engine.settings.max_model_len as usize));
        if let Some(keep) = keep.filter(|keep| *keep < input.tokens) {
            let ids = tokens::encode(&input.text);
            input.text = tokens::decode(&ids[..keep.min(ids.len())]);
            input.tokens = keep;
        }
        generation::check_tokens(engine, input.tokens, true)?;
    }
    Ok(inputs.iter().map(|input| input.tokens).sum())
}

/// Asks to be let into the batch with so many sequences of so many tokens together.
///
/// # Errors
/// vLLM's 503 if too many requests are in flight.
pub(crate) fn enter(
    engine: &Engine,
    served: &Served,
    sequences: usize,
    prompt_tokens: usize,
    ticket: &mut Ticket,
) -> Result<(), Refusal> {
    let model = engine.row(served);
    // more texts than the batch holds take it all, one after the other
    let running = sequences.min(engine.settings.max_num_seqs.max(1));
    let work = Work {
        model,
        sequences: running,
        prompt_tokens,
        output_tokens: 0,
        longest: 0,
        max_tokens: 0,
        cut: 0,
    };
    let job = Job { model, adapter: None, sequences: running, prompt_tokens, cached: Vec::new() };
    ticket.begin(work, job).map_err(|_| Refusal::too_many())
}
