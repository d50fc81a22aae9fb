//! Provider blocks: what is filled in, what is overridden, what is left out.

use std::time::Duration;

use crate::Place;

#[test]
fn limits_follow_the_kind_of_provider() {
    let yaml = "providers:\n  vllm: {}\n  openai: {api_key: k}\n  slow: {type: vllm, timeouts: {first_byte: 20m, idle: 0, total: 90}}\n";
    let loaded = Place::new().yaml(yaml).ok();
    let limits = |name: &str| {
        let t = loaded.providers.iter().find(|p| p.name == name).unwrap().timeouts;
        let seconds = |d: Option<Duration>| d.map(|d| d.as_secs());
        (t.connect.as_secs(), seconds(t.first_byte), seconds(t.idle), seconds(t.total))
    };
    assert_eq!(limits("vllm"), (2, Some(600), Some(300), None));
    assert_eq!(limits("openai"), (10, Some(600), Some(300), Some(600)));
    assert_eq!(limits("slow"), (2, Some(1200), None, Some(90)));
    let loaded = Place::new()
        .yaml("providers: {vllm: {}}")
        .env(&["HTTP_TIMEOUT=30", "FERROVIA_CONNECT_TIMEOUT=500ms"])
        .ok();
    let timeouts = loaded.providers[0].timeouts;
    assert_eq!(
        (timeouts.total, timeouts.connect),
        (Some(Duration::from_secs(30)), Duration::from_millis(500))
    );
}

#[test]
fn resilience_is_overridden_field_by_field() {
    let yaml = "resilience: {retry: {max_retries: 7}, circuit_breaker: {timeout: 5s}}\n\
                providers:\n  a: {type: vllm, resilience: {retry: {max_retries: 0}}}\n  b: {type: vllm}\n";
    let loaded = Place::new().yaml(yaml).env(&["RETRY_MAX_BACKOFF=9s"]).ok();
    let [a, b] = &loaded.providers[..] else { panic!("two providers") };
    assert_eq!((a.retry.max_retries, b.retry.max_retries), (0, 7));
    assert_eq!((a.retry.max_backoff.as_secs(), a.breaker.timeout.as_secs()), (9, 5));
    assert_eq!(
        loaded.origins.get("providers.b.resilience.retry.max_retries").unwrap().origin.to_string(),
        "config.yaml:1:35"
    );
}

#[test]
fn calls_in_flight_are_limited_for_each_instance() {
    let yaml = "providers:\n  a: {type: vllm, max_in_flight: 8}\n  b: {type: vllm}\n  c: {type: vllm, max_in_flight: 0}\n";
    let loaded =
        Place::new().yaml(yaml).env(&["VLLM_GPU_BASE_URL=http://g:1", "VLLM_GPU_MAX_IN_FLIGHT=3"]).ok();
    let limits: Vec<_> = loaded.providers.iter().map(|p| (p.name.as_str(), p.max_in_flight)).collect();
    assert_eq!(limits, [("a", Some(8)), ("b", None), ("c", None), ("vllm-gpu", Some(3))]);
    for wrong in ["-1", "many", "1.5"] {
        let yaml = format!("providers: {{a: {{type: vllm, max_in_flight: {wrong}}}}}");
        assert_eq!(Place::new().yaml(&yaml).report().errors(), 1, "{wrong}");
    }
}

#[test]
fn bifrosts_spellings_are_ours() {
    let yaml = "providers:\n  vllm:\n    network_config: {base_url: 'http://b:8000', default_request_timeout_in_seconds: 30}\n";
    let vllm = &Place::new().yaml(yaml).ok().providers[0];
    assert_eq!(
        (vllm.base_url.as_str(), vllm.timeouts.total),
        ("http://b:8000", Some(Duration::from_secs(30)))
    );
    let both = "providers: {vllm: {base_url: 'http://a:1', network_config: {base_url: 'http://b:1'}}}";
    assert_eq!(Place::new().yaml(both).report().errors(), 1);
}

#[test]
fn models_may_carry_metadata() {
    let yaml = "providers:\n  vllm:\n    models:\n      - plain/id\n      - id: rich\n        metadata: {context_window: 8192, price: 1.5, modes: [chat], name: \"8\", on: true, none: ~}\n";
    let models = &Place::new().yaml(yaml).ok().providers[0].models;
    assert_eq!((models[0].id.as_str(), &models[0].metadata), ("plain/id", &None));
    let expect = serde_json::json!({"context_window": 8192, "price": 1.5, "modes": ["chat"], "name": "8", "on": true, "none": null});
    assert_eq!(models[1].metadata, Some(expect));
}

