//! From a prompt to the generation that answers it.

use std::sync::Arc;
use std::time::Instant;

use super::refusal::Refusal;
use super::sampling::{Asked, Sampling};
use super::usage::{CompletionDetails, PromptDetails, Usage};
use crate::compose;
use crate::conversation::{self, Conversation};
use crate::engine::Engine;
use crate::pace::Pace;
use crate::scheduler::{Admission, Job, Sequence};
use crate::script::{Finish, Script};
use crate::seed;
use crate::settings::{Model, Tasks};
use crate::ticket::{Ticket, Work};
use crate::tokens;

/// How many sequences one request may have, and how many tokens it may demand of them all together.
const MOST_SEQUENCES: usize = 4_096;
const MOST_TOKENS: usize = 2_000_000;

/// A model that was found.
pub(crate) type Served = Arc<Model>;

/// Finds the model that a request to a generating route names.
///
/// # Errors
/// vLLM's 404, or its 501 if that model has another task.
pub(crate) fn generating(engine: &Engine, name: Option<&str>, route: &str) -> Result<Served, Refusal> {
    let Some(model) = engine.model(name, |tasks| tasks.generate) else {
        return Err(Refusal::unknown_model(
            name.unwrap_or_default(),
            Some(&aliases(engine, |tasks| tasks.generate)),
        ));
    };
    if !model.tasks.generate {
        return Err(Refusal::unable(route));
    }
    Ok(model)
}

/// The names of the models that can do something.
pub(crate) fn aliases(engine: &Engine, able: impl Fn(Tasks) -> bool) -> String {
    let models = engine.models();
    let names = models.iter().filter(|model| able(model.tasks)).map(|model| model.id.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// Refuses an output limit that no prompt could leave room for.
///
/// # Errors
/// vLLM's 400.
pub(crate) fn check_output_limit(engine: &Engine, param: &str, limit: Option<i64>) -> Result<(), Refusal> {
    let longest = engine.settings.max_model_len;
    match limit {
        Some(limit) if limit > i64::from(longest) => {
            let message = format!(
                "{param}={limit} cannot be greater than max_model_len={longest}. Please request fewer output tokens."
            );
            Err(Refusal::value(&message, param, limit))
        }
        _ => Ok(()),
    }
}

/// The tokens of a conversation, if they fit.
///
/// # Errors
/// vLLM's 400 for an empty conversation, and for one that is too long.
pub(crate) fn prompt(engine: &Engine, conversation: &Conversation) -> Result<Vec<u32>, Refusal> {
    if conversation.turns.is_empty() {
        return Err(Refusal::bad(
            "Cannot apply chat template to an empty conversation. Provide at least one message.",
        ));
    }
    check_characters(engine, conversation.characters())?;
    let tokens = conversation.prompt();
    check_tokens(engine, tokens.len(), true)?;
    Ok(tokens)
}

/// Refuses a text that cannot fit whatever its tokens are.
///
/// # Errors
/// vLLM's 400.
pub(crate) fn check_characters(engine: &Engine, characters: usize) -> Result<(), Refusal> {
    let longest = engine.settings.max_model_len as usize;
    let most = longest * tokens::longest_piece();
    if characters <= most {
        return Ok(());
    }
    let message = format!(
        "This model's maximum context length is {longest} tokens. However, your prompt contains {characters} characters \
         (more than {most} characters, which is the upper bound for {longest} input tokens). Please reduce the length of \
         the input prompt."
    );
    Err(Refusal::value(&message, "input_text", characters))
}

/// Refuses a prompt of too many tokens. A text is only read until it is one token too long.
///
/// # Errors
/// vLLM's 400.
pub(crate) fn check_tokens(engine: &Engine, count: usize, from_text: bool) -> Result<(), Refusal> {
    let longest = engine.settings.max_model_len as usize;
    if count <= longest {
        return Ok(());
    }
    let count = if from_text { longest + 1 } else { count };
    let at_least = if count == longest + 1 { "at least " } else { "" };
    let message = format!(
        "This model's maximum context length is {longest} tokens. However, your prompt contains {at_least}{count} input \
         tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
    );
    Err(Refusal::value(&message, "input_tokens", count))
}

/// One prompt and what is asked about it.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) conversation: Conversation,
    pub(crate) prompt: Vec<u32>,
    /// The prompt is continued rather than answered.
    pub(crate) plain: bool,
}

/// Everything that a request makes the model say.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The sequences of the first prompt, then those of the next.
    pub(crate) scripts: Vec<Script>,
    pub(crate) seeds: Vec<u64>,
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) sampling: Sampling,
    pub(crate) work: Work,
    pub(crate) pace: Pace,
    /// How many tokens of the prompts the cache spared.
    pub(crate) cached: usize,
    reasoning: bool,
    details: bool,
}

/// A generation that has not begun: nobody knows yet when its tokens are due.
#[derive(Debug)]
pub(crate) struct Prepared {
    generation: Generation,
    job: Job,
}

impl Prepared {
    /// Asks to be let into the batch.
    ///
    /// # Errors
    /// vLLM's 503 if too many requests are in flight.
    pub(crate) fn enter(&mut self, ticket: &mut Ticket) -> Result<(), Refusal> {
        ticket.begin(self.generation.work, self.job.clone()).map_err(|_| Refusal::too_many())
    }

    /// Begins.
    pub(crate) fn begin(self, admission: Admission) -> Generation {
        Generation { pace: admission.pace, cached: admission.cached, ..self.generation }
    }
}

