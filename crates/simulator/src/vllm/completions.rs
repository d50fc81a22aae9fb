//! `/v1/completions`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;

use super::chat::{About, StopReason, event};
use super::fields::Fields;
use super::generation::{self, Asking, Generation, Step, Steps};
use super::refusal::{Invalid, Refusal};
use super::sampling::Asked;
use super::scored::{self, CompletionLogprobs};
use super::usage::{LastUsage, Usage, UsageSoFar};
use super::version::Version;
use super::{fingerprint, json, request_id, turns};
use crate::conversation::{Conversation, Turn};
use crate::engine::{self, Engine};
use crate::logprobs::score;
use crate::reply::{Event, Reply};
use crate::script::Piece;
use crate::ticket::Ticket;
use crate::tokens;

/// How many tokens a completion has when nothing is said about it.
const DEFAULT_TOKENS: usize = 16;

/// What is asked about the form of the answer.
#[derive(Clone, Debug)]
struct Form {
    stream: bool,
    include_usage: bool,
    continuous_usage: bool,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    token_ids: bool,
    echo: bool,
    /// Nothing but the prompt is wanted; a token is generated all the same.
    echo_only: bool,
}

/// Answers a request.
pub(crate) fn answer(
    engine: &Arc<Engine>,
    head: &Parts,
    body: &Value,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let present = |name: &str| body.get(name).filter(|value| !value.is_null());
    let streamed = present("stream").is_some_and(|stream| stream != &Value::Bool(false));
    if present("stream_options").is_some() && !streamed {
        let message = "Stream options can only be defined when `stream=True`.";
        return Err(Refusal::parameter(message, "stream_options"));
    }
    if present("prompt").is_none_or(|prompt| prompt == "" || prompt.as_array().is_some_and(Vec::is_empty)) {
        return Err(Refusal::parameter(
            "Either prompt or prompt_embeds must be provided and non-empty.",
            "prompt",
        ));
    }
    let shape = turns::shape(body, Version::parse(&engine.settings.version))?;
    let mut fields = Fields::new(body);
    let prompts = prompts(&mut fields);
    let model = fields.text("model");
    let mut asked = Asked::read(&mut fields);
    asked.max_tokens = fields.integer("max_tokens");
    asked.logprobs = fields.integer("logprobs");
    asked.prompt_logprobs = fields.integer("prompt_logprobs");
    let echo = fields.flag("echo").unwrap_or(false);
    let options = body.get("stream_options");
    let option = |name: &str| options.and_then(|options| options.get(name)) == Some(&Value::Bool(true));
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let mut form = Form {
        stream: fields.flag("stream").unwrap_or(false),
        include_usage: option("include_usage"),
        continuous_usage: option("include_usage") && option("continuous_usage_stats"),
        logprobs: asked.logprobs.map(count),
        prompt_logprobs: asked.prompt_logprobs.map(count),
        token_ids: fields.flag("return_token_ids").unwrap_or(false),
        echo,
        echo_only: false,
    };
    if fields.text("suffix").is_some() {
        let message = "suffix is only supported for models with FIM completion rendering";
        return Err(Refusal::error(
            http::StatusCode::BAD_REQUEST,
            "BadRequestError",
            message,
            Some("suffix"),
        ));
    }
    fields.finish()?;
    if echo && form.logprobs.is_some() {
        form.prompt_logprobs = form.prompt_logprobs.or(form.logprobs);
    }
    if echo && asked.max_tokens == Some(0) {
        (form.echo_only, asked.max_tokens) = (true, Some(1));
    }
    let served = generation::generating(engine, model, "Completions")?;
    generation::check_output_limit(engine, "max_tokens", asked.max_tokens)?;
    let mut asking = Vec::with_capacity(prompts.len());
    for (text, ids) in prompts {
        generation::check_characters(engine, text.chars().count())?;
        let from_text = ids.is_none();
        let prompt = ids.unwrap_or_else(|| tokens::encode(&text));
        generation::check_tokens(engine, prompt.len(), from_text)?;
        let turn = Turn { role: "user".to_owned(), text, ..Turn::default() };
        let conversation =
            Conversation { turns: vec![turn], shape: shape.clone(), ..Conversation::default() };
        asking.push(Asking { conversation, prompt, plain: true });
    }
    let mut prepared = generation::generate(engine, &served, asking, &asked, Some(DEFAULT_TOKENS))?;
    prepared.enter(ticket)?;
    let id = format!("cmpl-{}", request_id(head));
    let about = About {
        id,
        created: engine::now(),
        model: served.id.clone(),
        fingerprint: fingerprint(engine),
        thoughts: Version::parse(&engine.settings.version).thoughts(),
    };
    if form.stream {
        return Ok(Reply::stream(|admission| Chunks::new(prepared.begin(admission), form, about)));
    }
    Ok(Reply::later(move |admission| json::python(&whole(&prepared.begin(admission), &form, &about))))
}

