//! One entry per kind of provider. To add one, add one.

use domain::{Dialect, Operation};

use crate::spec::{Auth, Probe, Spec};

/// Every kind of provider that a configuration may name.
pub const CATALOG: &[&Spec] = &[
    &VLLM,
    &SGLANG,
    &LLAMACPP,
    &OLLAMA,
    &OPENAI,
    &Spec::OPENAI_COMPATIBLE,
    // known by name, so that a configuration which lists them loads
    &later("anthropic", Some("https://api.anthropic.com/v1")),
    &later("audiocpp", None),
    &later("azure", None),
    &later("bailian", None),
    &later("bedrock", None),
    &later("bedrock-mantle", None),
    &later("chatgpt", None),
    &later("chutes", None),
    &later("cohere", Some("https://api.cohere.com")),
    &later("deepseek", Some("https://api.deepseek.com")),
    &later("edenai", None),
    &later("elevenlabs", None),
    &later("fireworks", None),
    &later("gemini", Some("https://generativelanguage.googleapis.com/v1beta/openai")),
    &later("groq", Some("https://api.groq.com/openai/v1")),
    &later("hetzner", None),
    &later("jev", None),
    &later("kilo", None),
    &later("kimicode", None),
    &later("llmd", None),
    &later("meta", None),
    &later("minimax", Some("https://api.minimax.io/v1")),
    &later("opencode_go", None),
    &later("openrouter", Some("https://openrouter.ai/api/v1")),
    &later("oracle", None),
    &later("reranker", None),
    &later("vertex", None),
    &later("xai", Some("https://api.x.ai/v1")),
    &later("xiaomi", None),
    &later("zai", Some("https://api.z.ai/api/paas/v4")),
];

/// vLLM's OpenAI-compatible server (docs.vllm.ai, "OpenAI-Compatible Server"). Which routes an instance has depends on
/// its version and model, so they are probed.
const VLLM: Spec = Spec {
    name: "vllm",
    title: "vLLM",
    default_base_url: Some("http://localhost:8000/v1"),
    self_hosted: true,
    api_paths: Some(&[
        "models",
        "chat/completions",
        "responses",
        "completions",
        "embeddings",
        "messages",
        "audio",
        "files",
        "batches",
    ]),
    // docs.vllm.ai: LoRA, sleep mode, RLHF and development routes
    control_paths: &[
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/load_lora_adapter",
        "/unload_lora_adapter",
        "/sleep",
        "/wake_up",
        "/is_sleeping",
        "/pause",
        "/resume",
        "/is_paused",
        "/reset_prefix_cache",
        "/reset_mm_cache",
        "/reset_encoder_cache",
        "/collective_rpc",
        "/server_info",
        "/start_profile",
        "/stop_profile",
        "/abort_requests",
        "/scale_elastic_ep",
        "/is_scaling_elastic_ep",
        "/init_weight_transfer_engine",
        "/start_weight_update",
        "/start_draft_weight_update",
        "/update_weights",
        "/finish_weight_update",
        "/update_weight_version",
        "/shutdown_weight_transfer_engine",
        "/weight_checker",
        "/weight_info",
        "/get_world_size",
        "/release_kv_cache_memory",
        "/fault_tolerance",
        "/kv_event_sources",
    ],
    probe: Probe::Vllm,
    owner: Some("vllm"),
    ..Spec::OPENAI_COMPATIBLE
};

/// SGLang's server (docs.sglang.ai, "OpenAI APIs" and "Native APIs"; `python/sglang/srt/entrypoints/http_server.py`).
const SGLANG: Spec = Spec {
    name: "sglang",
    title: "SGLang",
    default_base_url: Some("http://localhost:30000/v1"),
    self_hosted: true,
    api_paths: Some(&[
        "models",
        "chat/completions",
        "responses",
        "completions",
        "embeddings",
        "messages",
        "audio",
    ]),
    keeps_written_v1: true,
    control_paths: &[
        "/v1/loads",
        "/abort_request",
        "/pause_generation",
        "/continue_generation",
        "/flush_cache",
        "/clear_hicache_storage_backend",
        "/start_profile",
        "/stop_profile",
        "/start_expert_distribution_record",
        "/stop_expert_distribution_record",
        "/dump_expert_distribution_record",
        "/update_weights_from_disk",
        "/update_weights_from_tensor",
        "/update_weights_from_distributed",
        "/update_weights_from_ipc",
        "/update_weight_version",
        "/init_weights_update_group",
        "/destroy_weights_update_group",
        "/get_weights_by_name",
        "/init_weights_send_group_for_remote_instance",
        "/send_weights_to_remote_instance",
        "/freeze_gc",
        "/release_memory_occupation",
        "/resume_memory_occupation",
        "/load_lora_adapter",
        "/unload_lora_adapter",
        "/open_session",
        "/close_session",
        "/set_internal_state",
        "/get_internal_state",
        "/configure_logging",
        "/slow_down",
        // they read and change nothing, but show the server's keys
        "/get_server_info",
        "/server_info",
    ],
    probe: Probe::Sglang,
    owner: Some("sglang"),
    ..Spec::OPENAI_COMPATIBLE
};

