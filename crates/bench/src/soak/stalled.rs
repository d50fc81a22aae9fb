//! Clients that hardly read answers of a megabyte: what they do not take must not wait in memory.

use std::time::Duration;

use super::{Request, Told, cores};
use crate::load::{Plan, Shape};
use crate::process::account;
use crate::scenario::{Loader, mib};
use crate::stage::Stage;
use crate::target::Target;

/// The most that they may cost together.
const MOST: u64 = 64 << 20;

/// How long they dawdle.
const TIME: Duration = Duration::from_secs(12);

pub(super) async fn run(asked: &Request) -> anyhow::Result<Told> {
    let (load, gateway) = cores();
    let stage = Stage::open(load, gateway, None, asked.clients).await?;
    let standing = Target::Ferrovia(asked.gateway.clone()).start(&stage).await?;
    let plan = Plan {
        shape: Shape::Slow { bytes_per_second: 1024 },
        connections: asked.clients,
        calls: asked.clients as u64,
        limit: TIME,
        ..standing.plan("bench-1024k")
    };
    let idle = standing.pid.map(account::memory).unwrap_or_default().resident;
    let mut loader = Loader::ready(&stage, &plan).await?;
    loader.go().await?;
    let (outcome, peak) = loader.done_watching(standing.pid).await?;
    let growth = peak.memory.resident.saturating_sub(idle);
    let mut told = Told::default();
    told.line(format!(
        "stalled: {} clients that read 1 KB/s of 1 MB answers: {:.1} MiB above {:.1} MiB idle, {:.0} KiB each",
        outcome.calls,
        mib(growth),
        mib(idle),
        growth as f64 / 1024.0 / outcome.calls.max(1) as f64
    ));
    told.expect(outcome.failed == 0, || {
        format!(
            "{} stalled clients were not served: {}",
            outcome.failed,
            outcome.first_failure.unwrap_or_default()
        )
    });
    told.expect(growth <= MOST, || format!("stalled clients cost more than {} MiB", MOST >> 20));
    Ok(told)
}
