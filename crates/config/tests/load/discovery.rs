//! Which variables make which providers.

use crate::Place;

/// Loads these variables (and this file) and compares the providers, each as `name type address key,key models`.
fn check(yaml: &str, env: &[&str], expect: &[&str]) {
    let mut place = Place::new().env(env);
    if !yaml.is_empty() {
        place = place.yaml(yaml);
    }
    let loaded = place.ok();
    let found: Vec<String> = loaded
        .providers
        .iter()
        .map(|p| {
            let keys: Vec<&str> = p.api_keys.iter().map(|k| k.reveal()).collect();
            let models: Vec<&str> = p.models.iter().map(|m| m.id.as_str()).collect();
            format!("{} {} {} {} {}", p.name, p.kind, p.base_url, keys.join(","), models.join(","))
                .trim_end()
                .to_owned()
        })
        .collect();
    assert_eq!(found, expect, "{yaml}\n{env:?}\n{:#?}", loaded.warnings);
}

const OPENAI: &str = "https://api.openai.com/v1";

#[test]
fn a_type_alone_makes_the_instance_of_its_name() {
    check("", &[], &[]);
    check("", &["VLLM_BASE_URL=http://a:1/v1"], &["vllm vllm http://a:1/v1"]);
    check("", &["VLLM_API_KEY=k"], &["vllm vllm http://localhost:8000/v1 k"]);
    check("", &["VLLM_MODELS=m"], &["vllm vllm http://localhost:8000/v1  m"]);
    check("", &["VLLM_BASE_URL="], &[]);
    check("", &["OPENAI_API_KEY=k"], &[&format!("openai openai {OPENAI} k")]);
    check("", &["OPENAI_BASE_URL=http://a"], &[]);
    check(
        "",
        &["OPENAI_API_KEY=k", "OPENAI_MODELS= a/b, ,c,a/b"],
        &[&format!("openai openai {OPENAI} k a/b,c")],
    );
    check("", &["LLAMACPP_API_KEY=k"], &[]);
    check("", &["LLAMACPP_BASE_URL=http://a:1"], &["llamacpp llamacpp http://a:1"]);
}

#[test]
fn a_suffix_makes_a_further_instance() {
    check("", &["VLLM_TEST_BASE_URL=http://a:1"], &["vllm-test vllm http://a:1"]);
    check(
        "",
        &["VLLM_BASE_URL=http://a:1", "VLLM_TEST_BASE_URL=http://b:2", "VLLM_TEST_API_KEY=k"],
        &["vllm vllm http://a:1", "vllm-test vllm http://b:2 k"],
    );
    check("", &["OPENAI_EU_WEST_API_KEY=k"], &[&format!("openai-eu-west openai {OPENAI} k")]);
    check("", &["VLLM_2_BASE_URL=http://a:1"], &["vllm-2 vllm http://a:1"]);
    check("", &["VLLM_test_BASE_URL=http://a:1"], &["vllm-test vllm http://a:1"]);
    check(
        "",
        &["VLLM_TEST_BASE_URL=http://a:1", "VLLM_test_BASE_URL=http://b:1", "VLLM_test_API_KEY=k"],
        &["vllm-test vllm http://b:1 k"],
    );
    for malformed in [
        "VLLM__BASE_URL",
        "VLLM_A__B_BASE_URL",
        "VLLM__A_BASE_URL",
        "VLLM_A-B_BASE_URL",
        "VLLM_A__BASE_URL",
        "VLLMX_BASE_URL",
    ] {
        check("", &[&format!("{malformed}=http://a:1")], &[]);
    }
}