/// llama.cpp's server (its README, "API Endpoints"). Slots can be saved to and restored from disk: closed.
///
/// It scores, classifies and pools nothing. Its `/tokenize` and `/detokenize` take and give other members than vLLM's,
/// and answer a request in vLLM's shape with an empty list: they are reached by passthrough.
const LLAMACPP: Spec = Spec {
    name: "llamacpp",
    title: "llama.cpp",
    default_base_url: Some("http://localhost:8080/v1"),
    self_hosted: true,
    api_paths: Some(&[
        "models",
        "chat/completions",
        "responses",
        "completions",
        "embeddings",
        "messages",
        "audio",
    ]),
    lacks: &[
        (Operation::Score, Dialect::Vllm),
        (Operation::Classify, Dialect::Vllm),
        (Operation::Pool, Dialect::Vllm),
        (Operation::Tokenize, Dialect::Vllm),
        (Operation::Detokenize, Dialect::Vllm),
    ],
    // the last two are built-in tools and a proxy to anywhere, which newer builds have behind flags
    control_paths: &[
        "/slots",
        "/lora-adapters",
        "/props",
        "/models/load",
        "/models/unload",
        "/tools",
        "/cors-proxy",
    ],
    probe: Probe::LlamaCpp,
    owner: Some("llamacpp"),
    key_path: Some("/props"),
    ..Spec::OPENAI_COMPATIBLE
};

/// Ollama's OpenAI-compatible routes (its docs, "OpenAI compatibility"; `server/routes.go`). Pulling, creating, copying
/// and deleting models is closed.
const OLLAMA: Spec = Spec {
    name: "ollama",
    title: "Ollama",
    default_base_url: Some("http://localhost:11434/v1"),
    self_hosted: true,
    api_paths: Some(&["models", "chat/completions", "responses", "completions", "embeddings", "messages"]),
    lacks: &[
        (Operation::CountTokens, Dialect::Messages),
        (Operation::Rerank, Dialect::Rerank),
        (Operation::Transcribe, Dialect::Transcription),
        (Operation::Translate, Dialect::Transcription),
        (Operation::Score, Dialect::Vllm),
        (Operation::Classify, Dialect::Vllm),
        (Operation::Pool, Dialect::Vllm),
        (Operation::Tokenize, Dialect::Vllm),
        (Operation::Detokenize, Dialect::Vllm),
    ],
    // the last three are about the account that the server is signed in with
    control_paths: &[
        "/api/pull",
        "/api/push",
        "/api/create",
        "/api/copy",
        "/api/delete",
        "/api/blobs",
        "/api/me",
        "/api/signout",
        "/api/user",
    ],
    probe: Probe::Ollama,
    // the namespace of its public library
    owner: Some("library"),
    default_tag: Some("latest"),
    ..Spec::OPENAI_COMPATIBLE
};

/// OpenAI itself. It has no rerank, scoring or tokenising routes, and no Messages.
const OPENAI: Spec = Spec {
    name: "openai",
    title: "OpenAI",
    default_base_url: Some("https://api.openai.com/v1"),
    keyless: false,
    request_id_header: Some("x-client-request-id"),
    has: &[
        (Operation::Generate, Dialect::Chat),
        (Operation::Generate, Dialect::Responses),
        (Operation::Complete, Dialect::Completions),
        (Operation::Embed, Dialect::Embeddings),
        (Operation::Transcribe, Dialect::Transcription),
        (Operation::Translate, Dialect::Transcription),
    ],
    open_ended: false,
    ..Spec::OPENAI_COMPATIBLE
};

const fn later(name: &'static str, default_base_url: Option<&'static str>) -> Spec {
    Spec {
        name,
        title: name,
        default_base_url,
        keyless: false,
        auth: Auth::Bearer,
        built: false,
        ..Spec::OPENAI_COMPATIBLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_name() {
        let mut names: Vec<_> = CATALOG.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn what_is_there_is_not_missing() {
        for spec in CATALOG {
            assert!(spec.has.iter().all(|asked| !spec.lacks.contains(asked)), "{}", spec.name);
        }
    }

    #[test]
    fn control_paths_are_absolute_and_normal() {
        for path in CATALOG.iter().flat_map(|spec| spec.control_paths) {
            assert!(path.starts_with('/') && !path.ends_with('/'), "{path}");
            assert_eq!(path.to_ascii_lowercase(), *path);
        }
    }
}
