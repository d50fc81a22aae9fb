//! Refusals in every form, and errors where answers should be.

use serde_json::{Value, json};

use super::{ALL_ROUTES, CHAT, ask, body, chat};
use crate::client::{begin, engine, read};

#[tokio::test]
async fn a_status_comes_with_each_form_of_retry_after() {
    let engine = engine().await;
    for (fault, status, header) in [
        ("status", 500, None),
        ("status:503", 503, None),
        ("retry-after-seconds", 429, Some("1")),
        ("retry-after-seconds:503:30", 503, Some("30")),
        ("retry-after-absent", 429, None),
        ("retry-after-nonsense:503", 503, Some("soon")),
        ("retry-after-huge", 429, Some("99999999999")),
    ] {
        for stream in [false, true] {
            let answer = chat(&engine, fault, stream).await;
            assert_eq!((answer.status, answer.header("retry-after")), (status, header), "{fault}");
            assert_eq!(answer.json()["error"]["code"], status, "{fault}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{fault}");
        }
    }
    let answer = chat(&engine, "retry-after-ms:429:250", false).await;
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), (None, Some("250")));
    assert_eq!(answer.json()["error"]["type"], "RateLimitError");
}

#[tokio::test]
async fn a_retry_may_be_due_at_a_date() {
    let engine = engine().await;
    let now = std::time::SystemTime::now();
    for (fault, ahead) in [("retry-after-date:429:60", true), ("retry-after-past", false)] {
        let answer = chat(&engine, fault, false).await;
        let date = httpdate::parse_http_date(answer.header("retry-after").unwrap()).unwrap();
        assert_eq!(date > now, ahead, "{fault}");
    }
}

#[tokio::test]
async fn status_200_may_hold_an_error() {
    let engine = engine().await;
    for (fault, expected) in [
        ("error-200", json!({"error": {"type": "InternalServerError", "param": null, "code": 500}})),
        ("error-200:404", json!({"error": {"type": "NotFoundError", "param": null, "code": 404}})),
        ("error-200-text-code", json!({"error": {"type": "RateLimitError", "param": null, "code": "429"}})),
        ("error-200-by-type", json!({"error": {"type": "NotFoundError", "param": null, "code": null}})),
        ("error-200-nameless", json!({"error": {}})),
        ("error-200-flat", json!({"object": "error", "type": "BadRequestError", "param": null, "code": 400})),
    ] {
        for path in ALL_ROUTES {
            for stream in [false, true] {
                let answer = ask(&engine, fault, path, &body(path, stream)).await;
                assert_eq!(answer.status, 200, "{fault}");
                assert_eq!(answer.header("content-type"), Some("application/json"), "{fault}");
                let mut told = answer.json();
                let error = if told.get("error").is_some() { &mut told["error"] } else { &mut told };
                let message = error.as_object_mut().unwrap().shift_remove("message").unwrap();
                assert!(!message.as_str().unwrap().is_empty());
                assert_eq!(told, expected, "{fault}");
            }
        }
    }
    assert!(chat(&engine, "error-200-string", false).await.json()["error"].is_string());
}

#[tokio::test]
async fn a_stream_may_open_with_an_error() {
    let engine = engine().await;
    let first = chat(&engine, "error-first-event:429", true).await;
    assert_eq!(first.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = first.events();
    assert_eq!((events.len(), &events[0]["error"]["code"], &events[1]), (2, &json!(429), &json!("[DONE]")));
    let flat = chat(&engine, "error-first-event-flat", true).await.events();
    assert_eq!((&flat[0]["object"], &flat[0]["code"]), (&json!("error"), &json!(400)));
    let double = chat(&engine, "error-first-event-double", true).await.events();
    assert_eq!(double[0]["error"]["object"], "error");
    let line = chat(&engine, "error-first-line", true).await;
    assert!(line.body.starts_with("error: {\"code\":500,"), "{}", line.body);
    assert_eq!(line.events(), ["[DONE]"]);
    let message = ask(&engine, "error-first-event", "/v1/messages", &body("/v1/messages", true)).await;
    assert!(
        message.body.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":"),
        "{}",
        message.body
    );
    let response = ask(&engine, "error-first-event", "/v1/responses", &body("/v1/responses", true)).await;
    assert!(
        response.body.starts_with("event: error\ndata: {\"type\":\"error\",\"code\":"),
        "{}",
        response.body
    );
    assert_eq!(response.events().len(), 1);
}

