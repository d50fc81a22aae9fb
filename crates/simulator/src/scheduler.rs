//! Who is in the batch and who waits: a bounded batch, a queue in order of arrival, and the cache they share.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use crate::blocks::{BLOCK, Blocks, chain};
use crate::pace::{Pace, Speed};

/// What bounds the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Sequences that run at once.
    pub(crate) sequences: usize,
    /// Sequences that wait or run; what comes beyond is turned away.
    pub(crate) in_flight: Option<usize>,
    /// Blocks of the KV cache.
    pub(crate) blocks: usize,
    pub(crate) speed: Speed,
}

/// One sequence, as far as the cache is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// The full blocks of the prompt and then of the answer.
    blocks: Vec<u64>,
    prompt_tokens: usize,
    output_tokens: usize,
}

impl Sequence {
    /// A prompt and what will be said to it. Texts of another `salt` share nothing with it.
    pub(crate) fn new(salt: u64, prompt: &[u32], output: &[u32]) -> Self {
        Sequence {
            blocks: chain(salt, prompt.iter().chain(output).copied()),
            prompt_tokens: prompt.len(),
            output_tokens: output.len(),
        }
    }

    fn prompt(&self) -> &[u64] {
        &self.blocks[..self.prompt_tokens / BLOCK]
    }

    /// The blocks that can spare work: at least the last token of a prompt has to be read.
    fn sparing(&self) -> &[u64] {
        &self.blocks[..self.prompt_tokens.saturating_sub(1) / BLOCK]
    }

    /// How many blocks are filled or begun after so many tokens of output, beyond the prompt's full ones.
    fn beyond(&self, output: usize) -> usize {
        (self.prompt_tokens + output).div_ceil(BLOCK) - self.prompt().len()
    }
}

/// What a request asks of the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Under which model it is counted.
    pub(crate) model: usize,
    /// The LoRA adapter it needs.
    pub(crate) adapter: Option<String>,
    /// How many sequences run.
    pub(crate) sequences: usize,
    pub(crate) prompt_tokens: usize,
    /// The sequences by prompt; a prompt that is answered several times is read once.
    pub(crate) cached: Vec<Vec<Sequence>>,
}

impl Job {
    fn each(&self) -> impl Iterator<Item = &Sequence> {
        self.cached.iter().flatten()
    }

    fn beyond(&self, output: impl Fn(&Sequence) -> usize) -> usize {
        self.each().map(|sequence| sequence.beyond(output(sequence))).sum()
    }

    fn most_beyond(&self) -> usize {
        self.beyond(|sequence| sequence.output_tokens)
    }
}

/// The moment a request gets into the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// When its tokens are due.
    pub(crate) pace: Pace,
    /// How many tokens of its prompts need not be read.
    pub(crate) cached: usize,
}

/// A request's number in the scheduler.
pub(crate) type Number = u64;

/// What became of a request that asked to be let in.
#[derive(Debug)]
pub(crate) enum Entry {
    Admitted(Number, Admission),
    Waiting(Number, oneshot::Receiver<Admission>),
    /// Too many are in flight.
    Refused,
}

#[derive(Debug)]
struct Waiting {
    number: Number,
    job: Job,
    tell: oneshot::Sender<Admission>,
}

/// The scheduler of one engine.
#[derive(Debug)]
pub(crate) struct Scheduler {
    bounds: Bounds,
    blocks: Blocks,
    running: BTreeMap<Number, (Job, Admission)>,
    waiting: VecDeque<Waiting>,
    /// Sequences of those that run, and of those that wait.
    busy: (usize, usize),
    next: Number,
    paused: bool,
    looked: BTreeMap<usize, (u64, u64)>,
    refused: u64,
}

/// What there is to see from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Sequences that run, and requests that wait, with their models.
    pub(crate) running: Vec<(usize, usize)>,
    pub(crate) waiting: Vec<(usize, usize)>,
    /// The adapters of those.
    pub(crate) running_adapters: Vec<String>,
    pub(crate) waiting_adapters: Vec<String>,
    /// The used part of the cache, 0 to 1.
    pub(crate) kv_usage: f64,
    /// By model, the tokens looked up in the cache, and those found.
    pub(crate) looked: BTreeMap<usize, (u64, u64)>,
    /// Requests that were turned away.
    pub(crate) refused: u64,
}

