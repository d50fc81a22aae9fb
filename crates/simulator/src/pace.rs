//! When a token is due: the prompt is read at one speed, then tokens come at another.

use std::time::{Duration, Instant};

/// How fast a model reads and writes, in tokens per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
}

/// The timetable of one call. Deadlines are absolute, so that many small waits do not add up to a drift.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    first: Instant,
    per_token: Duration,
}

impl Pace {
    /// A call that starts now, with so many tokens still to be read.
    pub(crate) fn new(unread: usize, speed: Speed) -> Self {
        let per_token = Duration::from_secs_f64(1.0 / speed.decode);
        let prefill = Duration::from_secs_f64(unread as f64 / speed.prefill);
        Pace { first: Instant::now() + prefill, per_token }
    }

    /// When the token with this index (from 0) is due. The first one falls out of the prefill.
    pub(crate) fn token(&self, index: usize) -> Instant {
        self.first + self.per_token.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// When all of so many tokens are there.
    pub(crate) fn all(&self, tokens: usize) -> Instant {
        self.token(tokens.saturating_sub(1))
    }

    /// How many of `planned` tokens there are by now.
    pub(crate) fn so_far(&self, planned: usize) -> usize {
        let now = Instant::now();
        if now < self.first {
            return 0;
        }
        if self.per_token.is_zero() {
            return planned;
        }
        let steps = now.saturating_duration_since(self.first).as_nanos() / self.per_token.as_nanos() + 1;
        usize::try_from(steps).unwrap_or(usize::MAX).min(planned)
    }
}
