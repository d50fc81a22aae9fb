//! What is answered: tools, schemas, turns of an agent.

use serde_json::{Value, json};

use crate::client::{engine, post};

fn weather() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "unit"]})
}

fn asked() -> Value {
    json!([{"role": "user", "content": "What is the weather in Paris?"}])
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_answered_in_chat() {
    let engine = engine().await;
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": weather()}}]);
    let first =
        post(&engine, "/v1/chat/completions", &json!({"messages": asked(), "tools": tools})).await.json();
    let message = &first["choices"][0]["message"];
    let arguments: Value =
        serde_json::from_str(message["tool_calls"][0]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments["city"], "Paris");
    assert!(arguments["unit"] == "c" || arguments["unit"] == "f");
    assert_eq!(
        (&message["content"], &first["choices"][0]["finish_reason"]),
        (&Value::Null, &json!("tool_calls"))
    );
    let mut messages = asked();
    let call = &message["tool_calls"][0];
    messages.as_array_mut().unwrap().extend([
        message.clone(),
        json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny, 21 degrees"}),
    ]);
    let second =
        post(&engine, "/v1/chat/completions", &json!({"messages": messages, "tools": tools})).await.json();
    assert_eq!(second["choices"][0]["message"]["content"], "get_weather answered: sunny, 21 degrees");
    assert_eq!(second["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_named_choice_finishes_with_stop() {
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": weather()}}]);
    let choice = json!({"type": "function", "function": {"name": "get_weather"}});
    let body =
        json!({"messages": [{"role": "user", "content": "Hi"}], "tools": tools, "tool_choice": choice});
    let answer = post(&engine().await, "/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather");
}

#[tokio::test]
async fn an_agents_turn_ends_in_the_responses_dialect() {
    let engine = engine().await;
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": weather(), "strict": false},
        {"type": "custom", "name": "apply_note"}, {"type": "web_search"}]);
    let mut input = json!([
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are an agent."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather in Rome?"}]}
    ]);
    let first = post(&engine, "/v1/responses", &json!({"input": input, "tools": tools})).await.json();
    let call = &first["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("get_weather")));
    input.as_array_mut().unwrap().extend([
        call.clone(),
        json!({"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}),
    ]);
    let second = post(&engine, "/v1/responses", &json!({"input": input, "tools": tools})).await.json();
    assert_eq!(second["output"][0]["content"][0]["text"], "get_weather answered: rain");
    let custom =
        json!({"input": "Hi", "tools": tools, "tool_choice": {"type": "custom", "name": "apply_note"}});
    let third = post(&engine, "/v1/responses", &custom).await.json();
    assert_eq!(third["output"][0]["type"], "custom_tool_call");
    assert!(!third["output"][0]["input"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn an_agents_turn_ends_in_the_messages_dialect() {
    let engine = engine().await;
    let tools = json!([{"name": "get_weather", "input_schema": weather()}]);
    let mut body = json!({"model": "sim", "max_tokens": 200, "tools": tools,
        "system": [{"type": "text", "text": "x-anthropic-billing-header: 1"}, {"type": "text", "text": "Be brief"}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<note>no weather here</note>"},
            {"type": "text", "text": "What is the weather in Oslo?"}]}]});
    let first = post(&engine, "/v1/messages", &body).await.json();
    assert_eq!(first["stop_reason"], "tool_use");
    let block = &first["content"][0];
    assert_eq!((&block["type"], &block["input"]["city"]), (&json!("tool_use"), &json!("Oslo")));
    let result = json!({"type": "tool_result", "tool_use_id": block["id"], "content": [{"type": "text", "text": "snow"}]});
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": [block]}),
        json!({"role": "user", "content": [result]}),
    ]);
    let second = post(&engine, "/v1/messages", &body).await.json();
    assert_eq!(second["content"][0]["text"], "get_weather answered: snow");
    let counted = post(&engine, "/v1/messages/count_tokens", &body).await.json();
    let usage = |member: &str| second["usage"][member].as_u64().unwrap();
    assert_eq!(counted["input_tokens"], usage("input_tokens") + usage("cache_read_input_tokens"));
    assert!(usage("cache_read_input_tokens") > 0, "the second turn repeats the first");
}

#[tokio::test]
async fn notes_of_an_agent_do_not_call_its_tools() {
    let body = json!({"model": "sim", "max_tokens": 200, "tools": [{"name": "get_weather", "input_schema": weather()}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "The weather tool is there."},
            {"type": "text", "text": "Hello"}]}]});
    let answer = post(&engine().await, "/v1/messages", &body).await.json();
    assert_eq!(answer["content"][0]["type"], "text");
}

