//! Traces, telemetry and what labels the log.

use super::{Known, feature, moot};

pub(super) const ALL: &[Known] = &[
    feature("opentelemetry", &["OTEL_ENABLED"], &["false"]),
    // The standard variables are set on many machines, and ask for nothing by themselves.
    moot("", &["OTEL_*"]),
    moot("", &["LOG_ADD_SOURCE", "SERVICE_NAME", "ENV"]),
    moot("", &["AURORA_TELEMETRY_DISABLE", "AURORA_TELEMETRY_URL"]),
    moot(
        "",
        &[
            "AURORA_CHAT_FAST_PATH_PASSTHROUGH",
            "AURORA_PRESERVE_REQUEST_MODEL_FOR_UPSTREAM",
            "AURORA_DEBUG_UPSTREAM_MODEL",
        ],
    ),
];
