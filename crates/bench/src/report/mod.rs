//! What is told of a run: tables, verdicts, JSON, charts, a page.

mod charts;
mod page;
mod svg;
mod table;
mod vendor_tables;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::goals::{GOALS, Judged};
use crate::run::Run;
use crate::samples::Samples;
use crate::target::JUDGED;

pub use table::Table;

/// Where results go, besides the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Every figure of every round.
    pub json: Option<PathBuf>,
    /// A folder for the charts.
    pub charts: Option<PathBuf>,
    /// A Markdown file with markers.
    pub page: Option<PathBuf>,
}

/// Prints the tables, and writes what was asked for. It is an error if something could not be measured: who runs this in
/// a script should notice.
pub fn tell(run: &Run, samples: &Samples, files: &Files, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut text = format!("\n{}\n", headline(run, samples));
    for table in tables(run, samples) {
        text.push_str(&format!("\n{}", table.text()));
    }
    let judged = judged(run, samples);
    if !judged.is_empty() {
        text.push_str(&format!("\n{}", table::goals(&judged, samples).text()));
    }
    // nobody is left to be told that nobody listens
    let _ = out.write_all(text.as_bytes());
    if let Some(path) = &files.json {
        write(path, &lines(&json(run, samples, &judged)))?;
    }
    let charts = charts::all(run, samples);
    if let Some(folder) = &files.charts {
        for chart in &charts {
            write(&folder.join(chart.file), &chart.svg)?;
        }
    }
    if let Some(path) = &files.page {
        let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let beside = files.charts.as_deref().and_then(|folder| relative(folder, path));
        let part = page::part(run, samples, &judged, &charts, beside.as_deref());
        let name = if run.vendor { "vendor" } else { "figures" };
        write(path, &page::replace(&old, name, &part).with_context(|| path.display().to_string())?)?;
    }
    if !samples.failures.is_empty() {
        bail!("{} measurements did not come about; the tables say why", samples.failures.len());
    }
    Ok(())
}

/// The tables of a run, without that of the goals.
fn tables(run: &Run, samples: &Samples) -> Vec<Table> {
    if run.vendor { vendor_tables::all(samples) } else { table::all(samples) }
}

/// What kind of run this was, in two lines.
fn headline(run: &Run, samples: &Samples) -> String {
    let loads: Vec<String> = samples.load_average.iter().map(|load| format!("{load:.1}")).collect();
    let versions: Vec<&str> = run.versions.iter().map(|(_, version)| version.as_str()).collect();
    format!(
        "{} rounds{} in {:.0} s; load average at the beginning of each: {}\n{}, {} cores used, kernel {}; {}",
        run.rounds,
        if run.quick { ", cut short (--quick)," } else { "" },
        run.seconds,
        loads.join(", "),
        run.machine.processor,
        run.machine.cores.len().min(2),
        run.machine.kernel,
        versions.join("; "),
    )
}

/// The goals, where the run has anything to say about them.
fn judged(run: &Run, samples: &Samples) -> Vec<Judged> {
    let tried = |scenario: &str| {
        let figures = samples.values.iter().map(|sample| (&sample.scenario, &sample.target));
        let failures = samples.failures.iter().map(|failure| (&failure.scenario, &failure.target));
        figures.chain(failures).any(|(of, target)| of == scenario && target == JUDGED)
    };
    let goals = GOALS.iter().filter(|goal| !run.vendor && tried(goal.scenario));
    goals.map(|goal| goal.judge(samples)).collect()
}

fn json(run: &Run, samples: &Samples, judged: &[Judged]) -> Value {
    let versions: serde_json::Map<_, _> =
        run.versions.iter().map(|(name, version)| (name.clone(), json!(version))).collect();
    json!({
        "shape": if run.vendor { "vendor" } else { "ferrovia" },
        "quick": run.quick,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "machine": run.machine,
        "versions": versions,
        "remarks": run.remarks,
        "load_average": samples.load_average,
        "goals": judged,
        "failures": samples.failures,
        "figures": samples.json(),
    })
}

/// JSON with a line for each member of each member: short enough to be kept, long enough to be compared.
fn lines(json: &Value) -> String {
    let inner = |value: &Value| match value {
        Value::Object(members) if !members.is_empty() => {
            let members = members.iter().map(|(name, value)| format!("    {}: {value}", json!(name)));
            format!("{{\n{}\n  }}", members.collect::<Vec<_>>().join(",\n"))
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            let values = values.iter().map(|value| format!("    {value}"));
            format!("[\n{}\n  ]", values.collect::<Vec<_>>().join(",\n"))
        }
        other => other.to_string(),
    };
    let members = json.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| format!("  {}: {}", json!(name), inner(value)));
    format!("{{\n{}\n}}\n", members.collect::<Vec<_>>().join(",\n"))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    fs::write(path, format!("{text}{end}")).with_context(|| path.display().to_string())
}

/// A folder as seen from a page beside or above it.
fn relative(folder: &Path, page: &Path) -> Option<String> {
    let rest = folder.strip_prefix(page.parent()?).ok()?;
    Some(rest.iter().map(|part| format!("{}/", part.to_string_lossy())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Samples {
        let mut samples = Samples { load_average: vec![0.5], ..Samples::default() };
        for (target, cpu) in [("nginx", 20.0), ("ferrovia", 22.0)] {
            samples.note(1, "S1", target, "cpu_us", cpu);
        }
        samples
    }

    #[test]
    fn results_go_where_they_were_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("benchmarks.md");
        fs::write(&page, "# A\n\n<!-- figures:begin -->\nold\n<!-- figures:end -->\n\nrest\n").unwrap();
        let files = Files {
            json: Some(folder.path().join("deep/figures.json")),
            charts: Some(folder.path().join("benchmarks")),
            page: Some(page.clone()),
        };
        let mut told = Vec::new();
        tell(&Run { rounds: 1, ..Run::default() }, &some(), &files, &mut told).unwrap();
        assert!(String::from_utf8(told).unwrap().contains("1.10 (1.10–1.10)"));
        let json: Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("deep/figures.json")).unwrap())
                .unwrap();
        assert_eq!(json["goals"][0]["verdict"], "met");
        assert_eq!(json["figures"]["S1"]["nginx"]["cpu_us"][0], 20.0);
        let text = fs::read_to_string(page).unwrap();
        assert!(text.contains("1.10") && !text.contains("old") && text.ends_with("rest\n"), "{text}");
        assert!(text.contains("](benchmarks/calls.svg)"), "{text}");
        let chart = fs::read_to_string(folder.path().join("benchmarks/calls.svg")).unwrap();
        assert!(chart.starts_with("<svg") && chart.contains("ferrovia"));
    }

    #[test]
    fn only_goals_of_measured_scenarios_are_judged() {
        assert_eq!(judged(&Run::default(), &some()).len(), 1);
        assert!(judged(&Run { vendor: true, ..Run::default() }, &some()).is_empty());
        let mut samples = some();
        samples.fail(1, "S7", JUDGED, "it fell".into());
        samples.note(1, "S5", "nginx", "finish", 1.0);
        let rows: Vec<_> = judged(&Run::default(), &samples).iter().map(|goal| goal.row).collect();
        assert_eq!(rows, ["1", "12"]);
    }
}
