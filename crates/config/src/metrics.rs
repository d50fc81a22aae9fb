//! The section `metrics`: figures for Prometheus.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::server::clean_path;

/// Figures for Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether figures are collected and served.
    #[schemars(extend("x-env" = ["METRICS_ENABLED"]))]
    pub enabled: bool,
    /// Path at which they are served. Paths under `/v1` and `/p` belong to the API.
    #[schemars(extend("x-env" = ["METRICS_ENDPOINT"]))]
    pub endpoint: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { enabled: false, endpoint: "/metrics".into() }
    }
}

impl Metrics {
    /// Cleans the path; one that belongs to the API falls back to the default, with a warning.
    pub(crate) fn settle(&mut self, draft: &mut Draft<'_>) {
        let cleaned = clean_path(&self.endpoint);
        let taken = ["/v1", "/v2", "/p", "/health", "/version"]
            .iter()
            .any(|root| cleaned.strip_prefix(root).is_some_and(|t| t.is_empty() || t.starts_with('/')));
        if taken || cleaned == "/" {
            let problem =
                format!("`{cleaned}` belongs to the API; the metrics are served at /metrics instead");
            draft.warn_at(
                "metrics.endpoint",
                problem,
                "choose a path outside /v1, /v2, /p, /health and /version",
            );
            self.endpoint = Metrics::default().endpoint;
        } else {
            self.endpoint = cleaned;
        }
    }
}