#[test]
fn what_is_unresolved_is_left_out_with_a_warning() {
    let yaml = "providers:\n  openai: {api_key: '${OPENAI_KEY_X}'}\n  vllm: {base_url: 'http://a:1', api_key: '${VLLM_KEY_X}'}\n  far: {type: vllm, base_url: '${FAR_URL}'}\n";
    let place = Place::new().yaml(yaml);
    let loaded = place.ok();
    let names: Vec<&str> = loaded.providers.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["vllm"]);
    assert!(loaded.providers[0].api_keys.is_empty());
    assert_eq!(
        place.findings(),
        [
            "Warning config.yaml:2:21 providers.openai.api_key: ${OPENAI_KEY_X} is not set; `openai` is left out",
            "Warning config.yaml:3:43 providers.vllm.api_key: ${VLLM_KEY_X} is not set; `vllm` is used without a key",
            "Warning config.yaml:4:31 providers.far.base_url: ${FAR_URL} is not set; `far` is left out",
        ]
    );
    let filled = Place::new().yaml("providers: {openai: {api_key: '${NOBODY}'}}").env(&["OPENAI_API_KEY=k"]);
    assert_eq!(
        (filled.ok().providers.len(), filled.findings().len()),
        (1, 0),
        "the environment fills the gap"
    );
    let placeholder = Place::new().env(&["OPENAI_API_KEY=${OPENAI_KEY}", "VLLM_BASE_URL=${VLLM_URL}"]);
    assert!(placeholder.ok().providers.is_empty());
    assert_eq!(placeholder.findings().len(), 2);
}

#[test]
fn a_file_that_lists_every_provider_starts() {
    let yaml = "providers:\n  openai: {type: openai, api_key: '${OPENAI_API_KEY}'}\n  groq: {type: groq, api_key: '${GROQ_API_KEY}'}\n  \
                azure: {type: azure, base_url: '${AZURE_BASE_URL}', api_key: '${AZURE_API_KEY}', api_version: '2024-10-21'}\n  \
                ollama: {type: ollama, base_url: 'http://localhost:11434/v1'}\n  llamacpp: {type: llamacpp}\n";
    let place = Place::new().yaml(yaml);
    let names: Vec<String> = place.ok().providers.into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["ollama"]);
    assert_eq!(place.findings().len(), 4, "{:?}", place.findings());
}

#[test]
fn addresses_keys_and_headers_are_checked() {
    let check = |block: &str, expect: &str| {
        let findings = Place::new().yaml(&format!("providers: {{x: {{type: vllm, {block}}}}}")).findings();
        match expect {
            "" => assert!(findings.is_empty(), "{block}: {findings:?}"),
            _ => assert!(
                findings.len() == 1 && findings[0].starts_with("Error") && findings[0].contains(expect),
                "{block}: {findings:?}"
            ),
        }
    };
    for fine in [
        "http://a:1",
        "https://a.b-c.d/v1/",
        "http://[::1]:8000/v1",
        "http://host.docker.internal:8000/v1",
        "http://my_host",
    ] {
        check(&format!("base_url: '{fine}'"), "");
    }
    check("base_url: 'localhost:8000'", "neither with http:// nor with https://");
    check("base_url: 'http://'", "no valid host");
    check("base_url: 'http://a:99999'", "no valid host");
    check("base_url: 'http://a b'", "no valid host");
    check("base_url: 'http://user:pass@a'", "holds credentials");
    check("base_url: 'http://a/v1?key=x'", "a query");
    check("api_key: \"a\\nb\"", "cannot be sent in a header");
    check("proxy_url: 'ftp://a:1'", "not the address of a proxy");
    check("headers: {X-Team: search}", "");
    check("headers: {'X Team': search}", "not a header name");
    check("headers: {Host: evil}", "set by the gateway itself");
}

#[test]
fn a_provider_behind_a_proxy_is_not_reached_directly() {
    let loaded = Place::new()
        .yaml("providers: {vllm: {base_url: 'http://a', proxy_url: 'socks5h://u:p@a:1080'}}")
        .load()
        .expect("a warning");
    assert!(loaded.providers.is_empty());
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].problem.contains("left out") && !loaded.warnings[0].problem.contains("u:p"));
}
