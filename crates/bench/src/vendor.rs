//! The shape of the benchmark that GoModel's makers publish: load, mock and gateway on the same two cores, ten
//! connections, six variants, and a sweep from one connection to 256.
//!
//! Two differences remain. The mock speaks all three dialects itself, as vLLM does; the vendor's speaks one, and
//! gateways translate. And nothing is switched off: key, metrics, usage and log stay on.

use std::time::Duration;

use crate::dialect::Dialect;
use crate::load::{Plan, Shape};
use crate::process::account;
use crate::process::machine::load_average;
use crate::rounds::{in_turn, note, progress};
use crate::samples::Samples;
use crate::scenario::{Figures, judged, judged_and_watched, mib};
use crate::stage::Stage;
use crate::target::{Standing, Target};

/// The six variants: name, dialect, stream or not.
pub const VARIANTS: [(&str, Dialect, bool); 6] = [
    ("chat", Dialect::Chat, false),
    ("chat stream", Dialect::Chat, true),
    ("responses", Dialect::Responses, false),
    ("responses stream", Dialect::Responses, true),
    ("messages", Dialect::Messages, false),
    ("messages stream", Dialect::Messages, true),
];

/// Connections of the sweep.
pub const SWEEP: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// The scenario's name under which the sweep is noted; the figures are `c1` to `c256`, in calls/s.
pub const SWEEPING: &str = "sweep";

/// The scenario's name under which resources are noted.
pub const HOLDING: &str = "resources";

const CONNECTIONS: usize = 10;
const CALLS: u64 = 20_000;
const WARM: u32 = 10;
const TOKENS: u32 = 16;

/// No variant takes longer.
const CAP: Duration = Duration::from_secs(60);

/// How long one point of the sweep takes.
const POINT: Duration = Duration::from_secs(8);

/// Measures all targets, round by round. The sweep belongs to the first.
pub async fn measure(stage: &Stage, targets: &[Target], rounds: usize, quick: bool, samples: &mut Samples) {
    for round in 1..=rounds {
        samples.load_average.push(load_average());
        for target in in_turn(targets, round) {
            if let Err(error) = measure_once(stage, target, round, quick, samples).await {
                note(samples, round, "start", target.name(), Err(error));
            }
        }
    }
}

async fn measure_once(
    stage: &Stage,
    target: &Target,
    round: usize,
    quick: bool,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let standing = target.start(stage).await?;
    let idle = standing.pid.map(account::memory).unwrap_or_default().resident;
    let mut peak = idle;
    for (name, dialect, stream) in VARIANTS {
        let measured = variant(stage, &standing, dialect, stream, quick).await;
        if let Ok((_, resident)) = &measured {
            peak = peak.max(*resident);
        }
        note(samples, round, name, target.name(), measured.map(|(figures, _)| figures));
    }
    if round == 1 {
        let point = if quick { Duration::from_secs(1) } else { POINT };
        let swept = sweep(stage, &standing, point).await;
        note(samples, round, SWEEPING, target.name(), swept);
    }
    if target.is_ours() {
        let mut held = vec![("idle_rss_mib", mib(idle)), ("peak_rss_mib", mib(peak))];
        held.extend(standing.start.map(|start| ("start_ms", start.clock.as_secs_f64() * 1000.0)));
        held.extend(standing.pid.and_then(account::program_size).map(|size| ("program_mib", mib(size))));
        note(samples, round, HOLDING, target.name(), Ok(held));
    }
    Ok(())
}

/// One variant: its figures, and the most memory meanwhile.
async fn variant(
    stage: &Stage,
    standing: &Standing,
    dialect: Dialect,
    stream: bool,
    quick: bool,
) -> anyhow::Result<(Figures, u64)> {
    let plan = Plan {
        dialect,
        events: stream.then_some(TOKENS),
        connections: CONNECTIONS,
        calls: if quick { CALLS / 20 } else { CALLS },
        warm: WARM,
        limit: CAP,
        shape: Shape::Closed,
        ..standing.plan("bench")
    };
    let (outcome, cpu, peak) = judged_and_watched(stage, &plan, standing.pid).await?;
    let mut figures = vec![
        ("p50_ms", outcome.latency.p50 / 1000.0),
        ("p90_ms", outcome.latency.p90 / 1000.0),
        ("p99_ms", outcome.latency.p99 / 1000.0),
        ("calls_per_s", outcome.calls as f64 / outcome.seconds),
        ("cpu_percent", cpu.as_secs_f64() / outcome.seconds * 100.0),
    ];
    if stream {
        figures.push(("first_p50_ms", outcome.first.p50 / 1000.0));
    }
    Ok((figures, peak.memory.resident))
}

/// Calls a second by number of connections.
async fn sweep(stage: &Stage, standing: &Standing, point: Duration) -> anyhow::Result<Figures> {
    const KEYS: [&str; 9] = ["c1", "c2", "c4", "c8", "c16", "c32", "c64", "c128", "c256"];
    let mut figures = Figures::new();
    for (connections, key) in SWEEP.into_iter().zip(KEYS) {
        let plan = Plan {
            connections,
            calls: 10_000_000,
            warm: 1,
            limit: point,
            shape: Shape::Closed,
            ..standing.plan("bench")
        };
        let (outcome, _) = judged(stage, &plan, standing.pid).await?;
        figures.push((key, outcome.calls as f64 / outcome.seconds));
        progress(&format!("         {SWEEPING} c={connections:<4} {}", standing.name));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_variants_are_every_dialect_whole_and_streamed() {
        let variants: BTreeSet<_> =
            VARIANTS.iter().map(|(_, dialect, stream)| (dialect.name(), stream)).collect();
        assert_eq!(variants.len(), Dialect::ALL.len() * 2);
    }
}
