//! Log probabilities on the wire.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::generation::Generation;
use crate::logprobs::{Scored, score};
use crate::tokens;

/// Chat's `logprobs`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChatLogprobs {
    content: Vec<ChatToken>,
}

#[derive(Clone, Debug, Serialize)]
struct ChatToken {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    top_logprobs: Vec<ChatAlternative>,
}

#[derive(Clone, Debug, Serialize)]
struct ChatAlternative {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// The scores of some tokens of one sequence.
pub(crate) fn scores(
    generation: &Generation,
    sequence: usize,
    from: usize,
    to: usize,
    top: usize,
) -> Vec<Scored> {
    let script = &generation.scripts[sequence];
    (from..to).map(|index| score(script.id(index), generation.seeds[sequence], index, top)).collect()
}

impl ChatLogprobs {
    pub(crate) fn new(scores: &[Scored]) -> Self {
        let token = |scored: &Scored| {
            let name = tokens::name(scored.token);
            let top = scored.top.iter().map(|(token, logprob)| {
                let name = tokens::name(*token);
                ChatAlternative { bytes: name.clone().into_bytes(), token: name, logprob: *logprob }
            });
            ChatToken {
                bytes: name.clone().into_bytes(),
                token: name,
                logprob: scored.logprob,
                top_logprobs: top.collect(),
            }
        };
        ChatLogprobs { content: scores.iter().map(token).collect() }
    }
}

/// Completions' `logprobs`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct CompletionLogprobs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<Option<f64>>,
    tokens: Vec<String>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
}

impl CompletionLogprobs {
    /// Adds tokens that begin at a character of the text; the first of a prompt has no probability.
    pub(crate) fn add(&mut self, scores: &[Scored], mut offset: usize, first_of_prompt: bool) -> usize {
        for (index, scored) in scores.iter().enumerate() {
            let name = tokens::name(scored.token);
            self.text_offset.push(offset);
            offset += name.chars().count();
            let known = !(first_of_prompt && index == 0);
            self.token_logprobs.push(known.then_some(scored.logprob));
            let mut top = scored.top.clone();
            if top.is_empty() {
                top.push((scored.token, scored.logprob));
            }
            let top = top.into_iter().map(|(token, logprob)| (tokens::name(token), json!(logprob)));
            self.top_logprobs.push(known.then(|| top.collect()));
            self.tokens.push(name);
        }
        offset
    }
}

/// `prompt_logprobs`: nothing for the first token, then the ranked candidates by id.
pub(crate) fn of_prompt(prompt: &[u32], seed: u64, top: usize) -> Value {
    let places = prompt.iter().enumerate().map(|(index, token)| {
        if index == 0 {
            return Value::Null;
        }
        let scored = score(*token, seed, index, top.max(1));
        let ranked = scored.top.iter().enumerate().map(|(rank, (token, logprob))| {
            let entry = json!({"logprob": logprob, "rank": rank + 1, "decoded_token": tokens::name(*token)});
            (token.to_string(), entry)
        });
        Value::Object(ranked.collect())
    });
    Value::Array(places.collect())
}

/// The Responses dialect's `logprobs`, with or without the bytes.
pub(crate) fn for_responses(scores: &[Scored], bytes: bool) -> Value {
    let one = |token: u32, logprob: f64| {
        let name = tokens::name(token);
        let mut entry = Map::new();
        entry.insert("token".to_owned(), json!(name));
        if bytes {
            entry.insert("bytes".to_owned(), json!(name.as_bytes()));
        }
        entry.insert("logprob".to_owned(), json!(logprob));
        entry
    };
    let all = scores.iter().map(|scored| {
        let mut entry = one(scored.token, scored.logprob);
        let top = scored.top.iter().map(|(token, logprob)| Value::Object(one(*token, *logprob)));
        entry.insert("top_logprobs".to_owned(), Value::Array(top.collect()));
        Value::Object(entry)
    });
    Value::Array(all.collect())
}
