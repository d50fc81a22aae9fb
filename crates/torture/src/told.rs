//! How an answer reads: what it says, how it ends, whether it admits a failure. Written apart from the gateway's own
//! reading, and as strict as an official client.

use serde_json::Value;

use crate::front::{Dialect, Front};

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The words, without what surrounds them.
    pub(crate) text: String,
    /// Every reason to end that it gives.
    pub(crate) finishes: Vec<String>,
    /// Whether its last word was said: the marker that ends a stream, or the last brace of a whole answer.
    pub(crate) ended: bool,
    /// How often `[DONE]` was said.
    pub(crate) done: usize,
    /// Errors that it tells, each as it was told.
    pub(crate) errors: Vec<Value>,
    /// Whether the dialect's own word for a failed answer was said.
    pub(crate) failed: bool,
    /// Whether something was said after the last word or after an error.
    pub(crate) more: bool,
    /// Tokens in and out, as reported.
    pub(crate) usage: Option<(u64, u64)>,
    /// Seconds of audio, as reported.
    pub(crate) seconds: Option<u64>,
    /// Events with data.
    pub(crate) events: usize,
    /// Why it cannot be read, if it cannot.
    pub(crate) broken: Option<String>,
}

/// The events of a stream, each with its blank line; what follows the last blank line comes last.
pub(crate) fn events(bytes: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let blank = [&b"\n\n"[..], b"\r\n\r\n", b"\r\r"].into_iter().find(|end| rest.starts_with(end));
        match blank {
            Some(blank) => {
                at += blank.len();
                events.push(&bytes[start..at]);
                start = at;
            }
            None => at += 1,
        }
    }
    if start < bytes.len() {
        events.push(&bytes[start..]);
    }
    events
}

/// Name and data of an event, and the value of a field named `error`, which some engines send.
fn fields(event: &[u8]) -> (String, String, Option<String>) {
    let text = String::from_utf8_lossy(event);
    let (mut name, mut data, mut error) = (String::new(), Vec::new(), None);
    for line in text.split(['\n', '\r']) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data.push(value.to_owned()),
            "error" => error = Some(value.to_owned()),
            _ => {}
        }
    }
    (name, data.join("\n"), error)
}

/// Whether an event is the one that only tells a chat's or a completion's usage.
pub(crate) fn is_usage_alone(event: &[u8]) -> bool {
    let value: Value = serde_json::from_str(&fields(event).1).unwrap_or_default();
    value["usage"].is_object() && value["choices"].as_array().is_some_and(Vec::is_empty)
}

/// Reads a stream.
pub(crate) fn stream(dialect: Dialect, bytes: &[u8]) -> Told {
    let mut told = Told::default();
    for event in events(bytes) {
        let whole = event.ends_with(b"\n\n") || event.ends_with(b"\r\n\r\n") || event.ends_with(b"\r\r");
        let (name, data, error) = fields(event);
        let over = told.ended || !told.errors.is_empty();
        if let Some(error) = error {
            told.errors.push(serde_json::from_str(&error).unwrap_or(Value::String(error)));
            continue;
        }
        if data.is_empty() {
            continue;
        }
        if data == "[DONE]" {
            told.done += 1;
            told.more |= told.done > 1 || !told.errors.is_empty();
            told.ended |= matches!(dialect, Dialect::Chat | Dialect::Completions | Dialect::Transcription);
            continue;
        }
        if over {
            // what follows is noticed, and not part of the answer
            told.more = true;
            continue;
        }
        if !whole {
            told.broken = Some("its last event has no blank line".to_owned());
        }
        match serde_json::from_str(&data) {
            Ok(value) => told.take(dialect, &name, &value),
            Err(error) => told.broken = Some(format!("an event's data is no JSON: {error}")),
        }
    }
    told
}

/// How many bytes of a stream are part of the answer: those up to its last word, `[DONE]` included where it follows.
pub(crate) fn length(dialect: Dialect, bytes: &[u8]) -> usize {
    let (mut length, mut ended) = (0, false);
    for event in events(bytes) {
        let told = stream(dialect, event);
        if ended && told.done == 0 && told.events > 0 {
            break;
        }
        length += event.len();
        ended |= told.ended;
        if told.done > 0 {
            break;
        }
    }
    length
}

