//! The scenarios: what is asked of a target, and which figures come out.

mod calls;
mod loader;
mod open;
mod slow;
mod start;
mod streams;

use crate::stage::Stage;
use crate::target::{Standing, Target};

pub use loader::Loader;
pub(crate) use loader::{judged, judged_and_watched, whole};

/// A figure that a scenario yields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// How it is called in JSON.
    pub key: &'static str,
    /// How it is called in tables.
    pub title: &'static str,
    /// Digits behind the point.
    pub decimals: usize,
    /// Whether its ratio to nginx says something.
    pub ratio: bool,
}

/// A figure in a table.
pub(crate) const fn figure(key: &'static str, title: &'static str, decimals: usize, ratio: bool) -> Figure {
    Figure { key, title, decimals, ratio }
}

/// Figures of one round, by their keys.
pub type Figures = Vec<(&'static str, f64)>;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// Its name: `S1`.
    pub id: &'static str,
    /// What happens in it.
    pub title: &'static str,
    /// What comes out. The first is what it is for.
    pub figures: &'static [Figure],
    /// Whether the mock alone is measured too.
    pub direct: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Calls { prompt: usize, connections: usize, calls: u64 },
    Streams,
    Open,
    Slow,
    Start,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Counts are divided by this.
    pub divisor: u64,
    /// Streams that are open at once in S5.
    pub streams: usize,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario {
        id: "S1",
        title: "0.9 KB chat, 32 connections",
        figures: calls::FIGURES,
        direct: true,
        kind: Kind::Calls { prompt: 900, connections: 32, calls: 40_000 },
    },
    Scenario {
        id: "S2",
        title: "0.9 KB chat, 1 connection",
        figures: calls::LATENCY_FIGURES,
        direct: true,
        kind: Kind::Calls { prompt: 900, connections: 1, calls: 8_000 },
    },
    Scenario {
        id: "S3",
        title: "100 KB chat, 32 connections",
        figures: calls::FIGURES,
        direct: true,
        kind: Kind::Calls { prompt: 99_781, connections: 32, calls: 10_000 },
    },
    Scenario {
        id: "S3M",
        title: "1 MB chat, 8 connections",
        figures: calls::FIGURES,
        direct: true,
        kind: Kind::Calls { prompt: 1 << 20, connections: 8, calls: 1_000 },
    },
    Scenario {
        id: "S4",
        title: "128 streams, an event every 10 ms",
        figures: streams::FIGURES,
        direct: true,
        kind: Kind::Streams,
    },
    Scenario {
        id: "S5",
        title: "open streams, an event every 2 s for 10 s",
        figures: open::FIGURES,
        direct: true,
        kind: Kind::Open,
    },
    Scenario {
        id: "S7",
        title: "500 clients that read 1 KB/s of 1 MB answers",
        figures: slow::FIGURES,
        direct: false,
        kind: Kind::Slow,
    },
    Scenario {
        id: "S10",
        title: "cold start, idle, size",
        figures: start::FIGURES,
        direct: false,
        kind: Kind::Start,
    },
];

impl Scenario {
    /// Whether this target takes part.
    pub fn is_for(&self, target: &Target) -> bool {
        match target {
            Target::Direct => self.direct,
            // it was started long ago
            Target::External(_) => self.kind != Kind::Start,
            _ => true,
        }
    }

    /// Starts the target, measures once, and stops it.
    pub async fn measure(&self, stage: &Stage, target: &Target, extent: &Extent) -> anyhow::Result<Figures> {
        if self.kind == Kind::Start {
            return start::measure(stage, target, extent).await;
        }
        let standing = target.start(stage).await?;
        self.load(stage, &standing, extent).await
    }

    async fn load(&self, stage: &Stage, standing: &Standing, extent: &Extent) -> anyhow::Result<Figures> {
        match self.kind {
            Kind::Calls { prompt, connections, calls } => {
                let calls = (calls / extent.divisor).max(connections as u64);
                calls::measure(stage, standing, prompt, connections, calls).await
            }
            Kind::Streams => streams::measure(stage, standing, extent).await,
            Kind::Open => open::measure(stage, standing, extent).await,
            Kind::Slow => slow::measure(stage, standing).await,
            Kind::Start => Ok(Figures::new()),
        }
    }
}

/// Mebibytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scenario_and_every_figure_has_a_name_of_its_own() {
        let ids: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            let keys: BTreeSet<_> = scenario.figures.iter().map(|figure| figure.key).collect();
            assert_eq!(keys.len(), scenario.figures.len(), "{}", scenario.id);
        }
    }

    #[test]
    fn a_gateway_that_runs_already_has_no_cold_start() {
        let external = Target::External(crate::target::External::parse("http://127.0.0.1:1").unwrap());
        let parts: Vec<_> = SCENARIOS
            .iter()
            .filter(|scenario| scenario.is_for(&external))
            .map(|scenario| scenario.id)
            .collect();
        assert_eq!(parts, ["S1", "S2", "S3", "S3M", "S4", "S5", "S7"]);
        assert!(!SCENARIOS[6].is_for(&Target::Direct));
    }
}
