//! What a chat request asks: a conversation, its sampling, and the form of the answer.

use serde_json::Value;

use crate::conversation::{Choice, Conversation};
use crate::vllm::fields::Fields;
use crate::vllm::refusal::Refusal;
use crate::vllm::sampling::Asked;
use crate::vllm::turns;
use crate::vllm::version::Version;

/// What a chat request asks about the form of its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
    pub(crate) logprobs: Option<usize>,
    pub(crate) prompt_logprobs: Option<usize>,
    pub(crate) token_ids: bool,
    pub(crate) prompt_text: bool,
    pub(crate) hide_thought: bool,
    /// What the answer continues and repeats.
    pub(crate) echo: Option<String>,
    pub(crate) choice: Choice,
}

/// Reads a request.
///
/// # Errors
/// vLLM's 400 for what it cannot be.
pub(crate) fn read(
    body: &Value,
    version: Version,
) -> Result<(Conversation, Asked, Form, Option<String>), Refusal> {
    checks_before(body)?;
    let (tools, choice) = turns::tools(body)?;
    let shape = turns::shape(body, version)?;
    let mut fields = Fields::new(body);
    let turns = turns::messages(&mut fields);
    let model = fields.text("model").map(str::to_owned);
    let mut asked = Asked::read(&mut fields);
    let max_tokens = fields.integer("max_tokens");
    asked.max_tokens = fields.integer("max_completion_tokens").or(max_tokens);
    let logprobs = fields.flag("logprobs").unwrap_or(false);
    let top = fields.integer("top_logprobs").unwrap_or(0);
    asked.logprobs = logprobs.then_some(top);
    asked.prompt_logprobs = fields.integer("prompt_logprobs");
    let stream = fields.flag("stream").unwrap_or(false);
    let options = body.get("stream_options");
    let option = |name: &str| options.and_then(|options| options.get(name)) == Some(&Value::Bool(true));
    let include_usage = option("include_usage");
    let continued = fields.flag("continue_final_message").unwrap_or(false);
    let unopened = fields.flag("add_generation_prompt") == Some(false);
    let effort = fields.text("reasoning_effort");
    let thinking = body.get("chat_template_kwargs").and_then(|kwargs| kwargs.get("enable_thinking"));
    let echo = fields.flag("echo").unwrap_or(false);
    let last = turns.last().filter(|turn| echo && turn.role == "assistant");
    let count = |number: i64| usize::try_from(number).unwrap_or(0);
    let form = Form {
        stream,
        include_usage,
        continuous_usage: include_usage && option("continuous_usage_stats"),
        logprobs: logprobs.then_some(count(top)),
        prompt_logprobs: asked.prompt_logprobs.map(count).or(echo.then_some(count(top))),
        token_ids: fields.flag("return_token_ids").unwrap_or(false),
        prompt_text: fields.flag("return_prompt_text").unwrap_or(false),
        hide_thought: fields.flag("include_reasoning") == Some(false),
        echo: last.map(|turn| turn.text.clone()).filter(|text| !text.is_empty()),
        choice: choice.clone(),
    };
    fields.finish()?;
    let without_thought = effort == Some("none") || thinking == Some(&Value::Bool(false));
    Ok((
        Conversation { turns, tools, choice, shape, without_thought, continued, unopened },
        asked,
        form,
        model,
    ))
}

/// What vLLM looks at before pydantic does.
fn checks_before(body: &Value) -> Result<(), Refusal> {
    let set = |name: &str| body.get(name).filter(|value| !value.is_null());
    let truthy = |name: &str| set(name).is_some_and(|value| value != &Value::Bool(false));
    if set("stream_options")
        .is_some_and(|options| options.as_object().is_none_or(|options| !options.is_empty()))
        && !truthy("stream")
    {
        return Err(Refusal::parameter(
            "Stream options can only be defined when `stream=True`.",
            "stream_options",
        ));
    }
    for name in ["prompt_logprobs", "top_logprobs"] {
        if let Some(value) = set(name).filter(|value| !value.is_number() && !value.is_boolean()) {
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            return Err(Refusal::value(&format!("`{name}` must be an integer."), name, value));
        }
    }
    if let Some(count) = set("prompt_logprobs").and_then(Value::as_i64) {
        if truthy("stream") && (count > 0 || count == -1) {
            return Err(Refusal::parameter(
                "`prompt_logprobs` are not available when `stream=True`.",
                "prompt_logprobs",
            ));
        }
        if count < -1 {
            let message = "`prompt_logprobs` must be a positive value or -1.";
            return Err(Refusal::value(message, "prompt_logprobs", count));
        }
    }
    if let Some(count) = set("top_logprobs").and_then(Value::as_i64) {
        if count < -1 {
            return Err(Refusal::value(
                "`top_logprobs` must be a positive value or -1.",
                "top_logprobs",
                count,
            ));
        }
        if count != 0 && !truthy("logprobs") {
            let message = "when using `top_logprobs`, `logprobs` must be set to true.";
            return Err(Refusal::parameter(message, "top_logprobs"));
        }
    }
    if truthy("continue_final_message") && truthy("add_generation_prompt") {
        let message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True.";
        return Err(Refusal::bad(message));
    }
    Ok(())
}
