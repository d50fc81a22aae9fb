//! The fronts: where each is, and what is asked there.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::form::{self, Form};

/// The language of a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat.
    Chat,
    /// OpenAI's older completions.
    Completions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Vectors.
    Embeddings,
    /// Documents in order.
    Rerank,
    /// Speech to text, as JSON or a stream: a small form, which is read whole before it goes on.
    Transcription,
    /// The same as plain text: a large form whose model stands behind its file, so that it is stored first.
    Text,
    /// The same as JSON: a large form whose model stands before its file, so that it goes on while it arrives.
    Upload,
    /// Chat on the passthrough, where everything is somebody else's.
    Foreign,
}

/// A route, asked for a stream or for a whole answer: a column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Front {
    /// Its language.
    pub dialect: Dialect,
    /// Whether a stream is asked for.
    pub stream: bool,
}

const fn front(dialect: Dialect, stream: bool) -> Front {
    Front { dialect, stream }
}

impl Front {
    /// All of them, in the order of the columns.
    pub const ALL: [Front; 16] = [
        front(Dialect::Chat, false),
        front(Dialect::Chat, true),
        front(Dialect::Completions, false),
        front(Dialect::Completions, true),
        front(Dialect::Responses, false),
        front(Dialect::Responses, true),
        front(Dialect::Messages, false),
        front(Dialect::Messages, true),
        front(Dialect::Embeddings, false),
        front(Dialect::Rerank, false),
        front(Dialect::Transcription, false),
        front(Dialect::Transcription, true),
        front(Dialect::Text, false),
        front(Dialect::Upload, false),
        front(Dialect::Foreign, false),
        front(Dialect::Foreign, true),
    ];

    /// Its name: the first half of a scenario's id.
    pub fn name(self) -> &'static str {
        match (self.dialect, self.stream) {
            (Dialect::Chat, false) => "chat",
            (Dialect::Chat, true) => "chat.stream",
            (Dialect::Completions, false) => "completions",
            (Dialect::Completions, true) => "completions.stream",
            (Dialect::Responses, false) => "responses",
            (Dialect::Responses, true) => "responses.stream",
            (Dialect::Messages, false) => "messages",
            (Dialect::Messages, true) => "messages.stream",
            (Dialect::Embeddings, _) => "embeddings",
            (Dialect::Rerank, _) => "rerank",
            (Dialect::Transcription, false) => "transcriptions",
            (Dialect::Transcription, true) => "transcriptions.stream",
            (Dialect::Text, _) => "transcriptions.text",
            (Dialect::Upload, _) => "transcriptions.large",
            (Dialect::Foreign, false) => "passthrough",
            (Dialect::Foreign, true) => "passthrough.stream",
        }
    }

    /// Its path at the engine; at the gateway too, save for the passthrough.
    pub fn path(self) -> &'static str {
        match self.dialect {
            Dialect::Chat | Dialect::Foreign => "/v1/chat/completions",
            Dialect::Completions => "/v1/completions",
            Dialect::Responses => "/v1/responses",
            Dialect::Messages => "/v1/messages",
            Dialect::Embeddings => "/v1/embeddings",
            Dialect::Rerank => "/v1/rerank",
            Dialect::Transcription | Dialect::Text | Dialect::Upload => "/v1/audio/transcriptions",
        }
    }

    /// Its path at a gateway that calls the instance so.
    pub(crate) fn path_at(self, provider: &str) -> String {
        match self.dialect {
            Dialect::Foreign => format!("/p/{provider}{}", self.path()),
            _ => self.path().to_owned(),
        }
    }

    /// The front whose path this is.
    pub(crate) fn dialect_of(path: &str) -> Option<Dialect> {
        Front::ALL.iter().find(|front| path.ends_with(front.path())).map(|front| front.dialect)
    }

    /// Whether a request goes out once, whatever becomes of it: its body passes by, or nobody knows what it does.
    pub(crate) fn asks_once(self) -> bool {
        matches!(self.dialect, Dialect::Upload | Dialect::Foreign)
    }

    /// Whether a file is sent.
    pub(crate) fn hears(self) -> bool {
        matches!(self.dialect, Dialect::Transcription | Dialect::Text | Dialect::Upload)
    }

    /// Whether an answer gives the reason why it ends.
    pub(crate) fn gives_reasons(self) -> bool {
        matches!(self.dialect, Dialect::Chat | Dialect::Completions | Dialect::Responses | Dialect::Messages)
    }

    /// The media type of a request.
    pub(crate) fn kind(self) -> &'static str {
        if self.hears() { form::KIND } else { "application/json" }
    }

    /// A request for this model, with a tool in it or the wish to be told the usage, where the dialect knows such.
    pub(crate) fn request(self, model: &str, prompt: &str, with_tool: bool, asks_usage: bool) -> Bytes {
        if self.hears() {
            return self.form(model, prompt, asks_usage);
        }
        let messages = json!([{"role": "user", "content": prompt}]);
        let mut body = match self.dialect {
            Dialect::Completions => json!({"model": model, "prompt": prompt, "max_tokens": TOKENS}),
            Dialect::Responses => json!({"model": model, "input": prompt, "max_output_tokens": TOKENS}),
            Dialect::Embeddings => json!({"model": model, "input": [prompt, "a second text"]}),
            Dialect::Rerank => {
                json!({"model": model, "query": prompt, "documents": ["a train", "a bridge", prompt]})
            }
            _ => json!({"model": model, "max_tokens": TOKENS, "messages": messages}),
        };
        let chats = matches!(self.dialect, Dialect::Chat | Dialect::Foreign);
        if self.stream {
            body["stream"] = json!(true);
            if asks_usage && (chats || self.dialect == Dialect::Completions) {
                body["stream_options"] = json!({"include_usage": true});
            }
        }
        if with_tool && chats {
            body["tools"] = tools();
        }
        body.to_string().into()
    }

    /// A form in this front's manner: where the model stands decides what becomes of a large one.
    fn form(self, model: &str, prompt: &str, asks_usage: bool) -> Bytes {
        let tokens = TOKENS.to_string();
        let mut texts = vec![("max_completion_tokens", tokens.as_str()), ("prompt", prompt)];
        match self.dialect {
            Dialect::Text => texts.push(("response_format", "text")),
            // said before the file, so that nobody has to wait for its end to know
            Dialect::Upload => texts.extend([("response_format", "json"), ("stream", "false")]),
            _ if self.stream => {
                texts.push(("stream", "true"));
                texts.extend(asks_usage.then_some(("stream_include_usage", "true")));
            }
            _ => {}
        }
        let (behind, large) =
            (self.dialect == Dialect::Text, matches!(self.dialect, Dialect::Text | Dialect::Upload));
        form::write(&Form { model, behind, texts, large, words: prompt })
    }
}

/// How long an answer may be.
const TOKENS: u32 = 24;

fn tools() -> Value {
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": city}}])
}
