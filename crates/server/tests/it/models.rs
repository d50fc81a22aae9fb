//! The inventory: what is listed, under which ids, and what happens to it when upstreams come and go.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::ports::Refusing;
use testkit::{FakeUpstream, Reply, Request, eventually};

use crate::gateway::TestGateway;
use crate::vllm::{self, engine_with};

fn ids(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|model| model["id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn models_are_listed_under_their_instance_and_sorted() {
    let (first, second) =
        (engine_with(&["zeta", "meta-llama/Llama-3.1-8B"]).await, engine_with(&["zeta", "alpha"]).await);
    let gateway = TestGateway::setup().vllm("vllm", &first).vllm("vllm-test", &second).start().await;
    let response = gateway.get("/v1/models").await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let list = response.json();
    assert_eq!(list["object"], "list");
    assert_eq!(
        ids(&list),
        ["vllm-test/alpha", "vllm-test/zeta", "vllm/meta-llama/Llama-3.1-8B", "vllm/zeta"]
    );
    for model in list["data"].as_array().unwrap() {
        assert_eq!(model["object"], "model");
        assert!(model["owned_by"].is_string() && model["created"].is_i64(), "{model}");
        assert!(model.get("permission").is_none(), "{model}");
    }
}

#[tokio::test]
async fn what_vllm_says_of_a_model_is_kept() {
    let upstream = vllm::engine().await;
    let base = json!({"id": "base", "object": "model", "created": 1, "owned_by": "vllm", "root": "org/base",
        "parent": null, "max_model_len": 8192});
    let adapter = json!({"id": "adapter", "object": "model", "created": 1, "owned_by": "vllm",
        "root": "/adapters/a", "parent": "base"});
    let list = json!({"object": "list", "data": [base, adapter]}).to_string();
    upstream.on("GET", "/v1/models").now(Reply::json(200, list));
    let gateway = TestGateway::before(&upstream).await;
    let base = gateway.get("/v1/models/vllm/base").await.json();
    assert_eq!((&base["max_model_len"], &base["context_length"]), (&json!(8192), &json!(8192)));
    assert_eq!((&base["root"], &base["parent"]), (&json!("org/base"), &Value::Null));
    let adapter = gateway.get("/v1/models/vllm/adapter").await.json();
    assert_eq!((&adapter["root"], &adapter["parent"]), (&json!("/adapters/a"), &json!("base")));
    assert_eq!(adapter["context_length"], 8192, "an adapter has its base model's length: {adapter}");
}

#[tokio::test]
async fn one_model_is_found_by_every_spelling_of_its_id() {
    let upstream = engine_with(&["meta-llama/Llama-3.1-8B", "Qwen 3"]).await;
    let gateway = TestGateway::before(&upstream).await;
    for path in [
        "vllm/meta-llama/Llama-3.1-8B",
        "vllm%2Fmeta-llama%2FLlama-3.1-8B",
        "vllm/meta-llama%2fLlama-3.1-8B",
        "meta-llama/Llama-3.1-8B",
        "meta-llama%2FLlama-3.1-8B",
    ] {
        let response = gateway.get(&format!("/v1/models/{path}")).await;
        assert_eq!(response.status, 200, "{path}: {response}");
        assert_eq!(response.json()["id"], "vllm/meta-llama/Llama-3.1-8B", "{path}");
    }
    assert_eq!(gateway.get("/v1/models/vllm/Qwen%203").await.json()["id"], "vllm/Qwen 3");
    let unknown = gateway.get("/v1/models/vllm/nothing-like-it").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &json!("not_found_error")));
}

#[tokio::test]
async fn anthropics_clients_get_their_own_list() {
    let upstream = engine_with(&["a", "b", "c"]).await;
    let gateway = TestGateway::before(&upstream).await;
    let ask = async |path: &str| {
        gateway.send(&Request::get(path).header("anthropic-version", "2023-06-01")).await.json()
    };
    let list = ask("/v1/models?limit=2").await;
    assert_eq!(ids(&list), ["vllm/a", "vllm/b"]);
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(true), &json!("vllm/a"), &json!("vllm/b"))
    );
    let model = &list["data"][0];
    assert_eq!((&model["type"], &model["display_name"]), (&json!("model"), &json!("vllm/a")));
    assert_eq!(model["created_at"], "2023-11-14T22:13:20Z");
    let rest = ask("/v1/models?limit=2&after_id=vllm%2Fb").await;
    assert_eq!((ids(&rest), &rest["has_more"]), (vec!["vllm/c"], &json!(false)));
    assert_eq!(ask("/v1/models/vllm/a").await["type"], "model");
    let missing = ask("/v1/models/vllm/zzzzz").await;
    assert_eq!((&missing["type"], &missing["error"]["type"]), (&json!("error"), &json!("not_found_error")));
}

