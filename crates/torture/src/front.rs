//! The fronts: where each is, and what is asked there.

use serde_json::{Value, json};

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
    pub const ALL: [Front; 10] = [
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
        }
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self.dialect {
            Dialect::Chat => "/v1/chat/completions",
            Dialect::Completions => "/v1/completions",
            Dialect::Responses => "/v1/responses",
            Dialect::Messages => "/v1/messages",
            Dialect::Embeddings => "/v1/embeddings",
            Dialect::Rerank => "/v1/rerank",
        }
    }

    /// The front whose path this is.
    pub(crate) fn dialect_of(path: &str) -> Option<Dialect> {
        Front::ALL.iter().find(|front| path.ends_with(front.path())).map(|front| front.dialect)
    }

    /// A request for this model, with a tool in it or the wish to be told the usage, where the dialect knows such.
    pub(crate) fn request(self, model: &str, prompt: &str, with_tool: bool, asks_usage: bool) -> String {
        let messages = json!([{"role": "user", "content": prompt}]);
        let mut body = match self.dialect {
            Dialect::Chat => json!({"model": model, "messages": messages, "max_tokens": TOKENS}),
            Dialect::Completions => json!({"model": model, "prompt": prompt, "max_tokens": TOKENS}),
            Dialect::Responses => json!({"model": model, "input": prompt, "max_output_tokens": TOKENS}),
            Dialect::Messages => json!({"model": model, "max_tokens": TOKENS, "messages": messages}),
            Dialect::Embeddings => json!({"model": model, "input": [prompt, "a second text"]}),
            Dialect::Rerank => {
                json!({"model": model, "query": prompt, "documents": ["a train", "a bridge", prompt]})
            }
        };
        if self.stream {
            body["stream"] = json!(true);
            if asks_usage && matches!(self.dialect, Dialect::Chat | Dialect::Completions) {
                body["stream_options"] = json!({"include_usage": true});
            }
        }
        if with_tool && self.dialect == Dialect::Chat {
            body["tools"] = tools();
        }
        body.to_string()
    }
}

/// How long an answer may be.
const TOKENS: u32 = 24;

fn tools() -> Value {
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "get_weather", "parameters": city}}])
}
