//! Serving as the command line starts it, and asking whether it is well.

use testkit::ports::Refusing;

use crate::process::{Running, ferrovia};

/// A gateway with this base path, and its `host:port`.
fn gateway(base_path: &str) -> (Running, String) {
    let set = format!("server.base_path={base_path}");
    let mut gateway = ferrovia(&["--port", "0", "--set", &set, "--set", "server.host=127.0.0.1"])
        .env("LOG_FORMAT", "json")
        .start();
    let line = gateway.line("\"listening\"");
    let told: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    let address = told["address"].as_str().expect("an address").to_owned();
    (gateway, address)
}

#[test]
fn a_gateway_is_asked_whether_it_is_well() {
    let (gateway, address) = gateway("/ai");
    let port = address.rsplit(':').next().expect("a port").to_owned();
    // as in a container: the same settings, nothing else
    for arguments in [
        &["health"][..],
        &["--health"],
        &["-health", "-health-timeout=5s"],
        &["--ready", "--ready-timeout", "5s"],
    ] {
        ferrovia(arguments)
            .env("PORT", &port)
            .env("BASE_PATH", "/ai")
            .run()
            .code(0)
            .says(&["127.0.0.1", "/ai/health"]);
    }
    let url = format!("http://{address}/ai/");
    let told = ferrovia(&["health", "--ready", "--json", "--url", &url]).run().code(0).json();
    assert_eq!(
        (&told["ok"], &told["status"], &told["answer"]["status"]),
        (&true.into(), &200.into(), &"ready".into())
    );
    // what is there is not a gateway under this path
    let done = ferrovia(&["health"]).env("PORT", &port).run().code(1);
    assert!(done.err.contains("404"), "{}", done.err);
    assert!(gateway.terminate().success());
}

#[test]
fn nobody_there_is_not_well() {
    let refusing = Refusing::start();
    let port = refusing.address().port().to_string();
    let done = ferrovia(&["health"]).env("PORT", &port).run().code(1);
    assert!(done.err.contains("refused") && done.err.contains(&port), "{}", done.err);
    let told = ferrovia(&["health", "--json"]).env("PORT", &port).run().code(1).json();
    assert_eq!((&told["ok"], &told["status"]), (&false.into(), &serde_json::Value::Null));
    // a port that nobody can know
    let done = ferrovia(&["health"]).env("PORT", "0").run().code(1);
    assert!(done.err.contains("--url"), "{}", done.err);
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let done = ferrovia(&["serve", "--port", &port]).env("FERROVIA_HOST", "127.0.0.1").run().code(1);
    assert!(done.err.contains(&port) && done.err.contains("another program"), "{}", done.err);
}
