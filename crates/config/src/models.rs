//! The section `models`: which models are listed, and under which names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which models are listed, and under which names.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// What a provider's configured model list means.
    #[schemars(extend("x-env" = ["CONFIGURED_PROVIDER_MODELS_MODE"]))]
    pub configured_provider_models_mode: ConfiguredModels,
    /// List only aliases at `GET /v1/models`.
    #[schemars(extend("x-env" = ["KEEP_ONLY_ALIASES_AT_MODELS_ENDPOINT"]))]
    pub keep_only_aliases_at_models_endpoint: bool,
    /// List bare ids (`llama-3`) at `GET /v1/models` instead of qualified ones (`vllm/llama-3`).
    #[schemars(extend("x-env" = ["UNQUALIFIED_MODEL_IDS_AT_MODELS_ENDPOINT"]))]
    pub unqualified_model_ids_at_models_endpoint: bool,
}

/// What a provider's configured model list means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfiguredModels {
    /// It stands in when the provider's own list fails or is empty.
    #[default]
    Fallback,
    /// Only what it names exists; the provider is not asked.
    Allowlist,
    /// It is added to the provider's own list.
    Merge,
}
