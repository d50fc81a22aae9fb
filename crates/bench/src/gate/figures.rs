//! The committed figures, and what is said when they are held against others.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Figures may differ by this much, either way: who makes something cheaper commits that too.
const TOLERANCE: f64 = 0.05;

/// A difference of less than half an allocation is none: a tenth of one is a buffer that is sometimes made anew.
const NOTHING: f64 = 0.5;

/// What one call, or one event, costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// Instructions in user space.
    pub(super) instructions: f64,
    /// Calls of an allocator.
    pub(super) allocations: f64,
}

/// Everything that is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// What compiled the program: another compiler makes other instructions.
    pub(super) rustc: String,
    /// A chat call of 0.9 KB, answered whole.
    pub(super) call: Cost,
    /// One event of a chat stream.
    pub(super) event: Cost,
}

/// What a figure must not exceed (`docs/benchmarks.md`, rows 5 and 17).
const GOALS: [(&str, f64); 2] = [("instructions per call", 65_000.0), ("allocations per call", 25.0)];

impl Figures {
    pub(super) fn read(path: &Path) -> anyhow::Result<Figures> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: `cargo xtask gate --bless` writes it", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }

    fn rows(&self) -> [(&'static str, f64); 4] {
        [
            ("instructions per call", self.call.instructions),
            ("allocations per call", self.call.allocations),
            ("instructions per event", self.event.instructions),
            ("allocations per event", self.event.allocations),
        ]
    }

    /// The figures that are too far from the committed ones.
    pub(super) fn strays(&self, committed: &Figures) -> Vec<&'static str> {
        let pairs = committed.rows().into_iter().zip(self.rows());
        pairs
            .filter(|((_, was), (_, is))| (is - was).abs() > (was * TOLERANCE).max(NOTHING))
            .map(|((name, _), _)| name)
            .collect()
    }

    /// A table of both.
    pub(super) fn table(&self, committed: Option<&Figures>) -> String {
        let mut table =
            format!("{:24}{:>12}{:>12}{:>12}{:>12}\n", "", "committed", "now", "difference", "goal");
        for (place, (name, now)) in self.rows().into_iter().enumerate() {
            let before = committed.map(|committed| committed.rows()[place].1);
            let shown = before.map_or("–".to_owned(), |before| format!("{before:.1}"));
            let change =
                before.map_or("–".to_owned(), |before| format!("{:+.1} %", (now / before - 1.0) * 100.0));
            let goal = GOALS.iter().find(|(goal, _)| *goal == name);
            let goal = goal.map_or(String::new(), |(_, most)| format!("≤ {most:.0}"));
            // nothing is lost if a String cannot be written to: it can
            let _ = writeln!(table, "{name:24}{shown:>12}{now:>12.1}{change:>12}{goal:>12}");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(call: f64, event: f64) -> Figures {
        let cost = |instructions| Cost { instructions, allocations: 10.0 };
        Figures { rustc: "rustc 1".into(), call: cost(call), event: cost(event) }
    }

    #[test]
    fn what_strays_either_way_is_named() {
        let committed = figures(1000.0, 100.0);
        assert!(figures(1049.0, 96.0).strays(&committed).is_empty());
        assert_eq!(figures(1051.0, 100.0).strays(&committed), ["instructions per call"]);
        assert_eq!(figures(1000.0, 94.0).strays(&committed), ["instructions per event"]);
        let mut few = committed.clone();
        few.event.allocations = 0.1;
        let mut more = few.clone();
        more.event.allocations = 0.2;
        assert!(more.strays(&few).is_empty());
        more.event.allocations = 1.0;
        assert_eq!(more.strays(&few), ["allocations per event"]);
        let table = figures(1100.0, 100.0).table(Some(&committed));
        assert!(table.contains("+10.0 %") && table.contains("≤ 65000"), "{table}");
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.json");
        assert!(Figures::read(&path).unwrap_err().to_string().contains("--bless"));
        let written = figures(1.5, 2.0);
        written.write(&path).unwrap();
        assert_eq!(Figures::read(&path).unwrap(), written);
    }
}
