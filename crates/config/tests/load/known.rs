//! What GoModel and Aurora have, and this version has not.

use config::Severity;

use crate::Place;

fn check(env: &[&str], yaml: &str, expect: Option<Severity>) {
    let place = Place::new().yaml(yaml).env(env);
    let findings = match place.load() {
        Ok(loaded) => loaded.warnings,
        Err(report) => report.findings,
    };
    assert_eq!(findings.iter().map(|f| f.severity).min(), expect, "{env:?} {yaml}\n{findings:#?}");
}

const SILENT: Option<Severity> = None;
const WARNS: Option<Severity> = Some(Severity::Warning);
const STOPS: Option<Severity> = Some(Severity::Error);

#[test]
fn features_warn_and_defaults_are_silent() {
    check(
        &["STORAGE_TYPE=sqlite", "ADMIN_UI_ENABLED=true", "LOGGING_ENABLED=false", "BUDGETS_ENABLED=true"],
        "",
        SILENT,
    );
    check(&["LOGGING_ENABLED=true"], "", WARNS);
    check(&["REDIS_URL=redis://r"], "", WARNS);
    check(&[], "logging: {enabled: true}", WARNS);
    check(&[], "storage: {type: sqlite, postgresql: {max_conns: 10}}", SILENT);
    check(&[], "cache: {response: {simple: {enabled: true, redis: {url: x}}}}", WARNS);
    check(&[], "cache: {response: {semantic: {vector_store: {qdrant: {url: x}}}}}", WARNS);
    check(&[], "failover:\n  rules:\n", SILENT);
    check(&["OTEL_EXPORTER_OTLP_ENDPOINT=x", "GOMODEL_VERSION_CHECK_ENABLED=true", "ENV=prod"], "", SILENT);
    check(&["TAGGING_HEADER_1=X-Tags"], "", WARNS);
    check(&[], "virtual_models: [{source: a, target: b/c}]", WARNS);
    check(&["VIRTUAL_MODELS=[{\"source\":\"a\",\"target\":\"b\"}]"], "", WARNS);
    check(&["OPENCODE_GO_MESSAGES_MODELS=x"], "", WARNS);
}

#[test]
fn protections_stop_the_start() {
    check(&["SET_BUDGET_TEAM__A=daily=10"], "", STOPS);
    check(&["SET_RATE_LIMIT_=rpm=1"], "", STOPS);
    check(&["SET_PROVIDER_RATE_LIMIT_OPENAI=rpm=1"], "", STOPS);
    check(&["GUARDRAILS_ENABLED=true"], "", STOPS);
    check(&["GUARDRAILS_ENABLED=false"], "", SILENT);
    check(&["MODELS_ENABLED_BY_DEFAULT=false"], "", STOPS);
    check(&["MODELS_ENABLED_BY_DEFAULT=0"], "", STOPS);
    check(&["MASTER_KEY_DISABLED=true"], "", STOPS);
    check(&["USERS=[{\"path\":\"/a\",\"allowed_models\":[\"x\"]}]"], "", STOPS);
    check(&["USERS=[]"], "", SILENT);
    check(&["VIRTUAL_MODELS=[{\"source\":\"a\",\"target\":\"b\",\"user_paths\":[\"/x\"]}]"], "", STOPS);
    check(&[], "guardrails: {enabled: false, rules: [{name: x}]}", STOPS);
    check(&[], "guardrails: {enabled: false, rules: []}", SILENT);
    check(&[], "budgets: {user_paths: [{path: /a}]}", STOPS);
    check(&[], "rate_limits: {enabled: true, models: [{model: x}]}", STOPS);
    check(&[], "users: [{path: /a}]", STOPS);
    check(&[], "virtual_models: [{source: a, user_paths: [/x], target: b}]", STOPS);
    check(&[], "server: {master_key_disabled: true}", STOPS);
    check(&[], "models: {enabled_by_default: no}", STOPS);
    check(&[], "guardrails: {enabled: '${GUARDRAILS}'}", STOPS);
    check(&[], "storage: {postgresql: {url: '${POSTGRES}'}}", SILENT);
    check(&[], "providers: {vllm: {model_filter: {max_price_per_mtok: 0}}}", STOPS);
}