#[tokio::test]
async fn a_stream_may_turn_into_an_error() {
    let engine = engine().await;
    let plain = chat(&engine, "comment-events", true).await.events();
    for (fault, error) in [
        ("error-later-event:503:3", "/error/code"),
        ("error-later-event-flat:503:3", "/code"),
        ("error-later-event-double:503:3", "/error/code"),
        ("error-later-line:503:3", ""),
        ("error-later-end:503:3", "/error/code"),
    ] {
        let answer = chat(&engine, fault, true).await;
        let mut events = answer.events();
        for event in &events[..3] {
            assert!(event["choices"].is_array(), "{fault}");
        }
        assert_eq!(events[1]["choices"], plain[1]["choices"], "{fault}");
        if fault.starts_with("error-later-end") {
            assert_eq!(events.len(), 4, "{fault}");
        } else {
            assert_eq!(events.pop(), Some(json!("[DONE]")), "{fault}");
        }
        match events.get(3) {
            Some(event) => assert_eq!(event.pointer(error), Some(&json!(503)), "{fault}"),
            None => assert!(answer.body.contains("\n\nerror: {\"code\":503"), "{}", answer.body),
        }
    }
    let events =
        ask(&engine, "error-later-event", "/v1/messages", &body("/v1/messages", true)).await.events();
    assert_eq!((events.len(), &events[2]["type"]), (3, &json!("error")));
}

#[tokio::test]
async fn an_error_that_is_null_is_no_error() {
    let engine = engine().await;
    let whole = chat(&engine, "error-null", false).await.json();
    assert_eq!(whole.get("error"), Some(&Value::Null));
    assert!(whole["choices"][0]["message"]["content"].is_string());
    let events = chat(&engine, "error-null", true).await.events();
    let data = &events[..events.len() - 1];
    assert!(data.iter().all(|event| event.get("error") == Some(&Value::Null) && event["choices"].is_array()));
}

#[tokio::test]
async fn a_response_may_have_failed() {
    let engine = engine().await;
    let path = "/v1/responses";
    let whole = ask(&engine, "responses-failed", path, &body(path, false)).await.json();
    assert_eq!((&whole["status"], &whole["error"]["code"]), (&json!("failed"), &json!("server_error")));
    let stream = ask(&engine, "responses-failed", path, &body(path, true)).await;
    let last = stream.events().pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert!(stream.body.contains("event: response.failed\n"));
}

#[tokio::test]
async fn a_stream_may_be_answered_whole_and_the_reverse() {
    let engine = engine().await;
    for path in ALL_ROUTES {
        let whole = ask(&engine, "json-for-stream", path, &body(path, true)).await;
        assert_eq!(whole.header("content-type"), Some("application/json"), "{path}");
        assert!(whole.json()["usage"].is_object(), "{path}");
        let stream = ask(&engine, "stream-for-json", path, &body(path, false)).await;
        assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"), "{path}");
        assert!(stream.events().len() > 3, "{path}");
    }
}

#[tokio::test]
async fn a_page_or_nothing_may_come_instead() {
    let engine = engine().await;
    for stream in [false, true] {
        for (fault, status) in [("html", 200), ("html:502", 502)] {
            let answer = ask(&engine, fault, CHAT, &body(CHAT, stream)).await;
            assert_eq!((answer.status, answer.header("content-type")), (status, Some("text/html")));
            assert!(answer.body.starts_with("<html>"));
        }
        let empty = chat(&engine, "empty", stream).await;
        assert_eq!((empty.status, empty.header("content-length"), empty.body.as_str()), (200, Some("0"), ""));
        assert_eq!(empty.header("content-type"), None);
        let none = chat(&engine, "empty-stream", stream).await;
        assert_eq!(none.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!((none.body.as_str(), none.chunks), ("", 0));
    }
}

#[tokio::test]
async fn an_error_may_repeat_the_key() {
    let engine = engine().await;
    let headers = [("authorization", "Bearer sk-told"), ("x-simulate-fault", "error-tells-key:403")];
    let mut stream = begin(&engine, "POST", CHAT, &headers, &body(CHAT, false).to_string()).await;
    let answer = read(&mut stream).await;
    assert_eq!(answer.status, 403);
    assert!(answer.json()["error"]["message"].as_str().unwrap().ends_with("The key was sk-told."));
}
