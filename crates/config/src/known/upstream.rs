//! Ways to an upstream, and what single provider types are told.

use super::{Known, feature, protection};

pub(super) const ALL: &[Known] = &[
    feature("http.proxy.http_proxy", &["HTTP_PROXY"], &[]),
    feature("http.proxy.https_proxy", &["HTTPS_PROXY"], &[]),
    feature(
        "http.proxy.no_proxy",
        &["NO_PROXY"],
        &["localhost", "127.0.0.1", "localhost,127.0.0.1", "localhost,127.0.0.1,::1"],
    ),
    feature("http.proxy.proxy_auth_enabled", &[], &["false"]),
    feature("http.proxy.ca_cert_pem", &[], &[]),
    protection("providers.*.model_filter.max_price_per_mtok", &[], &[]),
    feature("providers.*.api_version", &[], &[]),
    feature("providers.*.backend", &[], &[]),
    feature("providers.*.auth_type", &[], &[]),
    feature("providers.*.vertex_project", &["VERTEX_PROJECT"], &[]),
    feature("providers.*.vertex_location", &["VERTEX_LOCATION"], &[]),
    feature("providers.*.service_account_file", &["VERTEX_SERVICE_ACCOUNT_FILE"], &[]),
    feature("providers.*.service_account_json", &["VERTEX_SERVICE_ACCOUNT_JSON"], &[]),
    feature("providers.*.service_account_json_base64", &["VERTEX_SERVICE_ACCOUNT_JSON_BASE64"], &[]),
    feature("providers.*.gcp_scope", &[], &[]),
    feature("providers.*.custom_upstream_headers", &[], &[]),
    feature("providers.*.passthrough_user_headers", &[], &["false"]),
    feature("providers.*.passthrough_user_headers_skip", &[], &[]),
    feature("providers.*.passthrough_user_headers_skip_mode", &[], &["skip"]),
    feature("providers.*.region", &["BEDROCK_MANTLE_REGION"], &[]),
    feature("providers.*.inference_objective", &["LLMD_INFERENCE_OBJECTIVE"], &[]),
    feature("providers.*.fairness_from_user_path", &["LLMD_FAIRNESS_FROM_USER_PATH"], &["true", "false"]),
    feature("", &["VERTEX_AUTH_TYPE"], &[]),
    feature("", &["ANTHROPIC_DEFAULT_MAX_TOKENS"], &["4096"]),
    feature(
        "",
        &["OPENROUTER_SITE_URL", "OPENROUTER_APP_NAME"],
        &["https://gomodel.enterpilot.io", "GoModel"],
    ),
    feature("", &["USE_GOOGLE_GEMINI_NATIVE_API"], &["true"]),
    feature("", &["DEEPSEEK_JSON_SCHEMA_MODE"], &["downgrade"]),
    feature("", &["OPENCODE_GO_MESSAGES_MODELS"], &["qwen3.7-max"]),
    feature("", &["OPENCODE_GO_DEFAULT_REASONING_EFFORT"], &["low"]),
    feature("", &["OPENCODE_GO_SESSION_HEADER"], &["true"]),
];
