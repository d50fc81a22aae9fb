//! The section `resilience`: what happens when an upstream fails. A provider may override each field.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::value::StatusPattern;

/// What happens when an upstream fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resilience {
    /// Trying the same deployment again. A stream is tried again only until its first event; a timeout never.
    pub retry: Retry,
    /// Leaving a failing deployment alone for a while.
    pub circuit_breaker: Breaker,
}

/// Trying the same deployment again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts after the first.
    #[schemars(range(max = 100), extend("x-env" = ["RETRY_MAX_RETRIES"]))]
    pub max_retries: u32,
    /// Wait before the first retry.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["RETRY_INITIAL_BACKOFF"], "x-kind" = "duration"))]
    pub initial_backoff: Duration,
    /// Longest wait between two attempts.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["RETRY_MAX_BACKOFF"], "x-kind" = "duration"))]
    pub max_backoff: Duration,
    /// By how much each wait is longer than the one before.
    #[schemars(range(min = 1.0, max = 100.0), extend("x-env" = ["RETRY_BACKOFF_FACTOR"]))]
    pub backoff_factor: f64,
    /// Random share by which a wait is made longer or shorter.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-env" = ["RETRY_JITTER_FACTOR"]))]
    pub jitter_factor: f64,
    /// Statuses that are tried again: codes, or classes such as `5xx`. Empty: only failures to reach the upstream.
    #[schemars(extend("x-env" = ["RETRY_ON_STATUSES"], "x-kind" = "statuses"))]
    pub retry_on_statuses: Vec<StatusPattern>,
}

/// Leaving a failing deployment alone for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Whether there is a breaker at all.
    #[schemars(extend("x-env" = ["CIRCUIT_BREAKER_ENABLED"]))]
    pub enabled: bool,
    /// What one breaker guards.
    #[schemars(extend("x-env" = ["CIRCUIT_BREAKER_SCOPE"]))]
    pub scope: BreakerScope,
    /// Failures in a row that open it. 0 or less: it never opens.
    #[schemars(extend("x-env" = ["CIRCUIT_BREAKER_FAILURE_THRESHOLD"]))]
    pub failure_threshold: i32,
    /// Successful probes that close it again.
    #[schemars(range(min = 1), extend("x-env" = ["CIRCUIT_BREAKER_SUCCESS_THRESHOLD"]))]
    pub success_threshold: u32,
    /// How long it stays open before a probe is let through.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["CIRCUIT_BREAKER_TIMEOUT"], "x-kind" = "duration"))]
    pub timeout: Duration,
    /// Statuses that count as failures, besides failures to reach the upstream. A 4xx never counts.
    #[schemars(extend("x-env" = ["CIRCUIT_BREAKER_FAILURE_ON_STATUSES"], "x-kind" = "statuses"))]
    pub failure_on_statuses: Vec<StatusPattern>,
    /// An answer slower than this counts as a failure. 0: none does.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["CIRCUIT_BREAKER_SLOW_CALL_THRESHOLD"], "x-kind" = "duration"))]
    pub slow_call_threshold: Duration,
}

/// What one breaker guards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BreakerScope {
    /// One model at one provider.
    #[default]
    Model,
    /// A whole provider.
    Provider,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            max_retries: 3,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            backoff_factor: 2.0,
            jitter_factor: 0.1,
            retry_on_statuses: [429, 502, 503, 504, 522, 524].map(StatusPattern::Exact).into(),
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            enabled: true,
            scope: BreakerScope::Model,
            failure_threshold: 5,
            success_threshold: 2,
            timeout: Duration::from_secs(30),
            failure_on_statuses: vec![StatusPattern::Class(5)],
            slow_call_threshold: Duration::ZERO,
        }
    }
}

impl Resilience {
    /// Takes client errors out of the breaker's list: what a caller did wrong says nothing about the upstream.
    pub(crate) fn settle(&mut self, path: &str, draft: &mut Draft<'_>) {
        let statuses = &mut self.circuit_breaker.failure_on_statuses;
        let before = statuses.len();
        statuses.retain(|s| !matches!(s, StatusPattern::Class(4) | StatusPattern::Exact(400..500)));
        if statuses.len() < before {
            let setting = format!("{path}.circuit_breaker.failure_on_statuses");
            draft.warn_at(&setting, "a 4xx never opens a breaker; it is ignored here", "remove the 4xx");
        }
    }
}
