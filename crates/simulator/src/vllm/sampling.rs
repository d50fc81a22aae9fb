//! The parameters of a generation: read, checked as vLLM checks them, and settled.

use super::fields::Fields;
use super::json::float;
use super::refusal::{Invalid, Refusal};
use crate::script::Limits;

/// How many choices one request may have. vLLM's limit is higher; this bounds memory.
const MOST_CHOICES: i64 = 128;
/// How many stop strings.
const MOST_STOPS: usize = 4;
/// How many log probabilities per token.
const MOST_LOGPROBS: i64 = 20;

/// The parameters as they were sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) n: Option<i64>,
    pub(crate) seed: Option<i64>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<i64>,
    pub(crate) min_p: Option<f64>,
    pub(crate) presence_penalty: Option<f64>,
    pub(crate) frequency_penalty: Option<f64>,
    pub(crate) repetition_penalty: Option<f64>,
    pub(crate) min_tokens: i64,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) stops: Vec<String>,
    pub(crate) stop_tokens: Vec<u32>,
    pub(crate) include_stop: bool,
    pub(crate) ignore_end: bool,
    /// How many log probabilities per token, if any are wanted.
    pub(crate) logprobs: Option<i64>,
    /// The same for the tokens of the prompt.
    pub(crate) prompt_logprobs: Option<i64>,
    /// Prompts with another salt share nothing in the cache.
    pub(crate) cache_salt: Option<String>,
}

/// The parameters as they hold.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    pub(crate) n: usize,
    pub(crate) seed: Option<i64>,
    pub(crate) temperature: f64,
    pub(crate) top_p: f64,
    pub(crate) presence_penalty: f64,
    pub(crate) frequency_penalty: f64,
    pub(crate) limits: Limits,
}

