//! The configuration: typed structs with doc comments, and everything that follows from them.
//!
//! The structs of the section files are the only definition of a setting. Its path, its variables, its type, its
//! default and its documentation are read from their JSON Schema ([`settings`]); loading ([`load()`]) and every
//! generated page ([`render`]) work from that list. To add a setting, add a field.

mod cache;
mod change;
mod discovery;
mod dotenv;
mod draft;
mod environment;
mod expand;
mod http;
mod instance;
mod kind;
mod known;
mod load;
mod log;
mod metrics;
mod models;
mod open;
mod origin;
mod provider;
pub mod render;
mod report;
mod resilience;
mod server;
mod setting;
mod tree;
mod usage;
mod value;
mod variables;
mod yaml;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cache::{Cache, LocalCache, ModelCache, ModelList};
pub use change::Changes;
pub use http::Http;
pub use instance::{Instance, Timeouts};
pub use kind::Kind;
pub use load::{Loaded, Sources, load};
pub use log::{Format, Level, Log};
pub use metrics::Metrics;
pub use models::{ConfiguredModels, Models};
pub use origin::{Entry, Origins};
pub use provider::{ConfiguredModel, ModelFilter, NetworkConfig, Provider, ProviderTimeouts};
pub use report::{Finding, Origin, Report, Severity};
pub use resilience::{Breaker, BreakerScope, Resilience, Retry};
pub use server::{ControlRoutes, Runtime, Server, Tls};
pub use setting::{Setting, settings};
pub use usage::Usage;
pub use value::StatusPattern;

/// What the caller knows about a provider type; the catalogue itself lives elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderType {
    /// The type's name: `vllm`, `openai_compatible`.
    pub name: &'static str,
    /// The address that it usually has.
    pub default_base_url: Option<&'static str>,
    /// Whether it works without a key: a self-hosted engine.
    pub keyless: bool,
    /// Whether it has no usual address, so that one must be configured.
    pub needs_base_url: bool,
    /// Whether this version can talk to it. What is not built is left out with a warning.
    pub built: bool,
}

/// The configuration of the gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether an unknown key in the YAML file stops the start. When false, it is a warning.
    #[schemars(extend("x-env" = ["CONFIG_STRICT"]))]
    pub strict: bool,
    /// Whether files that have changed (this one, `.env`, certificates, those that `${file:…}` names) are read again by
    /// themselves. When false, only SIGHUP reloads.
    #[schemars(extend("x-env" = ["CONFIG_WATCH"]))]
    pub watch: bool,
    /// Where the gateway listens, who may call, how much it takes in.
    pub server: Server,
    /// How the gateway writes its own log.
    pub log: Log,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// Which models are listed, and under which names.
    pub models: Models,
    /// What is kept between calls.
    pub cache: Cache,
    /// Counting tokens.
    pub usage: Usage,
    /// How long an upstream may take.
    pub http: Http,
    /// What happens when an upstream fails.
    pub resilience: Resilience,
    /// The upstreams, by the name that is the public prefix of their models.
    pub providers: BTreeMap<String, Provider>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            strict: true,
            watch: true,
            server: Server::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            models: Models::default(),
            cache: Cache::default(),
            usage: Usage::default(),
            http: Http::default(),
            resilience: Resilience::default(),
            providers: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Normalises what may be written in several ways, and reports what no type can.
    fn settle(&mut self, draft: &mut draft::Draft<'_>) {
        self.server.settle(draft);
        self.metrics.settle(draft);
        self.cache.settle(draft);
        self.resilience.settle("resilience", draft);
    }
}
