//! What engines are asked about themselves, and what becomes of what they say: real sockets, simulated engines, and
//! engines that answer nonsense.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use simulator::{Model, Personality, Running, Settings, Tasks};
use testkit::{FakeUpstream, Reply, eventually};

use crate::envelope::told;
use crate::gateway::TestGateway;
use crate::vllm::REPLY;

/// Everything that an engine may be asked before a client asks for something.
const QUESTIONS: [&str; 11] = [
    "/v1/models",
    "/version",
    "/openapi.json",
    "/model_info",
    "/get_model_info",
    "/server_info",
    "/get_server_info",
    "/props",
    "/api/version",
    "/api/ps",
    "/api/show",
];

async fn played(personality: Personality, change: impl FnOnce(&mut Settings)) -> Running {
    let mut settings = Settings::default().at_full_speed().played_by(personality);
    settings.models = vec![Model::named("sim")];
    change(&mut settings);
    simulator::start(settings).await.expect("a simulated engine starts")
}

fn able(id: &str, tasks: Tasks) -> Model {
    Model { tasks, ..Model::named(id) }
}

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}).to_string()
}

/// A body for any front that names this model.
fn ask(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "prompt": "x", "input": "x",
        "query": "q", "documents": ["d"], "text_1": "a", "text_2": "b", "tokens": [1]})
    .to_string()
}

#[tokio::test]
async fn each_engine_is_known_for_what_it_is_without_a_token() {
    for (personality, model, version, capabilities, missing) in [
        (Personality::Vllm, "vllm/sim", "0.32.0", Value::Null, &[][..]),
        (
            Personality::Sglang,
            "sglang/sim",
            "0.5.9",
            json!(["completion"]),
            &["/v1/rerank", "/v1/responses", "/v1/embeddings", "/v1/messages"][..],
        ),
        (
            Personality::LlamaCpp,
            "llamacpp/sim",
            "b8100-5d3a4f1c",
            json!(["completion"]),
            &["/v1/score", "/v1/classify", "/v1/pooling", "/v1/tokenize", "/v1/detokenize"],
        ),
        (
            Personality::Ollama,
            "ollama/sim:latest",
            "0.17.0",
            json!(["completion", "tools", "embedding"]),
            &["/v1/rerank", "/v1/score", "/v1/tokenize", "/v1/messages/count_tokens"],
        ),
    ] {
        let name = personality.name();
        let engine = played(personality, |settings| {
            settings.max_model_len = 24_576;
            settings.api_key = Some("sk-engine".to_owned());
        })
        .await;
        let setup = TestGateway::setup().provider(name, &engine.base_url()).key(name, "sk-engine");
        let gateway = setup.start().await;
        let line = gateway.line("that it answered", |line| line["message"] == "provider answered").await;
        assert_eq!((&line["engine"], &line["version"]), (&json!(name), &json!(version)), "{line}");
        let listed = gateway.get(&format!("/v1/models/{model}")).await.json();
        assert_eq!(listed["context_length"], 24_576, "{listed}");
        assert_eq!(listed["metadata"]["context_window"], 24_576, "{listed}");
        assert_eq!(listed["capabilities"], capabilities, "{listed}");
        for seen in engine.seen() {
            let known = QUESTIONS.contains(&seen.target.as_str());
            let reads = seen.method == Method::GET || seen.target == "/api/show";
            assert!(known && reads, "{name} was asked {} {}", seen.method, seen.target);
            // the older names make SGLang write a warning
            assert!(!seen.target.starts_with("/get_"), "{}", seen.target);
        }
        let asked = engine.seen().len();
        for path in missing {
            let response = gateway.post(path, ask(model)).await;
            assert_eq!(response.status, 501, "{name} {path}: {response}");
            assert!(told(path, &response).message.contains(name), "{response}");
        }
        assert_eq!(engine.seen().len(), asked, "{name}: what is known to be missing is not asked for");
        assert_eq!(gateway.post("/v1/chat/completions", chat(model)).await.status, 200, "{name}");
        engine.stop().await;
    }
}

