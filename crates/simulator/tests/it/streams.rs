//! A stream adds up to the whole answer, and keeps its pace.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::Running;

use crate::client::{engine, engine_with, post};

fn said(events: &[Value], member: &str) -> String {
    let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"][member].as_str());
    deltas.collect()
}

async fn both(engine: &Running, path: &str, body: &Value) -> (Value, Vec<Value>) {
    let whole = post(engine, path, body).await.json();
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    (whole, post(engine, path, &streamed).await.events())
}

#[tokio::test]
async fn chat_deltas_equal_the_whole_text() {
    let engine = engine_with(|settings| settings.models[0].reasoning = true).await;
    for change in [
        json!({}),
        json!({"stop": ["e t", "the"]}),
        json!({"max_tokens": 12}),
        json!({"seed": 7}),
        json!({"ignore_eos": true, "max_tokens": 200}),
        json!({"response_format": {"type": "json_object"}}),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "Größe 日本語 please"}]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (whole, events) = both(&engine, "/v1/chat/completions", &body).await;
        let message = &whole["choices"][0]["message"];
        assert_eq!(said(&events, "content"), message["content"].as_str().unwrap_or_default(), "{change}");
        assert_eq!(said(&events, "reasoning"), message["reasoning"].as_str().unwrap_or_default(), "{change}");
        assert_eq!(events.last().unwrap(), "[DONE]");
        let finish = events.iter().find_map(|event| event["choices"][0]["finish_reason"].as_str());
        assert_eq!(finish, whole["choices"][0]["finish_reason"].as_str(), "{change}");
    }
}

#[tokio::test]
async fn the_other_dialects_add_up_too() {
    let engine = engine().await;
    let (whole, events) =
        both(&engine, "/v1/completions", &json!({"prompt": "Once", "max_tokens": 9, "echo": true})).await;
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
    assert!(text.starts_with("Once "), "{text}");

    let (whole, events) = both(&engine, "/v1/responses", &json!({"input": "Tell me of trains"})).await;
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(text, whole["output"][0]["content"][0]["text"].as_str().unwrap());
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?}");

    let body = json!({"model": "sim", "max_tokens": 99, "messages": [{"role": "user", "content": "trains"}]});
    let (whole, events) = both(&engine, "/v1/messages", &body).await;
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, whole["content"][0]["text"].as_str().unwrap());
}

#[tokio::test]
async fn choices_come_side_by_side_and_differ() {
    let body = json!({"messages": [{"role": "user", "content": "Hello"}], "n": 3, "stream": true,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let events = post(&engine().await, "/v1/chat/completions", &body).await.events();
    let text = |index: usize| -> String {
        let own = events.iter().filter(|event| event["choices"][0]["index"] == index);
        own.filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
    };
    assert_ne!(text(0), text(1));
    let first: Vec<u64> =
        events.iter().take(6).map(|event| event["choices"][0]["index"].as_u64().unwrap()).collect();
    assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    let usage = &events[events.len() - 2]["usage"];
    let counted: u64 = (0..3)
        .map(|index| {
            let own = events.iter().rev().find(|event| event["choices"][0]["index"] == index).unwrap();
            own["usage"]["completion_tokens"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(usage["completion_tokens"], counted);
}

#[tokio::test]
async fn token_ids_and_probabilities_belong_to_the_text() {
    let engine = engine().await;
    let body = json!({"messages": [{"role": "user", "content": "Hello"}], "logprobs": true, "top_logprobs": 2,
        "return_token_ids": true});
    let (whole, events) = both(&engine, "/v1/chat/completions", &body).await;
    let choice = &whole["choices"][0];
    let scored = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(scored.len(), choice["token_ids"].as_array().unwrap().len());
    assert_eq!(scored.len() as u64, whole["usage"]["completion_tokens"].as_u64().unwrap());
    let text: String = scored.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(text, format!("{}<|im_end|>", choice["message"]["content"].as_str().unwrap()));
    for token in scored {
        assert_eq!(token["top_logprobs"][0]["token"], token["token"]);
        let (first, second) = (&token["top_logprobs"][0]["logprob"], &token["top_logprobs"][1]["logprob"]);
        assert!(first.as_f64().unwrap() > second.as_f64().unwrap() && first.as_f64().unwrap() < 0.0);
    }
    let streamed: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].get(0)).collect();
    assert!(streamed.into_iter().eq(scored.iter()));
}

#[tokio::test]
async fn tokens_come_one_event_at_a_time_at_the_speed_that_was_set() {
    let engine = engine_with(|settings| {
        settings.prefill_tokens_per_second = 100.0;
        settings.decode_tokens_per_second = 100.0;
    })
    .await;
    // nine tokens in, twenty out: 90 ms and then 19 times 10 ms
    let body = json!({"messages": [{"role": "user", "content": "Hello"}], "stream": true, "ignore_eos": true,
        "max_tokens": 20});
    let begun = Instant::now();
    let answer = post(&engine, "/v1/chat/completions", &body).await;
    let took = begun.elapsed();
    assert_eq!(answer.chunks, 1 + 20 + 1);
    assert!(took >= Duration::from_millis(275) && took < Duration::from_secs(3), "{took:?}");
    let mut whole = body;
    whole["stream"] = json!(false);
    let begun = Instant::now();
    post(&engine, "/v1/chat/completions", &whole).await;
    assert!(begun.elapsed() >= Duration::from_millis(275), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_same_question_has_the_same_answer_at_any_speed() {
    let fast = engine().await;
    let slow = engine_with(|settings| settings.decode_tokens_per_second = 2_000.0).await;
    let ask = |content: &'static str, seed: u64| json!({"messages": [{"role": "user", "content": content}], "seed": seed});
    let said = |engine, body| async move {
        let whole = post(engine, "/v1/chat/completions", &body).await.json();
        whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let first = said(&fast, ask("Hello", 1)).await;
    assert_eq!(first, said(&fast, ask("Hello", 1)).await);
    assert_eq!(first, said(&slow, ask("Hello", 1)).await);
    assert_ne!(first, said(&fast, ask("Hello", 2)).await);
    assert_ne!(first, said(&fast, ask("Goodbye", 1)).await);
}
