//! Who wins: defaults < YAML < `.env` < environment < flags; and where each value is said to come from.

use std::time::Duration;

use config::{BreakerScope, ConfiguredModels, Level, Runtime, StatusPattern};

use crate::Place;

#[test]
fn an_empty_folder_gives_the_defaults() {
    let loaded = Place::new().ok();
    assert!(
        loaded.warnings.is_empty()
            && loaded.providers.is_empty()
            && loaded.secrets.is_empty()
            && loaded.file.is_none()
    );
    let config = loaded.config;
    assert_eq!(
        (config.server.port, config.server.host.as_str(), config.server.base_path.as_str()),
        (8080, "0.0.0.0", "/")
    );
    assert_eq!(config.server.body_size_limit, 10 << 20);
    assert_eq!(config.server.stream_keep_alive, Duration::from_secs(15));
    assert_eq!(config.server.runtime, Runtime::PerCore);
    assert!(!config.metrics.enabled && config.usage.enabled && config.server.provider_member);
    assert_eq!(config.resilience.circuit_breaker.scope, BreakerScope::Model);
    assert_eq!(config.resilience.circuit_breaker.failure_on_statuses, [StatusPattern::Class(5)]);
    assert_eq!(config.cache.model.refresh_interval, Duration::from_secs(3600));
    assert_eq!(loaded.origins.get("server.port").map(|e| e.origin.to_string()), Some("default".into()));
}

/// The port, and where it is said to come from.
fn check(place: Place, port: u16, origin: &str) {
    let loaded = place.ok();
    let entry = loaded.origins.get("server.port").expect("every setting has an origin");
    assert_eq!((loaded.config.server.port, entry.origin.to_string()), (port, origin.to_owned()));
    assert_eq!(entry.value, port.to_string());
}

#[test]
fn the_nearer_source_wins() {
    let yaml = || Place::new().yaml("server:\n  port: \"1000\"\n");
    check(yaml(), 1000, "config.yaml:2:9");
    let dotenv = || yaml().file(".env", "# port\nPORT=2000\n");
    check(dotenv(), 2000, ".env:2:1 PORT");
    check(dotenv().env(&["PORT=3000"]), 3000, "environment variable PORT");
    check(dotenv().env(&["PORT=3000"]).flag("server.port", "4000"), 4000, "flag server.port");
    check(yaml().env(&["PORT="]), 1000, "config.yaml:2:9");
    check(dotenv().env(&["PORT="]), 1000, "config.yaml:2:9");
    check(yaml().env(&["FERROVIA_PORT=5000"]), 5000, "environment variable FERROVIA_PORT");
    check(yaml().env(&["FERROVIA_PORT=5000", "PORT=5000"]), 5000, "environment variable PORT");
}

#[test]
fn the_file_is_found_or_named() {
    let port = |place: Place| place.ok().config.server.port;
    let one = |name: &str| Place::new().file(name, "server: {port: 1}");
    assert_eq!(port(one("config/config.yaml")), 1);
    assert_eq!(port(one("configs/config.yaml")), 1);
    let both = one("config/config.yaml").yaml("server: {port: 2}");
    assert_eq!(both.findings(), ["Warning config.yaml : the file is ignored: config/config.yaml is read"]);
    assert_eq!(port(both), 1);
    assert_eq!(port(one("other.yaml").yaml("server: {port: 2}").named("other.yaml")), 1);
    for variable in ["FERROVIA_CONFIG", "AURORA_CONFIG_PATH", "GOMODEL_CONFIG"] {
        assert_eq!(port(one("other.yaml").env(&[&format!("{variable}=other.yaml")])), 1);
    }
    assert_eq!(port(one("other.yaml").file(".env", "FERROVIA_CONFIG=other.yaml")), 1);
    let missing = Place::new().env(&["FERROVIA_CONFIG=gone.yaml"]).findings();
    assert_eq!(
        missing,
        ["Error environment variable FERROVIA_CONFIG : gone.yaml cannot be read: entity not found"]
    );
    let quarrel = one("other.yaml").env(&["FERROVIA_CONFIG=other.yaml", "GOMODEL_CONFIG=x.yaml"]).report();
    assert_eq!(quarrel.errors(), 1, "{quarrel}");
    assert_eq!(port(Place::new().yaml("")), 8080);
    assert_eq!(port(Place::new().yaml("# nothing\n")), 8080);
    assert_eq!(port(Place::new().yaml("server:\nproviders:\n")), 8080);
}

