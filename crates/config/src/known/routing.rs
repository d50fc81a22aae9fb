//! Which deployment a call goes to, and what happens to it on the way.

use super::{Known, feature};

pub(super) const ALL: &[Known] = &[
    feature("failover.enabled", &["FAILOVER_ENABLED"], &["true", "false"]),
    feature("failover.max_attempts", &["FAILOVER_MAX_ATTEMPTS"], &["0"]),
    feature("failover.retry_on_statuses", &["FAILOVER_RETRY_ON_STATUSES"], &["429,5xx"]),
    feature("failover.retry_on_errors", &["FAILOVER_RETRY_ON_ERRORS"], &[]),
    feature("failover.mode", &["FAILOVER_MODE"], &["manual", "off"]),
    feature("failover.default_mode", &[], &["manual", "off"]),
    feature("failover.rules", &[], &[]),
    feature("failover.rules_json", &["FAILOVER_RULES_JSON"], &[]),
    feature("failover.manual_rules_path", &["FAILOVER_MANUAL_RULES_PATH"], &[]),
    feature("failover.disabled_models", &["FAILOVER_DISABLED_MODELS"], &[]),
    feature("failover.disabled_models_json", &["FAILOVER_DISABLED_MODELS_JSON"], &[]),
    feature("failover.overrides", &[], &[]),
    feature("fallback.default_mode", &["FEATURE_FALLBACK_MODE"], &["manual", "off"]),
    feature("fallback.manual_rules_path", &["FALLBACK_MANUAL_RULES_PATH"], &[]),
    feature("fallback.overrides", &[], &[]),
    feature("session.enabled", &["SESSION_KEEPING_ENABLED"], &["true", "false"]),
    feature("session.auto_detect", &["SESSION_AUTO_DETECT"], &["true", "false"]),
    feature("session.builtin_rules", &["SESSION_BUILTIN_RULES"], &["true", "false"]),
    feature("session.headers", &["SESSION_HEADER_*"], &[]),
    feature("pools", &[], &[]),
    feature("combos.enabled", &["COMBOS_ENABLED"], &["true", "false"]),
    feature("combos.definitions", &[], &[]),
    feature("token_saver", &["TOKEN_SAVER_*"], &["false"]),
];
