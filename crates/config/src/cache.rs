//! The section `cache`: the model inventory between two looks at the providers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::Draft;

/// What is kept between calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// The model inventory.
    pub model: ModelCache,
}

/// The model inventory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelCache {
    /// How often every provider is asked for its models. 0 means the default.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["CACHE_REFRESH_INTERVAL"], "x-kind" = "seconds"))]
    pub refresh_interval: Duration,
    /// How often a provider that failed is asked again. 0 waits for the next refresh.
    #[serde(with = "crate::value::duration")]
    #[schemars(with = "String", extend("x-env" = ["PROVIDER_RECHECK_INTERVAL"], "x-kind" = "seconds"))]
    pub recheck_interval: Duration,
    /// Where the inventory survives a restart.
    pub local: LocalCache,
    /// A catalogue of model metadata from outside. The built-in one is always there.
    pub model_list: ModelList,
}

/// Where the inventory survives a restart.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LocalCache {
    /// Folder of the last known inventory. It is created when needed.
    #[schemars(extend("x-env" = ["FERROVIA_CACHE_DIR", "GOMODEL_CACHE_DIR", "AURORA_CACHE_DIR"]))]
    pub cache_dir: String,
}

/// A catalogue of model metadata from outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelList {
    /// URL or file of the catalogue. Empty or `off`: nothing is fetched.
    #[schemars(extend("x-env" = ["MODEL_LIST_URL"]))]
    pub url: String,
}

impl Default for ModelCache {
    fn default() -> Self {
        ModelCache {
            refresh_interval: Duration::from_secs(3600),
            recheck_interval: Duration::from_secs(60),
            local: LocalCache::default(),
            model_list: ModelList::default(),
        }
    }
}

impl Default for LocalCache {
    fn default() -> Self {
        LocalCache { cache_dir: ".cache".into() }
    }
}

impl Cache {
    /// Gives `0` and `off` their meaning.
    pub(crate) fn settle(&mut self, draft: &mut Draft<'_>) {
        if self.model.refresh_interval.is_zero() {
            self.model.refresh_interval = ModelCache::default().refresh_interval;
        }
        if self.model.model_list.url.trim().eq_ignore_ascii_case("off") {
            self.model.model_list.url.clear();
        }
        if self.model.local.cache_dir.trim().is_empty() {
            draft.error_at(
                "cache.model.local.cache_dir",
                "the folder is empty",
                "name a folder, such as .cache",
            );
        }
    }
}
