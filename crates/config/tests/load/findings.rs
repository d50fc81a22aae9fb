//! Everything that is wrong, in one report, each thing with its place and its cure.

use config::{Finding, Severity};

use crate::Place;

#[test]
fn twelve_faults_in_a_file_and_a_dotenv_are_twelve_findings() {
    let yaml = "\
server:
  prot: 8080
  body_size_limit: 2G
  enable_passthrough_routes: maybe
  base_path: /a
  base_path: /b
models:
  configured_provider_models_mode: fallbak
resilience:
  retry:
    initial_backoff: 2
providers:
  my-engine:
    type: vlm
  vllm:
    base_url: localhost:8000
";
    let dotenv = "\
# the gateway
RETRY_MAX_RETRIES=three
FERROVIA_THREDS=4
this is no assignment
GOMODEL_MASTER_KEY=one
AURORA_MASTER_KEY=two
";
    let report = Place::new().yaml(yaml).file(".env", dotenv).report();
    let seen: Vec<(String, &str, Option<&str>)> = report
        .findings
        .iter()
        .map(|f| (f.source.to_string(), f.setting.as_str(), f.nearest.as_deref()))
        .collect();
    let expect = [
        ("config.yaml:2:3", "server.prot", Some("server.port")),
        ("config.yaml:3:20", "server.body_size_limit", None),
        ("config.yaml:4:30", "server.enable_passthrough_routes", None),
        ("config.yaml:6:3", "server.base_path", None),
        ("config.yaml:8:36", "models.configured_provider_models_mode", Some("fallback")),
        ("config.yaml:11:22", "resilience.retry.initial_backoff", Some("2s")),
        ("config.yaml:14:11", "providers.my-engine.type", Some("vllm")),
        ("config.yaml:16:15", "providers.vllm.base_url", None),
        (".env:2:1 RETRY_MAX_RETRIES", "RETRY_MAX_RETRIES", None),
        (".env:3:1 FERROVIA_THREDS", "FERROVIA_THREDS", Some("FERROVIA_THREADS")),
        (".env:4:1", "", None),
        (".env:6:1 AURORA_MASTER_KEY", "AURORA_MASTER_KEY", None),
    ];
    assert_eq!(seen.len(), 12, "{report}");
    for (found, expect) in seen.iter().zip(expect) {
        assert_eq!((found.0.as_str(), found.1, found.2), expect, "{report}");
    }
    assert!(report.findings.iter().all(|f| !f.problem.is_empty() && !f.fix.is_empty()), "{report}");
    assert!(report.to_string().starts_with("The configuration has 12 errors:"), "{report}");
}

fn only(place: Place) -> Finding {
    let findings = match place.load() {
        Ok(loaded) => loaded.warnings,
        Err(report) => report.findings,
    };
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().expect("there is one")
}

#[test]
fn unknown_keys_name_the_nearest_right_one() {
    let nearest = |yaml: &str| only(Place::new().yaml(yaml)).nearest;
    assert_eq!(nearest("sever: {port: 1}"), Some("server".into()));
    assert_eq!(nearest("port: 1"), Some("server.port".into()));
    assert_eq!(nearest("server: {masterKey: x}"), Some("server.master_key".into()));
    assert_eq!(nearest("resilience: {retry: {max_retry: 1}}"), Some("resilience.retry.max_retries".into()));
    assert_eq!(nearest("storage: {tpye: sqlite}"), Some("storage.type".into()));
    assert_eq!(nearest("providers: {vllm: {base_ulr: x}}"), Some("providers.vllm.base_url".into()));
    assert_eq!(
        nearest("providers: {vllm: {timeouts: {first_bite: 1}}}"),
        Some("providers.vllm.timeouts.first_byte".into())
    );
    assert_eq!(nearest("zebra: 1"), None);
    assert_eq!(nearest("providers: {vllm: {models: [{id: a, metdata: {}}]}}"), Some("metadata".into()));
}

#[test]
fn a_lenient_file_warns_about_unknown_keys_only() {
    for lenient in ["CONFIG_STRICT=false", "FERROVIA_CONFIG_STRICT=off"] {
        let place = Place::new().yaml("server: {prot: 1}").env(&[lenient]);
        assert_eq!(only(place).severity, Severity::Warning);
    }
    assert_eq!(only(Place::new().yaml("strict: false\nserver: {prot: 1}")).severity, Severity::Warning);
    let still = only(Place::new().yaml("server: {port: x}").env(&["CONFIG_STRICT=false"]));
    assert_eq!(still.severity, Severity::Error, "a bad value stays one");
}

#[test]
fn values_of_the_wrong_shape_are_placed() {
    let at = |yaml: &str| {
        let finding = only(Place::new().yaml(yaml));
        (finding.source.to_string(), finding.problem)
    };
    assert_eq!(
        at("server: 8080"),
        ("config.yaml:1:9".into(), "a section is expected here, not a single value".into())
    );
    assert_eq!(
        at("server:\n  port: [1]"),
        ("config.yaml:2:9".into(), "a whole number from 0 to 65535 is expected here, not a list".into())
    );
    assert_eq!(
        at("server:\n  cors_allowed_origins: {a: b}"),
        ("config.yaml:2:25".into(), "a list of texts is expected here, not a mapping".into())
    );
    assert_eq!(at("providers: [vllm]").0, "config.yaml:1:12");
    assert_eq!(at("providers: {vllm: 8000}").0, "config.yaml:1:19");
    assert_eq!(at("providers: {'a/b': {type: vllm}}").0, "config.yaml:1:13");
    assert_eq!(at("resilience: {retry: {retry_on_statuses: [503, teapot]}}").0, "config.yaml:1:47");
    assert_eq!(at("- a\n- b").0, "config.yaml:1:1");
    assert_eq!(at("server:\n  port: 80\n   host: x\n").0.split(':').next(), Some("config.yaml"));
}

