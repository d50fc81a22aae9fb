//! Secrets: said nowhere, sent to nobody but their own provider.

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Reply, Request};

use crate::gateway::TestGateway;
use crate::vllm::{self, ASK, ASK_STREAM, FIRST};

const MASTER: &str = "sk-master-very-secret";
const KEY: &str = "sk-upstream-very-secret";

#[tokio::test]
async fn no_key_is_ever_said_in_answers_or_logs() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .key("vllm", KEY)
        .env("FERROVIA_MASTER_KEY", MASTER)
        .env("LOG_LEVEL", "debug")
        .env("METRICS_ENABLED", "true")
        .no_retries()
        .start()
        .await;
    let echo = format!("Incorrect API key provided: {KEY}. Ask {MASTER}.");
    let error = vllm::error(401, "AuthenticationError", &echo);
    let later = Reply::sse().event(FIRST).event(&vllm::error(500, "InternalServerError", &echo));
    let terminal =
        json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": echo}}})
            .to_string();
    for (path, ask, reply) in [
        ("/v1/chat/completions", ASK, Reply::json(401, &error)),
        ("/v1/chat/completions", ASK, Reply::json(200, &error)),
        ("/v1/chat/completions", ASK, Reply::text(500, &echo)),
        ("/v1/chat/completions", ASK_STREAM, Reply::json(401, &error)),
        ("/v1/chat/completions", ASK_STREAM, Reply::sse().event(&error)),
        ("/v1/chat/completions", ASK_STREAM, later),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":1,"messages":[]}"#, Reply::json(400, &error)),
        (
            "/v1/responses",
            r#"{"model":"tiny","input":"x","stream":true}"#,
            Reply::sse().named_event("response.failed", &terminal),
        ),
        ("/p/vllm/v1/chat/completions", ASK, Reply::json(401, &error)),
        ("/p/vllm/v1/chat/completions", ASK, Reply::html(401, &echo)),
        ("/p/vllm/v1/chat/completions", ASK, Reply::text(401, &echo)),
    ] {
        let route = path.trim_start_matches("/p/vllm");
        upstream.on("POST", route).now(reply.clone());
        let response = gateway.send(&Request::post(path).bearer(MASTER).json(ask)).await;
        let text = response.to_string();
        assert!(!text.contains(KEY) && !text.contains(MASTER), "{path} {reply:?}: {text}");
        assert!(text.contains("***") || text.contains("HTML"), "{path} {reply:?}: {text}");
        gateway.line_of(&response).await;
    }
    for request in
        [Request::get("/v1/models").bearer("wrong"), Request::get("/v1/models").bearer(&format!("{MASTER}x"))]
    {
        assert!(!gateway.send(&request).await.to_string().contains(MASTER));
    }
    upstream.on("GET", "/v1/models").now(Reply::json(401, &error));
    gateway
        .send(&Request::post("/v1/chat/completions").bearer(MASTER).json(ASK.replace("tiny", "vllm/unknown")))
        .await;
    gateway
        .line("why the provider did not answer", |line| line.to_string().contains("the key was not accepted"))
        .await;
    let log = gateway.log_text();
    assert!(!log.contains(KEY) && !log.contains(MASTER), "{log}");
    assert!(!gateway.metrics().await.contains("secret"));
}

#[tokio::test]
async fn no_field_of_a_refusal_says_a_key() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::setup().vllm("vllm", &upstream).key("vllm", KEY).no_retries().start().await;
    let body = json!({"error": {"message": KEY, "type": KEY, "param": KEY, "code": KEY}}).to_string();
    let escaped = body.replace("sk-up", "sk\\u002du\\u0070");
    assert!(!escaped.contains(KEY));
    let stream = Reply::sse().event(FIRST).event(&body);
    for (path, ask, reply) in [
        ("/v1/chat/completions", ASK, Reply::json(401, &body)),
        ("/v1/chat/completions", ASK, Reply::json(200, &body)),
        ("/v1/chat/completions", ASK_STREAM, Reply::sse().event(&body)),
        ("/v1/chat/completions", ASK_STREAM, stream),
        ("/v1/responses", r#"{"model":"tiny","input":"x"}"#, Reply::json(400, &escaped)),
        ("/v1/messages", r#"{"model":"tiny","max_tokens":1,"messages":[]}"#, Reply::json(400, &body)),
        ("/p/vllm/v1/chat/completions", ASK, Reply::json(401, &body)),
        ("/p/vllm/v1/chat/completions", ASK, Reply::json(401, &escaped)),
        ("/p/vllm/v1/chat/completions", ASK, Reply::text(401, &escaped)),
    ] {
        let mut told = reply.clone();
        if ask != ASK_STREAM {
            // the head of a stream has gone out before its failure
            for name in ["x-request-id", "x-ratelimit-limit-requests", "retry-after", "x-own"] {
                told = told.header(name, &format!("x {KEY}"));
            }
        }
        upstream.on("POST", path.trim_start_matches("/p/vllm")).now(told);
        let response = gateway.post(path, ask).await;
        let text = response.to_string();
        let read = text.replace("\\u002d", "-").replace("\\u0070", "p");
        assert!(read.contains("***") && !read.contains(KEY), "{path} {reply:?}: {text}");
        let line = gateway.line_of(&response).await.to_string();
        assert!(line.contains("***") && !line.contains(KEY), "{path}: {line}");
    }
}

#[tokio::test]
async fn an_answer_is_not_searched_for_keys() {
    let upstream = vllm::engine().await;
    let reply = vllm::REPLY.replace("Hello", KEY);
    upstream.otherwise(Reply::json(200, &reply).header("x-own", KEY));
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .key("vllm", KEY)
        .env("FERROVIA_PROVIDER_MEMBER", "false")
        .start()
        .await;
    for path in ["/v1/chat/completions", "/p/vllm/v1/chat/completions"] {
        assert_eq!(gateway.post(path, ASK).await.text(), reply, "{path}");
    }
}

#[tokio::test]
async fn a_short_key_is_masked_where_it_stands_alone() {
    let upstream = vllm::engine().await;
    let said = vllm::error(401, "AuthenticationError", "bad key: mode (the model is unknown)");
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(401, said));
    let gateway = TestGateway::setup().vllm("vllm", &upstream).key("vllm", "mode").start().await;
    for path in ["/v1/chat/completions", "/p/vllm/v1/chat/completions"] {
        let response = gateway.post(path, ASK).await;
        assert_eq!(response.json()["error"]["message"], "bad key: *** (the model is unknown)", "{path}");
    }
}

