//! A Responses request: its conversation, and the parts an answer repeats.

use serde_json::{Map, Value, json};

use crate::conversation::{Call, Choice, Conversation, Shape, Tool, Turn};
use crate::vllm::fields::Fields;
use crate::vllm::refusal::{Invalid, Refusal};
use crate::vllm::sampling::Asked;
use crate::vllm::turns;
use crate::vllm::version::Version;

/// A request, as far as it matters.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) model: Option<String>,
    pub(super) conversation: Conversation,
    pub(super) asked: Asked,
    pub(super) stream: bool,
    pub(super) background: bool,
    pub(super) logprobs: Option<usize>,
    pub(super) hide_thought: bool,
    pub(super) custom: Vec<String>,
    pub(super) echoed: Echoed,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub(super) struct Echoed {
    pub(super) instructions: Option<String>,
    pub(super) metadata: Value,
    pub(super) parallel_tool_calls: bool,
    pub(super) tool_choice: Value,
    pub(super) tools: Value,
    pub(super) max_tool_calls: Option<i64>,
    pub(super) previous_response_id: Option<String>,
    pub(super) reasoning: Value,
    pub(super) service_tier: String,
    pub(super) text: Value,
    pub(super) truncation: String,
    pub(super) user: Option<String>,
}

/// Reads a request.
///
/// # Errors
/// vLLM's 400 for what it cannot be.
pub(super) fn read(body: &Value, version: Version) -> Result<Request, Refusal> {
    if body.get("prompt").is_some_and(|prompt| !prompt.is_null()) {
        return Err(Refusal::parameter("prompt template is not supported", "prompt"));
    }
    let store = body.get("store") != Some(&Value::Bool(false));
    let mut fields = Fields::new(body);
    let background = fields.flag("background").unwrap_or(false);
    if background && !store {
        return Err(Refusal::parameter("background can only be used when `store` is true", "background"));
    }
    let declared = fields.list("tools").unwrap_or_default();
    let (tools, custom) = tools(declared);
    let choice = choice(&mut fields, &tools, !declared.is_empty())?;
    let shape = shape(body, version)?;
    let instructions = fields.text("instructions").map(str::to_owned);
    let mut turns: Vec<Turn> = Vec::new();
    turns.extend(instructions.clone().map(|text| Turn {
        role: "system".to_owned(),
        text,
        ..Turn::default()
    }));
    turns.extend(input(&mut fields));
    let mut asked = Asked::read(&mut fields);
    asked.n = None;
    asked.max_tokens = fields.integer("max_output_tokens");
    let top = fields.integer("top_logprobs").unwrap_or(0);
    let include = fields.list("include").unwrap_or_default();
    let logprobs = include.iter().any(|part| part == "message.output_text.logprobs").then_some(top);
    asked.logprobs = logprobs;
    let model = fields.text("model").map(str::to_owned);
    let stream = fields.flag("stream").unwrap_or(false);
    let hide_thought = fields.flag("include_reasoning") == Some(false);
    let reasoning = fields.get("reasoning");
    let effort = reasoning.and_then(|reasoning| reasoning.get("effort"));
    let without_thought = effort.is_some_and(|effort| effort == "none");
    let text =
        |fields: &mut Fields<'_>, name: &str, default: &str| fields.text(name).unwrap_or(default).to_owned();
    let echoed = Echoed {
        metadata: body.get("metadata").cloned().unwrap_or_default(),
        parallel_tool_calls: fields.flag("parallel_tool_calls").unwrap_or(true),
        tool_choice: echoed_choice(body, !declared.is_empty()),
        tools: Value::Array(declared.iter().map(|tool| echoed_tool(tool, false)).collect()),
        max_tool_calls: fields.integer("max_tool_calls"),
        previous_response_id: fields.text("previous_response_id").map(str::to_owned),
        reasoning: members(reasoning, &["context", "effort", "generate_summary", "mode", "summary"]),
        service_tier: text(&mut fields, "service_tier", "auto"),
        text: echoed_text(body.get("text")),
        truncation: text(&mut fields, "truncation", "disabled"),
        user: fields.text("user").map(str::to_owned),
        instructions,
    };
    fields.finish()?;
    let conversation =
        Conversation { turns, tools, choice, shape, without_thought, ..Conversation::default() };
    let logprobs = logprobs.map(|top| usize::try_from(top).unwrap_or(0));
    Ok(Request { model, conversation, asked, stream, background, logprobs, hide_thought, custom, echoed })
}

