//! The parts of a request that describe a conversation, in OpenAI's chat dialect.

use serde_json::Value;

use super::fields::Fields;
use super::refusal::{Invalid, Refusal};
use super::version::Version;
use crate::conversation::{Call, Choice, Shape, Tool, Turn};

/// Reads `messages`.
pub(crate) fn messages(fields: &mut Fields<'_>) -> Vec<Turn> {
    let messages = fields.required_list("messages");
    messages.iter().enumerate().filter_map(|(index, message)| turn(fields, index, message)).collect()
}

fn turn(fields: &mut Fields<'_>, index: usize, message: &Value) -> Option<Turn> {
    let place = fields.place(&format!("messages.{index}"));
    let Some(role) = message.get("role").and_then(Value::as_str) else {
        fields.wrong(match message {
            Value::Object(_) => Invalid::missing(format!("{place}.role"), message),
            other => Invalid::new("dict_type", place, "Input should be a valid dictionary", other),
        });
        return None;
    };
    let mut turn = Turn { role: role.to_owned(), ..Turn::default() };
    match message.get("content") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => turn.text.clone_from(text),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(part_text).collect();
            turn.text = texts.join("\n");
            turn.last_part = texts.last().map(|text| (*text).to_owned());
        }
        Some(other) => {
            let place = format!("{place}.content");
            fields.wrong(Invalid::new("string_type", place, "Input should be a valid string", other));
        }
    }
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = call.get("function").unwrap_or(&Value::Null);
        turn.calls.push(Call {
            name: function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            arguments: match function.get("arguments") {
                Some(Value::String(arguments)) => arguments.clone(),
                Some(arguments) => arguments.to_string(),
                None => "{}".to_owned(),
            },
        });
    }
    Some(turn)
}

/// The text of a content part, in any dialect that came from OpenAI.
pub(crate) fn part_text(part: &Value) -> Option<&str> {
    part.as_str().or_else(|| part.get("text")?.as_str()).or_else(|| part.get("refusal")?.as_str())
}

/// Whether a message carries pictures, sound or film.
pub(crate) fn has_media(body: &Value) -> bool {
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
    let parts = messages.filter_map(|message| message.get("content")?.as_array()).flatten();
    parts.into_iter().any(|part| {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        ["image", "audio", "video", "file"].iter().any(|media| kind.contains(media))
    })
}

/// Reads `tools` and `tool_choice`.
///
/// # Errors
/// What vLLM's own checks find, before pydantic looks at anything.
pub(crate) fn tools(body: &Value) -> Result<(Vec<Tool>, Choice), Refusal> {
    let declared = body.get("tools").filter(|tools| !tools.is_null());
    let choice = body.get("tool_choice").filter(|choice| !choice.is_null());
    if declared.and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.";
        return Err(Refusal::parameter(message, "tools"));
    }
    let mut tools = Vec::new();
    for (index, tool) in declared.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let function = tool.get("function").unwrap_or(&Value::Null);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            let place = format!("body.tools.{index}.function");
            return Err(Refusal::Invalid(vec![Invalid::missing(
                if function.is_object() { format!("{place}.name") } else { place },
                if function.is_object() { function } else { tool },
            )]));
        };
        tools.push(Tool {
            name: name.to_owned(),
            description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            parameters: function.get("parameters").cloned().unwrap_or_default(),
        });
    }
    let choice = match choice {
        None if tools.is_empty() => Choice::None,
        None => Choice::Auto,
        Some(Value::String(choice)) if choice == "none" => Choice::None,
        Some(_) if declared.is_none() => {
            return Err(Refusal::parameter("When using `tool_choice`, `tools` must be set.", "tool_choice"));
        }
        Some(Value::String(choice)) if choice == "auto" => Choice::Auto,
        Some(Value::String(choice)) if choice == "required" => Choice::Required,
        Some(Value::Object(named)) => named_choice(named.get("function"), &tools)?,
        Some(other) => {
            let said = other.as_str().map_or(other.to_string(), str::to_owned);
            let message = format!(
                "Invalid value for `tool_choice`: {said}! Only named tools, \"none\", \"auto\" or \"required\" are supported."
            );
            return Err(Refusal::parameter(&message, "tool_choice"));
        }
    };
    Ok((tools, choice))
}

fn named_choice(function: Option<&Value>, tools: &[Tool]) -> Result<Choice, Refusal> {
    let usage = "Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}`";
    let Some(Value::Object(function)) = function else {
        let said = function.map_or("None".to_owned(), Value::to_string);
        let message = format!("Invalid value for `function`: `{said}` in `tool_choice`! {usage}");
        return Err(Refusal::parameter(&message, "tool_choice.function"));
    };
    match function.get("name") {
        None => {
            let message = format!("Expected field `name` in `function` in `tool_choice`! {usage}");
            Err(Refusal::parameter(&message, "tool_choice.function.name"))
        }
        Some(Value::String(name)) if tools.iter().any(|tool| tool.name == *name) => {
            Ok(Choice::Named(name.clone()))
        }
        Some(Value::String(name)) if !name.is_empty() => Err(Refusal::parameter(
            "The tool specified in `tool_choice` does not match any of the specified `tools`",
            "tool_choice",
        )),
        Some(other) => {
            let message = format!("Invalid `name` in `function`: `{other}` in `tool_choice`! {usage}");
            Err(Refusal::parameter(&message, "tool_choice.function.name"))
        }
    }
}

