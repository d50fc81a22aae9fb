//! One block of the section `providers`: an upstream, as written.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resilience::Resilience;

/// One provider instance, as written. Its name is the public prefix of its models.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// The provider's type. May be left out when the instance is named like one.
    #[serde(rename = "type")]
    pub kind: String,
    /// Address of the API, with or without `/v1`. Types with a usual address have it as their default.
    #[schemars(extend("x-field" = "BASE_URL"))]
    pub base_url: String,
    /// Key that is sent to this provider, and to no other.
    #[serde(with = "crate::value::secret")]
    #[schemars(with = "String", extend("x-field" = "API_KEY", "x-secret" = true))]
    pub api_key: Secret,
    /// Further keys, used in turn. In the environment: `<TYPE>_API_KEY_2`, `<TYPE>_API_KEY_3` …
    #[serde(with = "crate::value::secrets")]
    #[schemars(with = "Vec<String>", extend("x-field" = "API_KEY_<n>", "x-secret" = true))]
    pub api_keys: Vec<Secret>,
    /// Keep a session on one key, for the sake of the provider's prompt cache.
    #[schemars(extend("x-field" = "SESSION_STICKY_KEYS"))]
    pub session_sticky_keys: bool,
    /// Configured models: ids, or `{id, metadata}`. See `models.configured_provider_models_mode`.
    #[schemars(extend("x-field" = "MODELS", "x-kind" = "models"))]
    pub models: Vec<ConfiguredModel>,
    /// Which of the provider's models exist here.
    pub model_filter: ModelFilter,
    /// Which of the provider's APIs to use, where it has several.
    #[schemars(extend("x-field" = "API_MODE"))]
    pub api_mode: String,
    /// Proxy for this provider alone: http, https, socks5 or socks5h, with credentials if need be.
    #[serde(with = "crate::value::secret")]
    #[schemars(with = "String", extend("x-field" = "PROXY_URL", "x-secret" = true))]
    pub proxy_url: Secret,
    /// Headers to add to every request to this provider.
    #[serde(with = "crate::value::secret_map")]
    #[schemars(with = "BTreeMap<String, String>", extend("x-kind" = "headers", "x-secret" = true))]
    pub headers: BTreeMap<String, Secret>,
    /// Most calls that this provider may have at one time; one more is answered at once with 429 and `Retry-After: 1`.
    /// 0: no limit.
    #[schemars(extend("x-field" = "MAX_IN_FLIGHT"))]
    pub max_in_flight: u32,
    /// How long this provider may take. What is unset follows `http`, then the type's defaults.
    pub timeouts: ProviderTimeouts,
    /// What happens when this provider fails. What is unset follows `resilience`.
    pub resilience: Resilience,
    /// Bifrost's spelling of address and timeout.
    pub network_config: NetworkConfig,
}

/// A model that an operator says is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredModel {
    /// The id, as the provider spells it.
    pub id: String,
    /// What is known of it (context window, prices …), in the shape of the model catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
}

/// Which of a provider's models exist here. Patterns are matched on the raw id, without regard to case; `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelFilter {
    /// Keep only what one of these matches. Empty keeps everything.
    #[schemars(extend("x-field" = "MODEL_FILTER_INCLUDE"))]
    pub include: Vec<String>,
    /// Then drop what one of these matches.
    #[schemars(extend("x-field" = "MODEL_FILTER_EXCLUDE"))]
    pub exclude: Vec<String>,
}

/// How long this provider may take. 0: no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderTimeouts {
    /// Longest wait for a connection, TLS included.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-kind" = "seconds"))]
    pub connect: Option<Duration>,
    /// Longest wait for the first byte of an answer.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-kind" = "seconds"))]
    pub first_byte: Option<Duration>,
    /// Longest silence between two pieces of an answer.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-kind" = "seconds"))]
    pub idle: Option<Duration>,
    /// Longest time for a whole call that does not stream.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-kind" = "seconds"))]
    pub total: Option<Duration>,
}

/// Bifrost's spelling of address and timeout.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// The same as `base_url`.
    pub base_url: String,
    /// The same as `timeouts.total`.
    #[serde(with = "crate::value::optional_duration")]
    #[schemars(with = "Option<String>", extend("x-kind" = "seconds"))]
    pub default_request_timeout_in_seconds: Option<Duration>,
}

impl Default for Provider {
    fn default() -> Self {
        Provider {
            kind: String::new(),
            base_url: String::new(),
            api_key: Secret::default(),
            api_keys: Vec::new(),
            session_sticky_keys: true,
            models: Vec::new(),
            model_filter: ModelFilter::default(),
            api_mode: String::new(),
            proxy_url: Secret::default(),
            headers: BTreeMap::new(),
            max_in_flight: 0,
            timeouts: ProviderTimeouts::default(),
            resilience: Resilience::default(),
            network_config: NetworkConfig::default(),
        }
    }
}
