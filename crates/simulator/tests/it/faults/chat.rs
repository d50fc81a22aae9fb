//! Thoughts and tool calls as parsers get them wrong.

use serde_json::{Value, json};
use simulator::Running;

use super::{CHAT, ask, body, chat, deltas, finish};
use crate::client::{Answer, engine, engine_with};

#[tokio::test]
async fn thoughts_go_by_either_name_or_by_none() {
    let plain = engine().await;
    let thinking = engine_with(|settings| settings.models[0].reasoning = true).await;
    for engine in [&plain, &thinking] {
        for (fault, old, new) in
            [("reasoning-old", true, false), ("reasoning-new", false, true), ("reasoning-both", true, true)]
        {
            let message = chat(engine, fault, false).await.json()["choices"][0]["message"].clone();
            let stream = chat(engine, fault, true).await;
            for (name, there) in [("reasoning_content", old), ("reasoning", new)] {
                assert_eq!(message[name].is_string(), there, "{fault}");
                let streamed = deltas(&stream, name);
                assert_eq!(streamed, message[name].as_str().unwrap_or_default(), "{fault}");
                assert_eq!(!streamed.is_empty(), there, "{fault}");
            }
            assert!(message["content"].is_string());
            assert_eq!(deltas(&stream, "content"), message["content"].as_str().unwrap(), "{fault}");
            assert_eq!(finish(&stream).as_deref(), Some("stop"), "{fault}");
        }
        let message = chat(engine, "reasoning-inline", false).await.json()["choices"][0]["message"].clone();
        let text = message["content"].as_str().unwrap();
        assert!(text.starts_with("<think>\n") && text.contains("\n</think>\n\n"), "{text}");
        assert!(message.get("reasoning").is_none());
        let stream = chat(engine, "reasoning-inline", true).await;
        assert_eq!(deltas(&stream, "content"), text);
        assert_eq!(deltas(&stream, "reasoning"), "");
    }
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place", "days"]});
    json!([{"type": "function", "function": {"name": "get_forecast", "parameters": parameters}}])
}

/// The answers with the fault, whole and streamed.
async fn both(engine: &Running, fault: &str) -> (Value, Answer) {
    let mut whole = body(CHAT, false);
    whole["tools"] = tools();
    let mut stream = whole.clone();
    stream["stream"] = json!(true);
    let whole = ask(engine, fault, CHAT, &whole).await.json();
    (whole["choices"][0].clone(), ask(engine, fault, CHAT, &stream).await)
}

/// The parts of tool calls in the order in which they were streamed.
fn parts(answer: &Answer) -> Vec<Value> {
    let events = answer.events();
    let calls =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array().cloned());
    calls.flatten().collect()
}

fn arguments(parts: &[Value]) -> String {
    parts.iter().filter_map(|part| part["function"]["arguments"].as_str()).collect()
}

