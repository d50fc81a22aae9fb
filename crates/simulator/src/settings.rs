//! What can be chosen about a simulated engine.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Everything that can be chosen before the engine starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one, which [`crate::Running::address`] then tells.
    pub listen: SocketAddr,
    /// The models served, in the order `/v1/models` lists them. A request that names none gets the first one
    /// that can do what is asked.
    pub models: Vec<Model>,
    /// The key that `/v1`, `/v2`, `/inference` and `/cohere` paths demand as `Authorization: Bearer`.
    /// Like vLLM's own, it guards nothing else.
    pub api_key: Option<String>,
    /// What `/version` says.
    pub version: String,
    /// Prompt tokens read per second; `f64::INFINITY` for no wait.
    pub prefill_tokens_per_second: f64,
    /// Tokens generated per second and sequence; `f64::INFINITY` for no wait.
    pub decode_tokens_per_second: f64,
    /// The context length of every model, in tokens.
    pub max_model_len: u32,
    /// The length of an embedding.
    pub embedding_dimensions: usize,
    /// The labels that `/classify` chooses from.
    pub labels: Vec<String>,
    /// Whether usage carries `prompt_tokens_details`, as after `--enable-prompt-tokens-details`.
    pub prompt_tokens_details: bool,
    /// How long a connection may idle after an answer before it is closed. uvicorn's is five seconds.
    pub idle_close: Duration,
    /// The longest request body taken, in bytes.
    pub body_limit: usize,
    /// How many requests [`crate::Running::seen`] remembers.
    pub remembered: usize,
}

impl Default for Settings {
    /// One model that does everything, on a free loopback port, at the speed of a small model on one card.
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            models: vec![Model::default()],
            api_key: None,
            version: "0.32.0".to_owned(),
            prefill_tokens_per_second: 20_000.0,
            decode_tokens_per_second: 200.0,
            max_model_len: 131_072,
            embedding_dimensions: 384,
            labels: vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()],
            prompt_tokens_details: true,
            idle_close: Duration::from_secs(5),
            body_limit: 64 << 20,
            remembered: 1_000,
        }
    }
}

impl Settings {
    /// The same engine answering as fast as it can.
    #[must_use]
    pub fn at_full_speed(mut self) -> Self {
        self.prefill_tokens_per_second = f64::INFINITY;
        self.decode_tokens_per_second = f64::INFINITY;
        self
    }
}

/// One served model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name clients use; slashes are fine.
    pub id: String,
    /// Where vLLM says it was loaded from.
    pub root: String,
    /// For a LoRA adapter, the model it adapts. Such an entry lists no context length of its own.
    pub parent: Option<String>,
    /// What it can do.
    pub tasks: Tasks,
    /// Whether it thinks before it speaks, as a model behind `--reasoning-parser` does.
    pub reasoning: bool,
}

impl Model {
    /// A model of that name that does everything, without reasoning.
    #[must_use]
    pub fn named(id: impl Into<String>) -> Self {
        let id = id.into();
        Model { root: id.clone(), id, parent: None, tasks: Tasks::default(), reasoning: false }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model::named("simulated")
    }
}

/// What a model can be asked for. vLLM serves a route only if the model can do its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Chat, completions, Responses, Messages.
    pub generate: bool,
    /// Embeddings; also pooling, scores and reranking by cosine.
    pub embed: bool,
    /// Classification; also pooling, scores and reranking.
    pub classify: bool,
}

impl Tasks {
    /// Text generation alone.
    pub const GENERATE: Tasks = Tasks { generate: true, embed: false, classify: false };
    /// Embeddings alone.
    pub const EMBED: Tasks = Tasks { generate: false, embed: true, classify: false };
    /// Classification and reranking alone.
    pub const CLASSIFY: Tasks = Tasks { generate: false, embed: false, classify: true };
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks { generate: true, embed: true, classify: true }
    }
}
