//! S5: very many streams that are open and nearly silent. What each costs in memory, and whether all get through.

use std::time::Duration;

use super::loader::whole;
use super::{Extent, Figure, Figures, Loader, figure};
use crate::load::{Plan, Shape};
use crate::process::account;
use crate::stage::Stage;
use crate::target::{DIRECT, Standing};

pub(super) const FIGURES: &[Figure] = &[
    figure("pss_kib", "PSS KiB/stream", 1, true),
    figure("finish", "time to finish / ideal", 3, false),
    figure("streams", "streams", 0, false),
    figure("first_p99_ms", "first event p99 ms", 0, false),
];

const EVENTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn measure(stage: &Stage, standing: &Standing, extent: &Extent) -> anyhow::Result<Figures> {
    let streams = extent.streams.min(stage.most_streams());
    let plan = Plan {
        events: Some(EVENTS),
        pause: PAUSE,
        shape: Shape::AtOnce,
        connections: streams,
        calls: streams as u64,
        warm: 4,
        limit: Duration::from_secs(120),
        ..standing.plan("bench-2000ms")
    };
    let memory = || standing.pid.map(account::memory).unwrap_or_default();
    let mut loader = Loader::ready(stage, &plan).await?;
    let before = memory();
    loader.go().await?;
    loader.all_open().await?;
    let (outcome, peak) = loader.done_watching(standing.pid).await?;
    whole(&outcome)?;
    let ideal = plan.one_stream().as_secs_f64();
    let mut figures = vec![
        ("finish", outcome.seconds / ideal),
        ("streams", streams as f64),
        ("first_p99_ms", outcome.first.p99 / 1000.0),
    ];
    // the mock's memory is nobody's concern
    if standing.name != DIRECT {
        let grown = peak.memory.proportional.saturating_sub(before.proportional);
        figures.push(("pss_kib", grown as f64 / 1024.0 / streams as f64));
    }
    Ok(figures)
}