#[tokio::test]
async fn what_is_asked_for_as_json_satisfies_its_schema() {
    let engine = engine().await;
    let schema = json!({"type": "object", "additionalProperties": false,
        "required": ["name", "age", "tags", "home", "score", "ok"],
        "properties": {
            "name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 18, "maximum": 20},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
            "home": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"]},
            "score": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "ok": {"type": "boolean"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}});
    let text_format = json!({"format": {"type": "json_schema", "name": "person", "schema": schema}});
    let chat = |extra: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Who?"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let texts = [
        post(&engine, "/v1/chat/completions", &chat(json!({"response_format": format}))).await.json()["choices"][0]
            ["message"]["content"]
            .clone(),
        post(&engine, "/v1/chat/completions", &chat(json!({"structured_outputs": {"json": schema}}))).await.json()
            ["choices"][0]["message"]["content"]
            .clone(),
        post(&engine, "/v1/completions", &json!({"prompt": "Who?", "max_tokens": 500, "response_format": format}))
            .await
            .json()["choices"][0]["text"]
            .clone(),
        post(&engine, "/v1/responses", &json!({"input": "Who?", "text": text_format})).await.json()["output"][0]
            ["content"][0]["text"]
            .clone(),
    ];
    for text in texts {
        let person: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        let keys: Vec<&String> = person.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["name", "age", "tags", "home", "score", "ok"], "{person}");
        assert!(person["name"].as_str().unwrap().chars().count() <= 8);
        assert!((18..=20).contains(&person["age"].as_i64().unwrap()));
        let tags = person["tags"].as_array().unwrap();
        assert!((1..=2).contains(&tags.len()) && tags.iter().all(|tag| tag == "a" || tag == "b"));
        let zip = person["home"]["zip"].as_str().unwrap();
        assert!(zip.len() == 5 && zip.bytes().all(|digit| digit.is_ascii_digit()));
        let score = person["score"].as_f64().unwrap();
        assert!(score > 0.0 && score <= 1.0 && person["ok"].is_boolean());
    }
    let pattern =
        post(&engine, "/v1/chat/completions", &chat(json!({"structured_outputs": {"regex": "[a-c]{3}"}})))
            .await;
    let text = pattern.json()["choices"][0]["message"]["content"].clone();
    assert!(
        text.as_str().unwrap().len() == 3
            && text.as_str().unwrap().chars().all(|letter| "abc".contains(letter))
    );
    let grammar = post(
        &engine,
        "/v1/chat/completions",
        &chat(json!({"structured_outputs": {"grammar": "root ::= x"}})),
    )
    .await;
    assert_eq!(grammar.status, 400);
    assert!(grammar.body.contains("structured_outputs.grammar"), "{}", grammar.body);
}

#[tokio::test]
async fn a_call_that_is_cut_short_stays_text() {
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": weather()}}]);
    let body = json!({"messages": asked(), "tools": tools, "max_tokens": 7});
    let answer = post(&engine().await, "/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.starts_with("<tool_call>{\"name\": \""), "{content}");
}

#[tokio::test]
async fn tokens_are_the_same_everywhere_and_come_back_as_text() {
    let engine = engine().await;
    let text = "Grüße, 世界! {\"a\": [1, 2]}\n\tthe gateway 🚂";
    let tokenized =
        post(&engine, "/tokenize", &json!({"model": "sim", "prompt": text, "return_token_strs": true}))
            .await
            .json();
    let tokens = tokenized["tokens"].as_array().unwrap();
    assert_eq!(
        (tokenized["count"].as_u64().unwrap() as usize, tokenized["max_model_len"].as_u64()),
        (tokens.len(), Some(131_072))
    );
    assert_eq!(tokenized["token_strs"].as_array().unwrap().len(), tokens.len());
    let back = post(&engine, "/detokenize", &json!({"model": "sim", "tokens": tokens})).await;
    assert_eq!(back.body, json!({"prompt": text}).to_string());
    let messages = json!([{"role": "user", "content": text}]);
    let whole = post(&engine, "/tokenize", &json!({"messages": messages})).await.json();
    let chat =
        post(&engine, "/v1/chat/completions", &json!({"messages": messages, "return_token_ids": true}))
            .await
            .json();
    assert_eq!(chat["prompt_token_ids"], whole["tokens"]);
    assert_eq!(chat["usage"]["prompt_tokens"], whole["count"]);
}

#[tokio::test]
async fn an_echo_repeats_the_prompt_with_its_probabilities() {
    let engine = engine().await;
    let ids = json!([[300, 301, 302], [400]]);
    let body = json!({"prompt": ids, "echo": true, "logprobs": 1, "max_tokens": 2, "n": 2});
    let answer = post(&engine, "/v1/completions", &body).await.json();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    let prompt = post(&engine, "/detokenize", &json!({"tokens": ids[0]})).await.json();
    for choice in &choices[..2] {
        assert!(choice["text"].as_str().unwrap().starts_with(prompt["prompt"].as_str().unwrap()));
        let logprobs = &choice["logprobs"];
        assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 5);
        assert_eq!((&logprobs["token_logprobs"][0], &logprobs["text_offset"][0]), (&Value::Null, &json!(0)));
    }
    assert_eq!(
        (&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]),
        (&json!(4), &json!(8))
    );
    let only = post(&engine, "/v1/completions", &json!({"prompt": "Hello", "echo": true, "max_tokens": 0}))
        .await
        .json();
    assert_eq!(
        (&only["choices"][0]["text"], &only["usage"]["completion_tokens"]),
        (&json!("Hello"), &json!(1))
    );
}

#[tokio::test]
async fn requests_that_demand_too_much_are_refused() {
    let engine = engine().await;
    let chat = |change: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (path, body, says) in [
        ("/v1/chat/completions", chat(json!({"n": 128, "ignore_eos": true})), "at most 2000000 tokens"),
        ("/v1/chat/completions", chat(json!({"n": 129})), "n must be at most 128"),
        ("/v1/chat/completions", chat(json!({"prompt_logprobs": 1_000_000})), "greater than max allowed: 20"),
        ("/v1/completions", json!({"prompt": vec!["a"; 5_000]}), "at most 4096 sequences"),
        ("/v1/embeddings", json!({"input": vec!["a"; 20_000]}), "at most 16384 texts"),
    ] {
        let answer = post(&engine, path, &body).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(says), "{path}: {}", answer.body);
    }
}