#[test]
fn the_longest_type_prefix_wins_and_fields_are_matched_from_the_right() {
    check(
        "",
        &["OPENAI_COMPATIBLE_BASE_URL=http://a:1"],
        &["openai-compatible openai_compatible http://a:1"],
    );
    check(
        "",
        &["OPENAI_COMPATIBLE_X_BASE_URL=http://a:1"],
        &["openai-compatible-x openai_compatible http://a:1"],
    );
    check("", &["OPENAI_COMPATIBLE_API_KEY=k"], &[]);
    check(
        "",
        &["BEDROCK_MANTLE_BASE_URL=https://a", "BEDROCK_MANTLE_API_KEY=k"],
        &["bedrock-mantle bedrock-mantle https://a k"],
    );
    check("", &["VLLM_API_KEY_BASE_URL=http://a:1"], &["vllm-api-key vllm http://a:1"]);
    check("", &["VLLM_BASE_URL_MODELS=m"], &["vllm-base-url vllm http://localhost:8000/v1  m"]);
    check("", &["VLLM_LOGGING_LEVEL=info", "VLLM_HOST_IP=1.2.3.4", "OPENAI_ORG_ID=x"], &[]);
    check("", &["OPENAI_API_VERSION=2024"], &[]);
    check("", &["VLLM_API_VERSION=2024"], &[]);
}

#[test]
fn numbered_keys_belong_to_one_instance() {
    check(
        "",
        &["OPENAI_API_KEY=a", "OPENAI_API_KEY_2=b", "OPENAI_API_KEY_9=c"],
        &[&format!("openai openai {OPENAI} a,b,c")],
    );
    check("", &["OPENAI_API_KEY_2=b"], &[&format!("openai openai {OPENAI} b")]);
    check("", &["OPENAI_API_KEY=a", "OPENAI_API_KEY_2=a"], &[&format!("openai openai {OPENAI} a")]);
    check(
        "",
        &["OPENAI_API_KEY_10=j", "OPENAI_API_KEY_9=i", "OPENAI_API_KEY=a"],
        &[&format!("openai openai {OPENAI} a,i,j")],
    );
    check(
        "",
        &["OPENAI_EU_API_KEY=a", "OPENAI_EU_API_KEY_2=b"],
        &[&format!("openai-eu openai {OPENAI} a,b")],
    );
    check("", &["OPENAI_REGION_2_API_KEY=a"], &[&format!("openai-region-2 openai {OPENAI} a")]);
    check("", &["OPENAI_API_KEY_0=a", "OPENAI_API_KEY_X=b"], &[]);
    check(
        "providers: {openai: {api_key: yaml, api_keys: [yaml2]}}",
        &["OPENAI_API_KEY=env"],
        &[&format!("openai openai {OPENAI} env")],
    );
}

#[test]
fn the_environment_lies_over_the_file() {
    let yaml = "providers:\n  vllm:\n    type: vllm\n    base_url: http://yaml:1\n    models: [y]\n";
    check(yaml, &[], &["vllm vllm http://yaml:1  y"]);
    check(yaml, &["VLLM_BASE_URL=http://env:1"], &["vllm vllm http://env:1  y"]);
    check(yaml, &["VLLM_MODELS=e", "VLLM_API_KEY=k"], &["vllm vllm http://yaml:1 k e"]);
    check(
        yaml,
        &["VLLM_TEST_BASE_URL=http://env:1"],
        &["vllm vllm http://yaml:1  y", "vllm-test vllm http://env:1"],
    );
    let suffixed = "providers: {vllm-test: {type: vllm, base_url: 'http://yaml:1'}}";
    check(suffixed, &["VLLM_TEST_API_KEY=k"], &["vllm-test vllm http://yaml:1 k"]);
    let compatible = "providers: {openai_compatible: {base_url: 'http://yaml:1'}}";
    check(
        compatible,
        &["OPENAI_COMPATIBLE_API_KEY=k"],
        &["openai_compatible openai_compatible http://yaml:1 k"],
    );
}

