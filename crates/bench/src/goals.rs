//! What Ferrovia has to reach, row by row, and whether it does.
//!
//! The numbers of the rows are those of the project's list of goals; rows that other tools measure (instructions and
//! allocations of a call are counted by the gate) are not here.

use serde::Serialize;

use crate::samples::Samples;
use crate::statistics::Spread;
use crate::target::{JUDGED, REFERENCE};

/// A goal: the smaller, the better.
#[derive(Clone, Copy)]
pub struct Goal {
    /// Its row; a letter where a row has several parts.
    pub row: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What the figure counts.
    pub unit: &'static str,
    /// It must not be larger.
    pub must: f64,
    /// It should not be larger.
    pub stretch: Option<f64>,
    /// The scenario that it comes from.
    pub scenario: &'static str,
    figure: fn(&Samples, &str) -> Option<Spread>,
}

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Even the stretch.
    Stretch,
    /// What must be.
    Met,
    /// Not even that.
    NotMet,
    /// It was not measured, or nginx was not.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Stretch => "met, stretch too",
            Verdict::Met => "met",
            Verdict::NotMet => "NOT MET",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// A goal that was held against the figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The goal's row.
    pub row: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What the figure counts.
    pub unit: &'static str,
    /// The limit.
    pub must: f64,
    /// The limit of the stretch.
    pub stretch: Option<f64>,
    /// What was measured; the median is judged.
    pub measured: Option<Spread>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The median of a run at a load average beyond this says little about the slowest calls.
pub const QUIET: f64 = 1.0;

/// The goals.
pub const GOALS: [Goal; 15] = [
    Goal {
        row: "1",
        title: "CPU per 0.9 KB call",
        unit: "× nginx",
        must: 1.5,
        stretch: Some(1.0),
        scenario: "S1",
        figure: |samples, target| samples.ratio("S1", target, "cpu_us"),
    },
    Goal {
        row: "4",
        title: "CPU per 100 KB call",
        unit: "× nginx",
        must: 2.0,
        stretch: Some(1.2),
        scenario: "S3",
        figure: |samples, target| samples.ratio("S3", target, "cpu_us"),
    },
    Goal {
        row: "6",
        title: "CPU per streamed event, usage read",
        unit: "× nginx",
        must: 1.25,
        stretch: Some(0.9),
        scenario: "S4",
        figure: |samples, target| samples.ratio("S4", target, "cpu_us"),
    },
    Goal {
        row: "7",
        title: "latency added at c=1, p50",
        unit: "× what nginx adds",
        must: 1.6,
        stretch: Some(1.0),
        scenario: "S2",
        figure: |samples, target| {
            samples.derive(|round| {
                let nginx = samples.added_in(round, "S2", REFERENCE, "p50_us")?;
                Some(samples.added_in(round, "S2", target, "p50_us")? / nginx)
            })
        },
    },
    Goal {
        row: "8",
        title: "p99 at c=1, above nginx's",
        unit: "ms",
        must: 0.1,
        stretch: Some(0.0),
        scenario: "S2",
        figure: |samples, target| beyond_nginx(samples, "S2", target, "p99_us"),
    },
    Goal {
        row: "9a",
        title: "time added to the first event, p50",
        unit: "ms",
        must: 1.0,
        stretch: Some(0.1),
        scenario: "S4",
        figure: |samples, target| {
            samples.derive(|round| Some(samples.added_in(round, "S4", target, "first_p50_us")? / 1000.0))
        },
    },
    Goal {
        row: "9b",
        title: "time to the first event, p99",
        unit: "× nginx",
        must: 1.0,
        stretch: None,
        scenario: "S4",
        figure: |samples, target| samples.ratio("S4", target, "first_p99_us"),
    },
    Goal {
        row: "9c",
        title: "no step of 40 or 200 ms: time added to the first event, p99",
        unit: "ms",
        must: 35.0,
        stretch: None,
        scenario: "S4",
        figure: |samples, target| {
            samples.derive(|round| Some(samples.added_in(round, "S4", target, "first_p99_us")? / 1000.0))
        },
    },
    Goal {
        row: "10",
        title: "PSS per open stream",
        unit: "KiB",
        must: 48.0,
        stretch: Some(24.0),
        scenario: "S5",
        figure: |samples, target| samples.spread("S5", target, "pss_kib"),
    },
    Goal {
        row: "11",
        title: "idle RSS",
        unit: "MiB",
        must: 15.0,
        stretch: Some(10.0),
        scenario: "S10",
        figure: |samples, target| samples.spread("S10", target, "idle_rss_mib"),
    },
    Goal {
        row: "12",
        title: "RSS above idle, 500 stalled clients × 1 MB",
        unit: "MiB",
        must: 64.0,
        stretch: None,
        scenario: "S7",
        figure: |samples, target| samples.spread("S7", target, "growth_mib"),
    },
    Goal {
        row: "13",
        title: "cold start, CPU to the first answer",
        unit: "ms",
        must: 15.0,
        stretch: Some(5.0),
        scenario: "S10",
        figure: |samples, target| samples.spread("S10", target, "start_cpu_ms"),
    },
    Goal {
        row: "14",
        title: "program, stripped",
        unit: "MiB",
        must: 15.0,
        stretch: Some(8.0),
        scenario: "S10",
        figure: |samples, target| samples.spread("S10", target, "program_mib"),
    },
    Goal {
        row: "19a",
        title: "concurrent streams of 10 s: time to finish",
        unit: "× ideal",
        must: 1.2,
        stretch: Some(1.15),
        scenario: "S5",
        figure: |samples, target| samples.spread("S5", target, "finish"),
    },
    Goal {
        row: "19b",
        title: "concurrent streams of 10 s: how many short of 2,000",
        unit: "streams",
        must: 0.0,
        stretch: None,
        scenario: "S5",
        figure: |samples, target| {
            samples.derive(|round| Some((2000.0 - samples.value(round, "S5", target, "streams")?).max(0.0)))
        },
    },
];

