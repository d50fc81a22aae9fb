//! Counters and histograms, printed under vLLM's names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    count: u64,
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
    pub(crate) to_first: Duration,
    pub(crate) whole: Duration,
}

/// Everything counted since the start, for one model.
#[derive(Debug)]
struct Counted {
    running: usize,
    live_tokens: usize,
    prompt_tokens: u64,
    output_tokens: u64,
    stopped: u64,
    cut: u64,
    aborted: u64,
    histograms: Vec<(&'static str, &'static str, Histogram)>,
}

impl Counted {
    fn new() -> Self {
        let histogram = |name, help, bounds| (name, help, Histogram::new(bounds));
        Counted {
            running: 0,
            live_tokens: 0,
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
    models: Vec<(String, Counted)>,
    /// By route, method and class of status.
    requests: BTreeMap<(String, String, u16), u64>,
    created: f64,
    capacity: usize,
}

impl Metrics {
    /// For models of these names, whose prompts and answers share room for so many tokens.
    pub(crate) fn new(names: impl Iterator<Item = String>, capacity: usize) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let models = names.map(|name| (name, Counted::new())).collect();
        Metrics { models, requests: BTreeMap::new(), created, capacity: capacity.max(1) }
    }

    pub(crate) fn begin(&mut self, model: usize, sequences: usize, tokens: usize) {
        if let Some((_, counted)) = self.models.get_mut(model) {
            counted.running += sequences;
            counted.live_tokens += tokens;
            counted.add("request_queue_time_seconds", 0.0, 1);
        }
    }

    pub(crate) fn end(&mut self, model: usize, sequences: usize, tokens: usize) {
        if let Some((_, counted)) = self.models.get_mut(model) {
            counted.running = counted.running.saturating_sub(sequences);
            counted.live_tokens = counted.live_tokens.saturating_sub(tokens);
        }
    }

    /// A request that came to its end; `cut` of its sequences by the token limit.
    pub(crate) fn finished(&mut self, model: usize, done: Finished, cut: usize) {
        let Some((_, counted)) = self.models.get_mut(model) else { return };
        counted.prompt_tokens += done.prompt_tokens as u64;
        counted.output_tokens += done.output_tokens as u64;
        counted.cut += cut as u64;
        counted.stopped += done.sequences.saturating_sub(cut) as u64;
        let float = |count: usize| count as f64;
        counted.add("request_prompt_tokens", float(done.prompt_tokens), 1);
        counted.add("request_params_n", float(done.sequences), 1);
        counted.add("time_to_first_token_seconds", done.to_first.as_secs_f64(), 1);
        counted.add("request_prefill_time_seconds", done.to_first.as_secs_f64(), 1);
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

    /// The exposition text.
    pub(crate) fn print(&self) -> String {
        let mut page = Page { text: String::with_capacity(32 << 10), created: self.created };
        let each = |value: &dyn Fn(&Counted) -> f64| -> Vec<(String, f64)> {
            let row = |(name, counted): &(String, Counted)| (labels(name, ""), value(counted));
            self.models.iter().map(row).collect()
        };
        let float = |count: u64| count as f64;
        page.gauge(
            "vllm:num_requests_running",
            "Number of requests in model execution batches.",
            &each(&|counted| float(counted.running as u64)),
        );
        page.gauge(
            "vllm:num_requests_waiting",
            "Number of requests waiting to be processed.",
            &each(&|_| 0.0),
        );
        page.gauge(
            "vllm:kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            &each(&|counted| (float(counted.live_tokens as u64) / float(self.capacity as u64)).min(1.0)),
        );
        page.counter(
            "vllm:prefix_cache_queries",
            "Prefix cache queries, in terms of number of queried tokens.",
            &each(&|counted| float(counted.prompt_tokens)),
        );
        page.counter(
            "vllm:prefix_cache_hits",
            "Prefix cache hits, in terms of number of cached tokens.",
            &each(&|_| 0.0),
        );
        page.counter(
            "vllm:num_preemptions",
            "Cumulative number of preemption from the engine.",
            &each(&|_| 0.0),
        );
        page.counter(
            "vllm:prompt_tokens",
            "Number of prefill tokens processed.",
            &each(&|counted| float(counted.prompt_tokens)),
        );
        page.counter(
            "vllm:generation_tokens",
            "Number of generation tokens processed.",
            &each(&|counted| float(counted.output_tokens)),
        );
        let mut rows = Vec::new();
        for (name, counted) in &self.models {
            let by_reason = [
                ("stop", counted.stopped),
                ("length", counted.cut),
                ("abort", counted.aborted),
                ("error", 0),
            ];
            for (reason, count) in by_reason {
                rows.push((labels(name, &format!("finished_reason=\"{reason}\",")), float(count)));
            }
        }
        page.counter("vllm:request_success", "Count of successfully processed requests.", &rows);
        let first = self.models.first().map_or(&[][..], |(_, counted)| &counted.histograms);
        for (index, (name, help, _)) in first.iter().enumerate() {
            let rows =
                self.models.iter().map(|(model, counted)| (model.as_str(), &counted.histograms[index].2));
            page.histogram(&format!("vllm:{name}"), help, rows);
        }
        let requests: Vec<(String, f64)> = self
            .requests
            .iter()
            .map(|((route, method, class), count)| {
                (format!("{{handler=\"{route}\",method=\"{method}\",status=\"{class}xx\"}}"), float(*count))
            })
            .collect();
        page.counter("http_requests", "Total number of requests by method, status and handler.", &requests);
        page.text
    }
}

/// vLLM's labels in vLLM's order, which is alphabetical.
fn labels(model: &str, before_model: &str) -> String {
    let model = model.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{engine=\"0\",{before_model}model_name=\"{model}\"}}")
}

struct Page {
    text: String,
    created: f64,
}

impl Page {
    fn family(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn row(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{labels} {value:?}");
    }

    fn gauge(&mut self, name: &str, help: &str, rows: &[(String, f64)]) {
        self.family(name, help, "gauge");
        rows.iter().for_each(|(labels, value)| self.row(name, labels, *value));
    }

    fn counter(&mut self, name: &str, help: &str, rows: &[(String, f64)]) {
        let (total, created) = (format!("{name}_total"), format!("{name}_created"));
        self.family(&total, help, "counter");
        rows.iter().for_each(|(labels, value)| self.row(&total, labels, *value));
        self.family(&created, help, "gauge");
        let at = self.created;
        rows.iter().for_each(|(labels, _)| self.row(&created, labels, at));
    }

    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (&'a str, &'a Histogram)>,
    ) {
        self.family(name, help, "histogram");
        let float = |count: u64| count as f64;
        for (model, histogram) in rows {
            let mut below = 0;
            for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
                below += count;
                self.row(
                    &format!("{name}_bucket"),
                    &labels(model, &format!("le=\"{bound:?}\",")),
                    float(below),
                );
            }
            self.row(&format!("{name}_bucket"), &labels(model, "le=\"+Inf\","), float(histogram.count));
            self.row(&format!("{name}_count"), &labels(model, ""), float(histogram.count));
            self.row(&format!("{name}_sum"), &labels(model, ""), histogram.sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_shows_and_what_is_done_adds_up() {
        let mut metrics = Metrics::new(["m".to_owned()].into_iter(), 1_000);
        metrics.begin(0, 2, 10);
        assert!(metrics.print().contains("vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0"));
        metrics.end(0, 2, 10);
        let second = Duration::from_secs(1);
        let done = Finished {
            prompt_tokens: 7,
            output_tokens: 9,
            longest: 5,
            sequences: 2,
            max_tokens: 20,
            to_first: second,
            whole: second * 2,
        };
        metrics.finished(0, done, 1);
        let page = metrics.print();
        for row in [
            "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 0.0",
            "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 7.0",
            "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"} 1.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"1.0\",model_name=\"m\"} 1.0",
            "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"m\"} 4.0",
        ] {
            assert!(page.contains(row), "{row} is not in\n{page}");
        }
    }
}
