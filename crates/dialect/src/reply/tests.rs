//! What is an answer, and what is none.

use super::*;
use bytes::Bytes;

const OPERATIONS: [(Operation, Dialect); 13] = [
    (Operation::Generate, Dialect::Chat),
    (Operation::Complete, Dialect::Completions),
    (Operation::Generate, Dialect::Responses),
    (Operation::Generate, Dialect::Messages),
    (Operation::CountTokens, Dialect::Messages),
    (Operation::Embed, Dialect::Embeddings),
    (Operation::Rerank, Dialect::Rerank),
    (Operation::Score, Dialect::Vllm),
    (Operation::Classify, Dialect::Vllm),
    (Operation::Pool, Dialect::Vllm),
    (Operation::Tokenize, Dialect::Vllm),
    (Operation::Detokenize, Dialect::Vllm),
    (Operation::Embed, Dialect::Vllm),
];

fn judged(operation: Operation, dialect: Dialect, body: &str) -> Result<(), Fault> {
    let body = Body::read(Bytes::copy_from_slice(body.as_bytes())).expect("a JSON object");
    judge(&Asked { operation, dialect, documents: 3, something: true }, &body)
}

#[test]
fn what_lacks_the_member_that_makes_it_an_answer_is_none() {
    for (operation, dialect) in OPERATIONS {
        for body in ["{}", r#"{"detail":"boom"}"#, r#"{"data":"x"}"#, r#"{"ok":true,"usage":{}}"#] {
            let fault = judged(operation, dialect, body).expect_err(body);
            assert_eq!(fault.kind, FaultKind::Broken, "{operation:?} {body}");
        }
    }
}

