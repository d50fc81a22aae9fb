//! When a token is due: the prompt is read at one speed, then tokens come at another.

use std::time::{Duration, Instant};

/// The timetable of one call. Deadlines are absolute, so that many small waits do not add up to a drift.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    first: Instant,
    per_token: Duration,
}

impl Pace {
    /// A call that starts now.
    pub(crate) fn new(prompt_tokens: usize, prefill_per_second: f64, decode_per_second: f64) -> Self {
        let per_token = Duration::from_secs_f64(1.0 / decode_per_second);
        let prefill = Duration::from_secs_f64(prompt_tokens as f64 / prefill_per_second);
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
        let since = Instant::now().saturating_duration_since(self.first);
        if self.per_token.is_zero() || Instant::now() < self.first {
            return if Instant::now() < self.first { 0 } else { planned };
        }
        let steps = since.as_nanos() / self.per_token.as_nanos() + 1;
        usize::try_from(steps).unwrap_or(usize::MAX).min(planned)
    }
}
