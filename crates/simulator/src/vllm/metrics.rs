//! The page of metrics, under vLLM's names.

use super::version::Version;
use crate::metrics::page::{Page, labels};
use crate::metrics::{Counted, Metrics, State};

/// The exposition text.
pub(crate) fn print(metrics: &Metrics, state: &State, version: Version) -> String {
    let mut page = Page::new(metrics.created);
    let load = &state.load;
    let each = |value: &dyn Fn(&Counted) -> f64| -> Vec<(String, f64)> {
        let row = |(name, counted): &(String, Counted)| (labels(name, ""), value(counted));
        metrics.models.iter().map(row).collect()
    };
    let by_model = |values: &[(usize, usize)]| -> Vec<(String, f64)> {
        let sum = |model: usize| -> usize {
            values.iter().filter(|(of, _)| *of == model).map(|(_, value)| value).sum()
        };
        let models = metrics.models.iter().enumerate();
        models.map(|(model, (name, _))| (labels(name, ""), sum(model) as f64)).collect()
    };
    let float = |count: u64| count as f64;
    page.gauge(
        "vllm:num_requests_running",
        "Number of requests in model execution batches.",
        &by_model(&load.running),
    );
    page.gauge(
        "vllm:num_requests_waiting",
        "Number of requests waiting to be processed.",
        &by_model(&load.waiting),
    );
    if state.dev_mode {
        sleep_state(&mut page, metrics, state.asleep);
    }
    let usage =
        if version.old_cache_names() { "vllm:gpu_cache_usage_perc" } else { "vllm:kv_cache_usage_perc" };
    page.gauge(usage, "KV-cache usage. 1 means 100 percent usage.", &each(&|_| load.kv_usage));
    let prefix = if version.old_cache_names() { "vllm:gpu_prefix_cache" } else { "vllm:prefix_cache" };
    let looked = |which: fn(&(u64, u64)) -> u64| -> Vec<(String, f64)> {
        let of = |model: usize| load.looked.get(&model).map_or(0, which);
        metrics
            .models
            .iter()
            .enumerate()
            .map(|(model, (name, _))| (labels(name, ""), float(of(model))))
            .collect()
    };
    page.counter(
        &format!("{prefix}_queries"),
        "Prefix cache queries, in terms of number of queried tokens.",
        &looked(|(queries, _)| *queries),
    );
    page.counter(
        &format!("{prefix}_hits"),
        "Prefix cache hits, in terms of number of cached tokens.",
        &looked(|(_, hits)| *hits),
    );
    page.counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.", &each(&|_| 0.0));
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
    page.counter("vllm:request_success", "Count of successfully processed requests.", &reasons(metrics));
    if let Some(max_loras) = state.max_loras {
        let labels = format!(
            "{{max_lora=\"{max_loras}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}}",
            load.running_adapters.join(","),
            load.waiting_adapters.join(",")
        );
        let now = crate::engine::now() as f64;
        page.gauge("vllm:lora_requests_info", "Running stats on lora requests.", &[(labels, now)]);
    }
    let refused = [("max_num_queued_reqs", load.refused), ("max_num_queued_tokens", 0)];
    let refused: Vec<(String, f64)> = metrics
        .models
        .first()
        .iter()
        .flat_map(|(name, _)| {
            refused.map(|(reason, count)| {
                (format!("{{model_name=\"{name}\",reason=\"{reason}\"}}"), float(count))
            })
        })
        .collect();
    page.counter("vllm:admission_rejections", "Number of requests rejected at admission.", &refused);
    let first = metrics.models.first().map_or(&[][..], |(_, counted)| &counted.histograms);
    for (index, (name, help, _)) in first.iter().enumerate() {
        let rows =
            metrics.models.iter().map(|(model, counted)| (model.as_str(), &counted.histograms[index].2));
        page.histogram(&format!("vllm:{name}"), help, rows);
    }
    let cache = format!(
        "{{block_size=\"16\",cache_dtype=\"auto\",enable_prefix_caching=\"True\",engine=\"0\",num_gpu_blocks=\"{}\"}}",
        state.blocks
    );
    page.gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", &[(cache, 1.0)]);
    let requests: Vec<(String, f64)> = metrics
        .requests
        .iter()
        .map(|((route, method, class), count)| {
            (format!("{{handler=\"{route}\",method=\"{method}\",status=\"{class}xx\"}}"), float(*count))
        })
        .collect();
    page.counter("http_requests", "Total number of requests by method, status and handler.", &requests);
    page.text()
}

fn reasons(metrics: &Metrics) -> Vec<(String, f64)> {
    let mut rows = Vec::new();
    for (name, counted) in &metrics.models {
        let by_reason =
            [("stop", counted.stopped), ("length", counted.cut), ("abort", counted.aborted), ("error", 0)];
        for (reason, count) in by_reason {
            rows.push((labels(name, &format!("finished_reason=\"{reason}\",")), count as f64));
        }
    }
    rows
}

fn sleep_state(page: &mut Page, metrics: &Metrics, asleep: Option<u8>) {
    let mut rows = Vec::new();
    for (name, _) in &metrics.models {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        let states = [
            ("awake", asleep.is_none()),
            ("weights_offloaded", asleep.is_some_and(|level| level <= 1)),
            ("discard_all", asleep.is_some_and(|level| level > 1)),
        ];
        for (state, holds) in states {
            let labels = format!("{{engine=\"0\",model_name=\"{name}\",sleep_state=\"{state}\"}}");
            rows.push((labels, f64::from(u8::from(holds))));
        }
    }
    page.gauge("vllm:engine_sleep_state", "Engine sleep state.", &rows);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Finished;
    use crate::scheduler::Load;

    #[test]
    fn what_is_under_way_shows_and_what_is_done_adds_up() {
        let mut metrics = Metrics::new(["m".to_owned()].into_iter());
        let second = Duration::from_secs(1);
        let done = Finished {
            prompt_tokens: 7,
            output_tokens: 9,
            longest: 5,
            sequences: 2,
            max_tokens: 20,
            cut: 1,
            queued: Duration::ZERO,
            to_first: second,
            whole: second * 2,
        };
        metrics.finished(0, done);
        let load = Load { running: vec![(0, 2)], kv_usage: 0.25, ..Load::default() };
        let state = State { load, max_loras: Some(4), ..State::default() };
        let page = print(&metrics, &state, Version::parse("0.32.0"));
        for row in [
            "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 2.0",
            "vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 0.0",
            "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\"} 0.25",
            "vllm:prompt_tokens_total{engine=\"0\",model_name=\"m\"} 7.0",
            "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"m\"} 1.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",le=\"1.0\",model_name=\"m\"} 1.0",
            "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"m\"} 4.0",
            "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"} ",
        ] {
            assert!(page.contains(row), "{row} is not in\n{page}");
        }
    }
}
