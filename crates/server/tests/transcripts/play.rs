//! One story over sockets.

use serde_json::Value;
use testkit::story::{self, Ending, Setup, Used};
use testkit::transcript::{Exchange, Transcript};
use testkit::{Ended, FakeUpstream, Reply, Request, Response};

use crate::gateway::TestGateway;

/// Into how many bytes an upstream's answers are cut, unless they are so long that it would take a while.
const PIECE: usize = 37;

/// The story as it happens.
pub(crate) async fn play(told: &Transcript) -> Transcript {
    let setup = Setup::read(told);
    let upstream = upstream(&setup, told).await;
    let gateway = gateway(&setup, &upstream).await;
    let before = upstream.requests().len();
    let response = gateway.send(&Request::from_side(&story::request(told))).await;
    let line = gateway.call_line(story::REQUEST_ID).await;

    let mut produced = told.given();
    produced.exchanges = upstream
        .requests()
        .into_iter()
        .skip(before)
        // who names an unknown model makes the gateway ask for news
        .filter(|asked| asked.method != "GET" || told.request.head.starts_with("GET /p/"))
        .zip(told.upstream_replies().map(Some).chain(std::iter::repeat(None)))
        .map(|(asked, answer)| {
            let request = story::asked(&setup, &asked.method, &asked.target, &asked.headers, &asked.body);
            Exchange { request: Some(request), reply: answer.cloned() }
        })
        .collect();
    produced.reply = Some(story::got(&setup, response.status, &response.headers, &response.body));
    ending(&response, &line).tell(&mut produced);
    assert!(response.header("server-timing").is_some(), "the gateway tells its own share:\n{response}");
    assert_eq!(line["status"], response.status, "the log tells the status: {line}");
    assert_eq!(line["attempts"], produced.exchanges.len(), "the log counts the attempts: {line}");
    produced
}

fn ending(response: &Response, line: &Value) -> Ending {
    let tokens = |name: &str| line[name].as_u64().unwrap_or_default();
    Ending {
        changes: response.header("x-ferrovia-changes").map(str::to_owned),
        used: Used {
            input: tokens("input_tokens"),
            output: tokens("output_tokens"),
            cached: tokens("cached_tokens"),
            estimated: line["estimated"] == true,
        },
        outcome: line["outcome"].as_str().unwrap_or_default().to_owned(),
        code: line["error_code"].as_str().map(str::to_owned),
        cut: response.ended != Ended::Clean,
    }
}

/// A server that has the story's models and gives its answers in turn.
async fn upstream(setup: &Setup, told: &Transcript) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    let root = setup.path.trim_end_matches('/').trim_end_matches("/v1");
    let models: Vec<Value> =
        setup.models.iter().map(|id| serde_json::json!({"id": id, "object": "model"})).collect();
    let list = serde_json::json!({"object": "list", "data": models});
    let missing = || Reply::json(404, r#"{"detail":"Not Found"}"#);
    // each is asked once, at the start; a story may ask for the same path later
    upstream.on("GET", &format!("{root}/v1/models")).then(Reply::json(200, list.to_string()));
    upstream.on("GET", &format!("{root}/version")).then(missing());
    upstream.on("GET", &format!("{root}/openapi.json")).then(match &setup.routes {
        Some(routes) => {
            let paths: serde_json::Map<String, Value> =
                routes.iter().map(|path| (path.clone(), serde_json::json!({"post": {}}))).collect();
            Reply::json(200, serde_json::json!({"paths": paths}).to_string())
        }
        None => missing(),
    });
    let answers: Vec<_> = told.upstream_replies().map(|side| story::answer(setup, side)).collect();
    let last = answers.len().checked_sub(1);
    for (index, side) in answers.iter().enumerate() {
        let mut reply = Reply::from_side(side).cut_into(PIECE.max(side.body.len() >> 12));
        if setup.cut && Some(index) == last {
            reply = reply.close();
        }
        for path in ["/v1/models", "/version"] {
            if told.request.head.starts_with("GET ") && told.request.head.ends_with(path) {
                upstream.on("GET", &format!("{root}{path}")).then(reply.clone());
            }
        }
        upstream.on("*", "*").then(reply);
    }
    upstream
}

/// The gateway as the story wants it, once it knows what its upstream has.
async fn gateway(setup: &Setup, upstream: &FakeUpstream) -> TestGateway {
    let retries = setup.retries.to_string();
    let mut gateway = TestGateway::setup()
        .env("RETRY_MAX_RETRIES", &retries)
        .env("RETRY_INITIAL_BACKOFF", "1ms")
        // nothing but the story is to be asked once it has begun
        .env("CACHE_REFRESH_INTERVAL", "3600")
        .env("PROVIDER_RECHECK_INTERVAL", "3600");
    for (name, key) in [("FERROVIA_MASTER_KEY", &setup.master_key)] {
        if let Some(key) = key {
            gateway = gateway.env(name, key);
        }
    }
    let switches = [
        ("USAGE_ENABLED", setup.usage),
        ("FERROVIA_PROVIDER_MEMBER", setup.provider_member),
        ("FERROVIA_PASSTHROUGH_REWRITE_ERRORS", setup.rewrite_errors),
    ];
    for (name, on) in switches {
        gateway = gateway.env(name, if on { "true" } else { "false" });
    }
    if let Some(kind) = &setup.provider {
        gateway = gateway.env("ENABLED_PASSTHROUGH_PROVIDERS", kind);
        gateway = gateway.provider(&setup.name, &format!("{}{}", upstream.url(), setup.path));
        if let Some(key) = &setup.key {
            gateway = gateway.key(&setup.name, key);
        }
    }
    gateway.start().await
}
