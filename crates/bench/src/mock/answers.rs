//! What the mock upstream sends, made once: in the shapes and key order of vLLM.

use std::fmt::Write;

use super::MODELS;
use crate::dialect::Dialect;
use crate::upload::Digest;

/// Size of the small whole answer of a chat, in bytes.
const SMALL: usize = 932;

/// One sentence of what the mock says.
const SENTENCE: &str = "A gateway reads as little as it can and passes on the rest as it came. ";

/// A stream, in the pieces that are written.
pub(super) struct Stream {
    /// The head, and what comes before the first token.
    pub(super) opening: Vec<u8>,
    /// One token.
    pub(super) token: Vec<u8>,
    /// What comes behind the last token.
    pub(super) closing: Vec<u8>,
    /// The same for a client that asked for usage.
    pub(super) closing_with_usage: Vec<u8>,
}

/// Every answer.
pub struct Answers {
    models: Vec<u8>,
    not_found: Vec<u8>,
    whole: Vec<(Dialect, usize, Vec<u8>)>,
    streams: [Stream; 3],
}

impl Default for Answers {
    fn default() -> Answers {
        Answers::new()
    }
}

impl Answers {
    /// Makes them all.
    pub fn new() -> Answers {
        let entry =
            |id| format!(r#"{{"id":"{id}","object":"model","created":1760000000,"owned_by":"bench"}}"#);
        let listed: Vec<String> = MODELS.iter().map(entry).collect();
        let missing = r#"{"error":{"message":"there is no such route or model","type":"NotFoundError","param":null,"code":404}}"#;
        let mut whole = Vec::new();
        for dialect in Dialect::ALL {
            whole.push((dialect, 0, response("200 OK", &padded(dialect, SMALL))));
            whole.push((dialect, 1 << 20, response("200 OK", &padded(dialect, 1 << 20))));
        }
        Answers {
            models: response("200 OK", &format!(r#"{{"object":"list","data":[{}]}}"#, listed.join(","))),
            not_found: response("404 Not Found", missing),
            whole,
            streams: [chat_stream(), responses_stream(), messages_stream()],
        }
    }

    pub(super) fn models(&self) -> &[u8] {
        &self.models
    }

    pub(super) fn not_found(&self) -> &[u8] {
        &self.not_found
    }

    /// A whole answer of about this many bytes; 0 is the small one.
    pub(super) fn whole(&self, dialect: Dialect, size: usize) -> &[u8] {
        let found = self.whole.iter().find(|(of, bytes, _)| *of == dialect && *bytes == size);
        found.map_or(&self.not_found, |(_, _, answer)| answer)
    }

    pub(super) fn stream(&self, dialect: Dialect) -> &Stream {
        match dialect {
            Dialect::Chat => &self.streams[0],
            Dialect::Responses => &self.streams[1],
            Dialect::Messages => &self.streams[2],
        }
    }
}

/// What is heard in a file.
pub(super) fn heard(digest: &Digest) -> Vec<u8> {
    response("200 OK", &format!(r#"{{"text":"{digest}"}}"#))
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An answer of so many bytes, or of as few as its shape allows.
fn padded(dialect: Dialect, size: usize) -> String {
    let frame = whole(dialect, "").len();
    let text: String = SENTENCE.chars().cycle().take(size.saturating_sub(frame)).collect();
    whole(dialect, &text)
}

fn whole(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Chat => format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1760000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null}},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}}],"service_tier":null,"system_fingerprint":null,"usage":{{"prompt_tokens":181,"total_tokens":309,"completion_tokens":128,"prompt_tokens_details":null}},"prompt_logprobs":null,"kv_transfer_params":null}}"#
        ),
        Dialect::Responses => responses_object("completed", Some(text)),
        Dialect::Messages => format!(
            r#"{{"id":"msg_bench","type":"message","role":"assistant","content":[{{"type":"text","text":"{text}"}}],"model":"bench","stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":181,"output_tokens":128}}}}"#
        ),
    }
}

/// The object of the Responses API, whole or at the beginning of a stream.
fn responses_object(status: &str, text: Option<&str>) -> String {
    let (output, usage) = match text {
        Some(text) => (
            format!(
                r#"[{{"id":"msg_bench","content":[{{"annotations":[],"text":"{text}","type":"output_text","logprobs":null}}],"role":"assistant","status":"completed","type":"message"}}]"#
            ),
            r#"{"input_tokens":181,"input_tokens_details":{"cached_tokens":0},"output_tokens":128,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":309}"#,
        ),
        None => ("[]".to_owned(), "null"),
    };
    format!(
        r#"{{"id":"resp_bench","created_at":1760000000,"model":"bench","object":"response","output":{output},"parallel_tool_calls":true,"temperature":0.2,"tool_choice":"auto","tools":[],"status":"{status}","usage":{usage}}}"#
    )
}