#[tokio::test]
async fn without_providers_the_list_is_empty_and_calls_are_unavailable() {
    let gateway = TestGateway::setup().start().await;
    let list = gateway.get("/v1/models").await;
    assert_eq!((list.status, list.json()), (200, json!({"object": "list", "data": []})));
    assert_eq!(gateway.get("/health").await.status, 200);
    let call = gateway.post("/v1/chat/completions", vllm::ASK).await;
    assert_eq!(call.status, 503, "{call}");
    assert_eq!(call.json()["error"]["type"], "provider_error");
    assert!(call.text().contains("VLLM_BASE_URL"), "it says what to do: {call}");
}

#[tokio::test]
async fn an_upstream_that_comes_late_is_found() {
    let taken = Refusing::start();
    let address = taken.address();
    let gateway = TestGateway::setup()
        .provider("vllm", &format!("http://{address}"))
        .env("PROVIDER_RECHECK_INTERVAL", "100ms")
        .start()
        .await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), [""; 0]);
    let call = gateway.post("/v1/chat/completions", vllm::ASK).await;
    assert_eq!(call.status, 503, "{call}");
    assert!(call.text().contains("vllm"), "the silent instance is named: {call}");
    drop(taken);
    let upstream = FakeUpstream::start_at(address).await;
    vllm::describe(&upstream, &["tiny"]);
    upstream.on("POST", "/v1/chat/completions").then(Reply::json(200, vllm::REPLY));
    gateway.line("that it answers", |line| line["message"] == "provider answered").await;
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200);
}

#[tokio::test]
async fn start_up_does_not_wait_for_a_silent_upstream() {
    let upstream = FakeUpstream::start().await;
    upstream.otherwise(Reply::no_response().stall());
    let gateway = TestGateway::setup().vllm("vllm", &upstream).launch().await;
    assert_eq!(gateway.get("/health").await.status, 200);
    assert_eq!(gateway.get("/v1/models").await.json()["data"], json!([]));
    assert_eq!(gateway.get("/health/ready").await.json()["status"], "degraded");
}

#[tokio::test]
async fn one_silent_upstream_holds_no_other_up() {
    let (silent, upstream) = (FakeUpstream::start().await, vllm::talking().await);
    silent.otherwise(Reply::no_response().stall());
    let gateway = TestGateway::setup().vllm("vllm-a", &silent).vllm("vllm-b", &upstream).launch().await;
    gateway.line("that the other answers", |line| line["message"] == "provider answered").await;
    let ask = r#"{"model":"vllm-b/tiny","messages":[]}"#;
    assert_eq!(gateway.post("/v1/chat/completions", ask).await.status, 200);
}

#[tokio::test]
async fn models_of_an_upstream_that_fails_stay_and_are_marked() {
    let upstream = vllm::talking().await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("CACHE_REFRESH_INTERVAL", "100ms")
        .env("PROVIDER_RECHECK_INTERVAL", "100ms")
        .start()
        .await;
    upstream.on("GET", "/v1/models").now(Reply::json(503, vllm::error(503, "ServiceUnavailable", "loading")));
    gateway
        .line("the failure", |line| line["message"] == "provider did not answer; it is asked again soon")
        .await;
    let model = gateway.get("/v1/models/vllm/tiny").await.json();
    assert!(model["metadata"]["stale_since"].is_string(), "{model}");
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200, "it is still routable");
    upstream.on("GET", "/v1/models").now(vllm::listing(&["tiny", "new"]));
    let fresh = |line: &Value| line["message"] == "provider answered" && line["models"] == 2;
    gateway.line("the new list", fresh).await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(ids(&list), ["vllm/new", "vllm/tiny"]);
    assert!(
        list["data"].as_array().unwrap().iter().all(|m| m.pointer("/metadata/stale_since").is_none()),
        "{list}"
    );
}

