//! Secrets: where they may come from, and that they are never shown.

use crate::Place;

#[test]
fn references_work_in_every_text() {
    let place = Place::new().file("key", "from-file\n");
    let file = place.path().join("key").display().to_string();
    let place = place
        .yaml(&format!("server:\n  master_key: ${{file:{file}}}\n  user_path_header: X-${{env:TEAM}}\nproviders:\n  openai: {{api_key: 'pre-${{env:REAL}}'}}\n"))
        .env(&["REAL=sk", "TEAM=Team", "VLLM_BASE_URL=http://${env:VHOST}:1", "VHOST=h", &format!("VLLM_API_KEY=${{file:{file}}}")]);
    let loaded = place.ok();
    assert_eq!(loaded.config.server.master_key.reveal(), "from-file");
    assert_eq!(loaded.config.server.user_path_header, "X-Team");
    assert_eq!(loaded.providers[0].api_keys[0].reveal(), "pre-sk");
    assert_eq!(
        (loaded.providers[1].base_url.as_str(), loaded.providers[1].api_keys[0].reveal()),
        ("http://h:1", "from-file")
    );
}

#[test]
fn a_reference_that_leads_nowhere_stops_the_start() {
    for (yaml, place) in [
        ("server: {master_key: '${env:NOBODY}'}", "config.yaml:1:22"),
        ("providers: {vllm: {api_key: '${file:/no/such/file}'}}", "config.yaml:1:29"),
        ("server: {base_path: '${NOBODY}'}", "config.yaml:1:21"),
    ] {
        let report = Place::new().yaml(yaml).report();
        assert_eq!((report.errors(), report.findings[0].source.to_string().as_str()), (1, place), "{report}");
    }
    let report = Place::new().env(&["FERROVIA_MASTER_KEY=${MASTER_KEY}"]).report();
    assert!(report.findings[0].problem.contains("placeholder ${MASTER_KEY}"), "{report}");
}

#[test]
fn an_empty_key_file_never_opens_the_gateway() {
    for content in ["", "\n", "  \n"] {
        let place = Place::new().file("key", content);
        let file = place.path().join("key").display().to_string();
        let report = place.env(&[&format!("GOMODEL_MASTER_KEY=${{file:{file}}}")]).report();
        assert!(report.findings[0].problem.contains("empty key"), "{report}");
    }
    assert_eq!(Place::new().env(&["FERROVIA_MASTER_KEY=   "]).report().errors(), 1);
}

#[test]
fn dollars_in_passwords_stay() {
    let loaded = Place::new()
        .yaml("server: {master_key: 'pa$$w0rd$5 $HOME'}")
        .file(".env", "OPENAI_API_KEY=a$b$$c\n")
        .ok();
    assert_eq!(loaded.config.server.master_key.reveal(), "pa$$w0rd$5 $HOME");
    assert_eq!(loaded.providers[0].api_keys[0].reveal(), "a$b$$c");
    let escaped = Place::new().yaml("server: {master_key: '$${not}'}").ok();
    assert_eq!(escaped.config.server.master_key.reveal(), "${not}");
}

#[test]
fn no_rendering_and_no_finding_shows_a_secret() {
    let secrets = ["mk-4711", "sk-one", "sk-two", "hdr-99", "proxy-pw"];
    let yaml = "server: {master_key: mk-4711}\nproviders:\n  vllm:\n    api_key: sk-one\n    api_keys: [sk-two]\n    headers: {X-Auth: Bearer hdr-99, X-Team: search}\n    \
                proxy_url: http://u:proxy-pw@p:1\n";
    let loaded = Place::new().yaml(yaml).ok();
    let mut shown = format!(
        "{:?} {:?} {}",
        loaded.config,
        loaded.providers,
        serde_json::to_string(&loaded.config).unwrap()
    );
    shown +=
        &loaded.origins.iter().map(|e| format!("{} {} {}\n", e.path, e.value, e.origin)).collect::<String>();
    let masked: Vec<&str> = loaded.secrets.iter().map(|s| s.reveal()).collect();
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is shown");
        assert!(masked.contains(&secret), "{secret} is not masked by itself");
    }
    assert!(!masked.contains(&"search"), "an ordinary word stays readable");
    assert_eq!(loaded.origins.get("server.master_key").unwrap().value, "***");
    assert_eq!(loaded.origins.get("providers.vllm.api_keys").unwrap().value, "***");

    let wrong = Place::new()
        .yaml("server: {master_key: [mk-4711]}\nproviders: {vllm: {api_key: {a: sk-one}, proxy_url: 'ftp://proxy-pw'}, x: {type: vllm, api_key: \"sk-two\\n\", headers: [hdr-99]}}\n")
        .env(&["GOMODEL_MASTER_KEY=mk-4711", "AURORA_MASTER_KEY=mk-other", "PORT=${env:KEY}", "KEY=sk-one", "STORAGE_TYPE=sk-two"]);
    let text = wrong.report().to_string();
    for secret in secrets.into_iter().chain(["mk-other"]) {
        assert!(!text.contains(secret), "{secret} is shown in\n{text}");
    }
}

#[test]
fn a_key_that_a_reference_put_in_the_wrong_place_is_not_shown() {
    let place = Place::new()
        .env(&["LOST_KEY=sk-in-the-wrong-place"])
        .flag("providers.a.type", "${env:LOST_KEY}")
        .flag("server.user_path_header", "X ${env:LOST_KEY}");
    let report = place.report().to_string();
    assert!(
        report.contains("there is no provider type") && report.contains("is not a header name"),
        "{report}"
    );
    assert!(!report.contains("sk-in-the-wrong-place"), "{report}");
}
