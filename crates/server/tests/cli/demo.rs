//! `demo`: the first thing that a newcomer runs.

use std::net::TcpListener;

use crate::process::ferrovia;

#[test]
fn the_demo_proves_itself_and_ends() {
    let done = ferrovia(&["demo", "--once", "--port", "0"]).run().code(0);
    let done = done.says(&[
        "a simulated vLLM   http://127.0.0.1:",
        "you",
        "model",
        "works",
        "tokens in",
        "the gateway took",
    ]);
    assert!(!done.out.contains('\u{1b}'), "plain where there is no terminal: {:?}", done.out);
    assert!(done.err.is_empty(), "{}", done.err);
}

#[test]
fn the_demo_needs_nothing_and_minds_nothing() {
    // a configuration that would not load, a key that is another, a port that is taken
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    ferrovia(&["demo", "--once", "--port", "0"])
        .file("config.yaml", "no: such: thing\n")
        .file(".env", "this is no line\n")
        .env("FERROVIA_MASTER_KEY", "sk-other")
        .env("PORT", &port)
        .env("VLLM_BASE_URL", "http://nowhere.invalid")
        .run()
        .code(0)
        .says(&["works"]);
    let done = ferrovia(&["demo", "--once", "--port", &port]).run().code(1);
    assert!(done.err.contains(&port), "{}", done.err);
}

#[test]
fn the_lines_that_the_demo_prints_work_until_it_is_told_to_end() {
    let mut demo = ferrovia(&["demo", "--port", "0"]).start();
    let url = demo.url("base URL");
    let curl = demo.line("curl http");
    assert!(curl.contains("Authorization: Bearer sk-demo") && curl.contains(&url), "{curl}");
    for part in ["OpenAI(base_url=", "Anthropic(base_url=", "codex -c", "ANTHROPIC_BASE_URL=", "Ctrl-C"] {
        demo.line(part);
    }
    ferrovia(&["models", "--url", &url, "--key", "sk-demo"])
        .run()
        .code(0)
        .says(&["vllm/simulated", "131072"]);
    let done = ferrovia(&["models", "--url", &url]).run().code(1);
    assert!(done.err.contains("--key"), "{}", done.err);
    assert!(demo.terminate().success());
}
