//! Replicas: caches of their own, a bounded batch, a queue, adapters, sleep.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::{Model, Running, Settings, start_fleet};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{LIMIT, begin, engine_with, get, post, read, send};

const CHAT: &str = "/v1/chat/completions";

fn asking(words: usize, stream: bool) -> Value {
    let text = "word ".repeat(words);
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 8, "stream": stream,
        "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }})
}

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

async fn metric(engine: &Running, name: &str) -> f64 {
    let page = get(engine, "/metrics").await.body;
    let row = page.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with('{'));
    let row = row.unwrap_or_else(|| panic!("{name} is not in\n{page}"));
    row.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn ask_and_stay(engine: &Running, body: &Value) -> TcpStream {
    begin(engine, "POST", CHAT, &[("content-type", "application/json")], &body.to_string()).await
}

/// Waits until something about the engine holds.
async fn until(what: &str, engine: &Running, holds: impl Fn(&Running) -> bool) {
    let waited = timeout(LIMIT, async {
        while !holds(engine) {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn each_replica_has_a_cache_of_its_own() {
    let settings = Settings { models: vec![Model::named("sim")], ..Settings::default() }.at_full_speed();
    let fleet = start_fleet(settings, 3).await.unwrap();
    let addresses: std::collections::HashSet<_> = fleet.iter().map(Running::address).collect();
    assert_eq!(addresses.len(), 3);
    let body = asking(200, false);
    for engine in &fleet {
        assert_eq!(cached(&post(engine, CHAT, &body).await.json()), 0);
        let again = post(engine, CHAT, &body).await.json();
        let prompt = again["usage"]["prompt_tokens"].as_u64().unwrap();
        assert_eq!(cached(&again), (prompt - 1) / 16 * 16);
        assert_eq!(engine.prefix_cache(), (2 * prompt, cached(&again)));
        assert_eq!(metric(engine, "vllm:prefix_cache_queries_total").await, 2.0 * prompt as f64);
        assert_eq!(metric(engine, "vllm:prefix_cache_hits_total").await, cached(&again) as f64);
    }
}

#[tokio::test]
async fn a_fleet_may_take_ports_in_a_row() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { listen: free, ..Settings::default() };
    // the ports behind a free one may be taken by others
    if let Ok(fleet) = start_fleet(settings.clone(), 2).await {
        assert_eq!(fleet[1].address().port(), free.port() + 1);
    }
    let mut last = settings;
    last.listen.set_port(65_535);
    let error = start_fleet(last, 2).await.unwrap_err().to_string();
    assert!(error.contains("65535"), "{error}");
}

#[tokio::test]
async fn every_dialect_tells_what_the_cache_spared() {
    let engine = engine_with(|_| ()).await;
    let text = "word ".repeat(100);
    let messages = json!([{"role": "user", "content": text}]);
    let chat = json!({"messages": messages, "max_tokens": 5, "stream": true, "stream_options": {"include_usage": true}});
    for round in [false, true] {
        let events = post(&engine, CHAT, &chat).await.events();
        assert_eq!(cached(&events[events.len() - 2]) > 0, round);
        let completion = json!({"prompt": text, "max_tokens": 5});
        assert_eq!(cached(&post(&engine, "/v1/completions", &completion).await.json()) > 0, round);
        let response = json!({"input": text, "max_output_tokens": 5});
        let usage = post(&engine, "/v1/responses", &response).await.json()["usage"].clone();
        // chat has read the same prompt before
        assert!(usage["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
        let message = json!({"model": "sim", "max_tokens": 5, "messages": messages});
        let usage = post(&engine, "/v1/messages", &message).await.json()["usage"].clone();
        assert!(usage["cache_read_input_tokens"].as_u64().unwrap() > 90, "{usage}");
        assert!(usage["input_tokens"].as_u64().unwrap() < 20, "{usage}");
    }
}

#[tokio::test]
async fn the_answer_to_a_turn_is_cached_for_the_next() {
    let engine = engine_with(|_| ()).await;
    let mut messages = json!([{"role": "user", "content": "word ".repeat(64)}]);
    let body = |messages: &Value| json!({"messages": messages});
    let first = post(&engine, CHAT, &body(&messages)).await.json();
    let said = first["choices"][0]["message"]["content"].clone();
    messages
        .as_array_mut()
        .unwrap()
        .extend([json!({"role": "assistant", "content": said}), json!({"role": "user", "content": "Go on"})]);
    let second = post(&engine, CHAT, &body(&messages)).await.json();
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    let said = first["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(cached(&second), (prompt + said) / 16 * 16);
    assert!(cached(&second) > prompt, "{} of {}", first["usage"], second["usage"]);
}

#[tokio::test]
async fn a_salt_or_an_adapter_keeps_prefixes_apart() {
    let engine = engine_with(|settings| {
        settings.models.push(Model { parent: Some("sim".to_owned()), ..Model::named("adapter") });
    })
    .await;
    let mut body = asking(100, false);
    for (member, value) in [("user", "x"), ("cache_salt", "a"), ("cache_salt", "b"), ("model", "adapter")] {
        body[member] = json!(value);
        assert_eq!(cached(&post(&engine, CHAT, &body).await.json()), 0, "{member}: {value}");
        assert!(cached(&post(&engine, CHAT, &body).await.json()) > 0, "{member}: {value}");
    }
}

#[tokio::test]
async fn only_what_is_not_cached_takes_time_to_read() {
    let engine = engine_with(|settings| settings.prefill_tokens_per_second = 1_000.0).await;
    let body = asking(400, false);
    let begun = Instant::now();
    post(&engine, CHAT, &body).await;
    let cold = begun.elapsed();
    let begun = Instant::now();
    post(&engine, CHAT, &body).await;
    let warm = begun.elapsed();
    assert!(cold >= Duration::from_millis(400) && warm < cold / 2, "{cold:?}, then {warm:?}");
}

#[tokio::test]
async fn the_least_used_prefixes_are_given_up_first() {
    let engine = engine_with(|settings| settings.kv_cache_blocks = 20).await;
    let about = |topic: &str| json!({"messages": [{"role": "user", "content": format!("{topic} ").repeat(64)}], "max_tokens": 1});
    let ask = |topic: &'static str| {
        let engine = &engine;
        async move { cached(&post(engine, CHAT, &about(topic)).await.json()) }
    };
    assert_eq!((ask("word").await, ask("time").await), (0, 0));
    assert!(ask("word").await > 0);
    // each of them takes more than four of the twenty blocks
    for topic in ["day", "year"] {
        assert_eq!(ask(topic).await, 0);
    }
    assert!(ask("word").await > 0);
    assert_eq!(ask("other").await, 0);
    assert!(ask("time").await < 64);
}

#[tokio::test]
async fn the_batch_is_bounded_and_the_rest_waits_its_turn() {
    let engine = engine_with(|settings| {
        settings.max_num_seqs = 2;
        settings.decode_tokens_per_second = 40.0;
    })
    .await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true, "ignore_eos": true, "max_tokens": 8});
    let begun = Instant::now();
    let mut streams = Vec::new();
    for index in 0..4 {
        streams.push(ask_and_stay(&engine, &body).await);
        until("all are in", &engine, |engine| engine.running() + engine.waiting() == index + 1).await;
    }
    assert_eq!((engine.running(), engine.waiting()), (2, 2));
    assert_eq!(metric(&engine, "vllm:num_requests_running").await, 2.0);
    assert_eq!(metric(&engine, "vllm:num_requests_waiting").await, 2.0);
    assert!(metric(&engine, "vllm:kv_cache_usage_perc").await > 0.0);
    let mut ends = Vec::new();
    for mut stream in streams {
        let answer = timeout(LIMIT, read(&mut stream)).await.unwrap();
        assert_eq!(answer.events().last().unwrap(), "[DONE]");
        ends.push(begun.elapsed());
    }
    // eight tokens at 40 a second, twice
    assert!(ends[2] > Duration::from_millis(340), "{ends:?}");
    assert_eq!((engine.running(), engine.waiting(), engine.kv_usage()), (0, 0, 0.0));
    assert_eq!(metric(&engine, "vllm:request_queue_time_seconds_count").await, 4.0);
    assert!(metric(&engine, "vllm:request_queue_time_seconds_sum").await > 0.3);
}

#[tokio::test]
async fn the_head_of_a_stream_does_not_wait_for_the_batch() {
    let engine = engine_with(|settings| {
        settings.max_num_seqs = 1;
        settings.decode_tokens_per_second = 1.0;
    })
    .await;
    let body = asking(1, true);
    let first = ask_and_stay(&engine, &body).await;
    until("it runs", &engine, |engine| engine.running() == 1).await;
    let second = ask_and_stay(&engine, &body).await;
    let mut head = [0; 15];
    timeout(LIMIT, second.readable()).await.unwrap().unwrap();
    second.try_read(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(engine.waiting(), 1);
    drop((first, second));
}

#[tokio::test]
async fn who_leaves_the_queue_makes_room_and_is_counted() {
    let engine = engine_with(|settings| {
        settings.max_num_seqs = 1;
        settings.decode_tokens_per_second = 1.0;
    })
    .await;
    for stream in [false, true] {
        let first = ask_and_stay(&engine, &asking(1, false)).await;
        until("it runs", &engine, |engine| engine.running() == 1).await;
        let before = engine.aborted();
        let second = ask_and_stay(&engine, &asking(1, stream)).await;
        until("it waits", &engine, |engine| engine.waiting() == 1).await;
        drop(second);
        timeout(LIMIT, engine.wait_for_abort(before + 1)).await.expect("not noticed");
        assert_eq!((engine.running(), engine.waiting()), (1, 0));
        let third = ask_and_stay(&engine, &asking(1, stream)).await;
        until("it waits", &engine, |engine| engine.waiting() == 1).await;
        drop(first);
        until("it runs", &engine, |engine| (engine.running(), engine.waiting()) == (1, 0)).await;
        drop(third);
        until("all is over", &engine, |engine| engine.running() == 0).await;
    }
}

#[tokio::test]
async fn too_many_in_flight_are_turned_away() {
    let engine = engine_with(|settings| {
        settings.max_num_seqs = 1;
        settings.max_num_queued_reqs = Some(2);
        settings.decode_tokens_per_second = 1.0;
    })
    .await;
    let mut kept = Vec::new();
    for count in 1..=2 {
        kept.push(ask_and_stay(&engine, &asking(1, true)).await);
        until("it is in", &engine, |engine| engine.running() + engine.waiting() == count).await;
    }
    let refused = post(&engine, CHAT, &asking(1, true)).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (503, &json!("ServiceUnavailableError")));
    assert_eq!(post(&engine, "/v1/embeddings", &json!({"input": "x"})).await.status, 503);
    let page = get(&engine, "/metrics").await.body;
    let row = "vllm:admission_rejections_total{model_name=\"sim\",reason=\"max_num_queued_reqs\"} 2.0";
    assert!(page.contains(row), "{page}");
    assert_eq!(post(&engine, "/tokenize", &json!({"prompt": "x"})).await.status, 200);
}

#[tokio::test]
async fn control_routes_are_there_in_development_mode_only() {
    let plain = engine_with(|_| ()).await;
    let dev = engine_with(|settings| settings.dev_mode = true).await;
    for (method, path) in [
        ("POST", "/sleep"),
        ("POST", "/wake_up"),
        ("GET", "/is_sleeping"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("GET", "/is_paused"),
        ("POST", "/reset_prefix_cache"),
        ("GET", "/server_info"),
    ] {
        assert_eq!(send(&plain, method, path, &[], "").await.status, 404, "{path}");
        assert_eq!(send(&dev, method, path, &[], "").await.status, 200, "{path}");
    }
    for path in ["/collective_rpc", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"] {
        assert_eq!(post(&plain, path, &json!({})).await.status, 404, "{path}");
        assert_eq!(post(&dev, path, &json!({})).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_sleeping_engine_lets_everybody_wait_and_forgets() {
    let engine = engine_with(|settings| settings.dev_mode = true).await;
    let body = asking(100, false);
    post(&engine, CHAT, &body).await;
    assert_eq!(send(&engine, "POST", "/sleep?level=2", &[], "").await.status, 200);
    assert_eq!(get(&engine, "/is_sleeping").await.body, r#"{"is_sleeping":true}"#);
    let page = get(&engine, "/metrics").await.body;
    assert!(
        page.contains("engine_sleep_state{engine=\"0\",model_name=\"sim\",sleep_state=\"discard_all\"} 1.0")
    );
    let mut waiting = ask_and_stay(&engine, &body).await;
    until("it waits", &engine, |engine| engine.waiting() == 1).await;
    assert_eq!(get(&engine, "/health").await.status, 200);
    send(&engine, "POST", "/wake_up", &[], "").await;
    let answer = timeout(LIMIT, read(&mut waiting)).await.unwrap().json();
    assert_eq!(cached(&answer), 0);
    assert_eq!(get(&engine, "/is_sleeping").await.body, r#"{"is_sleeping":false}"#);
    assert!(cached(&post(&engine, CHAT, &body).await.json()) > 0);
    send(&engine, "POST", "/reset_prefix_cache", &[], "").await;
    assert_eq!(cached(&post(&engine, CHAT, &body).await.json()), 0);
}

#[tokio::test]
async fn adapters_come_and_go() {
    let engine = engine_with(|settings| {
        settings.dev_mode = true;
        settings.decode_tokens_per_second = 20.0;
    })
    .await;
    let adapter = json!({"lora_name": "sql", "lora_path": "/models/sql"});
    let mut body = asking(1, false);
    body["model"] = json!("sql");
    assert_eq!(post(&engine, CHAT, &body).await.status, 404);
    let loaded = post(&engine, "/v1/load_lora_adapter", &adapter).await;
    assert_eq!((loaded.status, loaded.header("content-type")), (200, None));
    assert_eq!(loaded.body, "Success: LoRA adapter 'sql' added successfully.");
    let again = post(&engine, "/v1/load_lora_adapter", &adapter).await;
    assert_eq!((again.status, &again.json()["error"]["type"]), (400, &json!("InvalidUserInput")));
    let listed = get(&engine, "/v1/models").await.json()["data"][1].clone();
    assert_eq!(
        (&listed["id"], &listed["parent"], &listed["max_model_len"]),
        (&json!("sql"), &json!("sim"), &Value::Null)
    );
    assert_eq!(listed["root"], "/models/sql");
    let mut running = ask_and_stay(&engine, &body).await;
    until("it runs", &engine, |engine| engine.running() == 1).await;
    let page = get(&engine, "/metrics").await.body;
    let row =
        "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"sql\",waiting_lora_adapters=\"\"} ";
    assert!(page.contains(row), "{page}");
    assert_eq!(timeout(LIMIT, read(&mut running)).await.unwrap().json()["model"], "sql");
    let unloaded = post(&engine, "/v1/unload_lora_adapter", &json!({"lora_name": "sql"})).await;
    assert_eq!(unloaded.body, "Success: LoRA adapter 'sql' removed successfully.");
    assert_eq!(post(&engine, "/v1/unload_lora_adapter", &json!({"lora_name": "sql"})).await.status, 404);
    assert_eq!(post(&engine, CHAT, &body).await.status, 404);
}
