//! Circuit breakers: a deployment that keeps failing is left alone for a while.
//!
//! Closed, everything passes and failures in a row are counted. At the threshold it opens: nothing
//! passes for [`BreakerSettings::open_for`]. Then it is half open: one probe at a time passes, until
//! enough of them succeed in a row (closed again) or one fails (open again).
//!
//! What counts as failure is the caller's to say; a 4xx is none.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Breakers beyond this number push out the one that was asked longest ago.
const MOST: usize = 1024;

/// How long a call that is turned away beside a running probe is told to wait.
const BESIDE_PROBE: Duration = Duration::from_secs(1);

/// When breakers open and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Off: everything passes, nothing is counted.
    pub enabled: bool,
    /// Failures in a row that open a breaker. At least 1.
    pub failure_threshold: u32,
    /// Probes in a row that must succeed to close it. At least 1.
    pub success_threshold: u32,
    /// How long it stays open before the first probe.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> BreakerSettings {
        BreakerSettings {
            enabled: true,
            failure_threshold: 5,
            success_threshold: 2,
            open_for: Duration::from_secs(30),
        }
    }
}

/// Where a breaker stands, for metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed,
    /// Nothing passes.
    Open,
    /// One probe at a time passes, or would if a call came.
    HalfOpen,
}

/// The call may not be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How long until another try makes sense.
    pub retry_in: Duration,
}

/// One breaker per key. Clones share them.
#[derive(Clone)]
pub struct Breakers {
    settings: BreakerSettings,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    rows: HashMap<String, Row>,
    /// Counts admissions, so that rows know their order of use.
    clock: u64,
}

struct Row {
    breaker: Arc<Breaker>,
    used: u64,
}

struct Breaker {
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

struct Inner {
    stand: Stand,
    /// Changes with every change of stand: a verdict on a call admitted under an earlier one says
    /// nothing about the present one.
    era: u64,
}

enum Stand {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool, successes: u32 },
}

impl Breakers {
    /// No breakers yet; each is made, closed, when its key is first asked for.
    pub fn new(settings: BreakerSettings) -> Breakers {
        Breakers { settings, table: Arc::default() }
    }

    /// When they open and close.
    pub fn settings(&self) -> BreakerSettings {
        self.settings
    }

    /// Asks whether a call on `key` may be tried. The [`Pass`] takes the verdict.
    ///
    /// # Errors
    /// The breaker is open, or half open with its probe under way.
    pub fn admit(&self, key: &str) -> Result<Pass, Open> {
        if !self.settings.enabled {
            return Ok(Pass { seat: None });
        }
        Breaker::admit(&self.breaker(key))
    }

    /// Admits a call whatever the breaker says: for the last deployment that could serve a model,
    /// which is never shut out. Its success counts as a probe's; its failure keeps an open breaker
    /// as it is.
    pub fn admit_regardless(&self, key: &str) -> Pass {
        if !self.settings.enabled {
            return Pass { seat: None };
        }
        let breaker = self.breaker(key);
        Breaker::admit(&breaker).unwrap_or_else(|_| {
            let era = breaker.inner.lock().era;
            Pass { seat: Some(Seat { breaker, era, role: Role::Regardless }) }
        })
    }

    /// Where the breaker of `key` stands. One that does not exist is closed.
    pub fn state(&self, key: &str) -> BreakerState {
        self.table.lock().rows.get(key).map_or(BreakerState::Closed, |row| row.breaker.state())
    }

    /// Every breaker that exists, in no order.
    pub fn states(&self) -> Vec<(String, BreakerState)> {
        let table = self.table.lock();
        table.rows.iter().map(|(key, row)| (key.clone(), row.breaker.state())).collect()
    }

