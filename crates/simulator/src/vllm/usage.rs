//! What was used, in the forms vLLM tells it.

use serde::Serialize;

/// Usage as a whole answer carries it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) total_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) prompt_tokens_details: Option<PromptDetails>,
    pub(crate) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PromptDetails {
    pub(crate) cached_tokens: usize,
    /// Chat tells it, completions do not.
    pub(crate) created_cache_tokens: Option<usize>,
    pub(crate) multimodal_tokens: Option<()>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CompletionDetails {
    pub(crate) reasoning_tokens: usize,
}

impl Usage {
    /// Without details.
    pub(crate) fn new(prompt: usize, completion: usize) -> Self {
        Usage {
            prompt_tokens: prompt,
            total_tokens: prompt + completion,
            completion_tokens: completion,
            prompt_tokens_details: None,
            completion_tokens_details: None,
        }
    }

    /// The form at the end of a stream, where what is null is left out.
    pub(crate) fn last(&self) -> LastUsage {
        LastUsage {
            prompt_tokens: self.prompt_tokens,
            total_tokens: self.total_tokens,
            completion_tokens: self.completion_tokens,
            prompt_tokens_details: self.prompt_tokens_details.map(|details| LastDetails {
                cached_tokens: details.cached_tokens,
                created_cache_tokens: details.created_cache_tokens,
            }),
            completion_tokens_details: self.completion_tokens_details,
        }
    }
}

/// Usage in the last chunk of a stream.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LastUsage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<LastDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Debug, Serialize)]
struct LastDetails {
    cached_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_cache_tokens: Option<usize>,
}

/// Usage so far, in every chunk of a stream that asked for it. Completions leave out the last member.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UsageSoFar {
    pub(crate) prompt_tokens: usize,
    pub(crate) total_tokens: usize,
    pub(crate) completion_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens_details: Option<Option<CompletionDetails>>,
}

/// Usage in Anthropic's words.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct AnthropicUsage {
    pub(crate) input_tokens: usize,
    pub(crate) output_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_creation_input_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<usize>,
}