#[tokio::test]
async fn the_last_inventory_survives_a_restart() {
    let upstream = vllm::talking().await;
    let address = upstream.address();
    let first = TestGateway::before(&upstream).await;
    let kept = first.folder().join(".cache/models.json");
    eventually(Duration::from_secs(5), || kept.exists()).await;
    let next = TestGateway::setup().folder_of(&first);
    drop((first, upstream));
    // the address is the same, so that the kept list is taken for this server's
    let gateway = next.provider("vllm", &format!("http://{address}/v1")).launch().await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(ids(&list), ["vllm/tiny"]);
    assert!(list["data"][0]["metadata"]["stale_since"].is_string(), "{list}");
    let call = gateway.post("/v1/chat/completions", vllm::ASK).await;
    assert_eq!(call.status, 502, "it is known, but nobody is there: {call}");
}

#[tokio::test]
async fn an_inventory_of_another_address_is_not_taken_over() {
    let (old, new) = (engine_with(&["old"]).await, FakeUpstream::start().await);
    new.otherwise(Reply::no_response().stall());
    let first = TestGateway::before(&old).await;
    let kept = first.folder().join(".cache/models.json");
    eventually(Duration::from_secs(5), || kept.exists()).await;
    let next = TestGateway::setup().folder_of(&first);
    drop(first);
    let gateway = next.vllm("vllm", &new).launch().await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), [""; 0]);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_or_read_only_warns() {
    let upstream = vllm::talking().await;
    let setup = TestGateway::setup().vllm("vllm", &upstream);
    // a file where the folder should be: nobody, root included, can write below it
    let blocked = setup.folder().join("blocked");
    std::fs::write(&blocked, "no folder").expect("the folder can be written");
    let gateway = setup.env("FERROVIA_CACHE_DIR", "blocked").start().await;
    let warned = |line: &Value| {
        line["level"] == "WARN"
            && line["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("the model inventory could not be saved"))
    };
    gateway.line("that the inventory is not kept", warned).await;
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200);

    let setup = TestGateway::setup().vllm("vllm", &upstream);
    std::fs::create_dir(setup.folder().join(".cache")).expect("the folder can be written");
    std::fs::write(setup.folder().join(".cache/models.json"), "{ half").expect("the folder can be written");
    let gateway = setup.start().await;
    let warned = |line: &Value| line["level"] == "WARN" && line["file"] == ".cache/models.json";
    gateway.line("that the kept inventory is unreadable", warned).await;
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200);
}

#[tokio::test]
async fn a_full_disk_only_warns() {
    let upstream = vllm::talking().await;
    // every write to this device says that no space is left
    let setup = TestGateway::setup().vllm("vllm", &upstream);
    let folder = setup.folder().join(".cache");
    std::fs::create_dir(&folder).expect("the folder can be written");
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/full", folder.join("models.json.new")).expect("a link can be made");
    let gateway = setup.start().await;
    let warned = |line: &Value| line["level"] == "WARN" && line["file"] == ".cache/models.json";
    gateway.line("that nothing is kept", warned).await;
    assert_eq!(gateway.post("/v1/chat/completions", vllm::ASK).await.status, 200);
}

#[tokio::test]
async fn configured_models_stand_in_limit_or_add() {
    let upstream = vllm::talking().await;
    for (mode, expect) in [
        ("fallback", &["vllm/tiny"] as &[&str]),
        ("allowlist", &["vllm/extra", "vllm/more"]),
        ("merge", &["vllm/extra", "vllm/more", "vllm/tiny"]),
    ] {
        let gateway = TestGateway::setup()
            .vllm("vllm", &upstream)
            .env("VLLM_MODELS", "extra,more")
            .env("CONFIGURED_PROVIDER_MODELS_MODE", mode)
            .start()
            .await;
        assert_eq!(ids(&gateway.get("/v1/models").await.json()), expect, "{mode}");
    }
    let down = Refusing::start();
    let gateway =
        TestGateway::setup().provider("vllm", &down.url()).env("VLLM_MODELS", "extra").start().await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), ["vllm/extra"]);
}

