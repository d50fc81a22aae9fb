//! The configuration read again while it is in force: what it changes, and what it leaves alone.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{FakeUpstream, Gate, Reply, Request, eventually};

use crate::gateway::{Setup, TestGateway};
use crate::peer::{Certificate, talk};
use crate::vllm::{self, ASK, ASK_STREAM, FIRST, LAST, PROBES, REPLY, events};

const CHAT: &str = "/v1/chat/completions";

/// A configuration with these vLLM instances, and more settings.
fn yaml(instances: &[(&str, &FakeUpstream)], more: &str) -> String {
    let mut text = format!("{more}\nproviders:\n");
    for (name, upstream) in instances {
        text += &format!("  {name}:\n    type: vllm\n    base_url: {}/v1\n", upstream.url());
    }
    if instances.is_empty() {
        text += "  {}\n";
    }
    text
}

/// Puts a file in the place of another one, as editors and orchestrators do.
fn replace(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("the folder can be written");
    std::fs::rename(new, folder.join(name)).expect("the file can be replaced");
}

/// A gateway that reloads when it is asked to, and never by itself.
fn unwatched(config: &str) -> Setup {
    TestGateway::setup().env("CONFIG_WATCH", "false").env("METRICS_ENABLED", "true").yaml(config)
}

/// Waits for the line about the configuration that is the nth one in force.
async fn reloaded(gateway: &TestGateway, nth: u64) -> Value {
    let told = |line: &Value| {
        line["message"].as_str().is_some_and(|m| m.starts_with("configuration reloaded"))
            && line["revision"] == nth
    };
    gateway.line(&format!("that configuration {nth} is in force"), told).await
}

/// Another configuration, and the signal to read it.
async fn edit(gateway: &TestGateway, config: &str, nth: u64) -> Value {
    replace(gateway.folder(), "config.yaml", config);
    gateway.hang_up();
    reloaded(gateway, nth).await
}

async fn answered(gateway: &TestGateway, provider: &str) {
    let told = |line: &Value| line["message"] == "provider answered" && line["provider"] == provider;
    gateway.line(&format!("that {provider} answered"), told).await;
}