impl Scheduler {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Scheduler {
            blocks: Blocks::new(bounds.blocks),
            bounds,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            busy: (0, 0),
            next: 0,
            paused: false,
            looked: BTreeMap::new(),
            refused: 0,
        }
    }

    /// How many sequences run.
    pub(crate) fn running(&self) -> usize {
        self.busy.0
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A request comes in.
    pub(crate) fn enter(&mut self, job: Job) -> Entry {
        let in_flight = self.busy.0 + self.busy.1 + job.sequences;
        if self.bounds.in_flight.is_some_and(|most| in_flight > most) {
            self.refused += 1;
            return Entry::Refused;
        }
        let number = self.next;
        self.next += 1;
        if self.waiting.is_empty() && self.fits(&job) {
            return Entry::Admitted(number, self.admit(number, job));
        }
        let (tell, told) = oneshot::channel();
        self.busy.1 += job.sequences;
        self.waiting.push_back(Waiting { number, job, tell });
        Entry::Waiting(number, told)
    }

    /// A request goes, whether it was let in or not; `longest` is the length of its longest answer so far.
    pub(crate) fn leave(&mut self, number: Number, longest: usize) {
        if let Some((job, _)) = self.running.remove(&number) {
            self.busy.0 -= job.sequences;
            let more = job.most_beyond();
            for (index, prompt) in job.cached.iter().enumerate() {
                let more = if index == 0 { more } else { 0 };
                let Some(first) = prompt.first() else { continue };
                let written: Vec<u64> = prompt
                    .iter()
                    .flat_map(|sequence| {
                        let tokens = sequence.prompt_tokens + longest.min(sequence.output_tokens);
                        &sequence.blocks[sequence.prompt().len()..tokens / BLOCK]
                    })
                    .copied()
                    .collect();
                self.blocks.release(first.prompt(), more, &written);
            }
        } else if let Some(place) = self.waiting.iter().position(|waiting| waiting.number == number) {
            let left = self.waiting.remove(place);
            self.busy.1 -= left.map_or(0, |waiting| waiting.job.sequences);
        }
        self.let_in();
    }

    /// Stops letting requests in, or goes on with it.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.let_in();
    }

    /// Forgets every prefix that no running request uses.
    pub(crate) fn forget_prefixes(&mut self) {
        self.blocks.forget();
    }

    fn fits(&self, job: &Job) -> bool {
        if self.paused {
            return false;
        }
        // what can never fit runs alone
        if self.running.is_empty() {
            return true;
        }
        let prompts: Vec<u64> = job
            .cached
            .iter()
            .filter_map(|prompt| prompt.first())
            .flat_map(Sequence::prompt)
            .copied()
            .collect();
        self.running() + job.sequences <= self.bounds.sequences
            && self.blocks.fits(&prompts, job.most_beyond())
    }

    fn admit(&mut self, number: Number, job: Job) -> Admission {
        let more = job.most_beyond();
        let mut cached = 0;
        for (index, prompt) in job.cached.iter().enumerate() {
            let Some(first) = prompt.first() else { continue };
            let found = self.blocks.known(first.sparing()) * BLOCK;
            let looked = self.looked.entry(job.model).or_default();
            *looked = (looked.0 + first.prompt_tokens as u64, looked.1 + found as u64);
            cached += found;
            self.blocks.hold(first.prompt(), if index == 0 { more } else { 0 });
        }
        let admission = Admission { pace: Pace::new(job.prompt_tokens - cached, self.bounds.speed), cached };
        self.busy.0 += job.sequences;
        self.running.insert(number, (job, admission));
        admission
    }

    fn let_in(&mut self) {
        while let Some(first) = self.waiting.front() {
            if !self.fits(&first.job) {
                break;
            }
            let Some(Waiting { number, job, tell }) = self.waiting.pop_front() else { break };
            self.busy.1 -= job.sequences;
            let admission = self.admit(number, job);
            // a request that is leaving at this moment takes itself out
            let _ = tell.send(admission);
        }
    }

    /// What there is to see.
    pub(crate) fn load(&self) -> Load {
        let now: usize = self
            .running
            .values()
            .map(|(job, admission)| job.beyond(|sequence| admission.pace.so_far(sequence.output_tokens)))
            .sum();
        let adapters = |jobs: &mut dyn Iterator<Item = &Job>| {
            let mut names: Vec<String> = jobs.filter_map(|job| job.adapter.clone()).collect();
            names.sort();
            names.dedup();
            names
        };
        Load {
            running: self.running.values().map(|(job, _)| (job.model, job.sequences)).collect(),
            waiting: self.waiting.iter().map(|waiting| (waiting.job.model, waiting.job.sequences)).collect(),
            running_adapters: adapters(&mut self.running.values().map(|(job, _)| job)),
            waiting_adapters: adapters(&mut self.waiting.iter().map(|waiting| &waiting.job)),
            kv_usage: ((self.blocks.used() + now) as f64 / self.blocks.capacity() as f64).min(1.0),
            looked: self.looked.clone(),
            refused: self.refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(sequences: usize, blocks: usize) -> Scheduler {
        let speed = Speed { prefill: f64::INFINITY, decode: f64::INFINITY };
        Scheduler::new(Bounds { sequences, in_flight: Some(3), blocks, speed })
    }

    fn job(prompt: std::ops::Range<u32>, output: std::ops::Range<u32>) -> Job {
        let (prompt, output): (Vec<u32>, Vec<u32>) = (prompt.collect(), output.collect());
        let cached = vec![vec![Sequence::new(0, &prompt, &output)]];
        Job { model: 0, adapter: None, sequences: 1, prompt_tokens: prompt.len(), cached }
    }

    fn admitted(entry: Entry) -> (Number, usize) {
        match entry {
            Entry::Admitted(number, admission) => (number, admission.cached),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_prefix_that_was_read_is_not_read_again() {
        let mut scheduler = scheduler(8, 100);
        let (first, cached) = admitted(scheduler.enter(job(0..64, 1_000..1_040)));
        assert_eq!(cached, 0);
        // the last token is always read, and with it its block
        assert_eq!(admitted(scheduler.enter(job(0..64, 0..1))).1, 48);
        assert_eq!(admitted(scheduler.enter(job(0..65, 0..1))).1, 64);
        scheduler.leave(first, 40);
        let said: Vec<u32> = (0..64).chain(1_000..1_040).collect();
        let next = Sequence::new(0, &said, &[]);
        let next = Job { prompt_tokens: 104, cached: vec![vec![next]], ..job(0..1, 0..1) };
        assert_eq!(admitted(scheduler.enter(next)).1, 96);
        let load = scheduler.load();
        assert_eq!(load.looked[&0], (64 + 64 + 65 + 104, 48 + 64 + 96));
    }

    #[test]
    fn who_finds_no_place_waits_and_comes_in_order() {
        let mut scheduler = scheduler(1, 100);
        let (first, _) = admitted(scheduler.enter(job(0..4, 0..4)));
        let Entry::Waiting(second, mut told_second) = scheduler.enter(job(0..4, 0..4)) else { panic!() };
        let Entry::Waiting(_, mut told_third) = scheduler.enter(job(0..4, 0..4)) else { panic!() };
        assert!(matches!(scheduler.enter(job(0..4, 0..4)), Entry::Refused));
        assert_eq!((scheduler.running(), scheduler.waiting(), scheduler.load().refused), (1, 2, 1));
        scheduler.leave(first, 4);
        assert!(told_second.try_recv().is_ok());
        assert!(told_third.try_recv().is_err());
        scheduler.leave(second, 4);
        assert!(told_third.try_recv().is_ok());
    }

    #[test]
    fn a_full_cache_holds_the_next_one_back() {
        let mut scheduler = scheduler(8, 10);
        let (first, _) = admitted(scheduler.enter(job(0..64, 0..32)));
        let Entry::Waiting(_, mut told) = scheduler.enter(job(100..164, 0..32)) else { panic!() };
        assert!(told.try_recv().is_err());
        scheduler.leave(first, 32);
        assert!(told.try_recv().is_ok());
    }

    #[test]
    fn nobody_is_let_in_during_a_pause() {
        let mut scheduler = scheduler(8, 10);
        scheduler.pause(true);
        let Entry::Waiting(number, mut told) = scheduler.enter(job(0..4, 0..4)) else { panic!() };
        scheduler.pause(false);
        assert!(told.try_recv().is_ok());
        scheduler.leave(number, 0);
        assert_eq!(scheduler.load().kv_usage, 0.0);
    }
}