/// Reads `input`: a text, or items.
fn input(fields: &mut Fields<'_>) -> Vec<Turn> {
    let user = |text: &str| Turn { role: "user".to_owned(), text: text.to_owned(), ..Turn::default() };
    match fields.whole().get("input") {
        None => {
            // vLLM has filled in the choice of tools by then
            let mut whole = fields.whole().clone();
            if let Some(members) = whole.as_object_mut().filter(|members| !members.contains_key("tools")) {
                members.entry("tool_choice").or_insert_with(|| json!("none"));
            }
            fields.wrong(Invalid::missing(fields.place("input"), &whole));
            Vec::new()
        }
        Some(Value::String(text)) => vec![user(text)],
        Some(Value::Array(items)) => items.iter().filter_map(item).collect(),
        Some(other) => {
            let place = fields.place("input");
            fields.wrong(Invalid::new("string_type", &place, "Input should be a valid string", other));
            fields.wrong(Invalid::new("list_type", place, "Input should be a valid list", other));
            Vec::new()
        }
    }
}

fn item(item: &Value) -> Option<Turn> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let joined = |content: &Value| {
        let parts: Vec<&str> =
            content.as_array().into_iter().flatten().filter_map(turns::part_text).collect();
        let whole = content.as_str().map_or_else(|| parts.join("\n"), str::to_owned);
        (whole, parts.last().map(|part| (*part).to_owned()))
    };
    match item.get("type").and_then(Value::as_str).unwrap_or("message") {
        "message" => {
            let (said, last_part) = joined(item.get("content")?);
            Some(Turn { role: text("role"), text: said, last_part, ..Turn::default() })
        }
        "function_call" => {
            let call = Call { name: text("name"), arguments: text("arguments") };
            Some(Turn { role: "assistant".to_owned(), calls: vec![call], ..Turn::default() })
        }
        "custom_tool_call" => {
            let call = Call { name: text("name"), arguments: json!({"input": text("input")}).to_string() };
            Some(Turn { role: "assistant".to_owned(), calls: vec![call], ..Turn::default() })
        }
        "function_call_output" | "custom_tool_call_output" => {
            let (said, _) = joined(item.get("output")?);
            Some(Turn { role: "tool".to_owned(), text: said, ..Turn::default() })
        }
        // thoughts of earlier turns, and what hosted tools did
        _ => None,
    }
}

/// The tools that can be called, and the names of those that take free text.
fn tools(declared: &[Value]) -> (Vec<Tool>, Vec<String>) {
    let (mut tools, mut custom) = (Vec::new(), Vec::new());
    let mut add = |tool: &Value, name: String, parameters: Value| {
        let description = tool.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        tools.push(Tool { name, description, parameters });
    };
    for tool in declared {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        match tool.get("type").and_then(Value::as_str) {
            Some("function") => add(tool, name, tool.get("parameters").cloned().unwrap_or_default()),
            Some("custom") => {
                custom.push(name.clone());
                let input = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
                add(tool, name, input);
            }
            Some("namespace") => {
                for inner in tool.get("tools").and_then(Value::as_array).into_iter().flatten() {
                    let local = inner.get("name").and_then(Value::as_str).unwrap_or_default();
                    add(
                        inner,
                        format!("{name}__{local}"),
                        inner.get("parameters").cloned().unwrap_or_default(),
                    );
                }
            }
            // hosted tools, which this engine does not have
            _ => {}
        }
    }
    (tools, custom)
}

