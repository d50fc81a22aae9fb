//! The section `http`: how long an upstream may take.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long an upstream may take. Seconds, or with a unit. A provider's `timeouts` override these.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Longest time for a whole call that does not stream. 0: no limit. Self-hosted engines have none unless this is set.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["HTTP_TIMEOUT"], "x-kind" = "seconds"))]
    pub timeout: Duration,
    /// Longest wait for the first byte of an answer. 0: no limit.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["HTTP_RESPONSE_HEADER_TIMEOUT"], "x-kind" = "seconds"))]
    pub response_header_timeout: Duration,
    /// Longest silence of an upstream between two pieces of an answer. 0: no limit.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["HTTP_STREAM_IDLE_TIMEOUT"], "x-kind" = "seconds"))]
    pub stream_idle_timeout: Duration,
    /// Longest wait for a connection, TLS included. Unset: 2 s for self-hosted engines, 10 s for hosted providers.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-env" = ["FERROVIA_CONNECT_TIMEOUT"], "x-kind" = "seconds"))]
    pub connect_timeout: Option<Duration>,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            timeout: Duration::from_secs(600),
            response_header_timeout: Duration::from_secs(600),
            stream_idle_timeout: Duration::from_secs(300),
            connect_timeout: None,
        }
    }
}
