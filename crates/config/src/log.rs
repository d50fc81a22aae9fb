//! The section `log`: how the gateway writes its own log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway writes its own log. (The audit log of requests is another thing.)
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Shape of the lines.
    #[schemars(extend("x-env" = ["LOG_FORMAT"], "x-restart" = true))]
    pub format: Format,
    /// The least important level that is written.
    #[schemars(extend("x-env" = ["LOG_LEVEL"], "x-restart" = true, "x-spellings" = {"dbg": "debug", "inf": "info", "warning": "warn", "err": "error"}))]
    pub level: Level,
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Text.
    Text,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What failed.
    Error,
    /// What an operator should look at.
    Warn,
    /// One line per call.
    #[default]
    Info,
    /// Every step of a call.
    Debug,
    /// Everything, libraries included.
    Trace,
}
