//! What our own gateway says of itself: its log, a line for each call, and its page of metrics.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

/// The lines of a log, as they come.
#[derive(Debug, Default)]
pub struct Log {
    /// Those that are JSON.
    pub lines: Vec<Value>,
    /// All of them, as text.
    pub text: String,
    /// Whether the program has closed it.
    pub over: bool,
}

/// What is known from inside.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Its log, still being written.
    pub log: watch::Receiver<Log>,
    /// The path of the metrics.
    pub metrics: &'static str,
    /// Its process, whose memory is looked at where the system tells.
    pub process: u32,
    /// Secrets of the configuration: they must not be told to anybody, nor logged.
    pub secrets: Arc<[String]>,
}

/// The most memory that a process ever held, in bytes; nothing where the system does not tell.
pub(crate) fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// A page of metrics, by name; the labels as they are written.
#[derive(Debug, Default)]
pub(crate) struct Figures(HashMap<String, Vec<(String, f64)>>);

impl Figures {
    /// Reads a page in Prometheus' text format.
    pub(crate) fn read(page: &str) -> Figures {
        let mut figures: HashMap<String, Vec<(String, f64)>> = HashMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            // histograms are not looked at, and there are many of them
            if name.ends_with("_bucket") {
                continue;
            }
            if let Ok(value) = value.parse() {
                figures.entry(name.to_owned()).or_default().push((labels.to_owned(), value));
            }
        }
        Figures(figures)
    }

    /// The sum of the samples of this name with all these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0.get(name).into_iter().flatten();
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let fitting = samples.filter(|(labels, _)| {
            // a label may be the end of another's name
            wanted.iter().all(|one| {
                labels.match_indices(one.as_str()).any(|(at, _)| at == 0 || labels[..at].ends_with(','))
            })
        });
        fitting.map(|(_, value)| value).sum()
    }
}

/// Lines of the log about calls, by request id.
pub(crate) fn calls(log: &Log) -> HashMap<String, Vec<Value>> {
    let mut calls: HashMap<String, Vec<Value>> = HashMap::new();
    for line in log.lines.iter().filter(|line| line["message"] == "call") {
        let id = line["request_id"].as_str().unwrap_or_default().to_owned();
        calls.entry(id).or_default().push(line.clone());
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_their_labels() {
        let page = "# HELP a x\na_total{model=\"m\",kind=\"in\"} 3\na_total{submodel=\"m\",kind=\"in\"} 50\na_total{model=\"n\",kind=\"in\"} 4\nb 1\n";
        let figures = Figures::read(page);
        assert_eq!(figures.sum("a_total", &[("model", "m")]), 3.0);
        assert_eq!(figures.sum("a_total", &[("kind", "in"), ("model", "n")]), 4.0);
        assert_eq!((figures.sum("b", &[]), figures.sum("c", &[])), (1.0, 0.0));
    }
}