/// Reads a whole answer.
pub(crate) fn whole(dialect: Dialect, bytes: &[u8]) -> Told {
    let mut told = Told::default();
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // any text may be one, and where it ends nobody can tell
        Err(_) if dialect == Dialect::Text => {
            told.text = String::from_utf8_lossy(bytes).into_owned();
            told.ended = true;
            return told;
        }
        Err(error) => {
            told.broken = Some(format!("it is no JSON: {error}"));
            return told;
        }
    };
    told.usage = usage(&value["usage"]);
    told.finishes.extend(strings(&value, &["stop_reason"]));
    let members = match dialect {
        Dialect::Chat | Dialect::Completions | Dialect::Foreign => "choices",
        Dialect::Responses => "output",
        Dialect::Messages => "content",
        Dialect::Embeddings => "data",
        Dialect::Rerank => "results",
        Dialect::Transcription | Dialect::Text | Dialect::Upload => "",
    };
    let parts = value[members].as_array();
    for part in parts.into_iter().flatten() {
        told.finishes.extend(strings(part, &["finish_reason"]));
        let text = match dialect {
            Dialect::Chat | Dialect::Foreign => &part["message"]["content"],
            Dialect::Completions | Dialect::Messages => &part["text"],
            Dialect::Responses => &part["content"][0]["text"],
            Dialect::Embeddings => &part["embedding"],
            Dialect::Rerank | Dialect::Transcription | Dialect::Text | Dialect::Upload => part,
        };
        match text {
            Value::String(text) => told.text.push_str(text),
            Value::Null => {}
            other => told.text.push_str(&other.to_string()),
        }
    }
    let flat = value["object"] == "error" || value["type"] == "error";
    if flat || value["error"].is_object() || value["error"].is_string() {
        told.errors.push(if value["error"].is_null() { value.clone() } else { value["error"].clone() });
    }
    if dialect == Dialect::Responses {
        told.finishes.extend(strings(&value, &["status"]));
        told.failed = value["status"] == "failed";
    }
    told.ended = parts.is_some();
    if matches!(dialect, Dialect::Transcription | Dialect::Upload) {
        told.seconds = value["usage"]["seconds"].as_u64();
        told.ended = value["text"].is_string();
        value["text"].as_str().unwrap_or_default().clone_into(&mut told.text);
    }
    told
}

/// Reads an answer as what was asked for, or as what it evidently is.
pub(crate) fn read(front: Front, bytes: &[u8]) -> Told {
    if front.stream { stream(front.dialect, bytes) } else { whole(front.dialect, bytes) }
}

/// Reads what an engine sent, whatever was asked for.
pub(crate) fn sniff(dialect: Dialect, bytes: &[u8]) -> Told {
    let begins = bytes.trim_ascii_start();
    let events = [&b"data:"[..], b"event:", b":"].iter().any(|field| begins.starts_with(field));
    if begins.starts_with(b"{") || dialect == Dialect::Text && !events {
        whole(dialect, bytes)
    } else {
        stream(dialect, bytes)
    }
}

impl Told {
    fn take(&mut self, dialect: Dialect, name: &str, value: &Value) {
        self.events += 1;
        let kind = value["type"].as_str().unwrap_or_default();
        let flat = value["object"] == "error" || kind == "error" || name == "error";
        if flat || value["error"].is_object() || value["error"].is_string() {
            self.errors.push(if value["error"].is_null() { value.clone() } else { value["error"].clone() });
            return;
        }
        match dialect {
            Dialect::Chat | Dialect::Completions | Dialect::Foreign => self.take_choices(dialect, value),
            // vLLM's chunks, or OpenAI's two events
            Dialect::Transcription | Dialect::Text | Dialect::Upload => match kind {
                "transcript.text.delta" => self.text.push_str(value["delta"].as_str().unwrap_or_default()),
                "transcript.text.done" => self.ended = true,
                _ => {
                    self.take_choices(Dialect::Chat, value);
                    let only_usage = value["choices"].as_array().is_some_and(Vec::is_empty);
                    self.ended |= only_usage && value["usage"].is_object();
                }
            },
            Dialect::Responses => match kind {
                "response.output_text.delta" => {
                    self.text.push_str(value["delta"].as_str().unwrap_or_default())
                }
                "response.completed" | "response.incomplete" | "response.failed" => {
                    self.ended = true;
                    self.failed = kind == "response.failed";
                    self.finishes.push(kind.trim_start_matches("response.").to_owned());
                    self.usage = usage(&value["response"]["usage"]).or(self.usage);
                }
                _ => {}
            },
            Dialect::Messages => {
                self.text.push_str(value["delta"]["text"].as_str().unwrap_or_default());
                self.finishes.extend(strings(&value["delta"], &["stop_reason"]));
                self.ended |= kind == "message_stop";
                let reported = [&value["message"]["usage"], &value["usage"]].into_iter().find_map(usage);
                if let Some((input, output)) = reported {
                    let before = self.usage.map_or(0, |(input, _)| input);
                    self.usage = Some((if input > 0 { input } else { before }, output));
                }
            }
            Dialect::Embeddings | Dialect::Rerank => {}
        }
    }

    /// The choices of a chunk, and its usage.
    fn take_choices(&mut self, dialect: Dialect, value: &Value) {
        for choice in value["choices"].as_array().into_iter().flatten() {
            let spoken = dialect != Dialect::Completions;
            let place = if spoken { &choice["delta"]["content"] } else { &choice["text"] };
            self.text.push_str(place.as_str().unwrap_or_default());
            self.finishes.extend(strings(choice, &["finish_reason"]));
        }
        self.usage = usage(&value["usage"]).or(self.usage);
    }

