//! Which charts a run has.

use super::svg::{Bar, Line, bars, lines};
use crate::run::Run;
use crate::samples::Samples;
use crate::statistics::Spread;
use crate::target::{DIRECT, JUDGED};
use crate::vendor;

/// A chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chart {
    /// Name of its file.
    pub(super) file: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// The picture.
    pub(super) svg: String,
}

/// A chart of one figure: file, title, unit, scenario, figure, decimals.
type Plain = (&'static str, &'static str, &'static str, &'static str, &'static str, usize);

const PLAIN: [Plain; 6] = [
    ("calls.svg", "CPU per call, 0.9 KB chat", "µs, 32 connections", "S1", "cpu_us", 1),
    ("large-calls.svg", "CPU per call, 100 KB chat", "µs, 32 connections", "S3", "cpu_us", 1),
    (
        "events.svg",
        "CPU per streamed event",
        "µs, 128 streams, an event every 10 ms in each",
        "S4",
        "cpu_us",
        1,
    ),
    (
        "streams.svg",
        "Memory per open stream",
        "KiB (PSS), 2,000 streams or as many as were asked for",
        "S5",
        "pss_kib",
        1,
    ),
    (
        "slow-clients.svg",
        "Memory held for 500 clients that hardly read",
        "MiB above idle",
        "S7",
        "growth_mib",
        1,
    ),
    ("idle.svg", "Memory when nothing happens", "MiB (RSS)", "S10", "idle_rss_mib", 1),
];

/// The charts of a run: none of what was not measured.
pub(super) fn all(run: &Run, samples: &Samples) -> Vec<Chart> {
    if run.vendor {
        return [latencies(samples), sweep(samples)].into_iter().flatten().collect();
    }
    let plain = PLAIN.iter().filter_map(|(file, title, unit, scenario, figure, decimals)| {
        let drawn = of(samples, scenario, |target| samples.spread(scenario, target, figure))?;
        Some(Chart { file, title, svg: bars(title, unit, *decimals, &drawn) })
    });
    plain.chain(added(samples)).collect()
}

/// Bars of every target of which the figure is known; the mock alone is not one of them.
fn of(samples: &Samples, scenario: &str, figure: impl Fn(&str) -> Option<Spread>) -> Option<Vec<Bar>> {
    let bar =
        |target: &str| Some(Bar { name: target.to_owned(), value: figure(target)?, ours: target == JUDGED });
    let targets = samples.targets(scenario).into_iter().filter(|target| *target != DIRECT);
    let drawn: Vec<Bar> = targets.filter_map(bar).collect();
    (!drawn.is_empty()).then_some(drawn)
}

fn added(samples: &Samples) -> Option<Chart> {
    let title = "Latency added to a call";
    let drawn = of(samples, "S2", |target| samples.added("S2", target, "p50_us"))?;
    Some(Chart { file: "latency.svg", title, svg: bars(title, "µs, p50, one connection", 1, &drawn) })
}

fn latencies(samples: &Samples) -> Option<Chart> {
    let title = "Latency of a chat call, everything on the same two cores";
    let drawn = of(samples, "chat", |target| samples.spread("chat", target, "p50_ms"))?;
    Some(Chart { file: "vendor-chat.svg", title, svg: bars(title, "ms, p50, 10 connections", 2, &drawn) })
}

fn sweep(samples: &Samples) -> Option<Chart> {
    let title = "Calls per second by connections, everything on the same two cores";
    let line = |target: &str| {
        let point = |connections: &usize| {
            let spread = samples.spread(vendor::SWEEPING, target, &format!("c{connections}"))?;
            Some((*connections as f64, spread.median))
        };
        let points = vendor::SWEEP.iter().filter_map(point).collect();
        Line { name: target.to_owned(), points, ours: target == JUDGED }
    };
    let drawn: Vec<Line> = samples.targets(vendor::SWEEPING).into_iter().map(line).collect();
    let svg = lines(title, "calls/s; `direct` is the mock upstream without a gateway", &drawn);
    (!drawn.is_empty()).then_some(Chart { file: "vendor-sweep.svg", title, svg })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn every_chart_shows_a_figure_that_exists() {
        for (file, _, _, scenario, figure, _) in PLAIN {
            let found = SCENARIOS.iter().find(|one| one.id == scenario);
            assert!(found.is_some_and(|one| one.figures.iter().any(|f| f.key == figure)), "{file}");
        }
    }

    #[test]
    fn the_mock_alone_is_no_bar() {
        let mut samples = Samples::default();
        for target in ["direct", "nginx", "ferrovia"] {
            samples.note(1, "S2", target, "p50_us", 10.0);
        }
        let charts = all(&Run::default(), &samples);
        let [chart] = &charts[..] else { panic!("one chart: {charts:?}") };
        assert!(!chart.svg.contains(">direct<") && chart.svg.contains(">ferrovia<"));
    }
}
