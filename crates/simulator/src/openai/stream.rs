//! Walking through an answer, token by token, in whatever words an engine has for it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::engine;
use crate::reply::Event;
use crate::scheduler::Admission;
use crate::script::{Finish, Piece, Whole};
use crate::vllm::generation::{Generation, Prepared, Steps};

/// A call that has begun.
#[derive(Debug)]
pub(crate) struct Began {
    pub(crate) generation: Generation,
    pub(crate) model: String,
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) include_usage: bool,
    pub(crate) at: Instant,
}

impl Began {
    pub(crate) fn new(
        prepared: Prepared,
        admission: Admission,
        model: String,
        id: String,
        include_usage: bool,
    ) -> Self {
        let (created, at) = (engine::now(), Instant::now());
        Began { generation: prepared.begin(admission), model, id, created, include_usage, at }
    }

    /// All that one sequence says.
    pub(crate) fn whole(&self, sequence: usize) -> Whole {
        self.generation.scripts[sequence].whole()
    }

    /// Why one sequence ends, in OpenAI's words.
    pub(crate) fn finish(&self, sequence: usize, called: bool) -> &'static str {
        let finish = self.generation.scripts[sequence].finish();
        if called && *finish != Finish::Length { "tool_calls" } else { finish.reason() }
    }

    /// Tokens of the prompt and of the answers.
    pub(crate) fn tokens(&self) -> (usize, usize) {
        (self.generation.work.prompt_tokens, self.generation.work.output_tokens)
    }

    /// How long the prompt took, and how long the answer.
    pub(crate) fn times(&self) -> (std::time::Duration, std::time::Duration) {
        let first = self.generation.pace.token(0);
        (first.saturating_duration_since(self.at), self.generation.done().saturating_duration_since(first))
    }
}

/// How an engine spells a stream. Each of these gives the events that leave at that moment.
pub(crate) trait Spelling: Send + 'static {
    /// Before the first token of a sequence.
    fn open(&mut self, began: &Began, sequence: usize) -> Vec<Bytes>;
    /// Some of the answer.
    fn piece(&mut self, began: &Began, sequence: usize, piece: Piece<'_>) -> Vec<Bytes>;
    /// After the last token of a sequence.
    fn finish(&mut self, began: &Began, sequence: usize) -> Vec<Bytes>;
    /// After all of them.
    fn close(&mut self, began: &Began) -> Vec<Bytes>;
}

/// The events of a stream, each made when it is asked for.
pub(crate) fn stream(began: Began, spelling: impl Spelling) -> impl Iterator<Item = Event> + Send {
    Walk {
        steps: began.generation.steps(),
        began,
        spelling,
        waiting: VecDeque::new(),
        opened: false,
        closed: false,
    }
}

struct Walk<S> {
    began: Began,
    steps: Steps,
    spelling: S,
    waiting: VecDeque<Event>,
    opened: bool,
    closed: bool,
}

impl<S: Spelling> Iterator for Walk<S> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let began = &self.began;
            let (due, events) = if !std::mem::replace(&mut self.opened, true) {
                let sequences = 0..began.generation.scripts.len();
                let events = sequences.flat_map(|sequence| self.spelling.open(began, sequence)).collect();
                (began.generation.pace.token(0), events)
            } else if let Some(step) = self.steps.next(&began.generation) {
                let mut events = Vec::new();
                for piece in began.generation.scripts[step.sequence].pieces(step.from, step.to) {
                    events.extend(self.spelling.piece(began, step.sequence, piece));
                }
                if step.last {
                    events.extend(self.spelling.finish(began, step.sequence));
                }
                (step.due, events)
            } else if !std::mem::replace(&mut self.closed, true) {
                (began.generation.done(), self.spelling.close(began))
            } else {
                return None;
            };
            self.waiting.extend(events.into_iter().map(|bytes| Event { due, bytes }));
        }
    }
}
