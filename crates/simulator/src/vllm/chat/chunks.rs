//! A chat answer as a stream of chunks.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Serialize;

use super::request::Form;
use super::{About, StopReason, call_id, event, named};
use crate::conversation::Choice;
use crate::reply::Event;
use crate::script::{Finish, Piece};
use crate::vllm::generation::{Generation, Step, Steps};
use crate::vllm::scored::{self, ChatLogprobs};
use crate::vllm::usage::{LastUsage, UsageSoFar};
use crate::vllm::version::ThoughtName;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Option<&'a [u32]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_text: Option<Option<String>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<StopReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Option<[u32; 1]>>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// Null beside a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[DeltaCall<'a>; 1]>,
}

#[derive(Serialize)]
struct DeltaCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    index: usize,
    function: DeltaFunction<'a>,
}

#[derive(Serialize)]
struct DeltaFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
}

impl<'a> Delta<'a> {
    fn new(piece: Piece<'a>, thoughts: ThoughtName) -> Self {
        let call = |call| Delta { content: Some(None), tool_calls: Some([call]), ..Delta::default() };
        match piece {
            Piece::Thought(text) => {
                let (reasoning_content, reasoning) = named(text, thoughts);
                Delta { reasoning, reasoning_content, ..Delta::default() }
            }
            Piece::Text(text) => Delta { content: Some(Some(text)), ..Delta::default() },
            Piece::Call(name) => call(DeltaCall {
                id: Some(call_id()),
                kind: Some("function"),
                index: 0,
                function: DeltaFunction { name: Some(name), arguments: None },
            }),
            Piece::Arguments(text) => call(DeltaCall {
                id: None,
                kind: None,
                index: 0,
                function: DeltaFunction { name: None, arguments: Some(text) },
            }),
        }
    }
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

const CHUNK: &str = "chat.completion.chunk";

/// The chunks of a stream, each made when it is asked for.
pub(super) struct Chunks {
    generation: Generation,
    steps: Steps,
    form: Form,
    about: About,
    waiting: VecDeque<Event>,
    opened: bool,
    closed: bool,
    /// Which sequences have begun to call a tool.
    called: Vec<bool>,
}

impl Chunks {
    pub(super) fn new(generation: Generation, form: Form, about: About) -> Self {
        let (steps, called) = (generation.steps(), vec![false; generation.scripts.len()]);
        Chunks {
            generation,
            steps,
            form,
            about,
            waiting: VecDeque::new(),
            opened: false,
            closed: false,
            called,
        }
    }

    /// One chunk for each choice that names the role, and one that repeats what is continued.
    fn open(&mut self) {
        let due = self.generation.pace.token(0);
        let prompt = self.form.token_ids.then_some(&*self.generation.prompts[0]);
        let mut out = VecDeque::new();
        for index in 0..self.generation.scripts.len() {
            let delta = Delta { role: Some("assistant"), content: Some(Some("")), ..Delta::default() };
            let text = self.form.prompt_text.then(|| crate::tokens::decode(&self.generation.prompts[0]));
            let chunk = Chunk {
                prompt_token_ids: Some(prompt),
                prompt_text: Some(text),
                usage: self.so_far(index, 0),
                ..self.chunk(ChunkChoice {
                    index,
                    delta,
                    logprobs: None,
                    finish_reason: None,
                    stop_reason: None,
                    token_ids: None,
                })
            };
            out.push_back(event(due, &chunk));
        }
        for (index, echo) in (0..self.generation.scripts.len()).zip(std::iter::repeat(&self.form.echo)) {
            let Some(echo) = echo else { break };
            let delta = Delta { content: Some(Some(echo)), ..Delta::default() };
            let choice = ChunkChoice {
                index,
                delta,
                logprobs: None,
                finish_reason: None,
                stop_reason: None,
                token_ids: None,
            };
            out.push_back(event(due, &Chunk { usage: self.so_far(index, 0), ..self.chunk(choice) }));
        }
        self.waiting = out;
    }

