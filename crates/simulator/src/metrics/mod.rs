//! Counters and histograms: what an engine has done since its start. How they are named on a page is its own affair.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::scheduler::Load;

pub(crate) mod page;

const TOKENS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5];
const SEQUENCES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];
const NEXT_TOKEN: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const WHOLE: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
];

/// How many values fell below each bound, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    pub(crate) bounds: &'static [f64],
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
    pub(crate) count: u64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Histogram { bounds, counts: vec![0; bounds.len()], sum: 0.0, count: 0 }
    }

    fn add(&mut self, value: f64, times: u64) {
        if let Some(place) = self.bounds.iter().position(|bound| value <= *bound) {
            self.counts[place] += times;
        }
        let times_float = times as f64;
        self.sum += value * times_float;
        self.count += times;
    }
}

/// What one generation or pooling request amounted to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) prompt_tokens: usize,
    pub(crate) output_tokens: usize,
    /// The most tokens of one sequence.
    pub(crate) longest: usize,
    pub(crate) sequences: usize,
    pub(crate) max_tokens: usize,
    /// How many sequences the token limit ended.
    pub(crate) cut: usize,
    pub(crate) queued: Duration,
    pub(crate) to_first: Duration,
    pub(crate) whole: Duration,
}

/// What holds at the moment, beside what was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) load: Load,
    /// How deep the engine sleeps, if it does.
    pub(crate) asleep: Option<u8>,
    pub(crate) dev_mode: bool,
    /// How many LoRA adapters fit, where there may be any.
    pub(crate) max_loras: Option<usize>,
    /// Blocks of the KV cache.
    pub(crate) blocks: usize,
}

/// Everything counted since the start, for one model.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) prompt_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) stopped: u64,
    pub(crate) cut: u64,
    pub(crate) aborted: u64,
    pub(crate) histograms: Vec<(&'static str, &'static str, Histogram)>,
}

impl Counted {
    fn new() -> Self {
        let histogram = |name, help, bounds| (name, help, Histogram::new(bounds));
        Counted {
            prompt_tokens: 0,
            output_tokens: 0,
            stopped: 0,
            cut: 0,
            aborted: 0,
            histograms: vec![
                histogram("request_prompt_tokens", "Number of prefill tokens processed.", TOKENS),
                histogram("request_generation_tokens", "Number of generation tokens processed.", TOKENS),
                histogram("request_params_n", "Histogram of the n request parameter.", SEQUENCES),
                histogram(
                    "request_params_max_tokens",
                    "Histogram of the max_tokens request parameter.",
                    TOKENS,
                ),
                histogram(
                    "time_to_first_token_seconds",
                    "Histogram of time to first token in seconds.",
                    FIRST_TOKEN,
                ),
                histogram(
                    "inter_token_latency_seconds",
                    "Histogram of inter-token latency in seconds.",
                    NEXT_TOKEN,
                ),
                histogram(
                    "e2e_request_latency_seconds",
                    "Histogram of e2e request latency in seconds.",
                    WHOLE,
                ),
                histogram(
                    "request_queue_time_seconds",
                    "Histogram of time spent in WAITING phase for request.",
                    WHOLE,
                ),
                histogram(
                    "request_prefill_time_seconds",
                    "Histogram of time spent in PREFILL phase for request.",
                    WHOLE,
                ),
                histogram(
                    "request_decode_time_seconds",
                    "Histogram of time spent in DECODE phase for request.",
                    WHOLE,
                ),
            ],
        }
    }

    fn add(&mut self, name: &str, value: f64, times: u64) {
        if let Some((_, _, histogram)) = self.histograms.iter_mut().find(|(known, _, _)| *known == name) {
            histogram.add(value, times);
        }
    }
}

/// All metrics of one engine.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) models: Vec<(String, Counted)>,
    /// By route, method and class of status.
    pub(crate) requests: BTreeMap<(String, String, u16), u64>,
    pub(crate) created: f64,
}

impl Metrics {
    /// For models of these names.
    pub(crate) fn new(names: impl Iterator<Item = String>) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let models = names.map(|name| (name, Counted::new())).collect();
        Metrics { models, requests: BTreeMap::new(), created }
    }

    /// A request that came to its end.
    pub(crate) fn finished(&mut self, model: usize, done: Finished) {
        let Some((_, counted)) = self.models.get_mut(model) else { return };
        counted.prompt_tokens += done.prompt_tokens as u64;
        counted.output_tokens += done.output_tokens as u64;
        counted.cut += done.cut as u64;
        counted.stopped += done.sequences.saturating_sub(done.cut) as u64;
        let float = |count: usize| count as f64;
        counted.add("request_prompt_tokens", float(done.prompt_tokens), 1);
        counted.add("request_params_n", float(done.sequences), 1);
        counted.add("time_to_first_token_seconds", done.to_first.as_secs_f64(), 1);
        counted.add("request_queue_time_seconds", done.queued.as_secs_f64(), 1);
        counted.add(
            "request_prefill_time_seconds",
            done.to_first.saturating_sub(done.queued).as_secs_f64(),
            1,
        );
        counted.add("e2e_request_latency_seconds", done.whole.as_secs_f64(), 1);
        if done.output_tokens > 0 {
            let decode = done.whole.saturating_sub(done.to_first).as_secs_f64();
            counted.add("request_generation_tokens", float(done.output_tokens), 1);
            counted.add("request_params_max_tokens", float(done.max_tokens), 1);
            counted.add("request_decode_time_seconds", decode, 1);
            let steps = done.longest.saturating_sub(1);
            if steps > 0 {
                counted.add("inter_token_latency_seconds", decode / float(steps), steps as u64);
            }
        }
    }

    /// A request whose client left after so many tokens.
    pub(crate) fn aborted(
        &mut self,
        model: usize,
        sequences: usize,
        prompt_tokens: usize,
        output_tokens: usize,
    ) {
        if let Some((_, counted)) = self.models.get_mut(model) {
            counted.aborted += sequences as u64;
            counted.prompt_tokens += prompt_tokens as u64;
            counted.output_tokens += output_tokens as u64;
        }
    }

    /// One answered request.
    pub(crate) fn answered(&mut self, route: &str, method: &str, status: u16) {
        // a client may invent methods, and each would stay for ever
        let known = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"].contains(&method);
        let method = if known { method } else { "OTHER" };
        *self.requests.entry((route.to_owned(), method.to_owned(), status / 100)).or_default() += 1;
    }
}