    /// Whether an error is told in words.
    pub(crate) fn explains_itself(&self) -> bool {
        self.errors.iter().any(|error| match error {
            Value::String(text) => !text.is_empty(),
            error => {
                let message = error.get("message").or_else(|| error["error"].get("message"));
                message.and_then(Value::as_str).is_some_and(|message| !message.is_empty())
            }
        })
    }

    /// The word for programs that an error carries.
    pub(crate) fn code(&self) -> Option<&str> {
        self.errors.iter().find_map(|error| error["code"].as_str())
    }
}

fn strings<'a>(value: &'a Value, names: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    names.iter().filter_map(|name| value[*name].as_str()).map(str::to_owned)
}

fn usage(value: &Value) -> Option<(u64, u64)> {
    let of = |names: [&str; 2]| names.into_iter().find_map(|name| value[name].as_u64());
    // Anthropic counts what a cache served beside the rest
    let beside = ["cache_read_input_tokens", "cache_creation_input_tokens"]
        .map(|name| value[name].as_u64().unwrap_or(0));
    let input = of(["prompt_tokens", "input_tokens"]).map(|input| input + beside.iter().sum::<u64>());
    let output = of(["completion_tokens", "output_tokens"]);
    (input.is_some() || output.is_some()).then(|| (input.unwrap_or(0), output.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n";

    #[test]
    fn a_chat_stream_is_read() {
        let told = stream(Dialect::Chat, format!("{CHAT}data: [DONE]\n\n").as_bytes());
        assert_eq!((told.text.as_str(), told.finishes.len(), told.ended, told.more), ("ab", 1, true, false));
        assert!(!stream(Dialect::Chat, CHAT.as_bytes()).ended);
        let crlf = CHAT.replace('\n', "\r\n");
        assert_eq!(stream(Dialect::Chat, crlf.as_bytes()).text, "ab");
    }

    #[test]
    fn what_follows_an_error_or_the_end_is_noticed() {
        let error = "data: {\"error\":{\"message\":\"no\",\"code\":\"x\"}}\n\n";
        let told = stream(Dialect::Chat, format!("{CHAT}{error}").as_bytes());
        assert!(told.explains_itself() && !told.more && !told.ended);
        assert_eq!(told.code(), Some("x"));
        for more in ["data: [DONE]\n\n", CHAT] {
            assert!(stream(Dialect::Chat, format!("{CHAT}{error}{more}").as_bytes()).more);
        }
        assert!(stream(Dialect::Chat, format!("data: [DONE]\n\n{CHAT}").as_bytes()).more);
    }

    #[test]
    fn half_an_event_is_no_event() {
        let told = stream(Dialect::Chat, &CHAT.as_bytes()[..CHAT.len() - 9]);
        assert!(told.broken.is_some());
    }

    #[test]
    fn other_dialects_end_in_their_own_words() {
        let responses = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"x\"}}}\n\n";
        let told = stream(Dialect::Responses, responses.as_bytes());
        assert!(told.failed && told.ended && told.errors.is_empty());
        let messages = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"x\"}}\n\n";
        assert!(stream(Dialect::Messages, messages.as_bytes()).explains_itself());
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        assert!(stream(Dialect::Messages, stop.as_bytes()).ended);
    }

    #[test]
    fn transcripts_are_read_in_every_shape() {
        let chunk = "data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
        let heard = |text: &str| stream(Dialect::Transcription, text.as_bytes());
        assert!(!heard(chunk).ended, "the next piece of the recording may follow");
        let whole = heard(&[chunk, usage].concat());
        assert_eq!((whole.text.as_str(), whole.ended, whole.usage), ("a", true, Some((3, 2))));
        assert!(heard(&[chunk, usage, chunk].concat()).more);
        let events = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"a\"}\n\n";
        assert_eq!((heard(events).text.as_str(), heard(events).ended), ("a", true));
        let json = whole_of(Dialect::Upload, r#"{"text":"a","usage":{"type":"duration","seconds":4}}"#);
        assert_eq!((json.text.as_str(), json.ended, json.seconds), ("a", true, Some(4)));
        assert!(!whole_of(Dialect::Transcription, "{}").ended);
        assert_eq!(whole_of(Dialect::Text, "a b").text, "a b");
        assert!(whole_of(Dialect::Text, r#"{"error":{"message":"no"}}"#).explains_itself());
    }

    fn whole_of(dialect: Dialect, text: &str) -> Told {
        whole(dialect, text.as_bytes())
    }

    #[test]
    fn whole_answers_are_read() {
        let told = whole(Dialect::Chat, br#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        assert_eq!((told.text.as_str(), told.usage, told.ended), ("a", Some((1, 2)), true));
        assert!(whole(Dialect::Chat, br#"{"error":{"message":"x"}}"#).explains_itself());
        assert!(whole(Dialect::Chat, b"{\"choices\":[").broken.is_some());
        assert!(whole(Dialect::Responses, br#"{"output":[],"status":"failed"}"#).failed);
    }
}
