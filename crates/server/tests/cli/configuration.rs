//! `check` and `config`: what is wrong is all told at once, and secrets are never shown.

use serde_json::Value;

use crate::process::ferrovia;

const BAD: &str = "server:\n  prot: 9000\n  base_path: /ai\nproviders:\n  local:\n    type: vlm\n    base_url: localhost:8000\n";

#[test]
fn every_finding_is_told_at_once() {
    let check = |arguments: &[&str]| {
        ferrovia(arguments)
            .file("config.yaml", BAD)
            .file(".env", "PORT=many\n")
            .env("LOG_LEVEL", "loud")
            .run()
            .code(1)
    };
    check(&["check"]).says(&[
        "errors",
        "config.yaml:2:3",
        "server.port",
        "there is no provider type `vlm`",
        "did you mean `vllm`?",
        "PORT",
        "LOG_LEVEL",
        "fix:",
    ]);
    let told = check(&["check", "--json"]).json();
    assert_eq!(told["ok"], false);
    let findings = told["findings"].as_array().expect("findings");
    assert_eq!(told["errors"].as_u64(), Some(findings.len() as u64));
    assert!(findings.len() >= 4, "{told:#}");
    let prot = findings.iter().find(|one| one["line"] == 2).unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(
        (&prot["file"], &prot["column"], &prot["nearest"]),
        (&"config.yaml".into(), &3.into(), &"server.port".into())
    );
}

#[test]
fn nothing_that_is_wrong_is_served() {
    let done = ferrovia(&[]).file("config.yaml", BAD).run().code(1);
    assert!(done.err.contains("config.yaml:2:3"), "{}", done.err);
}

#[test]
fn a_valid_configuration_is_summed_up() {
    let set_up = |arguments: &[&str]| {
        ferrovia(arguments)
            .file("config.yaml", "server: { base_path: /ai, host: 127.0.0.1 }\n")
            .env("VLLM_BASE_URL", "http://gpu-1:8000/v1")
            .env("VLLM_API_KEY", "sk-upstream")
            .env("OPENAI_BASE_URL", "http://elsewhere/v1")
    };
    let done = set_up(&["check", "--port", "9001"]).run().code(0);
    let done =
        done.says(&["config.yaml", "http://127.0.0.1:9001/ai", "http://gpu-1:8000/v1", "none: everybody"]);
    assert!(!done.out.contains("sk-upstream"), "{}", done.out);
    let told = set_up(&["--port", "9001", "check", "--json"]).run().code(0).json();
    assert_eq!((&told["ok"], &told["listen"]), (&true.into(), &"http://127.0.0.1:9001/ai".into()));
    assert_eq!(told["providers"][0]["name"], "vllm");
    assert_eq!(told["providers"][0]["keys"], 1);
}

#[test]
fn settings_are_shown_with_their_place_and_without_their_secrets() {
    let show = |arguments: &[&str]| {
        ferrovia(arguments)
            .file("config.yaml", "server:\n  base_path: /ai\n")
            .file(".env", "VLLM_BASE_URL=http://gpu-1:8000/v1\nVLLM_API_KEY=sk-upstream\n")
            .env("FERROVIA_MASTER_KEY", "sk-master")
            .run()
            .code(0)
    };
    let done = show(&["config", "show", "--set", "log.level=warn"]);
    let row = |path: &str| {
        let row = done.out.lines().find(|line| line.split_whitespace().next() == Some(path));
        row.unwrap_or_else(|| panic!("no {path} in:\n{}", done.out))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(row("server.base_path"), "server.base_path config.yaml:2:14 /ai");
    assert_eq!(row("server.master_key"), "server.master_key environment variable FERROVIA_MASTER_KEY ***");
    assert_eq!(row("providers.vllm.api_key"), "providers.vllm.api_key .env:2:1 VLLM_API_KEY ***");
    assert_eq!(row("log.level"), "log.level flag log.level warn");
    assert_eq!(row("server.port"), "server.port default 8080");
    assert!(!done.out.contains("sk-"), "{}", done.out);

    let told = show(&["config", "show", "server.base_path", "--json"]).json();
    assert_eq!(
        told,
        serde_json::json!([{ "path": "server.base_path", "value": "/ai", "source": "config.yaml:2:14" }])
    );
    let changed = show(&["config", "show", "--changed", "--json", "server"]).json();
    assert_eq!(changed.as_array().map(Vec::len), Some(2), "{changed}");
    let done = ferrovia(&["config", "show", "serve"]).run().code(1);
    assert!(done.err.contains("nothing is set below"), "{}", done.err);
}

#[test]
fn a_secret_behind_a_reference_is_not_shown_either() {
    let done = ferrovia(&["config", "show"])
        .file("config.yaml", "providers:\n  vllm:\n    api_key: ${env:HIDDEN}\n")
        .env("HIDDEN", "sk-hidden")
        .run()
        .code(0);
    assert!(done.out.contains("***") && !done.out.contains("sk-hidden"), "{}", done.out);
}

#[test]
fn what_is_generated_is_what_loads() {
    let schema: Value = ferrovia(&["config", "schema"]).run().code(0).json();
    assert_eq!(schema["title"], "Ferrovia configuration");
    let example = ferrovia(&["config", "example"]).run().code(0).out;
    ferrovia(&["check"]).file("config.yaml", &example).run().code(0).says(&["config.yaml", "is valid"]);
    let template = ferrovia(&["config", "env"]).run().code(0).out;
    ferrovia(&["check"]).file(".env", &template).run().code(0).says(&["is valid"]);
    ferrovia(&["config", "reference"]).run().code(0).says(&["# Configuration reference", "`server.port`"]);
}