#[test]
fn gomodels_spellings_work_in_file_and_environment() {
    let env = [
        "BASE_PATH=g/",
        "BODY_SIZE_LIMIT=1024KB",
        "HTTP_TIMEOUT=90",
        "HTTP_STREAM_IDLE_TIMEOUT=10m",
        "RETRY_INITIAL_BACKOFF=500ms",
        "RETRY_ON_STATUSES=503,5xx",
        "CIRCUIT_BREAKER_SCOPE=provider",
        "CONFIGURED_PROVIDER_MODELS_MODE=Merge",
        "LOG_LEVEL=warning",
        "METRICS_ENABLED=1",
        "USAGE_ENABLED=off",
        "ENABLED_PASSTHROUGH_PROVIDERS=vllm, openai",
        "GOMODEL_CACHE_DIR=/c",
        "CACHE_REFRESH_INTERVAL=0",
        "GOMODEL_MASTER_KEY=secret",
        "METRICS_ENDPOINT=metrics/",
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD=-1",
        "MODEL_LIST_URL=off",
    ];
    let loaded = Place::new().env(&env).ok();
    assert_eq!(loaded.warnings, []);
    let config = loaded.config;
    assert_eq!((config.server.base_path.as_str(), config.server.body_size_limit), ("/g", 1 << 20));
    assert_eq!((config.http.timeout.as_secs(), config.http.stream_idle_timeout.as_secs()), (90, 600));
    assert_eq!(config.resilience.retry.initial_backoff, Duration::from_millis(500));
    assert_eq!(
        config.resilience.retry.retry_on_statuses,
        [StatusPattern::Exact(503), StatusPattern::Class(5)]
    );
    assert_eq!(config.models.configured_provider_models_mode, ConfiguredModels::Merge);
    assert_eq!((config.log.level, config.metrics.enabled, config.usage.enabled), (Level::Warn, true, false));
    assert_eq!(config.server.enabled_passthrough_providers, ["vllm", "openai"]);
    assert_eq!(
        (config.cache.model.local.cache_dir.as_str(), config.cache.model.refresh_interval.as_secs()),
        ("/c", 3600)
    );
    assert_eq!((config.server.master_key.reveal(), config.metrics.endpoint.as_str()), ("secret", "/metrics"));
    assert_eq!(
        (config.resilience.circuit_breaker.failure_threshold, config.cache.model.model_list.url.as_str()),
        (-1, "")
    );
}

#[test]
fn lists_in_the_file_replace_the_default_and_may_be_comma_lists() {
    let loaded = Place::new().yaml("server:\n  enabled_passthrough_providers: [vllm]\nresilience:\n  retry:\n    retry_on_statuses: [503, 5xx]\n").ok();
    assert_eq!(loaded.config.server.enabled_passthrough_providers, ["vllm"]);
    assert_eq!(loaded.config.resilience.retry.retry_on_statuses.len(), 2);
    let loaded = Place::new().yaml("server:\n  enabled_passthrough_providers: a, b\nresilience:\n  retry:\n    retry_on_statuses: []\n").ok();
    assert_eq!(loaded.config.server.enabled_passthrough_providers, ["a", "b"]);
    assert!(loaded.config.resilience.retry.retry_on_statuses.is_empty());
}

#[test]
fn the_metrics_path_stays_off_the_api() {
    for taken in ["/v1", "/v1/metrics", "/p/x", "/"] {
        let place = Place::new().env(&[&format!("METRICS_ENDPOINT={taken}")]);
        assert_eq!(place.ok().config.metrics.endpoint, "/metrics");
        assert_eq!(place.findings().len(), 1, "{taken}");
    }
    assert_eq!(Place::new().env(&["METRICS_ENDPOINT=/pm"]).ok().config.metrics.endpoint, "/pm");
}

#[test]
fn a_breaker_is_not_opened_by_a_4xx() {
    let place = Place::new()
        .yaml("resilience: {circuit_breaker: {failure_on_statuses: [429, 5xx]}}\nproviders: {vllm: {}}\n");
    assert_eq!(place.findings().len(), 1, "said once, not for each provider");
    assert_eq!(place.ok().providers[0].breaker.failure_on_statuses, [StatusPattern::Class(5)]);
}

#[test]
fn flags_reach_providers_too() {
    let loaded = Place::new()
        .flag("providers.vllm.base_url", "http://flag:1")
        .env(&["VLLM_BASE_URL=http://env:1"])
        .ok();
    assert_eq!(loaded.providers[0].base_url, "http://flag:1");
    assert_eq!(
        loaded.origins.get("providers.vllm.base_url").unwrap().origin.to_string(),
        "flag providers.vllm.base_url"
    );
}