async fn models(gateway: &TestGateway) -> Vec<String> {
    let list = gateway.get("/v1/models").await.json();
    let ids = list["data"].as_array().expect("a list").iter();
    ids.map(|model| model["id"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn ask(gateway: &TestGateway, model: &str) -> testkit::Response {
    gateway.post(CHAT, ASK.replace("tiny", model)).await
}

#[tokio::test]
async fn an_edit_holds_for_new_calls_and_those_under_way_end_as_they_began() {
    let gate = Gate::new();
    let old = vllm::streaming(Reply::sse().event(FIRST).gate(&gate).event(LAST).done()).await;
    let new = vllm::engine_with(&["large"]).await;
    new.on("POST", CHAT).then(Reply::json(200, REPLY));
    // no clock but the reload makes it ask the new one
    let setup = unwatched(&yaml(&[("vllm-old", &old)], "")).env("PROVIDER_RECHECK_INTERVAL", "0");
    let gateway = setup.awaiting("vllm-old").start().await;
    let mut under_way = gateway.connect().await;
    let stream = Request::post(CHAT).header("x-request-id", "r-1").json(ASK_STREAM);
    under_way.request(&stream).await.unwrap();
    under_way.next_event().await.unwrap();
    let mut kept = gateway.connect().await;
    assert_eq!(kept.exchange(&Request::get("/v1/models")).await.json()["data"][0]["id"], "vllm-old/tiny");

    let line = edit(&gateway, &yaml(&[("vllm-new", &new)], ""), 2).await;
    assert_eq!((&line["level"], &line["cause"]), (&"INFO".into(), &"SIGHUP".into()), "{line}");
    assert_eq!(line["changed"], "providers.vllm-old, providers.vllm-new", "{line}");
    answered(&gateway, "vllm-new").await;
    assert_eq!(models(&gateway).await, ["vllm-new/large"]);
    assert_eq!(gateway.line_of(&ask(&gateway, "large").await).await["provider"], "vllm-new");
    assert_eq!(ask(&gateway, "vllm-old/tiny").await.status, 400, "it is gone at once");
    // connections of clients outlive it
    assert_eq!(kept.exchange(&Request::get("/v1/models")).await.json()["data"][0]["id"], "vllm-new/large");
    gate.open();
    assert_eq!(under_way.response().await.text(), events(&[FIRST, LAST, "[DONE]"]));
    let line = gateway.call_line("r-1").await;
    assert_eq!((&line["outcome"], &line["provider"]), (&"complete".into(), &"vllm-old".into()));
    eventually(Duration::from_secs(10), || old.open_connections() == 0).await;
}

#[tokio::test]
async fn what_did_not_change_keeps_its_connections_its_models_and_its_breaker() {
    let (stays, comes) = (vllm::engine().await, vllm::engine().await);
    stays.on("POST", CHAT).then(Reply::json(200, REPLY));
    stays.on("POST", "/v1/embeddings").then(Reply::json(500, "oops"));
    let more = "resilience:\n  retry:\n    max_retries: 0\n  circuit_breaker:\n    failure_threshold: 1\n    scope: model\n    timeout: 1h\n";
    let gateway = unwatched(&yaml(&[("vllm-a", &stays)], more)).awaiting("vllm-a");
    // connections to upstreams stay on their core
    let gateway = gateway.env("FERROVIA_THREADS", "1").start().await;
    assert_eq!(ask(&gateway, "tiny").await.status, 200);
    let (asked, connections) = (stays.requests().len(), stays.connections());

    let line = edit(&gateway, &yaml(&[("vllm-a", &stays), ("vllm-b", &comes)], more), 2).await;
    assert_eq!(line["changed"], "providers.vllm-b", "{line}");
    assert!(models(&gateway).await.contains(&"vllm-a/tiny".to_owned()), "never a moment without");
    assert_eq!(ask(&gateway, "vllm-a/tiny").await.status, 200);
    assert_eq!(stays.requests().len(), asked + 1, "it is not asked again what it is");
    assert_eq!(stays.connections(), connections, "its connection is used again");
    answered(&gateway, "vllm-b").await;

    // one that did change is asked again, and keeps what holds all the same
    let embed = r#"{"model":"vllm-a/tiny","input":"x"}"#;
    assert_eq!(gateway.post("/v1/embeddings", embed).await.status, 500, "the upstream's fault");
    assert_eq!(ask(&gateway, "vllm-a/tiny").await.status, 503, "the breaker is open");
    let slower = yaml(&[("vllm-b", &comes), ("vllm-a", &stays)], more) + "    timeouts:\n      idle: 77s\n";
    let line = edit(&gateway, &slower, 3).await;
    assert_eq!(line["changed"], "providers.vllm-a.timeouts.idle", "{line}");
    assert!(models(&gateway).await.contains(&"vllm-a/tiny".to_owned()), "never a moment without");
    assert_eq!(ask(&gateway, "vllm-a/tiny").await.status, 503, "the breaker is still open");
    stays.wait_for_request(asked + 2 + PROBES).await;
    let page = gateway.metrics().await;
    assert!(page.contains(r#"ferrovia_config_reloads_total{result="success"} 2"#), "{page}");
    let counted = r#"gomodel_requests_total{provider="vllm",provider_name="vllm-a",model="tiny",endpoint="/v1/chat/completions",status_code="200",status_type="success",stream="false"} 2"#;
    assert!(page.contains(counted), "figures go on:\n{page}");
}

#[tokio::test]
async fn files_that_change_are_read_by_themselves() {
    let (a, b) = (vllm::engine().await, vllm::engine_with(&["large"]).await);
    let gateway = TestGateway::setup().yaml(&yaml(&[("vllm", &a)], "")).awaiting("vllm").start().await;
    replace(gateway.folder(), "config.yaml", &yaml(&[("vllm", &b)], ""));
    let line = reloaded(&gateway, 2).await;
    assert_eq!(line["cause"], "a file has changed", "{line}");
    assert_eq!(line["changed"], "providers.vllm.base_url", "{line}");
    b.wait_for_request(PROBES).await;
    eventually_models(&gateway, &["vllm/large"]).await;
    // `.env`, which was not there before
    std::fs::write(gateway.folder().join(".env"), "FERROVIA_MASTER_KEY=sk-first\n").unwrap();
    let line = reloaded(&gateway, 3).await;
    assert_eq!(line["changed"], "server.master_key", "{line}");
    assert_eq!(gateway.get("/v1/models").await.status, 401);
    // and the file that it refers to
    let secret = gateway.folder().join("secret");
    std::fs::write(&secret, "sk-second").unwrap();
    let reference = format!("FERROVIA_MASTER_KEY=${{file:{}}}\n", secret.display());
    replace(gateway.folder(), ".env", &reference);
    reloaded(&gateway, 4).await;
    std::fs::write(&secret, "sk-third").unwrap();
    reloaded(&gateway, 5).await;
    for (key, status) in [("sk-first", 401), ("sk-second", 401), ("sk-third", 200)] {
        assert_eq!(gateway.send(&Request::get("/v1/models").bearer(key)).await.status, status, "{key}");
    }
    assert!(!gateway.log_text().contains("sk-"), "no key is told:\n{}", gateway.log_text());
}

async fn eventually_models(gateway: &TestGateway, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = models(gateway).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} are not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_bad_edit_is_refused_whole_and_loudly() {
    let upstream = vllm::talking().await;
    let good = yaml(&[("vllm", &upstream)], "server:\n  master_key: sk-master\n");
    let gateway = unwatched(&good).awaiting("vllm").start().await;
    let ask = Request::post(CHAT).bearer("sk-master").json(ASK);
    let refusals = || gateway.count("configuration refused; nothing has changed, the one in force stays");
    let edits = [
        (good.replace("master_key", "mastre_key"), &["server.mastre_key"][..]),
        (
            good.replace("type: vllm", "type: vlmm").replace("server:", "server:\n  body_size_limit: much"),
            &["providers.vllm.type", "server.body_size_limit"],
        ),
        (format!("{good}: :\n- x"), &["config.yaml"]),
        (String::new(), &["server.master_key"]),
        (good.replace("sk-master", "''"), &["server.master_key"]),
    ];
    for (before, (edit, named)) in edits.into_iter().enumerate() {
        replace(gateway.folder(), "config.yaml", &edit);
        gateway.hang_up();
        eventually(Duration::from_secs(10), || refusals() == before + 1).await;
        for name in named {
            let told = |line: &Value| line["level"] == "ERROR" && line.to_string().contains(name);
            gateway.line(&format!("what is wrong with {name}"), told).await;
        }
        assert_eq!(gateway.send(&ask).await.status, 200, "after {edit}");
        assert_eq!(gateway.post(CHAT, ASK).await.status, 401, "after {edit}");
    }
    std::fs::remove_file(gateway.folder().join("config.yaml")).unwrap();
    gateway.hang_up();
    gateway
        .line("that the file is gone", |line| {
            line["message"].as_str().is_some_and(|m| m.contains("is gone; put it back"))
        })
        .await;
    let page = gateway.metrics().await;
    for line in [
        r#"ferrovia_config_reloads_total{result="failure"} 6"#,
        r#"ferrovia_config_reloads_total{result="success"} 0"#,
        "ferrovia_config_last_reload_successful 0",
    ] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
    edit(&gateway, &good.replace("sk-master", "sk-other"), 2).await;
    assert_eq!(gateway.send(&ask).await.status, 401, "the old key");
    assert_eq!(gateway.send(&Request::post(CHAT).bearer("sk-other").json(ASK)).await.status, 200);
    let page = gateway.metrics().await;
    assert!(page.contains("ferrovia_config_last_reload_successful 1"), "{page}");
    let log = gateway.log_text();
    assert!(!log.contains("sk-master") && !log.contains("sk-other"), "no key is told:\n{log}");
}

#[tokio::test]
async fn what_needs_a_restart_or_is_overridden_is_named() {
    let upstream = vllm::talking().await;
    let of = |threads: u8, body: &str| {
        yaml(&[("vllm", &upstream)], &format!("server:\n  threads: {threads}\n  body_size_limit: {body}\n"))
    };
    let gateway = unwatched(&of(1, "1M")).env("BODY_SIZE_LIMIT", "2K").awaiting("vllm").start().await;
    std::fs::write(gateway.folder().join(".env"), "BODY_SIZE_LIMIT=3M\n").unwrap();
    let line = edit(&gateway, &of(2, "5M"), 2).await;
    assert_eq!(line["level"], "WARN", "{line}");
    assert_eq!(
        (&line["changed"], &line["needs_restart"]),
        (&"server.threads".into(), &"server.threads".into()),
        "{line}"
    );
    let overridden = line["overridden"].as_str().unwrap_or_default();
    for what in [
        "server.body_size_limit (environment variable BODY_SIZE_LIMIT)",
        "BODY_SIZE_LIMIT (environment variable BODY_SIZE_LIMIT)",
    ] {
        assert!(overridden.contains(what), "{line}");
    }
    let large = format!(r#"{{"model":"tiny","messages":[],"pad":"{}"}}"#, "x".repeat(3000));
    assert_eq!(gateway.post(CHAT, large).await.status, 413, "the environment wins");
    // named once: what did not change since is no news
    let line = edit(&gateway, &of(2, "5M"), 3).await;
    assert!(line["level"] == "INFO" && line.get("changed").is_none(), "{line}");
    // TLS cannot be switched on under way, and not at all with files that are not there
    let tls =
        of(2, "5M").replace("server:", "server:\n  tls:\n    cert_file: cert.pem\n    key_file: key.pem");
    replace(gateway.folder(), "config.yaml", &tls);
    gateway.hang_up();
    let missing =
        |line: &Value| line["message"].as_str().is_some_and(|m| m.contains("cert.pem cannot be read"));
    gateway.line("that there is no certificate", missing).await;
    Certificate::new().write(gateway.folder());
    let line = edit(&gateway, &tls, 4).await;
    assert_eq!(line["needs_restart"], "server.tls", "{line}");
    assert_eq!(gateway.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let setup = TestGateway::setup();
    old.write(setup.folder());
    let gateway =
        setup.env("FERROVIA_TLS_CERT_FILE", "cert.pem").env("FERROVIA_TLS_KEY_FILE", "key.pem").start().await;
    let under_way = old.connect(gateway.address(), &["http/1.1"]).await.expect("a handshake");
    new.write(gateway.folder());
    reloaded(&gateway, 2).await;
    assert!(old.connect(gateway.address(), &[]).await.is_err(), "the old one is not shown any more");
    let fresh = new.connect(gateway.address(), &["http/1.1"]).await.expect("a handshake");
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for connection in [fresh, under_way] {
        assert!(talk(connection, request).await.starts_with("HTTP/1.1 200 "));
    }
    // a pair that does not belong together changes nothing
    std::fs::write(gateway.folder().join("key.pem"), "nonsense").unwrap();
    gateway
        .line("that the key is none", |line| {
            line["message"].as_str().is_some_and(|m| m.contains("no private key"))
        })
        .await;
    assert!(new.connect(gateway.address(), &[]).await.is_ok());
}

#[tokio::test]
async fn a_hundred_reloads_leave_nothing_behind() {
    let (stays, moves) = (vllm::talking().await, vllm::talking().await);
    let with = yaml(&[("vllm-a", &stays), ("vllm-b", &moves)], "");
    let without = yaml(&[("vllm-a", &stays)], "");
    let gateway = unwatched(&with).awaiting("vllm-a").awaiting("vllm-b").start().await;
    let mut revision = 1;
    let mut again = async |times: u64| {
        for _ in 0..times {
            revision += 1;
            edit(&gateway, if revision % 2 == 0 { &without } else { &with }, revision).await;
            assert_eq!(ask(&gateway, "vllm-a/tiny").await.status, 200);
        }
    };
    again(20).await;
    let before = Held::by(&gateway);
    again(100).await;
    // what the last ones asked may still be under way
    eventually(Duration::from_secs(20), || Held::by(&gateway).not_much_more_than(&before)).await;
    eventually_models(&gateway, &["vllm-a/tiny", "vllm-b/tiny"]).await;
}

/// What a process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    threads: u64,
    kilobytes: u64,
}

impl Held {
    fn by(gateway: &TestGateway) -> Held {
        let process = format!("/proc/{}", gateway.process());
        let Ok(status) = std::fs::read_to_string(format!("{process}/status")) else {
            testkit::skip("what a process holds after many reloads", "run it where there is /proc");
            return Held { descriptors: 0, threads: 0, kilobytes: 0 };
        };
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or(0)
        };
        Held {
            descriptors: std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count),
            threads: figure("Threads"),
            kilobytes: figure("VmRSS"),
        }
    }

    /// A thread of the runtime's that reads files, and its stack, may be there at one moment and not at another.
    fn not_much_more_than(&self, before: &Held) -> bool {
        self.descriptors <= before.descriptors + 4
            && self.threads <= before.threads + 2
            && self.kilobytes <= before.kilobytes + 4096
    }
}
