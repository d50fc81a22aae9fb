//! From the configuration as it was written to the parts that run. Every part is made here, top-down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue};
use anyhow::{Context, anyhow};
use config::{ConfiguredModels, Loaded, StatusPattern};
use domain::{ProviderName, Secret};
use gateway::call::upload::SpoolSettings;
use gateway::instance::{BreakerScope, Configured, ListMode, Making, RetryPolicy, StatusMatch};
use gateway::inventory::filter::Filter;
use gateway::inventory::refresh::Rhythm;
use gateway::mask::Masks;
use gateway::settings::Passthrough;
use gateway::{Gateway, Instance, Inventory, Settings};
use provider::{Base, CATALOG};
use upstream::{Backoff, BreakerSettings, Limits, Pool, PoolSettings, Target};

/// Stands for "no limit" where a duration is needed.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// Provider types, as the configuration needs to know them.
pub(crate) fn provider_types() -> Vec<config::ProviderType> {
    CATALOG
        .iter()
        .map(|spec| config::ProviderType {
            name: spec.name,
            default_base_url: spec.default_base_url,
            keyless: spec.keyless,
            needs_base_url: spec.default_base_url.is_none(),
            built: spec.built,
        })
        .collect()
}

/// Builds the gateway. Opens no connection and asks nobody.
pub(crate) fn build(loaded: &Loaded) -> anyhow::Result<Arc<Gateway>> {
    let instances = loaded
        .providers
        .iter()
        .map(|configured| {
            let made = instance(loaded, configured);
            made.map(Arc::new).with_context(|| format!("provider {:?}", configured.name))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Arc::new(Gateway {
        settings: settings(&loaded.config)?,
        inventory: Inventory::new(instances),
        pool: Pool::new(PoolSettings::default()),
        metrics: Arc::default(),
        masks: Masks::new(loaded.secrets.clone()),
        calls: Default::default(),
        closing: Default::default(),
    }))
}

/// Builds the gateway of a configuration that takes the place of another one. Connections, figures and the log are those of
/// the gateway before; so are instances that did not change, and of those that did, what is known and still holds.
pub(crate) fn rebuild(loaded: &Loaded, before: &Loaded, old: &Gateway) -> anyhow::Result<Arc<Gateway>> {
    let mode = |loaded: &Loaded| loaded.config.models.configured_provider_models_mode;
    let same_mode = mode(loaded) == mode(before);
    let instances = loaded
        .providers
        .iter()
        .map(|configured| {
            let known = old.inventory.named(&configured.name);
            let same = same_mode && before.providers.contains(configured);
            if let Some(known) = known.filter(|_| same) {
                return Ok(known.clone());
            }
            let mut made =
                instance(loaded, configured).with_context(|| format!("provider {:?}", configured.name))?;
            if let Some(known) = known {
                made.take_over(known);
            }
            Ok(Arc::new(made))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Arc::new(Gateway {
        settings: settings(&loaded.config)?,
        inventory: Inventory::new(instances),
        pool: old.pool.clone(),
        metrics: old.metrics.clone(),
        masks: Masks::new(loaded.secrets.clone()),
        calls: old.calls.clone(),
        closing: old.closing.clone(),
    }))
}

/// How often the inventory is refreshed, and where it is kept.
pub(crate) fn rhythm(loaded: &Loaded) -> Rhythm {
    let cache = &loaded.config.cache.model;
    let folder = &cache.local.cache_dir;
    Rhythm {
        all: cache.refresh_interval,
        failed: match cache.recheck_interval {
            Duration::ZERO => cache.refresh_interval,
            some => some,
        },
        file: (!folder.is_empty()).then(|| PathBuf::from(folder).join("models.json")),
    }
}

fn settings(config: &config::Config) -> anyhow::Result<Settings> {
    let server = &config.server;
    let own = HeaderName::try_from(server.user_path_header.to_ascii_lowercase())
        .context("server.user_path_header is not a header name")?;
    let mut user_path_headers = vec![own];
    for name in ["x-ferrovia-user-path", "x-gomodel-user-path", "x-aurora-user-path"] {
        let name = HeaderName::from_static(name);
        if !user_path_headers.contains(&name) {
            user_path_headers.push(name);
        }
    }
    let unless_zero = |d: Duration| if d.is_zero() { UNLIMITED } else { d };
    let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Ok(Settings {
        master_key: (!server.master_key.is_empty()).then(|| server.master_key.clone()),
        body_limit: bytes(server.body_size_limit),
        upload_limit: bytes(server.upload_size_limit),
        memory_limit: bytes(server.request_memory_limit),
        spool: SpoolSettings {
            folder: (!server.upload_spool_dir.is_empty()).then(|| PathBuf::from(&server.upload_spool_dir)),
            limit: server.upload_spool_limit,
        },
        user_path_headers,
        ask_for_usage: config.usage.enabled && config.usage.enforce_returning_usage_data,
        provider_member: server.provider_member,
        changes_header: server.changes_header,
        keep_alive: unless_zero(server.stream_keep_alive),
        passthrough: Passthrough {
            enabled: server.enable_passthrough_routes,
            v1_alias: server.allow_passthrough_v1_alias,
            types: server.enabled_passthrough_providers.clone(),
            control_allow: server.passthrough_control_routes.allow.clone(),
            control_deny: server.passthrough_control_routes.deny.clone(),
            rewrite_errors: server.passthrough_rewrite_errors,
        },
        bare_model_ids: config.models.unqualified_model_ids_at_models_endpoint,
        only_aliases: config.models.keep_only_aliases_at_models_endpoint,
    })
}

fn instance(loaded: &Loaded, configured: &config::Instance) -> anyhow::Result<Instance> {
    let spec = provider::find(&configured.kind)
        .ok_or_else(|| anyhow!("the type {:?} is not in the catalogue", configured.kind))?;
    let base = Base::parse(&configured.base_url)
        .map_err(|invalid| anyhow!("base_url {:?}: {}", configured.base_url, invalid.0))?;
    let target =
        Target::parse(&base.origin).map_err(|error| anyhow!("base_url {:?}: {error}", base.origin))?;
    let headers = configured.headers.iter().map(|(name, value)| {
        let mut value = HeaderValue::from_str(value.reveal())
            .map_err(|_| anyhow!("the value of the header {name} is not a header value"))?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(name.as_str()).with_context(|| format!("the header {name}"))?, value))
    });
    for (at, key) in configured.api_keys.iter().enumerate() {
        if HeaderValue::from_str(key.reveal()).is_err() {
            return Err(anyhow!("key {} holds characters that no header can carry", at + 1));
        }
    }
    let timeouts = &configured.timeouts;
    let retry = &configured.retry;
    let breaker = &configured.breaker;
    Ok(Instance::new(Making {
        name: ProviderName::from(configured.name.as_str()),
        spec,
        base,
        target,
        keys: configured.api_keys.iter().filter(|key| !Secret::is_empty(key)).cloned().collect(),
        limits: Limits {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte.unwrap_or(UNLIMITED),
            // uvicorn closes an idle connection after 5 s, hosted services after a minute
            idle_pool: Duration::from_secs(if spec.self_hosted { 4 } else { 50 }),
        },
        idle: timeouts.idle.unwrap_or(UNLIMITED),
        retry: RetryPolicy {
            retries: retry.max_retries,
            statuses: retry.retry_on_statuses.iter().map(|pattern| status(*pattern)).collect(),
            backoff: Backoff {
                initial: retry.initial_backoff,
                max: retry.max_backoff,
                factor: retry.backoff_factor,
                jitter: retry.jitter_factor,
            },
        },
        breaker: BreakerSettings {
            enabled: breaker.enabled && breaker.failure_threshold > 0,
            failure_threshold: u32::try_from(breaker.failure_threshold).unwrap_or(0),
            success_threshold: breaker.success_threshold,
            open_for: breaker.timeout,
        },
        breaker_scope: match breaker.scope {
            config::BreakerScope::Model => BreakerScope::Model,
            config::BreakerScope::Provider => BreakerScope::Provider,
        },
        failure_statuses: breaker.failure_on_statuses.iter().map(|pattern| status(*pattern)).collect(),
        slow_call: (!breaker.slow_call_threshold.is_zero()).then_some(breaker.slow_call_threshold),
        total: timeouts.total,
        headers: headers.collect::<anyhow::Result<_>>()?,
        max_in_flight: configured.max_in_flight.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        configured: configured
            .models
            .iter()
            .map(|model| Configured { id: model.id.clone(), metadata: model.metadata.clone() })
            .collect(),
        mode: match loaded.config.models.configured_provider_models_mode {
            ConfiguredModels::Fallback => ListMode::Fallback,
            ConfiguredModels::Allowlist => ListMode::Allowlist,
            ConfiguredModels::Merge => ListMode::Merge,
        },
        filter: Filter {
            include: configured.filter.include.clone(),
            exclude: configured.filter.exclude.clone(),
        },
    }))
}

fn status(pattern: StatusPattern) -> StatusMatch {
    match pattern {
        StatusPattern::Exact(code) => StatusMatch::Exact(code),
        StatusPattern::Class(class) => StatusMatch::Class(class),
    }
}
