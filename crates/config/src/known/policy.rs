//! Who may do what, and how much of it: what protects somebody stops the start.

use super::{Known, Weight, feature, moot, protection};

pub(super) const ALL: &[Known] = &[
    protection("server.master_key_disabled", &["MASTER_KEY_DISABLED"], &["false"]),
    protection("models.enabled_by_default", &["MODELS_ENABLED_BY_DEFAULT"], &["true"]),
    moot("models.overrides_enabled", &["MODEL_OVERRIDES_ENABLED"]),
    protection("users", &["USERS"], &[]),
    Known { path: "virtual_models", env: &["VIRTUAL_MODELS"], idle: &[], weight: Weight::VirtualModels },
    feature("budgets.enabled", &["BUDGETS_ENABLED"], &["true", "false"]),
    protection("budgets.user_paths", &["SET_BUDGET_*"], &[]),
    protection("budgets.labels", &[], &[]),
    feature("rate_limits.enabled", &["RATE_LIMITS_ENABLED"], &["true", "false"]),
    feature("rate_limits.flush_interval", &["RATE_LIMITS_FLUSH_INTERVAL"], &["1", "0"]),
    protection("rate_limits.user_paths", &["SET_RATE_LIMIT_*"], &[]),
    protection("rate_limits.providers", &["SET_PROVIDER_RATE_LIMIT_*"], &[]),
    protection("rate_limits.models", &[], &[]),
    protection("guardrails.enabled", &["GUARDRAILS_ENABLED"], &["false"]),
    protection(
        "guardrails.enable_for_batch_processing",
        &["ENABLE_GUARDRAILS_FOR_BATCH_PROCESSING"],
        &["false"],
    ),
    protection("guardrails.rules", &[], &[]),
    feature("plugins.enabled", &["PLUGINS_ENABLED"], &["false"]),
    feature("plugins.search_paths", &["PLUGINS_SEARCH_PATHS"], &[]),
    feature("plugins.load", &["PLUGINS_LOAD"], &[]),
    feature("tagging.headers", &["TAGGING_HEADER_*"], &[]),
    feature("header_policies.enabled", &["HEADER_POLICIES_ENABLED"], &["true", "false"]),
    feature("header_policies.policies", &["HEADER_POLICIES_JSON"], &[]),
    feature("workflows.refresh_interval", &["WORKFLOW_REFRESH_INTERVAL"], &["1m", "1m0s", "60s"]),
];