/// A prompt's text, and its ids where they were given.
type Prompt = (String, Option<Vec<u32>>);

/// Reads `prompt`: a text, some ids, or several of either.
fn prompts(fields: &mut Fields<'_>) -> Vec<Prompt> {
    let from_ids = |ids: &[Value]| -> Option<Prompt> {
        let ids: Option<Vec<u32>> = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect();
        ids.map(|ids| (tokens::decode(&ids), Some(ids)))
    };
    let Some(prompt) = fields.get("prompt") else { return Vec::new() };
    let found: Option<Vec<Prompt>> = match prompt {
        Value::String(text) => Some(vec![(text.clone(), None)]),
        Value::Array(items) if items.iter().all(Value::is_u64) => from_ids(items).map(|prompt| vec![prompt]),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some((text.clone(), None)),
                Value::Array(ids) => from_ids(ids),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    found.unwrap_or_else(|| {
        let place = fields.place("prompt");
        for (kind, says) in [
            ("list_type", "Input should be a valid list"),
            ("list_type", "Input should be a valid list"),
            ("string_type", "Input should be a valid string"),
            ("list_type", "Input should be a valid list"),
        ] {
            fields.wrong(Invalid::new(kind, &place, says, prompt));
        }
        Vec::new()
    })
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WholeChoice<'a>>,
    service_tier: Option<()>,
    system_fingerprint: &'a str,
    usage: Usage,
    kv_transfer_params: Option<()>,
    ec_transfer_params: Option<()>,
    metrics: Option<()>,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: &'static str,
    stop_reason: StopReason,
    token_ids: Option<Vec<u32>>,
    prompt_logprobs: Option<Value>,
    prompt_token_ids: Option<&'a [u32]>,
    routed_experts: Option<()>,
}

fn whole<'a>(generation: &'a Generation, form: &Form, about: &'a About) -> Completion<'a> {
    let each = generation.sampling.n;
    let choices = generation.scripts.iter().enumerate().map(|(index, script)| {
        let prompt = &generation.prompts[index / each];
        let mut text = if form.echo { tokens::decode(prompt) } else { String::new() };
        if !form.echo_only {
            text.push_str(script.raw());
        }
        let logprobs = form.logprobs.map(|top| {
            let mut logprobs = CompletionLogprobs::default();
            let offset = if form.echo { add_prompt(&mut logprobs, generation, index, top) } else { 0 };
            if !form.echo_only {
                logprobs.add(&scored::scores(generation, index, 0, script.length(), top), offset, false);
            }
            logprobs
        });
        let finish = script.finish();
        WholeChoice {
            index,
            text,
            logprobs,
            finish_reason: finish.reason(),
            stop_reason: finish.into(),
            token_ids: form.token_ids.then(|| script.ids()),
            prompt_logprobs: form
                .prompt_logprobs
                .map(|top| scored::of_prompt(prompt, generation.seeds[index], top)),
            prompt_token_ids: form.token_ids.then_some(prompt),
            routed_experts: None,
        }
    });
    Completion {
        id: &about.id,
        object: "text_completion",
        created: about.created,
        model: &about.model,
        choices: choices.collect(),
        service_tier: None,
        system_fingerprint: &about.fingerprint,
        usage: generation.usage(false),
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    }
}

/// The prompt's own tokens, which an echo scores too.
fn add_prompt(
    logprobs: &mut CompletionLogprobs,
    generation: &Generation,
    sequence: usize,
    top: usize,
) -> usize {
    let prompt = &generation.prompts[sequence / generation.sampling.n];
    let seed = generation.seeds[sequence];
    let scores: Vec<_> = prompt.iter().enumerate().map(|(at, token)| score(*token, seed, at, top)).collect();
    logprobs.add(&scores, 0, true)
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [ChunkChoice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageSoFar>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'a str>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<&'static str>,
    stop_reason: Option<StopReason>,
    prompt_token_ids: Option<&'a [u32]>,
    token_ids: Option<[u32; 1]>,
}

#[derive(Serialize)]
struct UsageChunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [(); 0],
    usage: LastUsage,
    system_fingerprint: &'a str,
}

/// The chunks of a stream, each made when it is asked for.
struct Chunks {
    generation: Generation,
    steps: Steps,
    form: Form,
    about: About,
    /// Where the next token of a sequence begins, in characters.
    offsets: Vec<usize>,
    ending: VecDeque<Event>,
    closed: bool,
}

impl Chunks {
    fn new(generation: Generation, form: Form, about: About) -> Self {
        let (steps, offsets) = (generation.steps(), vec![0; generation.scripts.len()]);
        Chunks { generation, steps, form, about, offsets, ending: VecDeque::new(), closed: false }
    }

    fn step(&mut self, step: Step) -> Event {
        let generation = &self.generation;
        let script = &generation.scripts[step.sequence];
        let prompt = &generation.prompts[step.sequence / generation.sampling.n];
        let first = step.index == 0;
        let mut text = if first && self.form.echo { tokens::decode(prompt) } else { String::new() };
        if !self.form.echo_only {
            for piece in script.pieces(step.from, step.to) {
                if let Piece::Text(part) = piece {
                    text.push_str(part);
                }
            }
        }
        let logprobs = self.form.logprobs.map(|top| {
            let mut logprobs = CompletionLogprobs::default();
            let mut offset = self.offsets[step.sequence];
            if first && self.form.echo {
                offset = add_prompt(&mut logprobs, generation, step.sequence, top);
            }
            if !self.form.echo_only {
                let scores = scored::scores(generation, step.sequence, step.index, step.index + 1, top);
                offset = logprobs.add(&scores, offset, false);
            }
            self.offsets[step.sequence] = offset;
            logprobs
        });
        let finish = script.finish();
        let count = step.index + 1;
        let chunk = Chunk {
            id: &self.about.id,
            object: "text_completion",
            created: self.about.created,
            model: &self.about.model,
            choices: [ChunkChoice {
                index: step.sequence,
                text,
                logprobs,
                finish_reason: step.last.then(|| finish.reason()),
                stop_reason: step.last.then(|| finish.into()),
                prompt_token_ids: (first && (self.form.echo || self.form.token_ids)).then_some(prompt),
                token_ids: self.form.token_ids.then(|| [script.id(step.index)]),
            }],
            usage: self.form.continuous_usage.then_some(UsageSoFar {
                prompt_tokens: prompt.len(),
                total_tokens: prompt.len() + count,
                completion_tokens: count,
                completion_tokens_details: None,
            }),
            system_fingerprint: (step.last && !self.form.include_usage).then_some(&self.about.fingerprint),
        };
        event(step.due, &chunk)
    }

    fn close(&mut self) {
        let due = self.generation.done();
        if self.form.include_usage {
            let chunk = UsageChunk {
                id: &self.about.id,
                object: "text_completion",
                created: self.about.created,
                model: &self.about.model,
                choices: [],
                usage: self.generation.usage(false).last(),
                system_fingerprint: &self.about.fingerprint,
            };
            self.ending.push_back(event(due, &chunk));
        }
        self.ending.push_back(Event { due, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
    }
}

impl Iterator for Chunks {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(step) = self.steps.next(&self.generation) {
            return Some(self.step(step));
        }
        if !std::mem::replace(&mut self.closed, true) {
            self.close();
        }
        self.ending.pop_front()
    }
}
