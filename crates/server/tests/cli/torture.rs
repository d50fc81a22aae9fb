//! `torture`: the fault wall, against this binary and against a gateway that somebody else has started.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::process::ferrovia;

/// A shortened wall takes a few seconds; the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn this_gateway_is_true_under_every_fault() {
    let kept = tempfile::TempDir::new().expect("a folder can be made");
    let (json, html) = (kept.path().join("card.json"), kept.path().join("card.html"));
    let path = |path: &std::path::Path| path.display().to_string();
    let done = ferrovia(&["torture", "--quick", "--json", &path(&json), "--html", &path(&html)])
        .within(PATIENCE)
        .run()
        .code(0)
        .says(&["stall-mid-event", "0 failed (seed 1)"]);
    assert!(!done.out.contains('\u{1b}'), "plain where there is no terminal");
    let card: Value = serde_json::from_slice(&std::fs::read(json).expect("it was written")).expect("JSON");
    assert!(card["passed"].as_u64() > Some(100) && card["failed"] == 0, "{}", card["passed"]);
    assert_eq!(card["columns"]["accounting"]["not_seen"], 0);
    let page = std::fs::read_to_string(html).expect("it was written");
    assert!(page.contains("true under every fault") && page.ends_with("</html>\n"));
}

/// A port that is free, with a free one behind it.
fn two_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let found = (0..100).find_map(|_| {
        let first = free(0).ok()?;
        let port = first.local_addr().ok()?.port();
        free(port.checked_add(1)?).ok().map(|_| port)
    });
    found.expect("two ports beside each other")
}

#[test]
fn any_gateway_can_stand_before_the_engines() {
    let port = two_ports();
    let provider = |name: &str, port: u16| {
        format!("  {name}: {{type: vllm, base_url: \"http://127.0.0.1:{port}/v1\"}}\n")
    };
    let yaml = format!(
        "server: {{port: 0, host: 127.0.0.1, master_key: sk-wall-key}}\nlog: {{format: json}}\nproviders:\n{}{}",
        provider("bad", port),
        provider("good", port + 1)
    );
    let mut gateway = ferrovia(&["serve"]).file("config.yaml", &yaml).start();
    let listening: Value = serde_json::from_str(&gateway.line("\"listening\"")).expect("a line of JSON");
    let url = format!("http://{}", listening["address"].as_str().expect("an address"));
    let port = port.to_string();
    let mut arguments = vec!["torture", "--url", &url, "--key", "sk-wall-key", "--upstream-port", &port];
    arguments.extend(["--model", "bad/{model}", "--healthy-model", "good/{model}"]);
    // none that this gateway, in its ordinary configuration, asks for again and again
    for only in [
        "stream/close-mid-event",
        "error-200-flat",
        "stream/truncate",
        "client-leaves-late",
        "error-tells-key",
    ] {
        arguments.extend(["--only", only]);
    }
    let done = ferrovia(&arguments).within(PATIENCE).run().code(0);
    let done = done.says(&["error-200-flat", "0 failed (seed 1)", "the gateway still answers"]);
    let log = done.out.lines().find(|line| line.starts_with("log ")).expect("a line about the log");
    let mut figures = log.split_whitespace().skip(1);
    assert_eq!((figures.next(), figures.next()), (Some("0"), Some("0")), "n/a: {log}");
    assert!(done.err.contains(&format!("http://127.0.0.1:{port}/v1")), "{}", done.err);
    assert!(gateway.terminate().success());
}

#[test]
fn scenarios_are_listed_and_chosen() {
    let all = ferrovia(&["torture", "--list"]).run().code(0);
    assert!(all.out.lines().count() > 150);
    let one = ferrovia(&["torture", "--list", "--only", "chat.stream/gzip"]).run().code(0);
    assert_eq!(one.out.lines().count(), 2, "{}", one.out);
    let none = ferrovia(&["torture", "--only", "no-such-fault"]).run().code(1);
    assert!(none.err.contains("--list"), "{}", none.err);
    let alone = ferrovia(&["torture", "--url", "http://127.0.0.1:1"]).run().code(2);
    assert!(alone.err.contains("--upstream-port"), "{}", alone.err);
}
