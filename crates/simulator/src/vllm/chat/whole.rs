//! A chat answer in one piece.

use serde::Serialize;
use serde_json::Value;

use super::request::Form;
use super::{About, StopReason, call_id, named};
use crate::conversation::Choice;
use crate::vllm::generation::Generation;
use crate::vllm::scored::{self, ChatLogprobs};
use crate::vllm::usage::Usage;

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WholeChoice>,
    service_tier: Option<()>,
    system_fingerprint: &'a str,
    usage: Usage,
    prompt_logprobs: Option<Value>,
    prompt_token_ids: Option<&'a [u32]>,
    prompt_text: Option<String>,
    kv_transfer_params: Option<()>,
    ec_transfer_params: Option<()>,
    metrics: Option<()>,
}

#[derive(Serialize)]
struct WholeChoice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
    stop_reason: StopReason,
    token_ids: Option<Vec<u32>>,
    routed_experts: Option<()>,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: Option<()>,
    annotations: Option<()>,
    audio: Option<()>,
    function_call: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Option<String>>,
}

#[derive(Serialize)]
struct ToolCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// The whole answer.
pub(super) fn whole<'a>(generation: &'a Generation, form: &Form, about: &'a About) -> Completion<'a> {
    let choices = generation.scripts.iter().enumerate().map(|(index, script)| {
        let whole = script.whole();
        let forced = !matches!(form.choice, Choice::None | Choice::Auto);
        let called = whole.call.is_some();
        let content = match (&form.echo, whole.text) {
            (Some(echo), text) => Some(format!("{echo}{}", text.unwrap_or_default())),
            (None, None) if forced => Some(String::new()),
            (None, text) => text,
        };
        let finish = script.finish();
        let calls = called && !matches!(form.choice, Choice::Named(_));
        let logprobs = form
            .logprobs
            .filter(|_| !form.hide_thought)
            .map(|top| ChatLogprobs::new(&scored::scores(generation, index, 0, script.length(), top)));
        let thought = whole.thought.filter(|_| !form.hide_thought);
        let (reasoning_content, reasoning) = named(thought, about.thoughts);
        WholeChoice {
            index,
            message: Message {
                role: "assistant",
                content,
                refusal: None,
                annotations: None,
                audio: None,
                function_call: None,
                tool_calls: whole.call.map(|(name, arguments)| {
                    [ToolCall { id: call_id(), kind: "function", function: Function { name, arguments } }]
                }),
                reasoning,
                reasoning_content,
            },
            logprobs,
            finish_reason: if calls { "tool_calls" } else { finish.reason() },
            stop_reason: finish.into(),
            token_ids: form.token_ids.then(|| script.ids()),
            routed_experts: None,
        }
    });
    let prompt = &generation.prompts[0];
    Completion {
        id: &about.id,
        object: "chat.completion",
        created: about.created,
        model: &about.model,
        choices: choices.collect(),
        service_tier: None,
        system_fingerprint: &about.fingerprint,
        usage: generation.usage(true),
        prompt_logprobs: form.prompt_logprobs.map(|top| scored::of_prompt(prompt, generation.seeds[0], top)),
        prompt_token_ids: form.token_ids.then_some(prompt),
        prompt_text: form.prompt_text.then(|| crate::tokens::decode(prompt)),
        kv_transfer_params: None,
        ec_transfer_params: None,
        metrics: None,
    }
}