/// Puts one stream together: each part is an event or several, in chunks of HTTP.
fn stream(opening: &[String], token: &str, closing: &[String], usage: Option<&str>) -> Stream {
    let mut begin = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    begin.extend(opening.iter().map(|event| chunk(event)));
    let end = |usage: Option<&str>| {
        let mut text = String::new();
        for (at, event) in closing.iter().enumerate() {
            // the chunk with the usage comes before the marker, which is the last
            if let Some(usage) = usage.filter(|_| at + 1 == closing.len()) {
                text.push_str(&chunk(usage));
            }
            text.push_str(&chunk(event));
        }
        text.push_str("0\r\n\r\n");
        text.into_bytes()
    };
    Stream {
        opening: begin.into_bytes(),
        token: chunk(token).into_bytes(),
        closing: end(None),
        closing_with_usage: end(usage),
    }
}

fn chunk(event: &str) -> String {
    let mut chunk = String::with_capacity(event.len() + 12);
    let _ = write!(chunk, "{:x}\r\n{event}\r\n", event.len());
    chunk
}

fn chat_stream() -> Stream {
    let event = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish},\"token_ids\":null}}]}}\n\n"
        )
    };
    let usage = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":181,\"total_tokens\":309,\"completion_tokens\":128}}\n\n";
    stream(
        &[event(r#"{"role":"assistant","content":""}"#, "null")],
        &event(r#"{"content":" token"}"#, "null"),
        &[event(r#"{"content":""}"#, "\"stop\""), "data: [DONE]\n\n".to_owned()],
        Some(usage),
    )
}

/// An event that says its name twice, as those of Responses and Messages do.
fn named(name: &str, members: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\",{members}}}\n\n")
}

fn responses_stream() -> Stream {
    let item = r#""item":{"id":"msg_bench","content":[],"role":"assistant","status":"in_progress","type":"message"}"#;
    let part = r#""content_index":0,"item_id":"msg_bench","output_index":0"#;
    let (begun, done) = (responses_object("in_progress", None), responses_object("completed", Some("token")));
    stream(
        &[
            named("response.created", &format!(r#""response":{begun},"sequence_number":0"#)),
            named("response.output_item.added", &format!(r#"{item},"output_index":0,"sequence_number":1"#)),
            named(
                "response.content_part.added",
                &format!(
                    r#"{part},"part":{{"annotations":[],"text":"","type":"output_text"}},"sequence_number":2"#
                ),
            ),
        ],
        &named(
            "response.output_text.delta",
            &format!(r#"{part},"delta":" token","logprobs":[],"sequence_number":3"#),
        ),
        &[
            named("response.output_text.done", &format!(r#"{part},"text":"token","sequence_number":4"#)),
            named("response.completed", &format!(r#""response":{done},"sequence_number":5"#)),
        ],
        None,
    )
}

fn messages_stream() -> Stream {
    stream(
        &[
            named(
                "message_start",
                r#""message":{"id":"msg_bench","type":"message","role":"assistant","content":[],"model":"bench","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":181,"output_tokens":0}}"#,
            ),
            named("content_block_start", r#""index":0,"content_block":{"type":"text","text":""}"#),
        ],
        &named("content_block_delta", r#""index":0,"delta":{"type":"text_delta","text":" token"}"#),
        &[
            named("content_block_stop", r#""index":0"#),
            named(
                "message_delta",
                r#""delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":128}"#,
            ),
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned(),
        ],
        None,
    )
}

#[cfg(test)]
mod tests {
    use memchr::memmem;
    use serde_json::Value;

    use super::*;
    use crate::wire::{Body, Head};

    #[test]
    fn whole_answers_are_json_of_the_size_they_promise() {
        let answers = Answers::new();
        for dialect in Dialect::ALL {
            for (size, expect) in [(0, SMALL), (1 << 20, 1 << 20)] {
                let answer = answers.whole(dialect, size);
                let head = Head::read(answer).unwrap().unwrap();
                let body = &answer[head.bytes..];
                assert_eq!(body.len(), expect, "{}", dialect.name());
                assert!(serde_json::from_slice::<Value>(body).unwrap()["usage"].is_object());
            }
        }
    }

    #[test]
    fn streams_are_events_of_json_and_end_with_their_marker() {
        let answers = Answers::new();
        for dialect in Dialect::ALL {
            let stream = answers.stream(dialect);
            let sent = [&stream.opening[..], &stream.token, &stream.closing_with_usage].concat();
            let head = Head::read(&sent).unwrap().unwrap();
            let (mut body, mut text) = (Body::of_response(head.framing), Vec::new());
            let taken = body.take(&sent[head.bytes..], |piece| text.extend_from_slice(piece)).unwrap();
            assert!(body.ended() && taken == sent.len() - head.bytes);
            assert_eq!(memmem::find_iter(&text, dialect.terminal_marker()).count(), 1);
            for line in String::from_utf8(text).unwrap().lines() {
                if let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") {
                    assert!(serde_json::from_str::<Value>(data).is_ok(), "{data}");
                }
            }
        }
    }

    #[test]
    fn a_chat_tells_its_usage_only_when_asked() {
        let answers = Answers::new();
        let stream = answers.stream(Dialect::Chat);
        assert!(memmem::find(&stream.closing, b"\"usage\"").is_none());
        assert!(memmem::find(&stream.closing_with_usage, b"\"usage\"").is_some());
    }
}
