//! Everything that is read from whole replies, and rerank requests: no panic, and what is written is what was meant.
//!
//! Input: a line with a letter for what was asked, the number of documents, and a status; then the body.

use bytes::Bytes;
use dialect::reply::{self, Asked};
use dialect::rerank::{self, ReplyShape};
use dialect::{Body, fault, listing, sse};
use domain::{Dialect, Operation};
use serde_json::Value;

use crate::headed;

pub(crate) fn run(input: &[u8]) {
    let (head, text) = headed(input);
    let documents = head.get(1).map_or(2, |digit| usize::from(digit.saturating_sub(b'0').min(9)));
    let status = head.get(2..).and_then(|digits| std::str::from_utf8(digits).ok()?.trim().parse().ok());
    faults(status.unwrap_or(500), text);
    if let Ok(models) = listing::read(text) {
        assert!(models.iter().all(|model| !model.id.trim().is_empty()));
    }
    for shape in [ReplyShape::Rerank, ReplyShape::Score] {
        if let Ok(reply) = rerank::read_reply(text, documents, shape) {
            let mut indexes: Vec<usize> = reply.results.iter().map(|result| result.index).collect();
            indexes.sort_unstable();
            indexes.dedup();
            assert!(indexes.len() == reply.results.len() && indexes.iter().all(|index| *index < documents));
            assert!(reply.results.iter().all(|result| result.score.is_finite()));
        }
    }
    let Ok(body) = Body::read(Bytes::copy_from_slice(text)) else {
        assert!(!reply::not_an_answer(text).message.is_empty());
        return;
    };
    judged(head.first(), documents, &body);
    if let Ok(request) = rerank::read(&body) {
        rewritten(&body, &request);
    }
}

fn faults(status: u16, text: &[u8]) {
    let mut refusal = fault::refusal(status, text);
    assert!(!refusal.message.trim().is_empty(), "a refusal says something");
    fault::shorten(&mut refusal.message);
    assert!(refusal.message.len() < 1200);
    for fault in [fault::in_reply(text), fault::in_event(b"error", text), fault::in_event(b"", text)] {
        assert!(fault.is_none_or(|fault| !fault.message.trim().is_empty()));
    }
    fault::is_about_the_model(text);
    for dialect in [Dialect::Chat, Dialect::Messages] {
        let whole = fault::body(dialect, &refusal, "id");
        serde_json::from_slice::<Value>(&whole).expect("an error is JSON");
    }
}

fn judged(letter: Option<&u8>, documents: usize, body: &Body) {
    let (operation, dialect) = match letter {
        Some(b'p') => (Operation::Complete, Dialect::Completions),
        Some(b'r') => (Operation::Generate, Dialect::Responses),
        Some(b'm') => (Operation::Generate, Dialect::Messages),
        Some(b'e') => (Operation::Embed, Dialect::Embeddings),
        Some(b'k') => (Operation::Rerank, Dialect::Rerank),
        Some(b'v') => (Operation::Pool, Dialect::Vllm),
        Some(b't') => (Operation::Transcribe, Dialect::Transcription),
        _ => (Operation::Generate, Dialect::Chat),
    };
    let asked = Asked { operation, dialect, documents, something: true };
    reply::usage(operation, body);
    reply::told(dialect, body);
    if reply::judge(&asked, body).is_err() || !matches!(dialect, Dialect::Chat | Dialect::Completions) {
        return;
    }
    let Ok(stream) = reply::as_stream(dialect, body) else { return };
    let (mut rest, mut chunks) = (&stream[..], 0);
    while let Some(end) = sse::event_end(rest, 0) {
        let data = sse::read(&rest[..end]).data.expect("an event with data").into_owned();
        rest = &rest[end..];
        if rest.is_empty() {
            assert_eq!(data, b"[DONE]");
        } else {
            let chunk: Value = serde_json::from_slice(&data).expect("a chunk is JSON");
            assert!(chunk["choices"].is_array());
            chunks += 1;
        }
    }
    assert!(rest.is_empty() && chunks > 0, "the stream does not end with its last event");
}

fn rewritten(body: &Body, request: &rerank::Request) {
    assert!(!request.documents.is_empty());
    for text in [request.to_vllm(body, "m"), request.to_cohere(body, "m"), request.to_score(body, "m")] {
        let value: Value = serde_json::from_slice(&text).expect("a request is JSON");
        assert_eq!(value["model"], "m");
        let list = value.get("documents").or_else(|| value.get("text_2")).expect("documents");
        // vLLM takes a single one as well as a list, and gets it as it was written
        assert_eq!(list.as_array().map_or(1, Vec::len), request.documents.len());
    }
    // the reply that scores every document, in the order of the request
    let scored: Vec<String> = (0..request.documents.len().min(50))
        .map(|index| format!("{{\"index\":{index},\"relevance_score\":0.5}}"))
        .collect();
    let reply = format!("{{\"results\":[{}]}}", scored.join(","));
    let reply = rerank::read_reply(reply.as_bytes(), request.documents.len(), ReplyShape::Rerank)
        .expect("a reply as it should be");
    let written: Value =
        serde_json::from_slice(&rerank::write_reply(&reply, request, "m")).expect("a reply is JSON");
    let results = written["results"].as_array().expect("results");
    assert!(results.len() <= scored.len());
    assert!(request.top_n.is_none_or(|top_n| results.len() <= top_n as usize));
}
