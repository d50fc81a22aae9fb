//! S10: what it takes until the first answer, what it holds when nothing happens, how large the program is.

use std::time::Duration;

use anyhow::Context;

use super::{Extent, Figure, Figures, figure, mib};
use crate::process::account;
use crate::stage::Stage;
use crate::statistics::Spread;
use crate::target::Target;

pub(super) const FIGURES: &[Figure] = &[
    figure("start_cpu_ms", "CPU ms to first answer", 1, false),
    figure("start_ms", "ms to first answer", 1, false),
    figure("idle_rss_mib", "idle RSS MiB", 1, false),
    figure("idle_pss_mib", "idle PSS MiB", 1, false),
    figure("program_mib", "program MiB", 2, false),
];

/// Starts in a round; the middle one counts.
const STARTS: u64 = 7;

/// What is idle has been left alone for so long.
const IDLE: Duration = Duration::from_millis(500);

pub(super) async fn measure(stage: &Stage, target: &Target, extent: &Extent) -> anyhow::Result<Figures> {
    let (mut cpu, mut clock, mut resting) = (Vec::new(), Vec::new(), None);
    for _ in 0..(STARTS / extent.divisor).max(3) {
        let standing = target.start(stage).await?;
        let start = standing.start.context("it was not started by us")?;
        cpu.push(start.cpu.as_secs_f64() * 1000.0);
        clock.push(start.clock.as_secs_f64() * 1000.0);
        if resting.is_none() {
            tokio::time::sleep(IDLE).await;
            let pid = standing.pid.context("it has no process")?;
            resting = Some((account::memory(pid), account::program_size(pid).unwrap_or(0)));
        }
    }
    let (memory, program) = resting.context("it never started")?;
    let middle = |values: Vec<f64>| Spread::of(values).map_or(f64::NAN, |spread| spread.median);
    Ok(vec![
        ("start_cpu_ms", middle(cpu)),
        ("start_ms", middle(clock)),
        ("idle_rss_mib", mib(memory.resident)),
        ("idle_pss_mib", mib(memory.proportional)),
        ("program_mib", mib(program)),
    ])
}