#[test]
fn the_message_names_the_member() {
    let message = |operation, dialect, body| judged(operation, dialect, body).expect_err(body).message;
    let embed = |body| message(Operation::Embed, Dialect::Embeddings, body);
    assert_eq!(embed("{}"), "failed to unmarshal response: `data` is missing");
    assert_eq!(embed(r#"{"data":"x"}"#), "failed to unmarshal response: `data` must be an array");
    assert_eq!(embed(r#"{"data":[ ]}"#), "failed to unmarshal response: `data` is empty");
    let chat = |body| message(Operation::Generate, Dialect::Chat, body);
    assert_eq!(
        chat(r#"{"choices":[{"index":0}]}"#),
        "failed to unmarshal response: `choices[0]` has neither `message` nor `text`"
    );
    assert_eq!(chat(r#"{"choices":[1]}"#), "failed to unmarshal response: `choices[0]` must be an object");
    assert_eq!(chat(r#"{"choices":{}}"#), "failed to unmarshal response: `choices` must be an array");
    assert_eq!(chat(r#"{"choices":[ ]}"#), "provider returned no choices");
    assert_eq!(
        message(Operation::Generate, Dialect::Messages, r#"{"type":"completion","content":[]}"#),
        "failed to unmarshal response: `type` must be \"message\""
    );
    assert_eq!(
        message(Operation::CountTokens, Dialect::Messages, r#"{"input_tokens":"9"}"#),
        "failed to unmarshal response: `input_tokens` must be a number"
    );
    assert_eq!(
        message(Operation::Rerank, Dialect::Rerank, r#"{"results":[{"index":3,"relevance_score":1}]}"#),
        "invalid vllm rerank response: result index 3 out of range"
    );
}

#[test]
fn what_engines_really_answer_is_an_answer() {
    use Operation::{
        Classify, Complete, CountTokens, Detokenize, Embed, Generate, Pool, Rerank, Score, Tokenize,
    };
    for (operation, dialect, body) in [
        (
            Generate,
            Dialect::Chat,
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":null}}]}"#,
        ),
        (Complete, Dialect::Completions, r#"{"choices":[{"index":0,"text":""}]}"#),
        (Generate, Dialect::Messages, r#"{"type":"message","content":[]}"#),
        (Generate, Dialect::Messages, r#"{"content":[{"type":"text","text":"a"}]}"#),
        (Generate, Dialect::Responses, r#"{"output":[],"error":null}"#),
        (Generate, Dialect::Responses, r#"{"status":"queued"}"#),
        (CountTokens, Dialect::Messages, r#"{"input_tokens": 9}"#),
        (Embed, Dialect::Embeddings, r#"{"object":"list","data":[{"embedding":[0.1]}],"model":"m"}"#),
        (
            Rerank,
            Dialect::Rerank,
            r#"{"results":[{"index":2,"score":0.5},{"index":0,"relevance_score":-1}]}"#,
        ),
        (Rerank, Dialect::Rerank, r#"{"results":[]}"#),
        (Score, Dialect::Vllm, r#"{"data":[{"index":0,"score":1}]}"#),
        (Score, Dialect::Vllm, r#"{"scores":[[0.5]],"object":"scoring"}"#),
        (Classify, Dialect::Vllm, r#"{"data":[{"label":"a","probs":[1]}]}"#),
        (Pool, Dialect::Vllm, r#"{"data":[{"data":[[1]]}]}"#),
        (Pool, Dialect::Vllm, r#"{"request_id":"1","data":"image"}"#),
        (Tokenize, Dialect::Vllm, r#"{"count":0,"tokens":[]}"#),
        (Detokenize, Dialect::Vllm, r#"{"prompt":""}"#),
        (Detokenize, Dialect::Vllm, r#"{"content":"a"}"#),
        (Detokenize, Dialect::Vllm, r#"{"text":["a","b"]}"#),
    ] {
        assert!(judged(operation, dialect, body).is_ok(), "{operation:?} {body}");
    }
    let nothing = Asked { operation: Embed, dialect: Dialect::Embeddings, documents: 0, something: false };
    let body = Body::read(Bytes::from_static(br#"{"data":[]}"#)).expect("an object");
    assert!(judge(&nothing, &body).is_ok());
}

#[test]
fn a_whole_completion_is_told_as_a_stream() {
    let body = Body::read(Bytes::from_static(
        b"{\n \"id\":\"c1\",\"object\":\"chat.completion\",\"model\":\"m\",\"extra\":[1],\
        \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"t\"},{\"id\":\"u\"}]},\
        \"finish_reason\":\"tool_calls\"},{\"index\":1,\"message\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}],\
        \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
    ))
    .expect("an object");
    let text =
        String::from_utf8(as_stream(Dialect::Chat, &body).expect("a completion").to_vec()).expect("text");
    let data: Vec<&str> =
        text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").expect("data")).collect();
    let [first, second, usage, done] = data[..] else { panic!("{text}") };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(
        json(first),
        serde_json::json!({"id": "c1", "object": "chat.completion.chunk", "model": "m", "extra": [1], "choices": [
            {"index": 0, "delta": {"role": "assistant", "tool_calls": [{"id": "t", "index": 0}, {"id": "u", "index": 1}]},
             "finish_reason": "tool_calls"}]})
    );
    assert_eq!(json(second)["choices"][0]["delta"]["content"], "b");
    assert_eq!(json(usage)["usage"]["completion_tokens"], 2);
    assert_eq!(json(usage)["choices"], serde_json::json!([]));
    assert_eq!(done, "[DONE]");
}

#[test]
fn what_the_scanner_saw_of_choices_is_what_a_closer_look_sees() {
    let members = [
        r#""index":0"#,
        r#""message":{"message":1,"text":"x"}"#,
        r#""message":null"#,
        r#""text":"a""#,
        r#""text":1"#,
        r#""delta":{}"#,
        r#""t\u0065xt":"b""#,
        r#""other":[{"text":"c"}]"#,
    ];
    let (mut taken, mut refused) = (0, 0);
    let mut agree = |items: &str| {
        let text = format!(r#"{{"text":"x","choices":[{items}],"usage":{{"a":{{"text":"x"}}}}}}"#);
        let body = Body::read(Bytes::from(text)).expect("a body");
        let raw = body.value("choices").expect("it is there");
        let closer = if is_empty_array(raw) { Err(no_choices()) } else { look_at_choices(raw) };
        let seen = choices(&body);
        assert_eq!(seen.is_ok(), closer.is_ok(), "{items}");
        if seen.is_ok() { taken += 1 } else { refused += 1 }
    };
    for item in ["", "1", "{}", "[]", "[{}]", r#""text""#, r#"[{"text":"x"}]"#] {
        agree(item);
        agree(format!(r#"{{"text":"x"}},{item}"#).trim_end_matches(','));
        for one in members {
            agree(&format!("{{{one}}}"));
            agree(format!("{{{one}}},{item}").trim_end_matches(','));
            for other in members {
                agree(&format!("{{{one},{other}}}"));
                agree(&format!("{{{one}}}, {{{other}}}"));
                agree(&format!("{{{one}, {other}}},{{ {other} }}"));
            }
        }
    }
    assert!(taken > 50 && refused > 50, "{taken} {refused}");
}
