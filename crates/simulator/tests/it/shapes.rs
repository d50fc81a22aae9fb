//! Byte for byte what vLLM 0.32 sends around a text that is fixed by `structured_outputs`.

use serde_json::{Value, json};
use simulator::Settings;

use crate::client::{engine, engine_with, get, masked, post};

fn yes(mut body: Value) -> Value {
    body["structured_outputs"] = json!({"choice": ["yes"]});
    body
}

fn hello() -> Value {
    json!([{"role": "user", "content": "Hello"}])
}

/// The masked body of the answer on an engine with one model named `sim`.
async fn told(path: &str, body: Value) -> String {
    masked(&post(&engine().await, path, &body).await.body)
}

async fn told_reasoning(path: &str, body: Value) -> String {
    let thinking = |settings: &mut Settings| {
        settings.models[0].reasoning = true;
        settings.prompt_tokens_details = false;
    };
    masked(&post(&engine_with(thinking).await, path, &body).await.body)
}

#[tokio::test]
async fn a_chat_completion() {
    assert_eq!(
        told("/v1/chat/completions", yes(json!({"messages": hello()}))).await,
        r#"{"id":"chatcmpl-ID","object":"chat.completion","created":0,"model":"sim","choices":[{"index":0,"message":{"role":"assistant","content":"yes","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"vllm-0.32.0-F","usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0,"multimodal_tokens":null},"completion_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}"#
    );
}

#[tokio::test]
async fn a_chat_stream() {
    let body = yes(json!({"messages": hello(), "stream": true, "stream_options": {"include_usage": true}}));
    assert_eq!(
        told("/v1/chat/completions", body).await,
        r#"data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"sim","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}

data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"sim","choices":[{"index":0,"delta":{"content":"yes"},"logprobs":null,"finish_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"sim","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"sim","choices":[],"usage":{"prompt_tokens":9,"total_tokens":11,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0}},"system_fingerprint":"vllm-0.32.0-F"}

data: [DONE]

"#
    );
}

#[tokio::test]
async fn a_chat_stream_without_usage_ends_with_the_fingerprint() {
    let body = yes(json!({"messages": hello(), "stream": true, "max_tokens": 1}));
    let stream = told("/v1/chat/completions", body).await;
    let end = r#""delta":{"content":"yes"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"system_fingerprint":"vllm-0.32.0-F"}

data: [DONE]

"#;
    assert!(stream.ends_with(end), "{stream}");
}

#[tokio::test]
async fn a_tool_call_and_its_stream() {
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
        "properties": {"city": {"const": "Paris"}}, "required": ["city"]}}});
    let mut body = json!({"messages": hello(), "tools": [tool], "tool_choice": "required"});
    let whole = told("/v1/chat/completions", body.clone()).await;
    let message = r#""message":{"role":"assistant","content":"","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[{"id":"chatcmpl-tool-ID","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Paris\"}"}}],"reasoning":null},"logprobs":null,"finish_reason":"tool_calls""#;
    assert!(whole.contains(message), "{whole}");
    body["stream"] = json!(true);
    let stream = told("/v1/chat/completions", body).await;
    let begins = r#""delta":{"content":null,"tool_calls":[{"id":"chatcmpl-tool-ID","type":"function","index":0,"function":{"name":"get_weather"}}]},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#;
    let goes_on = r#""delta":{"content":null,"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#;
    let ends =
        r#""delta":{},"logprobs":null,"finish_reason":"tool_calls","stop_reason":null,"token_ids":null}]"#;
    for part in [begins, goes_on, ends] {
        assert!(stream.contains(part), "{part} is not in {stream}");
    }
}

#[tokio::test]
async fn a_completion_and_its_stream() {
    let mut body = yes(json!({"prompt": "Hello"}));
    assert_eq!(
        told("/v1/completions", body.clone()).await,
        r#"{"id":"cmpl-ID","object":"text_completion","created":0,"model":"sim","choices":[{"index":0,"text":"yes","logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"vllm-0.32.0-F","usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":null,"multimodal_tokens":null},"completion_tokens_details":null},"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}"#
    );
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    assert_eq!(
        told("/v1/completions", body).await,
        r#"data: {"id":"cmpl-ID","object":"text_completion","created":0,"model":"sim","choices":[{"index":0,"text":"yes","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}

data: {"id":"cmpl-ID","object":"text_completion","created":0,"model":"sim","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop","stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}

data: {"id":"cmpl-ID","object":"text_completion","created":0,"model":"sim","choices":[],"usage":{"prompt_tokens":1,"total_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":0}},"system_fingerprint":"vllm-0.32.0-F"}

data: [DONE]

"#
    );
}

