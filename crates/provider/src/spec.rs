//! What may differ between providers that speak OpenAI's API.

use domain::{Dialect, Operation};

/// One kind of provider.
#[derive(Debug)]
pub struct Spec {
    /// The type's name: in configuration, in environment names (upper-cased), in the `provider` member of replies.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Where it lives if nobody says so.
    pub default_base_url: Option<&'static str>,
    /// Whether it works without a key.
    pub keyless: bool,
    /// Whether the operator runs it: closer, slower to its first token, and closing idle connections early.
    pub self_hosted: bool,
    /// How it wants its key.
    pub auth: Auth,
    /// The header in which it takes our request id.
    pub request_id_header: Option<&'static str>,
    /// Operations that it is known to have.
    pub has: &'static [(Operation, Dialect)],
    /// Operations that it is known not to have, or to have only in a shape of its own.
    pub lacks: &'static [(Operation, Dialect)],
    /// Whether what is in neither list may still be there: asked once, and remembered.
    pub open_ended: bool,
    /// Paths, relative to the API root, that live under `/v1`; everything else of a passthrough goes to the server's
    /// root. `None`: everything lives under the base URL.
    pub api_paths: Option<&'static [&'static str]>,
    /// Whether a passthrough path that is written with `v1/` keeps it.
    pub keeps_written_v1: bool,
    /// Paths that control the engine rather than ask it something, or tell its secrets: closed on the passthrough unless
    /// opened. A probe may read one of the second sort, and keeps only what it is after.
    pub control_paths: &'static [&'static str],
    /// How the engine's version and abilities are found out.
    pub probe: Probe,
    /// Whom the engine's model list names as `owned_by`: by this it is recognised, whatever type it was configured as.
    pub owner: Option<&'static str>,
    /// A path at the root, only read, that asks for the key where the model list does not: what proves a key.
    pub key_path: Option<&'static str>,
    /// The tag that a model's name has when none is written.
    pub default_tag: Option<&'static str>,
    /// Whether this version can serve the type. An entry that cannot is known so that configurations naming it load.
    pub built: bool,
}

/// How a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer <key>`.
    Bearer,
}

/// How an engine is asked what it is. No question costs a token, and none changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is not.
    None,
    /// vLLM: `/version`, and the routes in `/openapi.json`.
    Vllm,
    /// SGLang: `/model_info`, `/server_info` (both with `get_` before them in older versions), and the routes in
    /// `/openapi.json`. Never `/health`, which generates a token as `/health_generate` does.
    Sglang,
    /// llama.cpp: `/props`, and `/health` where that is refused.
    LlamaCpp,
    /// Ollama: `/api/version`, `/api/ps`, and `/api/show` for each model.
    Ollama,
}

/// What is known of an operation before anything was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is there.
    Yes,
    /// It is not.
    No,
    /// Ask, and remember.
    Unknown,
}

impl Spec {
    /// What an OpenAI-compatible provider of which nothing else is known looks like.
    pub const OPENAI_COMPATIBLE: Spec = Spec {
        name: "openai_compatible",
        title: "an OpenAI-compatible server",
        default_base_url: None,
        keyless: true,
        self_hosted: false,
        auth: Auth::Bearer,
        request_id_header: Some("x-request-id"),
        has: &[(Operation::Generate, Dialect::Chat)],
        lacks: &[],
        open_ended: true,
        api_paths: None,
        keeps_written_v1: false,
        control_paths: &[],
        probe: Probe::None,
        owner: None,
        key_path: None,
        default_tag: None,
        built: true,
    };

    /// What is known of an operation in a dialect from the entry alone.
    pub fn knows(&self, operation: Operation, dialect: Dialect) -> Known {
        if self.has.contains(&(operation, dialect)) {
            Known::Yes
        } else if self.lacks.contains(&(operation, dialect)) {
            Known::No
        } else if self.open_ended {
            Known::Unknown
        } else {
            Known::No
        }
    }
}