/// Reads `response_format` and `structured_outputs`, or what stood in its place in older versions.
///
/// # Errors
/// A format that is none, two constraints at once, or one that the simulation cannot follow.
pub(crate) fn shape(body: &Value, version: Version) -> Result<Shape, Refusal> {
    if version.guided()
        && let Some(shape) = guided(body)?
    {
        return Ok(shape);
    }
    let constrained =
        body.get("structured_outputs").filter(|_| version.structured()).and_then(Value::as_object);
    if let Some(constraints) = constrained {
        let set = |name: &str| constraints.get(name).filter(|value| !value.is_null());
        if ["json", "regex", "choice"].iter().filter(|name| set(name).is_some()).count() > 1 {
            return Err(Refusal::bad(
                "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice').",
            ));
        }
        if let Some(schema) = set("json") {
            return Ok(Shape::Schema(match schema {
                Value::String(text) => serde_json::from_str(text).map_err(|_| {
                    Refusal::bad("Invalid JSON schema: structured_outputs.json is a string that is no JSON.")
                })?,
                schema => schema.clone(),
            }));
        }
        if let Some(pattern) = set("regex").and_then(Value::as_str) {
            return Ok(Shape::Pattern(pattern.to_owned()));
        }
        if let Some(Value::Array(choices)) = set("choice") {
            return Ok(Shape::Either(choices.iter().filter_map(Value::as_str).map(str::to_owned).collect()));
        }
        if set("json_object") == Some(&Value::Bool(true)) {
            return Ok(Shape::Object);
        }
        for name in ["grammar", "structural_tag"] {
            if set(name).is_some() {
                return Err(Refusal::bad(format!(
                    "the simulated engine cannot follow structured_outputs.{name}"
                )));
            }
        }
    }
    let Some(format) = body.get("response_format").filter(|format| !format.is_null()) else {
        return Ok(Shape::Free);
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Shape::Free),
        Some("json_object") => Ok(Shape::Object),
        Some("json_schema") => match format.get("json_schema") {
            Some(Value::Object(schema)) => {
                Ok(schema.get("schema").cloned().map_or(Shape::Object, Shape::Schema))
            }
            _ => Err(Refusal::parameter(
                "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
                "response_format",
            )),
        },
        Some("structural_tag") => Err(Refusal::bad("the simulated engine cannot follow a structural_tag")),
        Some(_) => {
            // pydantic tries three models, and reports what each of them misses
            let kind = |allowed| Invalid::literal("body.response_format.type", allowed, &format["type"]);
            let missing = |name: &str| Invalid::missing(format!("body.response_format.{name}"), format);
            Err(Refusal::Invalid(vec![
                kind("'text', 'json_object' or 'json_schema'"),
                kind("'structural_tag'"),
                missing("format"),
                kind("'structural_tag'"),
                missing("structures"),
                missing("triggers"),
            ]))
        }
        None => Err(Refusal::Invalid(vec![Invalid::missing("body.response_format.type", format)])),
    }
}

/// Reads `guided_json` and its like.
///
/// # Errors
/// Two constraints at once, or one that the simulation cannot follow.
fn guided(body: &Value) -> Result<Option<Shape>, Refusal> {
    let set = |name: &str| body.get(name).filter(|value| !value.is_null());
    let names = ["guided_json", "guided_regex", "guided_choice", "guided_grammar"];
    let given: Vec<&str> = names.into_iter().filter(|name| set(name).is_some()).collect();
    if given.len() > 1 {
        return Err(Refusal::bad(
            "You can only use one kind of guided decoding ('guided_json', 'guided_regex' or 'guided_choice').",
        ));
    }
    let Some(value) = given.first().and_then(|name| set(name)) else { return Ok(None) };
    Ok(Some(match (given[0], value) {
        ("guided_json", Value::String(text)) => Shape::Schema(
            serde_json::from_str(text)
                .map_err(|_| Refusal::bad("guided_json is a string that is no JSON."))?,
        ),
        ("guided_json", schema) => Shape::Schema(schema.clone()),
        ("guided_regex", Value::String(pattern)) => Shape::Pattern(pattern.clone()),
        ("guided_choice", Value::Array(choices)) => {
            Shape::Either(choices.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        (name, _) => return Err(Refusal::bad(format!("the simulated engine cannot follow this {name}"))),
    }))
}
