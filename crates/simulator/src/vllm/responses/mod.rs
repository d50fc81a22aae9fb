//! `/v1/responses`: create, and what vLLM says about stored ones, of which it keeps none by default.

mod items;
mod request;
mod stream;

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::generation::{self, Asking, Generation};
use super::json as wire;
use super::refusal::Refusal;
use super::version::Version;
use crate::engine::{self, Engine};
use crate::reply::Reply;
use crate::script::Finish;
use crate::ticket::Ticket;
use request::{Echoed, Request};

/// Answers a request.
pub(crate) fn answer(engine: &Arc<Engine>, body: &Value, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let request = request::read(body, Version::parse(&engine.settings.version))?;
    let served = generation::generating(engine, request.model.as_deref(), "Responses")?;
    if request.background {
        let message = "This vLLM engine does not support `store=True` and therefore does not support the background mode. \
            To enable these features, set the environment variable `VLLM_ENABLE_RESPONSES_API_STORE=1` when launching \
            the vLLM server.";
        return Err(invalid_request(StatusCode::BAD_REQUEST, message, "background"));
    }
    if let Some(previous) = &request.echoed.previous_response_id {
        return Err(unknown(previous));
    }
    generation::check_output_limit(engine, "max_output_tokens", request.asked.max_tokens)?;
    let Request { conversation, asked, stream, logprobs, hide_thought, custom, echoed, .. } = request;
    let prompt = generation::prompt(engine, &conversation)?;
    let asking = vec![Asking { conversation, prompt, plain: false }];
    let mut prepared = generation::generate(engine, &served, asking, &asked, None)?;
    prepared.enter(ticket)?;
    let about = About {
        id: format!("resp_{}", engine::id()),
        created: engine::now(),
        model: served.id.clone(),
        echoed,
        custom,
        logprobs,
        hide_thought,
    };
    if stream {
        return Ok(Reply::stream(|admission| stream::Events::new(prepared.begin(admission), about)));
    }
    Ok(Reply::later(move |admission| {
        let generation = prepared.begin(admission);
        let output = items::whole(&generation, &about);
        wire::python(&about.response(&generation, status(&generation), output, true))
    }))
}

/// A stored response that is asked for: there is none.
pub(crate) fn unknown(id: &str) -> Refusal {
    invalid_request(StatusCode::NOT_FOUND, &format!("Response with id '{id}' not found."), "response_id")
}

fn invalid_request(status: StatusCode, message: &str, param: &str) -> Refusal {
    Refusal::error(status, "invalid_request_error", message, Some(param))
}

fn status(generation: &Generation) -> &'static str {
    if *generation.scripts[0].finish() == Finish::Length { "incomplete" } else { "completed" }
}

/// What an answer repeats of its request, and what it needs to be written.
#[derive(Clone, Debug)]
struct About {
    id: String,
    created: u64,
    model: String,
    echoed: Echoed,
    /// The names of the tools that take free text instead of JSON.
    custom: Vec<String>,
    logprobs: Option<usize>,
    hide_thought: bool,
}

#[derive(Serialize)]
struct Response<'a> {
    id: &'a str,
    created_at: u64,
    incomplete_details: Option<Value>,
    instructions: &'a Option<String>,
    metadata: &'a Value,
    model: &'a str,
    object: &'static str,
    output: Vec<Value>,
    parallel_tool_calls: bool,
    temperature: f64,
    tool_choice: &'a Value,
    tools: &'a Value,
    top_p: f64,
    background: bool,
    max_output_tokens: usize,
    max_tool_calls: Option<i64>,
    previous_response_id: Option<()>,
    prompt: Option<()>,
    reasoning: &'a Value,
    service_tier: &'a str,
    status: &'static str,
    text: &'a Value,
    top_logprobs: Option<usize>,
    truncation: &'a str,
    usage: Option<Value>,
    user: &'a Option<String>,
    presence_penalty: f64,
    frequency_penalty: f64,
    kv_transfer_params: Option<()>,
    ec_transfer_params: Option<()>,
    input_messages: Option<()>,
    output_messages: Option<()>,
}

impl About {
    fn response<'a>(
        &'a self,
        generation: &Generation,
        status: &'static str,
        output: Vec<Value>,
        with_usage: bool,
    ) -> Response<'a> {
        let (echoed, sampling) = (&self.echoed, &generation.sampling);
        Response {
            id: &self.id,
            created_at: self.created,
            incomplete_details: (status == "incomplete").then(|| json!({"reason": "max_output_tokens"})),
            instructions: &echoed.instructions,
            metadata: &echoed.metadata,
            model: &self.model,
            object: "response",
            output,
            parallel_tool_calls: echoed.parallel_tool_calls,
            temperature: sampling.temperature,
            tool_choice: &echoed.tool_choice,
            tools: &echoed.tools,
            top_p: sampling.top_p,
            background: false,
            max_output_tokens: sampling.limits.max_tokens,
            max_tool_calls: echoed.max_tool_calls,
            previous_response_id: None,
            prompt: None,
            reasoning: &echoed.reasoning,
            service_tier: &echoed.service_tier,
            status,
            text: &echoed.text,
            top_logprobs: self.logprobs,
            truncation: &echoed.truncation,
            usage: with_usage.then(|| usage(generation)),
            user: &echoed.user,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            kv_transfer_params: None,
            ec_transfer_params: None,
            input_messages: None,
            output_messages: None,
        }
    }
}

fn usage(generation: &Generation) -> Value {
    let (input, output) = (generation.work.prompt_tokens, generation.work.output_tokens);
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": generation.cached, "cache_write_tokens": 0, "input_tokens_per_turn": [],
            "cached_tokens_per_turn": []},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": generation.thought_tokens(), "tool_output_tokens": 0,
            "output_tokens_per_turn": [], "tool_output_tokens_per_turn": []},
        "total_tokens": input + output,
    })
}
