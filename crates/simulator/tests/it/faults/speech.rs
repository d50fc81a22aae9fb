//! Faults of speech to text, which is asked for with a form.

use simulator::{Running, Seen};

use crate::client::{Answer, engine_with, send};

const PATH: &str = "/v1/audio/transcriptions";
const KIND: &str = "multipart/form-data; boundary=b";

fn form(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file =
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsound\r\n--b--\r\n";
    fields.iter().map(part).collect::<String>() + file
}

async fn heard(engine: &Running, fault: &str, fields: &[(&str, &str)]) -> Answer {
    let headers = [("content-type", KIND), ("authorization", "Bearer sk-1"), ("x-simulate-fault", fault)];
    send(engine, "POST", PATH, &headers, &form(&[&[("model", "sim")], fields].concat())).await
}

#[tokio::test]
async fn a_form_is_answered_the_other_way() {
    let engine = engine_with(|settings| settings.subtitles = true).await;
    let streamed = [("stream", "true"), ("stream_include_usage", "true")];
    let whole = heard(&engine, "json-for-stream", &streamed).await;
    assert!(whole.json()["text"].is_string(), "{whole:?}");
    let events = heard(&engine, "stream-for-json", &[]).await;
    assert!(events.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
    assert_eq!(events.events()[0]["object"], "transcription.chunk");
    let huge = heard(&engine, "huge-event:1", &[("response_format", "text")]).await;
    assert_eq!(huge.body.len(), 1 << 20);
    let beyond = heard(&engine, "split-utf8", &streamed).await;
    assert!(beyond.body.contains("日本語"));
    let open = heard(&engine, "no-finish", &streamed).await;
    assert!(!open.body.contains("\"finish_reason\":\"stop\""));
    assert!(heard(&engine, "error-tells-key", &[]).await.body.contains("sk-1"));
}

#[tokio::test]
async fn what_came_is_known_although_little_of_it_is_kept() {
    let engine = engine_with(|settings| settings.remembered_body = 8).await;
    heard(&engine, "error-null", &[]).await;
    let (seen, sent) = (engine.seen().remove(0), form(&[("model", "sim")]));
    assert_eq!((seen.body.len(), seen.body_length), (8, sent.len()));
    assert_eq!((seen.body_hash, seen.model.as_deref()), (Seen::hash(sent.as_bytes()), Some("sim")));
    assert_eq!(seen.answer["content-type"], "application/json");
}
