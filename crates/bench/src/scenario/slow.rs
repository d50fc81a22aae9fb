//! S7: clients that hardly read. A gateway has to stop reading from the engine, or it keeps what they do not take.

use std::time::Duration;

use anyhow::bail;

use super::{Figure, Figures, Loader, figure, mib};
use crate::load::{Plan, Shape};
use crate::process::account;
use crate::stage::Stage;
use crate::target::Standing;

pub(super) const FIGURES: &[Figure] = &[
    figure("growth_mib", "RSS above idle MiB", 1, false),
    figure("idle_mib", "idle MiB", 1, false),
    figure("peak_mib", "peak MiB", 1, false),
];

const CLIENTS: usize = 500;

/// How long the clients dawdle.
const TIME: Duration = Duration::from_secs(8);

pub(super) async fn measure(stage: &Stage, standing: &Standing) -> anyhow::Result<Figures> {
    let plan = Plan {
        shape: Shape::Slow { bytes_per_second: 1024 },
        connections: CLIENTS,
        calls: CLIENTS as u64,
        warm: 0,
        limit: TIME,
        ..standing.plan("bench-1024k")
    };
    let idle = standing.pid.map(account::memory).unwrap_or_default();
    let mut loader = Loader::ready(stage, &plan).await?;
    loader.go().await?;
    let (outcome, peak) = loader.done_watching(standing.pid).await?;
    if outcome.failed > 0 || outcome.calls < CLIENTS as u64 {
        let why = outcome.first_failure.as_deref().unwrap_or("no answer in time");
        bail!("{} of {CLIENTS} slow clients were served: {why}", outcome.calls);
    }
    Ok(vec![
        ("growth_mib", mib(peak.memory.resident.saturating_sub(idle.resident))),
        ("idle_mib", mib(idle.resident)),
        ("peak_mib", mib(peak.memory.resident)),
    ])
}