fn choice(fields: &mut Fields<'_>, tools: &[Tool], declared: bool) -> Result<Choice, Refusal> {
    let unknown =
        || Refusal::parameter("Tool choice 'function' not found in 'tools' parameter.", "tool_choice");
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(if declared { Choice::Auto } else { Choice::None });
    };
    match choice {
        Value::String(choice) if choice == "none" => Ok(Choice::None),
        Value::String(choice) if choice == "auto" => Ok(if declared { Choice::Auto } else { Choice::None }),
        Value::String(choice) if choice == "required" && declared => Ok(Choice::Required),
        Value::String(choice) if choice == "required" => {
            let message = "Tool choice 'required' must be specified with 'tools' parameter.";
            Err(Refusal::parameter(message, "tool_choice"))
        }
        Value::Object(named) => {
            let name = named.get("name").and_then(Value::as_str);
            match (named.get("type").and_then(Value::as_str), name) {
                (Some("function" | "custom"), Some(name)) => {
                    let full = tools.iter().map(|tool| &tool.name);
                    let mut found = full.filter(|full| *full == name || full.ends_with(&format!("__{name}")));
                    found.next().map(|name| Choice::Named(name.clone())).ok_or_else(unknown)
                }
                (Some("function" | "custom"), None) => Err(unknown()),
                _ => Ok(Choice::Auto),
            }
        }
        other => {
            let place = fields.place("tool_choice");
            fields.wrong(Invalid::literal(place, "'none', 'auto' or 'required'", other));
            Ok(Choice::None)
        }
    }
}

fn shape(body: &Value, version: Version) -> Result<Shape, Refusal> {
    let format = body.get("text").and_then(|text| text.get("format"));
    match format.and_then(|format| format.get("type")).and_then(Value::as_str) {
        Some("json_object") => Ok(Shape::Object),
        Some("json_schema") => {
            Ok(format.and_then(|format| format.get("schema")).cloned().map_or(Shape::Object, Shape::Schema))
        }
        _ => turns::shape(body, version),
    }
}

/// Some members of an object, null where they are missing; null for no object.
fn members(value: Option<&Value>, names: &[&str]) -> Value {
    let Some(Value::Object(object)) = value else { return Value::Null };
    let member = |name: &&str| ((*name).to_owned(), object.get(*name).cloned().unwrap_or_default());
    Value::Object(names.iter().map(member).collect::<Map<_, _>>())
}

fn echoed_choice(body: &Value, declared: bool) -> Value {
    match body.get("tool_choice") {
        Some(choice @ Value::Object(_)) => members(Some(choice), &["name", "type"]),
        Some(choice) if !choice.is_null() && declared => choice.clone(),
        _ => json!(if declared { "auto" } else { "none" }),
    }
}

/// A tool as pydantic's model of it prints: every member, in the model's order.
fn echoed_tool(tool: &Value, nested: bool) -> Value {
    let order: &[&str] = match tool.get("type").and_then(Value::as_str) {
        Some("function") if nested => &[
            "name",
            "type",
            "allowed_callers",
            "async",
            "defer_loading",
            "description",
            "output_schema",
            "parameters",
            "strict",
        ],
        Some("function") => &[
            "name",
            "parameters",
            "strict",
            "type",
            "allowed_callers",
            "async",
            "defer_loading",
            "description",
            "output_schema",
        ],
        Some("custom") => {
            &["name", "type", "allowed_callers", "async", "defer_loading", "description", "format"]
        }
        Some("namespace") => &["description", "name", "tools", "type"],
        Some("web_search") => {
            &["type", "external_web_access", "filters", "search_context_size", "user_location"]
        }
        _ => return tool.clone(),
    };
    let mut echoed = members(Some(tool), order);
    if let Some(Value::Array(inner)) = echoed.get_mut("tools") {
        inner.iter_mut().for_each(|tool| *tool = echoed_tool(tool, true));
    }
    echoed
}

fn echoed_text(text: Option<&Value>) -> Value {
    let mut echoed = members(text, &["format", "verbosity"]);
    if let Some(format) = echoed.get_mut("format").filter(|format| format["type"] == "json_schema") {
        *format = members(Some(&*format), &["name", "schema", "type", "description", "strict"]);
    }
    echoed
}
