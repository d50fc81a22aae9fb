//! How long to wait before another try: our own back-off, and what a server asks for.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::RETRY_AFTER};

/// Waits that grow from try to try, scattered so that callers who failed together do not return
/// together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the second try.
    pub initial: Duration,
    /// No wait is longer than this, before it is scattered.
    pub max: Duration,
    /// Each wait is this many times the one before. Below 1 counts as 1.
    pub factor: f64,
    /// The share of a wait by which it may be shorter or longer: 0.1 is ±10 %. Between 0 and 1.
    pub jitter: f64,
}

impl Backoff {
    /// The wait after the `attempt`-th failed try, counted from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        // Each `RandomState` has fresh keys: enough chance for spreading callers, and no dependency.
        let chance = RandomState::new().hash_one(attempt) >> 11;
        self.scattered(attempt, chance as f64 / (1_u64 << 53) as f64)
    }

    /// `chance` is between 0 and 1, where 0.5 is no change.
    fn scattered(&self, attempt: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        // Not a number (0 × infinity) and infinity both end at the longest wait.
        let wait = grown.min(self.max.as_secs_f64());
        let wait = wait * (1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * chance - 1.0));
        Duration::try_from_secs_f64(wait).unwrap_or(self.max)
    }
}

/// The wait that a `Retry-After` value asks for: seconds, also with decimals, or an HTTP date of any
/// of the three forms (RFC 9110 5.6.7). A date gone by is no wait. `None` if it is none of these.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        return decimal(value).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The wait that a `retry-after-ms` or `x-ms-retry-after-ms` value asks for, in milliseconds.
pub fn retry_after_ms(value: &str) -> Option<Duration> {
    decimal(value.trim()).and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
}

/// The wait that a response asks for: the headers in milliseconds go first, as they are more precise.
pub fn asked_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| text(name).and_then(retry_after_ms))
        .or_else(|| text(RETRY_AFTER.as_str()).and_then(|value| retry_after(value, now)))
}

/// Digits, at most one dot, nothing else: no sign, no exponent, no "inf".
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain && text.starts_with(|c: char| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(500),
        max: Duration::from_secs(5),
        factor: 2.0,
        jitter: 0.1,
    };

    #[test]
    fn waits_grow_up_to_the_longest() {
        let waits: Vec<u128> = (1..=6).map(|n| BACKOFF.scattered(n, 0.5).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(BACKOFF.scattered(0, 0.5), BACKOFF.scattered(1, 0.5));
        assert_eq!(BACKOFF.scattered(u32::MAX, 0.5), BACKOFF.max);
    }

    #[test]
    fn jitter_goes_both_ways_and_no_further() {
        assert_eq!(BACKOFF.scattered(1, 0.0), Duration::from_millis(450));
        assert_eq!(BACKOFF.scattered(1, 1.0), Duration::from_millis(550));
        let waits: Vec<Duration> = (0..200).map(|_| BACKOFF.delay(1)).collect();
        assert!(waits.iter().all(|w| (450..=550).contains(&w.as_millis())));
        assert!(waits.iter().any(|w| *w != waits[0]), "they differ");
    }

    #[test]
    fn odd_settings_give_a_sane_wait() {
        let odd = Backoff { initial: Duration::ZERO, factor: f64::INFINITY, jitter: f64::NAN, ..BACKOFF };
        assert!(odd.delay(3) <= BACKOFF.max);
        let shrinking = Backoff { factor: 0.1, ..BACKOFF };
        assert_eq!(shrinking.scattered(9, 0.5), Duration::from_millis(500));
    }

    #[test]
    fn retry_after_reads_seconds_decimals_and_dates() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").expect("date");
        let wait = |value: &str| retry_after(value, now).map(|wait| wait.as_millis());
        assert_eq!(wait("7"), Some(7000));
        assert_eq!(wait(" 0 "), Some(0));
        assert_eq!(wait("1.25"), Some(1250));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7000));
        assert_eq!(wait("Sunday, 06-Nov-94 08:49:37 GMT"), Some(7000));
        assert_eq!(wait("Sun Nov  6 08:49:37 1994"), Some(7000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for bad in ["", "-3", "soon", "1e9", "1.2.3", "inf", "NaN", ".5", "99999999999999999999999999"] {
            assert_eq!(wait(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn milliseconds_go_before_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(asked_wait(&headers, SystemTime::now()), None);
        headers.insert("retry-after", HeaderValue::from_static("3"));
        assert_eq!(asked_wait(&headers, SystemTime::now()), Some(Duration::from_secs(3)));
        headers.insert("retry-after-ms", HeaderValue::from_static("junk"));
        assert_eq!(asked_wait(&headers, SystemTime::now()), Some(Duration::from_secs(3)));
        headers.insert("retry-after-ms", HeaderValue::from_static("1250"));
        assert_eq!(asked_wait(&headers, SystemTime::now()), Some(Duration::from_millis(1250)));
    }
}
