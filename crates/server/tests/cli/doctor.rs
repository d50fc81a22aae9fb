//! `doctor`, `models` and `simulate`: an engine that is well, and engines that are not.

use testkit::ports::Refusing;
use testkit::{FakeUpstream, Reply};

use crate::process::{Running, ferrovia};

fn simulated(arguments: &[&str]) -> (Running, String) {
    let mut engine = ferrovia(&[&["simulate", "--port", "0"], arguments].concat()).start();
    let url = engine.url("Simulated vLLM");
    (engine, url)
}

#[test]
fn a_simulated_engine_is_found_well() {
    let (engine, url) = simulated(&["--model", "org/one", "--model", "two", "--api-key", "sk-engine"]);
    let with = |arguments: &[&str]| {
        ferrovia(arguments)
            .env("VLLM_BASE_URL", &format!("{url}/v1"))
            .env("VLLM_API_KEY", "sk-engine")
            .run()
            .code(0)
    };
    let done = with(&["doctor"]).says(&[
        "vllm at http://127.0.0.1:",
        "connected in plain text",
        "key      accepted",
        "2: vllm/org/one (131072 tokens), vllm/two (131072 tokens)",
        "vLLM 0.32.0",
        "chat, completions, responses, messages",
        "rerank",
        "1 of 1 providers can be used",
    ]);
    assert!(!done.out.contains("sk-engine"), "{}", done.out);
    let told = with(&["doctor", "--json", "vllm"]).json();
    assert_eq!((&told["ok"], &told["providers"][0]["version"]), (&true.into(), &"0.32.0".into()));
    assert!(told["providers"][0]["latency_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{told:#}");

    with(&["models"]).says(&["vllm/org/one", "vllm/two", "131072"]);
    let list = with(&["models", "--json"]).json();
    assert_eq!(list["data"][0]["id"], "vllm/org/one");
    assert!(engine.terminate().success());
}

/// A simulated engine of another kind, and its address.
fn played(personality: &str, title: &str, arguments: &[&str]) -> (Running, String) {
    let arguments = [&["simulate", "--port", "0", "--personality", personality], arguments].concat();
    let mut engine = ferrovia(&arguments).start();
    let url = engine.url(&format!("Simulated {title}"));
    (engine, url)
}

#[test]
fn every_engine_is_told_with_its_version_and_what_it_can_do() {
    for (personality, variable, title, version, model, serves) in [
        (
            "sglang",
            "SGLANG_BASE_URL",
            "SGLang",
            "0.5.9",
            "sglang/simulated (9000 tokens, completion)",
            "tokenize",
        ),
        (
            "llamacpp",
            "LLAMACPP_BASE_URL",
            "llama.cpp",
            "b8100-5d3a4f1c",
            "llamacpp/simulated (9000 tokens, completion)",
            "chat; learnt on use: completions",
        ),
        (
            "ollama",
            "OLLAMA_BASE_URL",
            "Ollama",
            "0.17.0",
            "ollama/simulated:latest (9000 tokens, completion, tools, embedding)",
            "chat, embeddings; learnt on use: completions, responses, messages",
        ),
    ] {
        let (_engine, url) = played(personality, title, &["--max-model-len", "9000"]);
        let done = ferrovia(&["doctor"]).env(variable, &url).run().code(0);
        let done = done.says(&[&format!("{title} {version}"), model, serves, "1 of 1 providers can be used"]);
        assert!(!done.out.contains("note"), "{}", done.out);
        let told = ferrovia(&["doctor", "--json"]).env(variable, &url).run().code(0).json();
        let told = &told["providers"][0];
        assert_eq!((&told["engine"], &told["version"]), (&personality.into(), &version.into()), "{told:#}");
        assert_eq!(told["models"][0]["context_length"], 9000, "{told:#}");
        assert_eq!(told["models"][0]["capabilities"][0], "completion", "{told:#}");
        ferrovia(&["models"]).env(variable, &url).run().code(0).says(&["9000", "completion"]);
    }
}

#[test]
fn a_key_is_proved_where_the_model_list_asks_for_none() {
    let (_engine, url) = played("llamacpp", "llama.cpp", &["--api-key", "sk-engine"]);
    let with = |key: Option<&str>, code: i32| {
        let doctor = ferrovia(&["doctor"]).env("LLAMACPP_BASE_URL", &url);
        let doctor = match key {
            Some(key) => doctor.env("LLAMACPP_API_KEY", key),
            None => doctor,
        };
        doctor.run().code(code)
    };
    with(None, 1).says(&["FAIL", "the server asks for one (401)", "set LLAMACPP_API_KEY"]);
    with(Some("sk-wrong"), 1).says(&["it was not accepted (401)", "correct LLAMACPP_API_KEY"]);
    with(Some("sk-engine"), 0).says(&["key      accepted", "llama.cpp b8100-5d3a4f1c"]);
}

#[test]
fn an_engine_of_the_wrong_type_is_named_with_the_fix() {
    let (_engine, url) = played("llamacpp", "llama.cpp", &[]);
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &url).run().code(0);
    done.says(&[
        "note",
        "llama.cpp b8100-5d3a4f1c, although the type is vllm",
        "set LLAMACPP_BASE_URL instead of VLLM_BASE_URL",
        "vllm/simulated (131072 tokens, completion)",
    ]);
    let yaml = format!("providers:\n  lab:\n    type: openai_compatible\n    base_url: {url}\n");
    let done = ferrovia(&["doctor"]).file("config.yaml", &yaml).run().code(0);
    done.says(&["although the type is openai_compatible", "set providers.lab.type to llamacpp"]);
    let told = ferrovia(&["doctor", "--json"]).file("config.yaml", &yaml).run().code(0).json();
    assert_eq!((&told["ok"], &told["providers"][0]["engine"]), (&true.into(), &"llamacpp".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_loads_is_not_broken() {
    let engine = FakeUpstream::start().await;
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    engine.otherwise(Reply::json(503, loading));
    let list = r#"{"object":"list","data":[{"id":"m","owned_by":"llamacpp","meta":null}]}"#;
    engine.on("GET", "/v1/models").now(Reply::json(200, list));
    let run = |arguments: &[&str]| ferrovia(arguments).env("LLAMACPP_BASE_URL", &engine.url()).run().code(0);
    run(&["doctor"]).says(&["note", "it is still loading its model", "wait: it is asked again"]);
    assert_eq!(run(&["doctor", "--json"]).json()["providers"][0]["loading"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_is_cut_short_is_told() {
    let engine = FakeUpstream::start().await;
    engine.otherwise(Reply::text(404, "404 page not found"));
    let list = r#"{"object":"list","data":[{"id":"m:latest","owned_by":"library"}]}"#;
    engine.on("GET", "/v1/models").now(Reply::json(200, list));
    engine.on("GET", "/api/version").now(Reply::json(200, r#"{"version":"0.17.0"}"#));
    let running = r#"{"models":[{"model":"m:latest","context_length":4096}]}"#;
    engine.on("GET", "/api/ps").now(Reply::json(200, running));
    let show = r#"{"capabilities":["completion"],"model_info":{"general.architecture":"llama","llama.context_length":131072}}"#;
    engine.on("POST", "/api/show").now(Reply::json(200, show));
    let done = ferrovia(&["doctor"]).env("OLLAMA_BASE_URL", &engine.url()).run().code(0);
    done.says(&[
        "ollama/m:latest (4096 tokens, completion)",
        "m:latest with 4096 of 131072 tokens",
        "OLLAMA_CONTEXT_LENGTH",
    ]);
}

#[test]
fn a_simulated_engine_without_a_key_says_so() {
    let (_engine, url) =
        simulated(&["--max-model-len", "1000", "--decode-tokens-per-second", "inf", "--reasoning"]);
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &url).run().code(0);
    done.says(&["none is set, and none is asked for", "vllm/simulated (1000 tokens)"]);
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &url).env("VLLM_API_KEY", "sk-x").run().code(0);
    done.says(&["note", "the server answers without one too"]);
    ferrovia(&["simulate", "--port", "0", "--decode-tokens-per-second", "0"]).run().code(1);
}

#[test]
fn a_key_that_is_missing_or_wrong_is_named() {
    let (_engine, url) = simulated(&["--api-key", "sk-engine"]);
    let done = ferrovia(&["doctor"]).env("VLLM_GPU_BASE_URL", &url).run().code(1);
    done.says(&["FAIL", "the server asks for one (401)", "set VLLM_GPU_API_KEY"]);
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &url).env("VLLM_API_KEY", "sk-wrong").run().code(1);
    let done = done.says(&["it was not accepted (401)", "correct VLLM_API_KEY"]);
    assert!(!done.out.contains("sk-wrong"), "{}", done.out);
    let two = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &url).env("VLLM_API_KEY", "sk-engine");
    two.env("VLLM_API_KEY_2", "sk-wrong").run().code(1).says(&["of 2 keys these were not accepted: 2"]);
}

#[test]
fn each_provider_is_examined_and_one_that_fails_is_enough() {
    let (_engine, url) = simulated(&[]);
    let refusing = Refusing::start();
    let refuses = format!("http://{}/v1", refusing.address());
    let all = |arguments: &[&str]| {
        ferrovia(arguments)
            .env("VLLM_BASE_URL", &url)
            .env("VLLM_B_BASE_URL", &refuses)
            .env("OPENAI_BASE_URL", "http://localhost:1/v1")
            .run()
    };
    let done = all(&["doctor"]).code(1);
    done.says(&["refused", "vllm-b", "fix:", "2 of 3 providers cannot be used"]);
    all(&["doctor", "vllm"]).code(0).says(&["All well: 1 of 1"]);
    let done = all(&["doctor", "nobody"]).code(1);
    assert!(done.err.contains("there is: "), "{}", done.err);

    let done = all(&["models"]).code(1).says(&["vllm/simulated"]);
    assert!(done.err.contains("vllm-b") && done.err.contains("ferrovia doctor vllm-b"), "{}", done.err);
}

#[test]
fn a_provider_that_is_left_out_is_told_with_its_reason() {
    let yaml = "providers:\n  hosted:\n    type: openai\n";
    let done = ferrovia(&["doctor"]).file("config.yaml", yaml).run().code(1);
    done.says(&["hosted", "need a key", "set `api_key`", "1 of 1 providers cannot be used"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_something_else_is_recognised() {
    let page = FakeUpstream::start().await;
    page.otherwise(Reply::html(200, "<html>a dashboard</html>"));
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &page.url()).run().code(1);
    done.says(&["FAIL", "is the address of a web page", "VLLM_BASE_URL"]);

    let other = FakeUpstream::start().await;
    other.otherwise(Reply::json(404, r#"{"detail":"Not Found"}"#));
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &format!("{}/x", other.url())).run().code(1);
    done.says(&["there is nothing at /x/v1/models"]);
    let done = ferrovia(&["doctor"])
        .env("OPENAI_COMPATIBLE_BASE_URL", &other.url())
        .env("OPENAI_COMPATIBLE_MODELS", "mine")
        .run()
        .code(0);
    done.says(&["note", "the 1 configured ones are used", "learnt on use"]);

    let noise = FakeUpstream::start().await;
    noise.otherwise(Reply::wire("SSH-2.0-OpenSSH_9.6\r\n"));
    ferrovia(&["doctor"]).env("VLLM_BASE_URL", &noise.url()).run().code(1).says(&["FAIL", "https://"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hides_its_routes_is_learnt_on_use() {
    let engine = FakeUpstream::start().await;
    engine.otherwise(Reply::json(404, r#"{"detail":"Not Found"}"#));
    engine.on("GET", "/v1/models").now(Reply::json(200, r#"{"object":"list","data":[{"id":"m"}]}"#));
    engine.on("GET", "/version").now(Reply::json(200, r#"{"version":"0.32.0"}"#));
    let done = ferrovia(&["doctor"]).env("VLLM_BASE_URL", &engine.url()).run().code(0);
    done.says(&["/openapi.json is not served", "chat; learnt on use: completions", "vllm/m"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_engine_misbehaves_on_schedule() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("faults.json");
    std::fs::write(&plan, r#"{"seed":1,"rules":[{"when":{"nth":2},"fault":"status:503"}]}"#)
        .expect("written");
    let (_engine, url) = simulated(&["--faults", plan.to_str().expect("a path")]);
    let address = url.trim_start_matches("http://");
    let ask = testkit::Request::post("/v1/chat/completions")
        .json(r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":1}"#);
    for expected in [200, 503, 200] {
        assert_eq!(testkit::client::send(address, &ask).await.status, expected);
    }

    std::fs::write(&plan, r#"{"rulez":[]}"#).expect("written");
    let wrong = ferrovia(&["simulate", "--port", "0", "--faults", plan.to_str().expect("a path")]);
    let said = wrong.run().code(1).err;
    assert!(said.contains("faults.json") && said.contains("rulez"), "{said}");
}