#[tokio::test]
async fn filters_choose_among_an_upstreams_models() {
    let upstream = engine_with(&["Llama-8b", "llama-70b", "qwen"]).await;
    let gateway = TestGateway::setup()
        .vllm("vllm", &upstream)
        .env("VLLM_MODEL_FILTER_INCLUDE", "LLAMA-*")
        .env("VLLM_MODEL_FILTER_EXCLUDE", "*70?")
        .start()
        .await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), ["vllm/Llama-8b"]);
    let call = gateway.post("/v1/chat/completions", r#"{"model":"vllm/qwen","messages":[]}"#).await;
    assert_eq!(call.status, 400, "{call}");
}

#[tokio::test]
async fn base_urls_may_be_written_in_every_way() {
    let upstream = FakeUpstream::start().await;
    for prefix in ["", "/gpu/7"] {
        upstream.on("GET", &format!("{prefix}/v1/models")).then(vllm::listing(&["tiny"]));
        upstream.on("POST", &format!("{prefix}/v1/chat/completions")).then(Reply::json(200, vllm::REPLY));
    }
    for path in ["", "/", "/v1", "/v1/", "/gpu/7", "/gpu/7/", "/gpu/7/v1", "/gpu/7/v1/"] {
        let gateway =
            TestGateway::setup().provider("vllm", &format!("{}{path}", upstream.url())).start().await;
        let call = gateway.post("/v1/chat/completions", vllm::ASK).await;
        assert_eq!(call.status, 200, "{path}: {call}");
    }
}

#[tokio::test]
async fn bare_ids_and_no_ids_at_all_can_be_listed() {
    let (first, second) = (engine_with(&["same", "one"]).await, engine_with(&["same", "two"]).await);
    let setup = || TestGateway::setup().vllm("vllm", &first).vllm("vllm-test", &second);
    let gateway = setup().env("UNQUALIFIED_MODEL_IDS_AT_MODELS_ENDPOINT", "true").start().await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), ["one", "same", "two"]);
    let gateway = setup().env("KEEP_ONLY_ALIASES_AT_MODELS_ENDPOINT", "true").start().await;
    assert_eq!(ids(&gateway.get("/v1/models").await.json()), [""; 0]);
}

#[tokio::test]
async fn a_model_list_that_is_nonsense_is_a_failure_of_that_instance_only() {
    let good = vllm::talking().await;
    for nonsense in [
        Reply::html(200, "<html>login</html>"),
        Reply::json(200, r#"{"data": 7}"#),
        Reply::json(200, ""),
        Reply::json(401, r#"{"error":"Unauthorized"}"#),
        Reply::wire("garbage\r\n\r\n"),
        Reply::json(200, r#"{"object":"list","data":[]}"#).truncate_after(10),
    ] {
        let bad = FakeUpstream::start().await;
        bad.otherwise(nonsense);
        let gateway = TestGateway::setup().vllm("vllm-bad", &bad).vllm("vllm-good", &good).start().await;
        assert_eq!(ids(&gateway.get("/v1/models").await.json()), ["vllm-good/tiny"]);
        let ready = gateway.get("/health/ready").await;
        assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("degraded")));
    }
}

#[tokio::test]
async fn a_limit_that_is_no_number_is_refused() {
    let upstream = vllm::engine().await;
    let gateway = TestGateway::before(&upstream).await;
    let list = |query: &str| {
        testkit::Request::get(&format!("/v1/models?{query}")).header("anthropic-version", "2023-06-01")
    };
    for wrong in ["limit=abc", "limit=", "limit=-1", "limit=1.5"] {
        let response = gateway.send(&list(wrong)).await;
        assert_eq!(response.status, 400, "{wrong}: {response}");
        assert!(
            response.json()["error"]["message"].as_str().is_some_and(|m| m.contains("'limit'")),
            "{response}"
        );
    }
    assert_eq!(gateway.send(&list("limit=5000")).await.status, 200);
    assert_eq!(gateway.get("/v1/models?limit=abc").await.status, 200, "OpenAI's list has no pages");
}