    /// The chunks of one token, if it makes any.
    fn step(&mut self, step: Step) {
        let script = &self.generation.scripts[step.sequence];
        let mut pieces = script.pieces(step.from, step.to);
        self.called[step.sequence] |= pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
        if self.form.hide_thought {
            pieces.retain(|piece| !matches!(piece, Piece::Thought(_)));
        }
        let logprobs = self.form.logprobs.filter(|_| !self.form.hide_thought);
        let told = logprobs.is_some() || self.form.token_ids;
        let mut deltas: Vec<Delta<'_>> =
            pieces.into_iter().map(|piece| Delta::new(piece, self.about.thoughts)).collect();
        if deltas.is_empty() && (step.last || told) {
            deltas.push(Delta::default());
        }
        let count = deltas.len();
        let mut out = Vec::with_capacity(count);
        for (place, delta) in deltas.into_iter().enumerate() {
            let ends = place + 1 == count;
            let finish = (ends && step.last).then(|| self.finish(step.sequence));
            let scores = logprobs.filter(|_| ends).map(|top| {
                ChatLogprobs::new(&scored::scores(
                    &self.generation,
                    step.sequence,
                    step.index,
                    step.index + 1,
                    top,
                ))
            });
            let ids = (self.form.token_ids && ends).then(|| [script.id(step.index)]);
            let chunk = self.chunk(ChunkChoice {
                index: step.sequence,
                delta,
                logprobs: scores,
                finish_reason: finish,
                stop_reason: finish.map(|_| script.finish().into()),
                token_ids: Some(ids),
            });
            let fingerprint =
                finish.filter(|_| !self.form.include_usage).map(|_| self.about.fingerprint.as_str());
            let usage = self.so_far(step.sequence, step.index + 1);
            out.push(event(step.due, &Chunk { system_fingerprint: fingerprint, usage, ..chunk }));
        }
        self.waiting.extend(out);
    }

    fn finish(&self, sequence: usize) -> &'static str {
        let finish = self.generation.scripts[sequence].finish();
        let named = matches!(self.form.choice, Choice::Named(_));
        if self.called[sequence] && !named && *finish != Finish::Length {
            "tool_calls"
        } else {
            finish.reason()
        }
    }

    fn chunk<'a>(&'a self, choice: ChunkChoice<'a>) -> Chunk<'a> {
        Chunk {
            id: &self.about.id,
            object: CHUNK,
            created: self.about.created,
            model: &self.about.model,
            choices: [choice],
            usage: None,
            system_fingerprint: None,
            prompt_token_ids: None,
            prompt_text: None,
        }
    }

    fn so_far(&self, sequence: usize, count: usize) -> Option<UsageSoFar> {
        self.form.continuous_usage.then(|| {
            let thought = self.generation.scripts[sequence].thought_tokens(count);
            UsageSoFar {
                prompt_tokens: self.generation.work.prompt_tokens,
                total_tokens: self.generation.work.prompt_tokens + count,
                completion_tokens: count,
                completion_tokens_details: Some(self.generation.reasoning_details(thought)),
            }
        })
    }

    /// The usage, and the end.
    fn close(&mut self) {
        let due = self.generation.done();
        if self.form.include_usage {
            let chunk = UsageChunk {
                id: &self.about.id,
                object: CHUNK,
                created: self.about.created,
                model: &self.about.model,
                choices: [],
                usage: self.generation.usage(true).last(),
                system_fingerprint: &self.about.fingerprint,
            };
            let last = event(due, &chunk);
            self.waiting.push_back(last);
        }
        self.waiting.push_back(Event { due, bytes: Bytes::from_static(b"data: [DONE]\n\n") });
    }
}

impl Iterator for Chunks {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if !std::mem::replace(&mut self.opened, true) {
                self.open();
            } else if let Some(step) = self.steps.next(&self.generation) {
                self.step(step);
            } else if !std::mem::replace(&mut self.closed, true) {
                self.close();
            } else {
                return None;
            }
        }
    }
}