#[tokio::test]
async fn a_whole_call_may_finish_with_the_wrong_reason() {
    let engine = engine().await;
    let (whole, stream) = both(&engine, "tool-finish-stop").await;
    assert_eq!(whole["finish_reason"], "stop");
    assert_eq!(whole["message"]["tool_calls"][0]["function"]["name"], "get_forecast");
    assert_eq!(finish(&stream).as_deref(), Some("stop"));
    let streamed = arguments(&parts(&stream));
    assert_eq!(streamed, whole["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap());
    let said: Value = serde_json::from_str(&streamed).unwrap();
    assert!(said["place"].is_string() && said["days"].is_i64(), "{said}");
    assert_eq!(stream.events().last().unwrap(), "[DONE]");

    let (whole, stream) = both(&engine, "tool-cut").await;
    assert_eq!(
        (&whole["finish_reason"], finish(&stream).as_deref()),
        (&json!("tool_calls"), Some("tool_calls"))
    );
    let streamed = arguments(&parts(&stream));
    assert!(serde_json::from_str::<Value>(&streamed).is_err(), "{streamed}");
    assert_eq!(streamed, whole["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap());

    let (whole, stream) = both(&engine, "tool-finish-without-call").await;
    assert_eq!(
        (&whole["finish_reason"], finish(&stream).as_deref()),
        (&json!("tool_calls"), Some("tool_calls"))
    );
    assert!(whole["message"].get("tool_calls").is_none() && parts(&stream).is_empty());
}

#[tokio::test]
async fn text_is_lost_before_a_stop_string() {
    let engine = engine().await;
    let full = chat(&engine, "error-null", false).await.json()["choices"][0]["message"]["content"].clone();
    let (full, lost) = (full.as_str().unwrap(), chat(&engine, "tool-content-lost", false).await.json());
    let text = lost["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(full.starts_with(text) && text.len() < full.len(), "{text:?} of {full:?}");
    assert_eq!(lost["choices"][0]["stop_reason"], "\n\n");
    let stream = chat(&engine, "tool-content-lost", true).await;
    let text = deltas(&stream, "content");
    assert!(full.starts_with(&text) && !text.is_empty() && text.len() < full.len(), "{text:?} of {full:?}");
    assert_eq!(
        (finish(&stream).as_deref(), stream.events().last().unwrap()),
        (Some("stop"), &json!("[DONE]"))
    );
}

#[tokio::test]
async fn arguments_may_be_of_the_wrong_kind() {
    let engine = engine().await;
    let (whole, stream) = both(&engine, "tool-wrong-types").await;
    let told = whole["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    let said: Value = serde_json::from_str(told).unwrap();
    assert!(said["days"].as_str().unwrap().parse::<i64>().is_ok() && said["place"].is_array(), "{said}");
    assert_eq!(arguments(&parts(&stream)), told);
    let (whole, stream) = both(&engine, "tool-object").await;
    assert!(whole["message"]["tool_calls"][0]["function"]["arguments"]["days"].is_i64(), "{whole}");
    let parts = parts(&stream);
    assert_eq!(parts.len(), 1);
    assert!(parts[0]["function"]["arguments"]["days"].is_i64());
}

#[tokio::test]
async fn calls_may_lack_what_tells_them_apart() {
    let engine = engine().await;
    let (whole, stream) = both(&engine, "tool-missing-id").await;
    assert!(whole["message"]["tool_calls"][0].get("id").is_none());
    assert!(parts(&stream).iter().all(|part| part.get("id").is_none()));
    let (whole, stream) = both(&engine, "tool-same-index").await;
    assert_eq!(whole["message"]["tool_calls"].as_array().unwrap().len(), 2);
    let parts = parts(&stream);
    assert!(parts.iter().all(|part| part["index"] == 0));
    let ids: Vec<&str> = parts.iter().filter_map(|part| part["id"].as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_call_may_come_in_one_delta_and_beside_any_content() {
    let engine = engine().await;
    let (_, stream) = both(&engine, "tool-one-delta").await;
    let one = parts(&stream);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["function"]["name"], "get_forecast");
    serde_json::from_str::<Value>(one[0]["function"]["arguments"].as_str().unwrap()).unwrap();
    for (fault, content) in [("tool-content-null", Value::Null), ("tool-content-empty", json!(""))] {
        let (whole, stream) = both(&engine, fault).await;
        assert_eq!(whole["message"].get("content"), Some(&content), "{fault}");
        let events = stream.events();
        let beside = events.iter().map(|event| &event["choices"][0]["delta"]);
        let beside: Vec<&Value> = beside.filter(|delta| delta.get("tool_calls").is_some()).collect();
        assert!(
            beside.len() > 2 && beside.iter().all(|delta| delta.get("content") == Some(&content)),
            "{fault}"
        );
    }
    let (whole, stream) = both(&engine, "tool-in-content").await;
    let text = whole["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("<tool_call>\n{\"name\":\"get_forecast\"") && text.ends_with("\n</tool_call>"));
    assert_eq!(deltas(&stream, "content"), text);
    assert_eq!((&whole["finish_reason"], finish(&stream).as_deref()), (&json!("stop"), Some("stop")));
    assert!(whole["message"].get("tool_calls").is_none() && parts(&stream).is_empty());
}

#[tokio::test]
async fn a_call_is_made_up_where_no_tool_is_on_offer() {
    let whole = chat(&engine().await, "tool-missing-id", false).await.json();
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather");
}
