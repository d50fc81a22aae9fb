//! What can be chosen about a simulated engine.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Schedule;

/// Which engine is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// vLLM, byte for byte; its shapes follow [`Settings::version`].
    #[default]
    Vllm,
    /// SGLang, as far as a gateway gets to see it.
    Sglang,
    /// llama.cpp's server, as far as a gateway gets to see it.
    LlamaCpp,
    /// Ollama, as far as a gateway gets to see it.
    Ollama,
}

impl Personality {
    /// All of them.
    pub const ALL: [Personality; 4] =
        [Personality::Vllm, Personality::Sglang, Personality::LlamaCpp, Personality::Ollama];

    /// Its name: `vllm`, `sglang`, `llamacpp` or `ollama`.
    pub fn name(self) -> &'static str {
        match self {
            Personality::Vllm => "vllm",
            Personality::Sglang => "sglang",
            Personality::LlamaCpp => "llamacpp",
            Personality::Ollama => "ollama",
        }
    }

    /// The version that is played when none is chosen.
    pub fn version(self) -> &'static str {
        match self {
            Personality::Vllm => "0.32.0",
            Personality::Sglang => "0.5.9",
            Personality::LlamaCpp => "b8100-5d3a4f1c",
            Personality::Ollama => "0.17.0",
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Personality {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Personality::ALL.into_iter().find(|personality| personality.name() == name).ok_or_else(|| {
            format!("there is no personality {name:?}; choose vllm, sglang, llamacpp or ollama")
        })
    }
}

/// Everything that can be chosen before the engine starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one, which [`crate::Running::address`] then tells.
    pub listen: SocketAddr,
    /// Which engine is played; [`Settings::played_by`] sets the version with it.
    pub personality: Personality,
    /// The models served, in the order `/v1/models` lists them. A request that names none gets the first one
    /// that can do what is asked.
    pub models: Vec<Model>,
    /// The key that `/v1`, `/v2`, `/inference` and `/cohere` paths demand as `Authorization: Bearer`.
    /// Like vLLM's own, it guards nothing else. SGLang guards all but health and metrics, llama.cpp all but health
    /// and the list of models, Ollama nothing.
    pub api_key: Option<String>,
    /// The engine's version. What it says and takes changes with it: see [`crate`].
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
    /// Whether the speech routes answer `text`, `srt` and `vtt` with texts, as OpenAI does and vLLM's plug-in for Apple
    /// silicon. vLLM 0.32 itself answers the first as JSON and refuses the others.
    pub subtitles: bool,
    /// The largest audio file, in bytes. vLLM's is 25 MiB unless `VLLM_MAX_AUDIO_CLIP_FILESIZE_MB` says otherwise; `None`
    /// leaves it to [`Settings::body_limit`].
    pub max_audio_bytes: Option<usize>,
    /// How long a connection may idle after an answer before it is closed. uvicorn's is five seconds.
    pub idle_close: Duration,
    /// The longest request body taken, in bytes.
    pub body_limit: usize,
    /// How many requests [`crate::Running::seen`] remembers.
    pub remembered: usize,
    /// How many bytes of each request's body [`crate::Running::seen`] remembers.
    pub remembered_body: usize,
    /// How many bytes of each answer's body are remembered with its request.
    pub recorded: usize,
    /// How many sequences run at once; what comes beyond waits. vLLM's is 256, or 1024 on a large card.
    pub max_num_seqs: usize,
    /// How many sequences may wait and run together before the next one is answered with 503; `None` for no
    /// limit.
    pub max_num_queued_reqs: Option<usize>,
    /// The KV cache, in blocks of 16 tokens. Finished prompts and answers stay in it while there is room.
    pub kv_cache_blocks: usize,
    /// How many LoRA adapters fit beside each other, as `vllm:lora_requests_info` tells it.
    pub max_loras: usize,
    /// Whether the control routes are there: sleeping and waking, pausing, forgetting prefixes, loading and
    /// unloading LoRA adapters. As after `VLLM_SERVER_DEV_MODE=1` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=true`.
    pub dev_mode: bool,
    /// Whether there are metrics where an engine has them only after a flag: SGLang and llama.cpp.
    pub metrics: bool,
    /// How long it loads its model after the start: SGLang is not healthy until then, llama.cpp answers 503.
    pub loading: Duration,
    /// Faults by plan. Requests may ask for others by themselves: see [`crate`].
    pub faults: Schedule,
}

impl Default for Settings {
    /// One model that does everything, on a free loopback port, at the speed of a small model on one card.
    fn default() -> Self {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            personality: Personality::Vllm,
            models: vec![Model::default()],
            api_key: None,
            version: Personality::Vllm.version().to_owned(),
            prefill_tokens_per_second: 20_000.0,
            decode_tokens_per_second: 200.0,
            max_model_len: 131_072,
            embedding_dimensions: 384,
            labels: vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()],
            prompt_tokens_details: true,
            subtitles: false,
            max_audio_bytes: None,
            idle_close: Duration::from_secs(5),
            body_limit: 128 << 20,
            remembered: 1_000,
            remembered_body: 1 << 20,
            recorded: 0,
            max_num_seqs: 1_024,
            max_num_queued_reqs: None,
            kv_cache_blocks: 65_536,
            max_loras: 4,
            dev_mode: false,
            metrics: true,
            loading: Duration::ZERO,
            faults: Schedule::default(),
        }
    }
}

impl Settings {
    /// The same under another personality, with the version that goes with it.
    #[must_use]
    pub fn played_by(mut self, personality: Personality) -> Self {
        self.personality = personality;
        personality.version().clone_into(&mut self.version);
        self
    }

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
    /// Speech to text: transcriptions and translations.
    pub transcribe: bool,
}

impl Tasks {
    /// Text generation alone.
    pub const GENERATE: Tasks = Tasks { generate: true, ..Tasks::NONE };
    /// Embeddings alone.
    pub const EMBED: Tasks = Tasks { embed: true, ..Tasks::NONE };
    /// Classification and reranking alone.
    pub const CLASSIFY: Tasks = Tasks { classify: true, ..Tasks::NONE };
    /// Speech to text alone.
    pub const TRANSCRIBE: Tasks = Tasks { transcribe: true, ..Tasks::NONE };
    /// Nothing at all.
    pub const NONE: Tasks = Tasks { generate: false, embed: false, classify: false, transcribe: false };
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks { generate: true, embed: true, classify: true, transcribe: true }
    }
}