#[test]
fn a_broken_file_does_not_hide_what_else_is_wrong() {
    let report =
        Place::new().yaml("server: [1, 2\nport: 3\n").env(&["PORT=x", "FERROVIA_NONSENSE=1"]).report();
    assert_eq!(report.errors(), 3, "{report}");
}

#[test]
fn names_of_our_family_are_ours_to_know() {
    let finding = only(Place::new().env(&["FERROVIA_PROT=1"]));
    assert_eq!((finding.severity, finding.nearest.as_deref()), (Severity::Error, Some("FERROVIA_PORT")));
    let finding = only(Place::new().env(&["FERROVIA_VLLM_BASE_URL=http://a:1"]));
    assert_eq!((finding.severity, finding.nearest.as_deref()), (Severity::Error, Some("VLLM_BASE_URL")));
    let finding = only(Place::new().env(&["GOMODEL_MASTERKEY=x"]));
    assert_eq!(
        (finding.severity, finding.nearest.as_deref()),
        (Severity::Warning, Some("GOMODEL_MASTER_KEY"))
    );
    let finding = only(Place::new().env(&["AURORA_WHATEVER=x"]));
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn one_slip_in_another_name_is_pointed_out() {
    for (written, meant) in [
        ("METRICS_ENABELD", "METRICS_ENABLED"),
        ("VLLM_BASE_ULR", "VLLM_BASE_URL"),
        ("VLLM_TEST_BASE_ULR", "VLLM_TEST_BASE_URL"),
        ("OPENAI_API_KEYS", "OPENAI_API_KEY"),
        ("HTTP_TIMEOUTS", "HTTP_TIMEOUT"),
    ] {
        let finding = only(Place::new().env(&[&format!("{written}=1")]));
        assert_eq!((finding.severity, finding.nearest.as_deref()), (Severity::Warning, Some(meant)));
    }
    let quiet = [
        "POSTGRES_USER=x",
        "HOME=/",
        "PATH=/bin",
        "VLLM_LOGGING_LEVEL=x",
        "OPENAI_MODEL=x",
        "PORTS=1",
        "HOSTNAME=x",
        "LANG=C",
    ];
    assert_eq!(Place::new().env(&quiet).findings(), Vec::<String>::new());
}

#[test]
fn unequal_spellings_of_one_setting_stop_the_start() {
    assert_eq!(only(Place::new().env(&["PORT=1", "FERROVIA_PORT=2"])).severity, Severity::Error);
    assert!(Place::new().env(&["PORT=1", "FERROVIA_PORT=1"]).load().is_ok());
    let quarrel = only(Place::new().env(&["FERROVIA_CACHE_DIR=a", "GOMODEL_CACHE_DIR=b"]));
    assert!(quarrel.problem.contains("two names of one setting"), "{quarrel}");
}

#[test]
fn flags_are_checked_too() {
    let finding = only(Place::new().flag("server.prot", "1"));
    assert_eq!(
        (finding.source.to_string().as_str(), finding.nearest.as_deref()),
        ("flag server.prot", Some("server.port"))
    );
    assert_eq!(only(Place::new().flag("server.port", "x")).setting, "server.port");
}

#[test]
fn the_host_is_an_address() {
    assert_eq!(only(Place::new().yaml("server: {host: example}")).setting, "server.host");
    for fine in ["127.0.0.1", "::1", "localhost"] {
        assert!(Place::new().env(&[&format!("FERROVIA_HOST={fine}")]).load().is_ok());
    }
}

#[test]
fn lists_of_origins_and_routes_are_checked() {
    assert!(Place::new().yaml("server: {cors_allowed_origins: ['https://a.b:1', '*'], passthrough_control_routes: {allow: [/sleep]}}").load().is_ok());
    assert_eq!(
        only(Place::new().yaml("server: {cors_allowed_origins: ['https://a.b/c']}")).setting,
        "server.cors_allowed_origins"
    );
    assert_eq!(
        only(Place::new().yaml("server: {passthrough_control_routes: {deny: [sleep]}}")).setting,
        "server.passthrough_control_routes.deny"
    );
}

#[test]
fn a_provider_that_cannot_be_used_hides_nothing_that_is_wrong_with_it() {
    let yaml = "\
providers:
  my engine:
    bse_url: http://h
    timeouts: {idle: soon}
  other:
    type: vlm
    base_url: ftp://h
x: 1
";
    let report = Place::new().yaml(yaml).report();
    let settings: Vec<_> = report.findings.iter().map(|f| f.setting.as_str()).collect();
    for wanted in [
        "providers.my engine",
        "providers.my engine.bse_url",
        "providers.my engine.timeouts.idle",
        "providers.other.type",
        "providers.other.base_url",
        "x",
    ] {
        assert!(settings.contains(&wanted), "{wanted} in {report}");
    }
    let x = report.findings.iter().find(|f| f.setting == "x").expect("it was just seen");
    assert_eq!(x.nearest, None, "one letter is like nothing");
}

#[test]
fn paths_that_nobody_could_ask_for_are_refused() {
    assert_eq!(only(Place::new().yaml("server: {base_path: '/a?b'}")).setting, "server.base_path");
    assert_eq!(only(Place::new().yaml("server: {base_path: '/a b'}")).setting, "server.base_path");
    assert_eq!(only(Place::new().yaml("metrics: {endpoint: /health}")).severity, Severity::Warning);
}