#[tokio::test]
async fn a_response() {
    let body = yes(
        json!({"input": "Hello", "temperature": 0, "max_output_tokens": 60, "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]}),
    );
    let told = told("/v1/responses", body).await;
    let expected = r#"{"id":"resp_ID","created_at":0,"incomplete_details":null,"instructions":null,"metadata":null,"model":"sim","object":"response","output":[{"id":"msg_ID","content":[{"annotations":[],"text":"yes","type":"output_text","logprobs":null}],"role":"assistant","status":"completed","type":"message","phase":null}],"parallel_tool_calls":true,"temperature":0.0,"tool_choice":"auto","tools":[{"name":"f","parameters":{"type":"object"},"strict":null,"type":"function","allowed_callers":null,"async":null,"defer_loading":null,"description":null,"output_schema":null}],"top_p":1.0,"background":false,"max_output_tokens":60,"max_tool_calls":null,"previous_response_id":null,"prompt":null,"reasoning":{"context":null,"effort":"low","generate_summary":null,"mode":null,"summary":null},"service_tier":"auto","status":"completed","text":null,"top_logprobs":null,"truncation":"disabled","usage":{"input_tokens":"#;
    assert!(told.starts_with(expected), "{told}");
    let end = r#","input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":"#;
    assert!(told.contains(end), "{told}");
    let end = r#"},"user":null,"presence_penalty":0.0,"frequency_penalty":0.0,"kv_transfer_params":null,"ec_transfer_params":null,"input_messages":null,"output_messages":null}"#;
    assert!(told.ends_with(end), "{told}");
}

#[tokio::test]
async fn a_response_stream() {
    let told = told("/v1/responses", yes(json!({"input": "Hello", "stream": true}))).await;
    let small: Vec<&str> =
        told.lines().filter(|line| !line.contains("\"response\":{") && !line.is_empty()).collect();
    assert_eq!(
        small,
        [
            "event: response.created",
            "event: response.in_progress",
            "event: response.output_item.added",
            r#"data: {"item":{"id":"msg_ID","content":[],"role":"assistant","status":"in_progress","type":"message","phase":null},"output_index":0,"sequence_number":2,"type":"response.output_item.added"}"#,
            "event: response.content_part.added",
            r#"data: {"content_index":0,"item_id":"msg_ID","output_index":0,"part":{"annotations":[],"text":"","type":"output_text","logprobs":[]},"sequence_number":3,"type":"response.content_part.added"}"#,
            "event: response.output_text.delta",
            r#"data: {"content_index":0,"delta":"yes","item_id":"msg_ID","logprobs":[],"output_index":0,"sequence_number":4,"type":"response.output_text.delta"}"#,
            "event: response.output_text.done",
            r#"data: {"content_index":0,"item_id":"msg_ID","logprobs":[],"output_index":0,"sequence_number":5,"text":"yes","type":"response.output_text.done"}"#,
            "event: response.content_part.done",
            r#"data: {"content_index":0,"item_id":"msg_ID","output_index":0,"part":{"annotations":[],"text":"yes","type":"output_text","logprobs":null},"sequence_number":6,"type":"response.content_part.done"}"#,
            "event: response.output_item.done",
            r#"data: {"item":{"id":"msg_ID","content":[{"annotations":[],"text":"yes","type":"output_text","logprobs":null}],"role":"assistant","status":"completed","type":"message","phase":null},"output_index":0,"sequence_number":7,"type":"response.output_item.done"}"#,
            "event: response.completed",
        ]
    );
    let created = told.lines().find(|line| line.contains("\"response\":{")).unwrap();
    assert!(
        created.contains(r#""output":[],"#) && created.contains(r#""status":"in_progress","#),
        "{created}"
    );
    assert!(
        created.ends_with(r#""output_messages":null},"sequence_number":0,"type":"response.created"}"#),
        "{created}"
    );
}

#[tokio::test]
async fn a_function_call_in_a_response_stream() {
    let body = json!({"input": "Hello", "stream": true, "tool_choice": "required",
        "tools": [{"type": "function", "name": "f", "parameters": {"const": 1}}]});
    let told = told("/v1/responses", body).await;
    for event in [
        r#"data: {"item":{"arguments":"","call_id":"chatcmpl-tool-ID","name":"f","type":"function_call","id":"fc_ID","async":null,"caller":null,"namespace":null,"status":"in_progress"},"output_index":0,"sequence_number":2,"type":"response.output_item.added"}"#,
        r#"data: {"delta":"1","item_id":"fc_ID","output_index":0,"sequence_number":3,"type":"response.function_call_arguments.delta"}"#,
        r#"data: {"arguments":"1","item_id":"fc_ID","output_index":0,"sequence_number":4,"type":"response.function_call_arguments.done","name":"f"}"#,
        r#"data: {"item":{"arguments":"1","call_id":"chatcmpl-tool-ID","name":"f","type":"function_call","id":"fc_ID","async":null,"caller":null,"namespace":null,"status":"completed"},"output_index":0,"sequence_number":5,"type":"response.output_item.done"}"#,
    ] {
        assert!(told.contains(event), "{event} is not in {told}");
    }
}

#[tokio::test]
async fn a_message_and_its_stream() {
    let format = json!({"format": {"type": "json_schema", "schema": {"const": 1}}});
    let mut body = json!({"model": "sim", "max_tokens": 9, "messages": hello(), "output_config": format});
    assert_eq!(
        told("/v1/messages", body.clone()).await,
        r#"{"id":"chatcmpl-ID","type":"message","role":"assistant","content":[{"type":"text","text":"1"}],"model":"sim","stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}"#
    );
    body["stream"] = json!(true);
    assert_eq!(
        told("/v1/messages", body).await,
        r#"event: message_start
data: {"type":"message_start","message":{"id":"chatcmpl-ID","type":"message","role":"assistant","content":[],"model":"sim","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","content_block":{"type":"text","text":""},"index":0}

event: content_block_delta
data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"1"},"index":0}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":9,"output_tokens":2,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}

event: message_stop
data: {"type":"message_stop"}

"#
    );
}

#[tokio::test]
async fn thoughts_are_told_in_every_dialect() {
    let chat = told_reasoning("/v1/chat/completions", yes(json!({"messages": hello()}))).await;
    let chat: Value = serde_json::from_str(&chat).unwrap();
    let thought = chat["choices"][0]["message"]["reasoning"].as_str().unwrap();
    assert_eq!(chat["choices"][0]["message"]["content"], "yes");
    assert!(chat["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    let stream =
        told_reasoning("/v1/chat/completions", yes(json!({"messages": hello(), "stream": true}))).await;
    assert!(stream.contains(r#""delta":{"reasoning":""#), "{stream}");
    let response = told_reasoning("/v1/responses", yes(json!({"input": "Hello"}))).await;
    let item = format!(
        r#""output":[{{"id":"rs_ID","summary":[],"type":"reasoning","content":[{{"text":{},"type":"reasoning_text"}}],"encrypted_content":null,"status":null}},{{"id":"msg_ID""#,
        json!(thought)
    );
    assert!(response.contains(&item), "{item} is not in {response}");
    let stream = told_reasoning("/v1/responses", yes(json!({"input": "Hello", "stream": true}))).await;
    for kind in ["reasoning_text.delta", "reasoning_text.done"] {
        assert!(stream.contains(&format!("event: response.{kind}\n")), "{kind} is not in {stream}");
    }
    let body = json!({"model": "sim", "max_tokens": 99, "messages": hello()});
    let message = told_reasoning("/v1/messages", body).await;
    let block = format!(
        r#""content":[{{"type":"thinking","thinking":{},"signature":"ID"}},{{"type":"text","#,
        json!(thought)
    );
    assert!(message.contains(&block), "{block} is not in {message}");
}

#[tokio::test]
async fn the_models() {
    let engine = engine_with(|settings| {
        let mut adapter = settings.models[0].clone();
        (adapter.id, adapter.parent) = ("org/sim-lora".to_owned(), Some("sim".to_owned()));
        settings.models.push(adapter);
    })
    .await;
    let permission = r#""permission":[{"id":"modelperm-ID","object":"model_permission","created":0,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]"#;
    assert_eq!(
        masked(&get(&engine, "/v1/models").await.body),
        format!(
            r#"{{"object":"list","data":[{{"id":"sim","object":"model","created":0,"owned_by":"vllm","root":"sim","parent":null,"max_model_len":131072,{permission}}},{{"id":"org/sim-lora","object":"model","created":0,"owned_by":"vllm","root":"sim","parent":"sim","max_model_len":null,{permission}}}]}}"#
        )
    );
    let answer =
        post(&engine, "/v1/chat/completions", &json!({"model": "org/sim-lora", "messages": hello()})).await;
    assert_eq!(answer.json()["model"], "org/sim-lora");
}

#[tokio::test]
async fn refusals_in_vllms_words() {
    let chat = |change: Value| {
        let mut body = json!({"messages": hello()});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (path, body, expected) in [
        (
            "/v1/chat/completions",
            chat(json!({"model": "nope"})),
            r#"{"error":{"message":"The model `nope` does not exist. Valid aliases: sim.","type":"NotFoundError","param":"model","code":404}}"#,
        ),
        (
            "/v1/messages",
            json!({"model": "nope", "max_tokens": 1, "messages": hello()}),
            r#"{"type":"error","error":{"type":"NotFoundError","message":"The model `nope` does not exist. Valid aliases: sim."}}"#,
        ),
        (
            "/rerank",
            json!({"model": "nope", "query": "x", "documents": ["y"]}),
            r#"{"error":{"message":"The model `nope` does not exist.","type":"NotFoundError","param":null,"code":404}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"max_tokens": 0})),
            r#"{"error":{"message":"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)","type":"BadRequestError","param":"max_tokens","code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"temperature": -1})),
            r#"{"error":{"message":"temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)","type":"BadRequestError","param":"temperature","code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"n": 2, "temperature": 0})),
            r#"{"error":{"message":"n must be 1 when using greedy sampling, got 2.","type":"BadRequestError","param":null,"code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"top_logprobs": 2})),
            r#"{"error":{"message":"when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)","type":"BadRequestError","param":"top_logprobs","code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"stream_options": {"include_usage": true}})),
            r#"{"error":{"message":"Stream options can only be defined when `stream=True`. (parameter=stream_options)","type":"BadRequestError","param":"stream_options","code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            chat(json!({"max_tokens": 200_000})),
            r#"{"error":{"message":"max_tokens=200000 cannot be greater than max_model_len=131072. Please request fewer output tokens. (parameter=max_tokens, value=200000)","type":"BadRequestError","param":"max_tokens","code":400}}"#,
        ),
        (
            "/v1/chat/completions",
            json!({"messages": []}),
            r#"{"error":{"message":"Cannot apply chat template to an empty conversation. Provide at least one message.","type":"BadRequestError","param":null,"code":400}}"#,
        ),
        (
            "/v1/completions",
            json!({"model": "sim"}),
            r#"{"error":{"message":"Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)","type":"BadRequestError","param":"prompt","code":400}}"#,
        ),
        (
            "/v1/responses",
            json!({"input": "x", "previous_response_id": "resp_1"}),
            r#"{"error":{"message":"Response with id 'resp_1' not found.","type":"invalid_request_error","param":"response_id","code":404}}"#,
        ),
        (
            "/v1/responses/resp_1/cancel",
            json!({}),
            r#"{"error":{"message":"Response with id 'resp_1' not found.","type":"invalid_request_error","param":"response_id","code":404}}"#,
        ),
        (
            "/v1/embeddings",
            json!({"input": "x", "dimensions": 64}),
            r#"{"error":{"message":"Model 'sim' does not support Matryoshka embeddings; dimensions must be unset (received dimensions=64).","type":"BadRequestError","param":null,"code":400}}"#,
        ),
    ] {
        assert_eq!(told(path, body).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_refused() {
    let engine = engine_with(|settings| settings.max_model_len = 50).await;
    let long = json!({"messages": [{"role": "user", "content": "gateway ".repeat(60)}]});
    let expected = r#"{"error":{"message":"This model's maximum context length is 50 tokens. However, your prompt contains at least 51 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=51)","type":"BadRequestError","param":"input_tokens","code":400}}"#;
    assert_eq!(post(&engine, "/v1/chat/completions", &long).await.body, expected);
    let anthropic = json!({"model": "sim", "max_tokens": 5, "messages": long["messages"]});
    let answer = post(&engine, "/v1/messages", &anthropic).await;
    assert!(
        answer
            .body
            .starts_with(r#"{"type":"error","error":{"type":"BadRequestError","message":"This model's"#)
    );
}