/// Finds out what the model will say.
///
/// # Errors
/// A parameter that cannot be, or a shape that cannot be met.
pub(crate) fn generate(
    engine: &Engine,
    served: &Served,
    asking: Vec<Asking>,
    asked: &Asked,
    default_tokens: Option<usize>,
) -> Result<Prepared, Refusal> {
    let longest = engine.settings.max_model_len as usize;
    let mut all: Vec<Script> = Vec::new();
    let (mut seeds, mut prompts, mut settled) = (Vec::new(), Vec::new(), None);
    let prompts_asked = asking.len();
    for Asking { conversation, prompt, plain } in asking {
        let room = longest.saturating_sub(prompt.len());
        let sampling = asked.clone().settle(room, default_tokens.unwrap_or(room))?;
        let sequences = prompts_asked * sampling.n;
        if sequences > MOST_SEQUENCES {
            let message =
                format!("the simulated engine generates at most {MOST_SEQUENCES} sequences per request");
            return Err(Refusal::bad(message));
        }
        let limits = &sampling.limits;
        let demanded = if limits.ignore_end { limits.max_tokens } else { limits.min_tokens };
        if demanded * sequences > MOST_TOKENS {
            let message = format!(
                "the simulated engine can be made to generate at most {MOST_TOKENS} tokens per request"
            );
            return Err(Refusal::bad(message));
        }
        for index in 0..sampling.n {
            let seed = conversation::seed(&served.id, &prompt, sampling.seed, index);
            let reasoning = served.reasoning && !plain;
            let mut answer = compose::answer(&conversation, reasoning, seed).map_err(Refusal::bad)?;
            if plain
                && let (Some(text), crate::conversation::Shape::Free) =
                    (&mut answer.text, &conversation.shape)
            {
                text.insert(0, ' ');
            }
            all.push(Script::new(&answer, &sampling.limits, seed));
            seeds.push(seed);
        }
        prompts.push(prompt);
        settled = Some(sampling);
    }
    let sampling = settled.ok_or_else(|| Refusal::bad("You must pass at least one prompt"))?;
    let prompt_tokens = prompts.iter().map(Vec::len).sum();
    let salt = asked.cache_salt.as_deref().unwrap_or_default();
    let salt = seed::hash(served.id.bytes().chain([0]).chain(salt.bytes()));
    let cached = prompts.iter().zip(all.chunks(sampling.n)).map(|(prompt, scripts)| {
        scripts.iter().map(|script| Sequence::new(salt, prompt, &script.ids())).collect()
    });
    let job = Job {
        model: engine.row(served),
        adapter: served.parent.is_some().then(|| served.id.clone()),
        sequences: all.len(),
        prompt_tokens,
        cached: cached.collect(),
    };
    let work = Work {
        model: job.model,
        sequences: all.len(),
        prompt_tokens,
        output_tokens: all.iter().map(Script::length).sum(),
        longest: all.iter().map(Script::length).max().unwrap_or(0),
        max_tokens: sampling.limits.max_tokens,
        cut: all.iter().filter(|script| *script.finish() == Finish::Length).count(),
    };
    let generation = Generation {
        scripts: all,
        seeds,
        prompts,
        sampling,
        work,
        pace: engine.pace(),
        cached: 0,
        reasoning: served.reasoning,
        details: engine.settings.prompt_tokens_details,
    };
    Ok(Prepared { generation, job })
}

impl Generation {
    /// When the last token is there.
    pub(crate) fn done(&self) -> Instant {
        self.pace.all(self.work.longest)
    }

    /// Usage once all is said. Chat tells how much of the cache was filled, completions do not.
    pub(crate) fn usage(&self, chat: bool) -> Usage {
        let mut usage = Usage::new(self.work.prompt_tokens, self.work.output_tokens);
        usage.prompt_tokens_details = self.details.then_some(PromptDetails {
            cached_tokens: self.cached,
            created_cache_tokens: chat.then_some(0),
            multimodal_tokens: None,
        });
        usage.completion_tokens_details = self.reasoning_details(self.thought_tokens()).filter(|_| chat);
        usage
    }

    /// Whether usage is told in detail.
    pub(crate) fn details(&self) -> bool {
        self.details
    }

    /// How many tokens were spent on thinking.
    pub(crate) fn thought_tokens(&self) -> usize {
        self.scripts.iter().map(|script| script.thought_tokens(script.length())).sum()
    }

    /// `completion_tokens_details`, which only a reasoning model has.
    pub(crate) fn reasoning_details(&self, reasoning_tokens: usize) -> Option<CompletionDetails> {
        self.reasoning.then_some(CompletionDetails { reasoning_tokens })
    }

    /// The tokens one after the other, all sequences side by side.
    pub(crate) fn steps(&self) -> Steps {
        Steps { pace: self.pace, shown: vec![0; self.scripts.len()], index: 0, sequence: 0 }
    }
}

/// Walks through a generation in the order in which its tokens appear.
#[derive(Debug)]
pub(crate) struct Steps {
    pace: Pace,
    shown: Vec<usize>,
    index: usize,
    sequence: usize,
}

/// One token of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) sequence: usize,
    /// Its place among the tokens of the sequence.
    pub(crate) index: usize,
    /// What it makes visible of the script.
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) last: bool,
    pub(crate) due: Instant,
}

impl Steps {
    pub(crate) fn next(&mut self, generation: &Generation) -> Option<Step> {
        loop {
            if self.sequence == generation.scripts.len() {
                (self.sequence, self.index) = (0, self.index + 1);
            }
            if self.index >= generation.work.longest {
                return None;
            }
            let (sequence, index) = (self.sequence, self.index);
            self.sequence += 1;
            let script = &generation.scripts[sequence];
            if index >= script.length() {
                continue;
            }
            let from = self.shown[sequence];
            let to = script.visible(index).max(from);
            self.shown[sequence] = to;
            let last = index + 1 == script.length();
            return Some(Step { sequence, index, from, to, last, due: self.pace.token(index) });
        }
    }
}
