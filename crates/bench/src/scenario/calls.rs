//! S1, S2, S3: whole answers, one call after another on each connection.

use std::time::Duration;

use super::{Figure, Figures, figure, judged};
use crate::load::Plan;
use crate::stage::Stage;
use crate::target::Standing;

pub(super) const FIGURES: &[Figure] = &[
    figure("cpu_us", "CPU µs/call", 1, true),
    figure("calls_per_s", "calls/s", 0, false),
    figure("p50_us", "p50 µs", 0, false),
    figure("p99_us", "p99 µs", 0, false),
];

pub(super) const LATENCY_FIGURES: &[Figure] = &[
    figure("p50_us", "p50 µs", 1, false),
    figure("p99_us", "p99 µs", 1, false),
    figure("calls_per_s", "calls/s", 0, false),
    figure("cpu_us", "CPU µs/call", 1, true),
];

pub(super) async fn measure(
    stage: &Stage,
    standing: &Standing,
    prompt: usize,
    connections: usize,
    calls: u64,
) -> anyhow::Result<Figures> {
    let plan = Plan {
        prompt,
        connections,
        calls,
        warm: u32::try_from(calls / 20 / connections as u64).unwrap_or(0).clamp(1, 200),
        limit: Duration::from_secs(120),
        ..standing.plan("bench")
    };
    let (outcome, cpu) = judged(stage, &plan, standing.pid).await?;
    Ok(vec![
        ("cpu_us", cpu.as_secs_f64() * 1e6 / outcome.calls as f64),
        ("calls_per_s", outcome.calls as f64 / outcome.seconds),
        ("p50_us", outcome.latency.p50),
        ("p99_us", outcome.latency.p99),
    ])
}