#[test]
fn the_gateway_is_never_open_by_mistake() {
    let check = |place: Place, refused: bool| {
        assert_eq!(place.load().is_err(), refused, "{:?}", place.findings());
        let with_key = place.env(&["FERROVIA_MASTER_KEY=k"]);
        assert!(with_key.load().is_ok(), "{:?}", with_key.findings());
    };
    check(Place::new(), false);
    check(Place::new().file("data/gomodel.db", "x"), true);
    check(Place::new().file("data/other.db", "x"), false);
    check(Place::new().file("data/other.db", "x").env(&["SQLITE_PATH=data/other.db"]), true);
    check(Place::new().file("keys.db", "x").yaml("storage: {sqlite: {path: keys.db}}"), true);
    check(Place::new().env(&["STORAGE_TYPE=postgresql"]), true);
    check(Place::new().yaml("storage: {type: mongodb}"), true);
    check(Place::new().yaml("storage: {type: mongodb}").env(&["STORAGE_TYPE=sqlite"]), false);
}

#[test]
fn a_stock_gomodel_set_up_starts() {
    let yaml = r#"
server: {port: "8080", base_path: "/", body_size_limit: "10M", swagger_enabled: false, pprof_enabled: false, enable_passthrough_routes: true,
  allow_passthrough_v1_alias: true, user_path_header: "X-GoModel-User-Path", enabled_passthrough_providers: ["openai", "vllm"], realtime_enabled: true, pid_file: "data/gomodel.pid"}
models: {enabled_by_default: true, configured_provider_models_mode: "fallback"}
cache: {model: {refresh_interval: 3600, recheck_interval: 60, local: {cache_dir: ".cache"}}}
storage: {type: "sqlite", sqlite: {path: "data/gomodel.db"}, postgresql: {url: "postgres://user:pass@localhost/gomodel", max_conns: 10}, mongodb: {url: "mongodb://localhost:27017", database: "gomodel"}}
logging: {enabled: true, log_bodies: true, log_headers: true, buffer_size: 1000, flush_interval: 5, retention_days: 30, only_model_interactions: true}
usage: {enabled: true, pricing_recalculation_enabled: true, enforce_returning_usage_data: true, buffer_size: 1000, flush_interval: 5, retention_days: 90}
budgets: {enabled: true}
rate_limits: {enabled: true, flush_interval: 1}
metrics: {enabled: false, endpoint: "/metrics"}
http: {timeout: 600, response_header_timeout: 600}
workflows: {refresh_interval: 1m}
resilience: {retry: {max_retries: 3, initial_backoff: 1s, max_backoff: 30s, backoff_factor: 2.0, jitter_factor: 0.1}, circuit_breaker: {enabled: true, failure_threshold: 5, success_threshold: 2, timeout: 30s}}
guardrails: {enabled: false, enable_for_batch_processing: false}
failover: {enabled: true}
providers: {openai: {type: openai, api_key: "sk-..."}, vllm: {type: vllm, base_url: "http://localhost:8000/v1"}}
"#;
    let place = Place::new().yaml(yaml).env(&[
        "LOGGING_ENABLED=true",
        "STORAGE_TYPE=sqlite",
        "ADMIN_UI_ENABLED=true",
        "HTTP_TIMEOUT=600",
    ]);
    let loaded = place.ok();
    assert_eq!(loaded.providers.len(), 2);
    let warned: Vec<&str> = loaded.warnings.iter().map(|f| f.setting.as_str()).collect();
    assert_eq!(
        warned,
        ["storage.postgresql.url", "storage.mongodb.url", "logging.enabled", "LOGGING_ENABLED"]
    );
}
