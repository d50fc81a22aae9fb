//! The section `usage`: counting tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counting tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Whether what a call used is counted.
    #[schemars(extend("x-env" = ["USAGE_ENABLED"]))]
    pub enabled: bool,
    /// Ask the upstream for usage on streams whose client did not. The extra chunk is hidden from the client.
    #[schemars(extend("x-env" = ["ENFORCE_RETURNING_USAGE_DATA"]))]
    pub enforce_returning_usage_data: bool,
}

impl Default for Usage {
    fn default() -> Self {
        Usage { enabled: true, enforce_returning_usage_data: true }
    }
}