#[tokio::test]
async fn what_only_a_call_can_tell_is_learnt_from_one() {
    for (personality, model, paths) in [
        (
            Personality::LlamaCpp,
            "llamacpp/sim",
            &["/v1/embeddings", "/v1/rerank", "/v1/responses", "/v1/messages"][..],
        ),
        (Personality::Ollama, "ollama/sim", &["/v1/responses", "/v1/messages"]),
    ] {
        let name = personality.name();
        let engine = played(personality, |_| ()).await;
        let gateway = TestGateway::setup().provider(name, &engine.base_url()).start().await;
        for path in paths {
            let before = engine.seen().len();
            assert_eq!(gateway.post(path, ask(model)).await.status, 501, "{name} {path}");
            let asked = engine.seen().len();
            assert!(asked > before, "{name} {path}: it was asked");
            assert_eq!(gateway.post(path, ask(model)).await.status, 501, "{name} {path}");
            assert_eq!(engine.seen().len(), asked, "{name} {path}: and not again");
        }
        assert_eq!(gateway.post("/v1/chat/completions", chat(model)).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn models_of_ollama_differ_in_what_they_can_do() {
    let engine = played(Personality::Ollama, |settings| {
        settings.models = vec![able("talks", Tasks::GENERATE), able("lab/measures:v2", Tasks::EMBED)];
    })
    .await;
    let gateway = TestGateway::setup().provider("ollama", &engine.base_url()).start().await;
    let of = async |id: &str| gateway.get(&format!("/v1/models/ollama/{id}")).await.json();
    assert_eq!(of("talks").await["id"], "ollama/talks:latest", "a tag may be left out");
    assert_eq!(of("talks").await["capabilities"], json!(["completion", "tools"]));
    assert_eq!(of("lab/measures:v2").await["capabilities"], json!(["embedding"]));

    let asked = engine.seen().len();
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"] {
        let response = gateway.post(path, ask("ollama/lab/measures:v2")).await;
        assert_eq!(response.status, 501, "{path}: {response}");
        assert!(told(path, &response).message.contains("lab/measures:v2"), "{response}");
    }
    assert_eq!(engine.seen().len(), asked, "nobody was asked");
    let vectors = gateway.post("/v1/embeddings", ask("ollama/lab/measures:v2")).await;
    assert_eq!(vectors.status, 200, "{vectors}");
    for model in ["ollama/talks", "ollama/talks:latest", "talks"] {
        let reply = gateway.post("/v1/chat/completions", chat(model)).await;
        assert_eq!(reply.status, 200, "{model}: {reply}");
    }
    // it has run now, and says with how much
    let running =
        testkit::client::send(engine.address().to_string(), &testkit::Request::get("/api/ps")).await;
    assert_eq!(running.json()["models"][0]["context_length"], 131_072);
}

#[tokio::test]
async fn an_embedding_server_of_sglang_does_not_chat() {
    let engine =
        played(Personality::Sglang, |settings| settings.models = vec![able("e5", Tasks::EMBED)]).await;
    let gateway = TestGateway::setup().provider("sglang", &engine.base_url()).start().await;
    let asked = engine.seen().len();
    let response = gateway.post("/v1/chat/completions", chat("sglang/e5")).await;
    assert_eq!(
        (response.status, told("/v1", &response).param.as_deref()),
        (501, Some("model")),
        "{response}"
    );
    assert_eq!(engine.seen().len(), asked);
    assert_eq!(gateway.post("/v1/embeddings", ask("sglang/e5")).await.status, 200);
}

#[tokio::test]
async fn an_engine_that_loads_its_model_is_not_broken() {
    let engine = FakeUpstream::start().await;
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    engine.otherwise(Reply::json(503, loading));
    let list = r#"{"object":"list","data":[{"id":"m","object":"model","owned_by":"llamacpp","meta":null}]}"#;
    engine.on("GET", "/v1/models").now(Reply::json(200, list));
    let gateway = TestGateway::setup()
        .provider("llamacpp", &engine.url())
        .env("PROVIDER_RECHECK_INTERVAL", "100ms")
        .no_retries()
        .start()
        .await;
    let listed = gateway.get("/v1/models/llamacpp/m").await.json();
    assert_eq!(listed["metadata"]["loading"], true, "{listed}");
    assert!(listed["metadata"].get("stale_since").is_none(), "{listed}");
    for _ in 0..8 {
        let call = gateway.post("/v1/chat/completions", chat("llamacpp/m")).await;
        assert_eq!((call.status, told("/v1", &call).message.as_str()), (503, "Loading model"), "{call}");
    }
    let props = r#"{"default_generation_settings":{"n_ctx":8192},"build_info":"b1-abc"}"#;
    engine.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
    engine.on("GET", "/props").now(Reply::json(200, props));
    let ready = |line: &Value| line["message"] == "provider answered" && line["loading"] == false;
    gateway.line("that it is ready", ready).await;
    let listed = gateway.get("/v1/models/llamacpp/m").await.json();
    assert_eq!(
        (&listed["context_length"], listed["metadata"].get("loading")),
        (&json!(8192), None),
        "{listed}"
    );
    let call = gateway.post("/v1/chat/completions", chat("llamacpp/m")).await;
    assert_eq!(call.status, 200, "the breaker took no 503 of a loading engine for a failure: {call}");
}

#[tokio::test]
async fn an_engine_of_another_type_is_recognised() {
    let llama = played(Personality::LlamaCpp, |_| ()).await;
    let vllm = played(Personality::Vllm, |settings| settings.models[0].tasks = Tasks::EMBED).await;
    let gateway = TestGateway::setup()
        .provider("vllm", &llama.base_url())
        .provider("openai-compatible", &vllm.base_url())
        .start()
        .await;
    let another = "the provider is another engine than its type says; `ferrovia doctor` says what to change";
    for (provider, engine) in [("vllm", "llamacpp"), ("openai-compatible", "vllm")] {
        let line = gateway
            .line("what it is", |line| line["message"] == another && line["provider"] == provider)
            .await;
        assert_eq!((&line["engine"], &line["level"]), (&json!(engine), &json!("WARN")), "{line}");
    }
    assert_eq!(gateway.get("/v1/models/vllm/sim").await.json()["context_length"], 131_072);
    let asked = (llama.seen().len(), vllm.seen().len());
    assert_eq!(gateway.post("/v1/tokenize", ask("vllm/sim")).await.status, 501);
    assert_eq!(gateway.post("/v1/chat/completions", chat("openai-compatible/sim")).await.status, 501);
    for path in ["/p/vllm/slots", "/p/vllm/lora-adapters", "/p/openai-compatible/load_lora_adapter"] {
        let response = gateway.get(path).await;
        assert_eq!(
            (response.status, told("/p", &response).code.as_deref()),
            (403, Some("control_route_denied"))
        );
    }
    assert_eq!((llama.seen().len(), vllm.seen().len()), asked, "nobody was asked");
    assert_eq!(gateway.post("/v1/chat/completions", chat("vllm/sim")).await.status, 200);
    assert_eq!(gateway.post("/v1/embeddings", ask("openai-compatible/sim")).await.status, 200);
}

/// An upstream that lists a model, answers chat, and everything else like this.
async fn otherwise(owner: &str, reply: Reply) -> FakeUpstream {
    let upstream = FakeUpstream::start().await;
    let list = json!({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]});
    upstream.on("GET", "/v1/models").now(Reply::json(200, list.to_string()));
    upstream.on("POST", "/v1/chat/completions").now(Reply::json(200, REPLY));
    upstream.otherwise(reply);
    upstream
}

const ENGINES: [(&str, &str); 4] =
    [("vllm", "vllm"), ("sglang", "sglang"), ("llamacpp", "llamacpp"), ("ollama", "library")];

#[tokio::test]
async fn a_probe_that_fails_loses_no_model() {
    let endless =
        Reply::bytes(200, "application/json", "").chunked().forever(vec![b' '; 1 << 16], Duration::ZERO);
    for (what, reply) in [
        ("missing", Reply::json(404, r#"{"detail":"Not Found"}"#)),
        ("failing", Reply::text(500, "Internal Server Error")),
        ("a page", Reply::html(200, "<html>all is well</html>")),
        ("another object", Reply::json(200, r#"{"version":7,"paths":[],"models":{},"capabilities":3}"#)),
        ("garbage", Reply::bytes(200, "application/json", [0, 255, b'{', b'"'])),
        ("cut off", Reply::json(200, r#"{"version":"1.0","paths":{}}"#).truncate_after(10).close()),
        ("reset", Reply::no_response().reset()),
        ("endless", endless),
        ("a key that is refused", Reply::json(401, r#"{"error":"Unauthorized"}"#)),
    ] {
        let mut upstreams = Vec::new();
        let mut setup = TestGateway::setup();
        for (name, owner) in ENGINES {
            let upstream = otherwise(owner, reply.clone()).await;
            setup = setup.provider(name, &upstream.url());
            upstreams.push(upstream);
        }
        let gateway = setup.start().await;
        for (name, _) in ENGINES {
            let model = format!("{name}/m");
            assert_eq!(gateway.get(&format!("/v1/models/{model}")).await.status, 200, "{name}, {what}");
            let call = gateway.post("/v1/chat/completions", chat(&model)).await;
            assert_eq!(call.status, 200, "{name}, {what}: {call}");
        }
        assert_eq!(gateway.count("provider answered"), ENGINES.len(), "{what}");
    }
}

#[tokio::test]
async fn a_probe_that_hangs_holds_nobody_up() {
    let mut upstreams = Vec::new();
    let mut setup = TestGateway::setup();
    for (name, owner) in ENGINES {
        let upstream = otherwise(owner, Reply::no_response().stall()).await;
        setup = setup.provider(name, &upstream.url());
        upstreams.push(upstream);
    }
    let gateway = setup.launch().await;
    for (name, _) in ENGINES {
        let model = format!("{name}/m");
        // it may be asked before its list was heard; then the call itself asks for the list
        let call = gateway.post("/v1/chat/completions", chat(&model)).await;
        assert_eq!(call.status, 200, "{name}: {call}");
    }
}

#[tokio::test]
async fn a_model_that_is_new_is_called_before_all_is_known_of_it() {
    let upstream = otherwise("library", Reply::status(404)).await;
    upstream.on("GET", "/api/version").now(Reply::json(200, r#"{"version":"0.17.0"}"#));
    let gateway = TestGateway::setup().provider("ollama", &upstream.url()).start().await;
    let card = |id: &str| json!({"id": id, "object": "model", "owned_by": "library"});
    let list = json!({"object": "list", "data": [card("m"), card("new:latest")]});
    upstream.on("GET", "/v1/models").now(Reply::json(200, list.to_string()));
    upstream.on("POST", "/api/show").now(Reply::no_response().stall());
    let call = gateway.post("/v1/chat/completions", chat("ollama/new")).await;
    assert_eq!(call.status, 200, "{call}");
}

#[tokio::test]
async fn what_was_known_stays_known_while_an_engine_is_silent() {
    let upstream = otherwise("sglang", Reply::status(404)).await;
    upstream.on("GET", "/model_info").now(Reply::json(200, r#"{"is_generation":true}"#));
    upstream.on("GET", "/server_info").now(Reply::json(200, r#"{"version":"0.5.9","context_length":2048}"#));
    let routes = r#"{"paths":{"/v1/chat/completions":{"post":{}}}}"#;
    upstream.on("GET", "/openapi.json").now(Reply::json(200, routes));
    let gateway = TestGateway::setup()
        .provider("sglang", &upstream.url())
        .env("CACHE_REFRESH_INTERVAL", "100ms")
        .env("PROVIDER_RECHECK_INTERVAL", "50ms")
        .start()
        .await;
    let asked =
        |path: &'static str| upstream.requests().iter().filter(|request| request.path() == path).count();
    for path in ["/model_info", "/server_info", "/openapi.json"] {
        upstream.on("GET", path).now(Reply::status(500));
    }
    let before = asked("/openapi.json");
    eventually(Duration::from_secs(10), || asked("/openapi.json") >= before + 3).await;
    assert_eq!(gateway.get("/v1/models/sglang/m").await.json()["context_length"], 2048);
    assert_eq!(gateway.post("/v1/rerank", ask("sglang/m")).await.status, 501);
    assert_eq!(asked("/v1/rerank"), 0, "its routes are still known");

    // an engine that answers that there is no such thing has changed
    upstream.on("GET", "/openapi.json").now(Reply::status(404));
    let before = asked("/openapi.json");
    eventually(Duration::from_secs(10), || asked("/openapi.json") >= before + 3).await;
    assert_eq!(gateway.post("/v1/rerank", ask("sglang/m")).await.status, 501);
    assert!(asked("/v1/rerank") > 0, "now it has to be found out");
}