#[tokio::test]
async fn the_keys_of_two_instances_never_mix() {
    let (first, second) = (vllm::talking().await, vllm::talking().await);
    let gateway = TestGateway::setup()
        .vllm("vllm", &first)
        .env("VLLM_API_KEY", "sk-a1")
        .env("VLLM_API_KEY_2", "sk-a2")
        .env("VLLM_API_KEY_3", "sk-a3")
        .vllm("vllm-test", &second)
        .env("VLLM_TEST_API_KEY", "sk-b1")
        .env("VLLM_TEST_API_KEY_2", "sk-b2")
        .start()
        .await;
    let asking = (0..60).map(|n| {
        let gateway = &gateway;
        async move {
            let instance = if n % 2 == 0 { "vllm" } else { "vllm-test" };
            let request = match n % 3 {
                0 => Request::post("/v1/chat/completions")
                    .json(ASK.replace("tiny", &format!("{instance}/tiny"))),
                1 => Request::post(&format!("/p/{instance}/v1/chat/completions")).json(ASK),
                _ => Request::get(&format!("/p/{instance}/version")),
            };
            assert_eq!(gateway.send(&request.bearer("sk-client")).await.status, 200);
        }
    });
    join_all(asking).await;
    for (upstream, keys) in [
        (&first, &["Bearer sk-a1", "Bearer sk-a2", "Bearer sk-a3"] as &[_]),
        (&second, &["Bearer sk-b1", "Bearer sk-b2"]),
    ] {
        let shown: Vec<String> = upstream
            .requests()
            .iter()
            .map(|r| r.header("authorization").unwrap_or("none").to_owned())
            .collect();
        assert!(shown.iter().all(|key| keys.contains(&key.as_str())), "{shown:?}");
        for key in keys {
            assert!(shown.iter().filter(|shown| shown == key).count() >= 5, "they take turns: {shown:?}");
        }
    }
}

#[tokio::test]
async fn without_a_key_none_is_sent_and_with_one_it_is_on_every_request() {
    let upstream = vllm::talking().await;
    let open = TestGateway::before(&upstream).await;
    open.send(&Request::post("/v1/chat/completions").bearer("sk-client").json(ASK)).await;
    assert!(upstream.requests().iter().all(|request| request.header("authorization").is_none()));
    let upstream = vllm::talking().await;
    let keyed = TestGateway::setup().vllm("vllm", &upstream).key("vllm", KEY).start().await;
    keyed.post("/v1/chat/completions", ASK).await;
    keyed.get("/p/vllm/version").await;
    let expect = format!("Bearer {KEY}");
    assert_eq!(upstream.requests().len(), vllm::PROBES + 2);
    assert!(
        upstream.requests().iter().all(|request| request.header("authorization") == Some(expect.as_str()))
    );
}

#[tokio::test]
async fn a_key_from_a_file_is_read_and_masked_like_any_other() {
    let upstream = vllm::engine().await;
    upstream
        .on("POST", "/v1/chat/completions")
        .then(Reply::json(401, vllm::error(401, "AuthenticationError", KEY)));
    let setup = TestGateway::setup().vllm("vllm", &upstream);
    let file = setup.folder().join("key");
    std::fs::write(&file, format!("{KEY}\n")).expect("the folder can be written");
    let gateway = setup.env("VLLM_API_KEY", &format!("${{file:{}}}", file.display())).start().await;
    let response = gateway.post("/v1/chat/completions", ASK).await;
    assert_eq!(
        upstream.requests().pop().unwrap().header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
    assert_eq!(response.json()["error"]["message"], "***");
}

#[tokio::test]
async fn what_people_write_and_get_is_not_logged() {
    let upstream = vllm::engine().await;
    let private = vllm::REPLY.replace("Hello", "a private answer");
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, private)).then(Reply::no_response());
    let gateway =
        TestGateway::setup().vllm("vllm", &upstream).env("LOG_LEVEL", "trace").no_retries().start().await;
    for ask in [ASK.replace("\"hi\"", "\"a private question\""), "{\"model\": a private question}".to_owned()]
    {
        for path in ["/v1/chat/completions", "/p/vllm/v1/chat/completions"] {
            let response = gateway.post(path, &ask).await;
            gateway.line_of(&response).await;
        }
    }
    assert!(!gateway.log_text().contains("private"), "{}", gateway.log_text());
}