    fn breaker(&self, key: &str) -> Arc<Breaker> {
        let mut table = self.table.lock();
        table.clock += 1;
        let used = table.clock;
        if let Some(row) = table.rows.get_mut(key) {
            row.used = used;
            return row.breaker.clone();
        }
        if table.rows.len() >= MOST
            && let Some(oldest) =
                table.rows.iter().min_by_key(|(_, row)| row.used).map(|(key, _)| key.clone())
        {
            table.rows.remove(&oldest);
        }
        let inner = Mutex::new(Inner { stand: Stand::Closed { failures: 0 }, era: 0 });
        let breaker = Arc::new(Breaker { settings: self.settings, inner });
        table.rows.insert(key.to_owned(), Row { breaker: breaker.clone(), used });
        breaker
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.table.lock().rows.len();
        f.debug_struct("Breakers").field("settings", &self.settings).field("count", &count).finish()
    }
}

impl Breaker {
    fn admit(this: &Arc<Breaker>) -> Result<Pass, Open> {
        let mut inner = this.inner.lock();
        if let Stand::Open { until } = inner.stand {
            let now = Instant::now();
            if now < until {
                return Err(Open { retry_in: until - now });
            }
            inner.turn(Stand::HalfOpen { probing: false, successes: 0 });
        }
        let role = match &mut inner.stand {
            Stand::Closed { .. } => Role::Ordinary,
            Stand::HalfOpen { probing: true, .. } => {
                return Err(Open { retry_in: BESIDE_PROBE.min(this.settings.open_for) });
            }
            Stand::HalfOpen { probing, .. } => {
                *probing = true;
                Role::Probe
            }
            Stand::Open { .. } => unreachable!("an open breaker has turned half open above"),
        };
        Ok(Pass { seat: Some(Seat { breaker: this.clone(), era: inner.era, role }) })
    }

    fn state(&self) -> BreakerState {
        match self.inner.lock().stand {
            Stand::Closed { .. } => BreakerState::Closed,
            Stand::Open { until } if Instant::now() < until => BreakerState::Open,
            Stand::Open { .. } | Stand::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn succeeded(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era != era {
            return;
        }
        let successes = match &mut inner.stand {
            Stand::Closed { failures } => {
                *failures = 0;
                return;
            }
            // Only a call admitted regardless can succeed on an open breaker.
            Stand::Open { .. } => 1,
            Stand::HalfOpen { successes, .. } => *successes + 1,
        };
        if successes >= self.settings.success_threshold {
            inner.turn(Stand::Closed { failures: 0 });
        } else {
            inner.turn(Stand::HalfOpen { probing: false, successes });
        }
    }

    fn failed(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era != era {
            return;
        }
        match &mut inner.stand {
            Stand::Closed { failures } => {
                *failures += 1;
                if *failures < self.settings.failure_threshold {
                    return;
                }
            }
            Stand::Open { .. } => return,
            Stand::HalfOpen { .. } => {}
        }
        inner.turn(Stand::Open { until: Instant::now() + self.settings.open_for });
    }

    /// A probe ended without a verdict.
    fn released(&self, era: u64) {
        let mut inner = self.inner.lock();
        if inner.era == era
            && let Stand::HalfOpen { probing, .. } = &mut inner.stand
        {
            *probing = false;
        }
    }
}

impl Inner {
    fn turn(&mut self, stand: Stand) {
        self.stand = stand;
        self.era += 1;
    }
}

/// The right to try one call. Give it a verdict; dropped without one it says nothing, and if it was
/// the probe of a half-open breaker, the next call may probe.
#[must_use = "a pass that is dropped at once says nothing about the call"]
pub struct Pass {
    /// None while breakers are off.
    seat: Option<Seat>,
}

struct Seat {
    breaker: Arc<Breaker>,
    era: u64,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Ordinary,
    Probe,
    Regardless,
}

impl Pass {
    /// The deployment did its work, whatever it answered (a 4xx included).
    pub fn succeed(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.breaker.succeeded(seat.era);
        }
    }

    /// The deployment failed: a 5xx, a transport error, a broken stream.
    pub fn fail(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.breaker.failed(seat.era);
        }
    }

    /// Whether this call is the probe of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.role == Role::Probe)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take()
            && seat.role == Role::Probe
        {
            seat.breaker.released(seat.era);
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("probe", &self.is_probe()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