/// By how many milliseconds a figure in microseconds exceeds nginx's in the same round.
fn beyond_nginx(samples: &Samples, scenario: &str, target: &str, figure: &str) -> Option<Spread> {
    samples.derive(|round| {
        let nginx = samples.value(round, scenario, REFERENCE, figure)?;
        Some((samples.value(round, scenario, target, figure)? - nginx) / 1000.0)
    })
}

impl Goal {
    /// Holds the goal against what Ferrovia has come to.
    pub fn judge(&self, samples: &Samples) -> Judged {
        let measured = (self.figure)(samples, JUDGED);
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(spread) if self.stretch.is_some_and(|stretch| spread.median <= stretch) => Verdict::Stretch,
            Some(spread) if spread.median <= self.must => Verdict::Met,
            Some(_) => Verdict::NotMet,
        };
        Judged {
            row: self.row,
            title: self.title,
            unit: self.unit,
            must: self.must,
            stretch: self.stretch,
            measured,
            verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::SCENARIOS;

    fn goal(row: &str) -> Goal {
        GOALS.into_iter().find(|goal| goal.row == row).expect("a row")
    }

    fn check(row: &str, figures: &[(&str, &str, &str, f64)], expect: Verdict) {
        let mut samples = Samples::default();
        for (scenario, target, figure, value) in figures {
            samples.note(1, scenario, target, figure, *value);
        }
        assert_eq!(goal(row).judge(&samples).verdict, expect, "row {row}: {figures:?}");
    }

    #[test]
    fn a_row_is_judged_by_its_limits() {
        for (ours, expect) in
            [(10.0, Verdict::Stretch), (15.0, Verdict::Met), (15.1, Verdict::NotMet), (9.0, Verdict::Stretch)]
        {
            let figures = [("S1", "nginx", "cpu_us", 10.0), ("S1", "ferrovia", "cpu_us", ours)];
            check("1", &figures, expect);
        }
        check("1", &[("S1", "ferrovia", "cpu_us", 10.0)], Verdict::NotMeasured);
    }

    #[test]
    fn what_is_added_is_compared_with_what_nginx_adds() {
        let figures = |ours| {
            [
                ("S2", "direct", "p50_us", 20.0),
                ("S2", "nginx", "p50_us", 60.0),
                ("S2", "ferrovia", "p50_us", ours),
            ]
        };
        check("7", &figures(84.0), Verdict::Met);
        check("7", &figures(60.0), Verdict::Stretch);
        check("7", &figures(85.0), Verdict::NotMet);
    }

    #[test]
    fn fewer_streams_than_promised_are_no_success() {
        check("19b", &[("S5", "ferrovia", "streams", 1999.0)], Verdict::NotMet);
        check("19b", &[("S5", "ferrovia", "streams", 2000.0)], Verdict::Met);
        check("19a", &[("S5", "ferrovia", "finish", 1.14)], Verdict::Stretch);
    }

    #[test]
    fn every_goal_comes_from_a_scenario_and_can_be_judged() {
        let rows: BTreeSet<_> = GOALS.iter().map(|goal| goal.row).collect();
        assert_eq!(rows.len(), GOALS.len());
        // any value for any figure: each goal finds what it looks for
        let mut samples = Samples::default();
        for scenario in SCENARIOS {
            for figure in scenario.figures {
                for target in ["direct", "nginx", "ferrovia"] {
                    samples.note(
                        1,
                        scenario.id,
                        target,
                        figure.key,
                        if target == "direct" { 1.0 } else { 2.0 },
                    );
                }
            }
        }
        for goal in GOALS {
            assert!(SCENARIOS.iter().any(|scenario| scenario.id == goal.scenario), "row {}", goal.row);
            assert_ne!(goal.judge(&samples).verdict, Verdict::NotMeasured, "row {}", goal.row);
            assert!(goal.stretch.is_none_or(|stretch| stretch < goal.must), "row {}", goal.row);
        }
    }
}