impl Asked {
    /// What all dialects that come from OpenAI share; `max_tokens` and `logprobs` are theirs to set.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Self {
        let stops = fields.texts("stop");
        if stops.len() > MOST_STOPS {
            let (count, place) = (stops.len(), fields.place("stop"));
            let input = fields.get("stop").cloned().unwrap_or_default();
            fields.wrong(Invalid::new("string_type", &place, "Input should be a valid string", &input));
            let says = format!("List should have at most {MOST_STOPS} items after validation, not {count}");
            let more =
                format!("{{'field_type': 'List', 'max_length': {MOST_STOPS}, 'actual_length': {count}}}");
            fields.wrong(Invalid { more: Some(more), ..Invalid::new("too_long", place, says, &input) });
        }
        let stop_tokens = fields.list("stop_token_ids").unwrap_or_default();
        Asked {
            n: fields.integer("n"),
            seed: fields.integer("seed"),
            temperature: fields.number("temperature"),
            top_p: fields.number("top_p"),
            top_k: fields.integer("top_k"),
            min_p: fields.number("min_p"),
            presence_penalty: fields.number("presence_penalty"),
            frequency_penalty: fields.number("frequency_penalty"),
            repetition_penalty: fields.number("repetition_penalty"),
            min_tokens: fields.integer("min_tokens").unwrap_or(0),
            max_tokens: None,
            stops,
            stop_tokens: stop_tokens.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect(),
            include_stop: fields.flag("include_stop_str_in_output").unwrap_or(false),
            ignore_end: fields.flag("ignore_eos").unwrap_or(false),
            logprobs: None,
            prompt_logprobs: None,
            cache_salt: fields.text("cache_salt").map(str::to_owned),
        }
    }

    /// Checks everything, in vLLM's order and words, for a prompt that leaves so much room.
    ///
    /// # Errors
    /// The first parameter that cannot be.
    pub(crate) fn settle(self, room: usize, default: usize) -> Result<Sampling, Refusal> {
        let n = self.n.unwrap_or(1);
        if n < 1 {
            return Err(Refusal::bad(format!("n must be at least 1, got {n}.")));
        }
        if n > MOST_CHOICES {
            let message = format!(
                "n must be at most {MOST_CHOICES}, got {n}. To increase this limit, set the VLLM_MAX_N_SEQUENCES \
                 environment variable."
            );
            return Err(Refusal::bad(message));
        }
        let or = |value: Option<f64>, default: f64| value.unwrap_or(default);
        let (presence, frequency) = (or(self.presence_penalty, 0.0), or(self.frequency_penalty, 0.0));
        for (name, penalty) in [("presence_penalty", presence), ("frequency_penalty", frequency)] {
            if !(-2.0..=2.0).contains(&penalty) {
                return Err(Refusal::bad(format!("{name} must be in [-2, 2], got {}.", float(penalty))));
            }
        }
        let repetition = or(self.repetition_penalty, 1.0);
        if repetition <= 0.0 {
            let message = format!("repetition_penalty must be greater than zero, got {}.", float(repetition));
            return Err(Refusal::bad(message));
        }
        let (temperature, top_p, min_p) =
            (or(self.temperature, 1.0), or(self.top_p, 1.0), or(self.min_p, 0.0));
        if temperature < 0.0 {
            let message = format!("temperature must be non-negative, got {}.", float(temperature));
            return Err(Refusal::value(&message, "temperature", float(temperature)));
        }
        if temperature > 2.0 {
            let message = format!("temperature must be in [0, 2], got {}.", float(temperature));
            return Err(Refusal::value(&message, "temperature", float(temperature)));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            let message = format!("top_p must be in (0, 1], got {}.", float(top_p));
            return Err(Refusal::value(&message, "top_p", float(top_p)));
        }
        if let Some(top_k) = self.top_k.filter(|top_k| *top_k < -1) {
            return Err(Refusal::bad(format!("top_k must be 0 (disable), or at least 1, got {top_k}.")));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(Refusal::bad(format!("min_p must be in [0, 1], got {}.", float(min_p))));
        }
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let max_tokens = self.max_tokens.unwrap_or(i64::try_from(default).unwrap_or(i64::MAX)).min(room);
        if max_tokens < 1 {
            let message = format!("max_tokens must be at least 1, got {max_tokens}.");
            return Err(Refusal::value(&message, "max_tokens", max_tokens));
        }
        if self.min_tokens < 0 {
            let message = format!("min_tokens must be greater than or equal to 0, got {}.", self.min_tokens);
            return Err(Refusal::bad(message));
        }
        if self.min_tokens > max_tokens {
            return Err(Refusal::bad(format!(
                "min_tokens must be less than or equal to max_tokens={max_tokens}, got {}.",
                self.min_tokens
            )));
        }
        if self.stops.iter().any(String::is_empty) {
            return Err(Refusal::bad("stop cannot contain an empty string."));
        }
        if temperature < 1e-5 && n > 1 {
            return Err(Refusal::bad(format!("n must be 1 when using greedy sampling, got {n}.")));
        }
        for (what, param, wanted) in
            [("sample", "logprobs", self.logprobs), ("prompt", "prompt_logprobs", self.prompt_logprobs)]
        {
            let Some(wanted) = wanted else { continue };
            if wanted < -1 {
                let message = format!("{param} must be non-negative or -1, got {wanted}.");
                return Err(Refusal::value(&message, param, wanted));
            }
            if wanted > MOST_LOGPROBS {
                let message = format!(
                    "Requested {what} logprobs of {wanted}, which is greater than max allowed: {MOST_LOGPROBS}"
                );
                return Err(Refusal::value(&message, param, wanted));
            }
        }
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let limits = Limits {
            max_tokens: count(max_tokens),
            min_tokens: count(self.min_tokens),
            ignore_end: self.ignore_end,
            stops: self.stops,
            stop_tokens: self.stop_tokens,
            include_stop: self.include_stop,
        };
        Ok(Sampling {
            n: count(n),
            seed: self.seed,
            temperature,
            top_p,
            presence_penalty: presence,
            frequency_penalty: frequency,
            limits,
        })
    }
}