#[test]
fn a_single_renamed_provider_takes_the_plain_variables_with_a_warning() {
    let yaml = "providers: {mine: {type: vllm, base_url: 'http://yaml:1'}}";
    check(yaml, &["VLLM_API_KEY=k"], &["mine vllm http://yaml:1 k"]);
    let place = Place::new().yaml(yaml).env(&["VLLM_API_KEY=k"]);
    assert_eq!(
        place.findings(),
        [
            "Warning environment variable VLLM_API_KEY mine: VLLM_API_KEY applies to `mine`, the only provider of type vllm in the file"
        ]
    );

    let two = "providers: {a: {type: vllm, base_url: 'http://a:1'}, b: {type: vllm, base_url: 'http://b:1'}}";
    check(two, &["VLLM_API_KEY=k"], &["a vllm http://a:1", "b vllm http://b:1"]);
    let warned = Place::new().yaml(two).env(&["VLLM_API_KEY=k"]).findings();
    assert_eq!(
        warned,
        [
            "Warning environment variable VLLM_API_KEY vllm: VLLM_API_KEY is ignored: the file has 2 providers of type vllm"
        ]
    );

    let referring = "providers: {a: {type: vllm, api_key: '${VLLM_API_KEY}'}, b: {type: vllm}}";
    let quiet = Place::new().yaml(referring).env(&["VLLM_API_KEY=k"]);
    assert_eq!(quiet.findings(), Vec::<String>::new());
    let keys: Vec<usize> = quiet.ok().providers.iter().map(|p| p.api_keys.len()).collect();
    assert_eq!(keys, [1, 0], "a key reaches only the provider that refers to it");
}

#[test]
fn one_name_with_two_types_stops_the_start() {
    for (yaml, env) in [
        ("providers: {vllm: {type: openai, api_key: k}}", "VLLM_BASE_URL=http://a:1"),
        ("providers: {vllm-test: {type: openai, api_key: k}}", "VLLM_TEST_BASE_URL=http://a:1"),
    ] {
        let report = Place::new().yaml(yaml).env(&[env]).report();
        assert_eq!(report.errors(), 1, "{report}");
        assert!(report.findings[0].problem.contains("another type"), "{report}");
    }
}

#[test]
fn a_folder_in_ollama_models_is_no_list_of_models() {
    for path in ["/var/lib/ollama/models", "~/models", "C:\\models", "./models"] {
        let place = Place::new().env(&[&format!("OLLAMA_MODELS={path}")]);
        assert!(place.ok().providers.is_empty());
        assert_eq!(place.findings().len(), 1);
    }
    check("", &["OLLAMA_MODELS=/data", "OLLAMA_BASE_URL=http://a:1"], &["ollama ollama http://a:1"]);
    check(
        "",
        &["OLLAMA_MODELS=llama3.2,qwen3"],
        &["ollama ollama http://localhost:11434/v1  llama3.2,qwen3"],
    );
}

#[test]
fn types_that_are_not_built_are_left_out_with_one_warning() {
    let place = Place::new()
        .yaml("providers: {groq: {type: groq, api_key: '${GROQ_API_KEY}', odd_key: 1}}")
        .env(&["GROQ_API_KEY=gsk-1"]);
    assert!(place.ok().providers.is_empty());
    assert_eq!(
        place.findings(),
        [
            "Warning config.yaml:1:13 providers.groq: providers of type groq are known, but not built in this version; `groq` is left out"
        ]
    );
    assert!(place.ok().secrets.iter().any(|s| s.reveal() == "gsk-1"), "its key is masked all the same");
    let from_env = Place::new().env(&[
        "AZURE_OPENAI_API_KEY=k",
        "AZURE_OPENAI_BASE_URL=https://a",
        "AZURE_OPENAI_API_VERSION=1",
        "GROQ_BASE_URL=x",
    ]);
    let found = from_env.findings();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("`azure-openai`"), "{found:?}");
}

#[test]
fn further_fields_come_from_variables() {
    let env = [
        "VLLM_BASE_URL=http://a:1",
        "VLLM_API_MODE=chat",
        "VLLM_SESSION_STICKY_KEYS=false",
        "VLLM_MODEL_FILTER_INCLUDE=*:free, a*",
        "VLLM_MODEL_FILTER_EXCLUDE=*-preview",
    ];
    let loaded = Place::new().env(&env).load().expect("warnings at most");
    let vllm = &loaded.providers[0];
    assert_eq!((vllm.api_mode.as_deref(), vllm.session_sticky_keys), (Some("chat"), false));
    assert_eq!(
        (vllm.filter.include.as_slice(), vllm.filter.exclude.len()),
        (&["*:free".to_owned(), "a*".to_owned()][..], 1)
    );
    let capped =
        Place::new().env(&["VLLM_BASE_URL=http://a:1", "VLLM_MODEL_FILTER_MAX_PRICE_PER_MTOK=0"]).report();
    assert!(capped.findings[0].problem.contains("protects"), "{capped}");
}
