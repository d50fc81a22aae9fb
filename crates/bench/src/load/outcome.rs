//! What a load came to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Exchange;
use crate::statistics::quantile;

/// What one worker has seen. Bounded by the number of calls.
#[derive(Debug, Default)]
pub(super) struct Tally {
    totals: Vec<u64>,
    firsts: Vec<u64>,
    failed: u64,
    first_failure: Option<String>,
    pub(super) bytes: u64,
    events: u64,
    /// Answers of slow clients that began.
    pub(super) slow_calls: u64,
    pub(super) capped: bool,
}

impl Tally {
    pub(super) fn note(&mut self, exchange: &Exchange) {
        self.totals.push(nanoseconds(exchange.total));
        self.firsts.push(nanoseconds(exchange.first));
        self.bytes += exchange.bytes;
        self.events += exchange.events;
    }

    pub(super) fn fail(&mut self, why: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.totals.extend(other.totals);
        self.firsts.extend(other.firsts);
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.bytes += other.bytes;
        self.events += other.events;
        self.slow_calls += other.slow_calls;
        self.capped |= other.capped;
    }

    pub(super) fn outcome(self, elapsed: Duration) -> Outcome {
        Outcome {
            calls: self.totals.len() as u64 + self.slow_calls,
            failed: self.failed,
            first_failure: self.first_failure,
            capped: self.capped,
            seconds: elapsed.as_secs_f64(),
            bytes: self.bytes,
            events: self.events,
            latency: Quantiles::of(self.totals),
            first: Quantiles::of(self.firsts),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Some places of a distribution of times, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// Nine of ten are below.
    pub p90: f64,
    /// 99 of a hundred are below.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// Of these nanoseconds.
    fn of(nanoseconds: Vec<u64>) -> Quantiles {
        let mut micros: Vec<f64> = nanoseconds.into_iter().map(|ns| ns as f64 / 1000.0).collect();
        micros.sort_by(f64::total_cmp);
        let at = |share| quantile(&micros, share).unwrap_or(0.0);
        Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

/// A load that is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Calls that were answered in full (of slow clients: answers that began).
    pub calls: u64,
    /// Calls that were not.
    pub failed: u64,
    /// Why the first of them was not.
    pub first_failure: Option<String>,
    /// The time was over before the calls were.
    pub capped: bool,
    /// From the first call to the end of the last.
    pub seconds: f64,
    /// Payload received.
    pub bytes: u64,
    /// Events received.
    pub events: u64,
    /// From writing the request to the end of the answer.
    pub latency: Quantiles,
    /// From writing the request to the first payload, or to the first event of a stream.
    pub first: Quantiles,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_the_sum_of_its_workers() {
        let exchange = |micros: u64| Exchange {
            first: Duration::from_micros(micros / 2),
            total: Duration::from_micros(micros),
            bytes: 10,
            events: 2,
        };
        let (mut one, mut two) = (Tally::default(), Tally::default());
        for micros in 1..=50 {
            one.note(&exchange(micros * 2));
            two.note(&exchange(micros * 2 - 1));
        }
        two.fail("gone".into());
        one.add(two);
        let outcome = one.outcome(Duration::from_secs(2));
        assert_eq!((outcome.calls, outcome.failed, outcome.bytes, outcome.events), (100, 1, 1000, 200));
        assert_eq!((outcome.latency.p50, outcome.latency.max), (50.5, 100.0));
        assert_eq!(outcome.first_failure.as_deref(), Some("gone"));
    }
}
