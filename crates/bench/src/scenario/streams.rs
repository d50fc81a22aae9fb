//! S4: streams at the pace of an engine that is busy with many.

use std::time::Duration;

use super::{Extent, Figure, Figures, figure, judged};
use crate::load::{Plan, Shape};
use crate::stage::Stage;
use crate::target::Standing;

pub(super) const FIGURES: &[Figure] = &[
    figure("cpu_us", "CPU µs/event", 1, true),
    figure("first_p50_us", "first event p50 µs", 0, false),
    figure("first_p99_us", "first event p99 µs", 0, false),
    figure("events_per_s", "events/s", 0, false),
];

const CONNECTIONS: usize = 128;
const EVENTS: u32 = 64;
const PAUSE: Duration = Duration::from_millis(10);

/// Streams of each connection.
const STREAMS: u64 = 12;

pub(super) async fn measure(stage: &Stage, standing: &Standing, extent: &Extent) -> anyhow::Result<Figures> {
    let plan = Plan {
        events: Some(EVENTS),
        pause: PAUSE,
        shape: Shape::Staggered,
        connections: CONNECTIONS,
        calls: CONNECTIONS as u64 * (STREAMS / extent.divisor).max(2),
        warm: 1,
        limit: Duration::from_secs(180),
        ..standing.plan("bench-10ms")
    };
    let (outcome, cpu) = judged(stage, &plan, standing.pid).await?;
    Ok(vec![
        ("cpu_us", cpu.as_secs_f64() * 1e6 / outcome.events as f64),
        ("first_p50_us", outcome.first.p50),
        ("first_p99_us", outcome.first.p99),
        ("events_per_s", outcome.events as f64 / outcome.seconds),
    ])
}
