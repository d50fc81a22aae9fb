//! A Messages request: its conversation.

use serde_json::Value;

use crate::conversation::{Call, Choice, Conversation, Shape, Tool, Turn};
use crate::vllm::fields::Fields;
use crate::vllm::refusal::Invalid;
use crate::vllm::turns;

/// Finds a thinking budget that leaves nothing for the answer.
pub(super) fn check_thinking(fields: &mut Fields<'_>, max_tokens: Option<i64>) {
    let Some(thinking) = fields.get("thinking") else { return };
    let budget = thinking.get("budget_tokens").and_then(Value::as_i64);
    if thinking["type"] == "enabled" && budget.is_some() && budget >= max_tokens && max_tokens.is_some() {
        let whole = fields.whole();
        fields.wrong(Invalid::rejected("body", "thinking.budget_tokens must be less than max_tokens", whole));
    }
}

/// Reads the conversation and its tools.
pub(super) fn conversation(fields: &mut Fields<'_>) -> Conversation {
    if let Some(model) = fields.required("model")
        && (model == "" || model.is_null())
    {
        let place = fields.place("model");
        fields.wrong(Invalid::rejected(place, "Model is required", model));
    }
    let mut turns = Vec::new();
    if let Some(system) = fields.get("system") {
        turns.extend(Some(system_turn(system)).filter(|turn| !turn.text.is_empty()));
    }
    let messages = fields.required_list("messages");
    for (index, message) in messages.iter().enumerate() {
        let place = fields.place(&format!("messages.{index}"));
        match message.get("role") {
            Some(Value::String(role)) if ["user", "assistant", "system"].contains(&role.as_str()) => {
                turns.extend(message_turns(role, message.get("content").unwrap_or(&Value::Null)));
            }
            Some(other) => {
                fields.wrong(Invalid::literal(
                    format!("{place}.role"),
                    "'user', 'assistant' or 'system'",
                    other,
                ));
            }
            None => fields.wrong(Invalid::missing(format!("{place}.role"), message)),
        }
        if message.get("content").is_none() {
            fields.wrong(Invalid::missing(format!("{place}.content"), message));
        }
    }
    let tools = tools(fields);
    let choice = choice(fields, &tools);
    let thinking = fields.get("thinking").and_then(|thinking| thinking.get("type"));
    let format = fields.get("output_config").and_then(|config| config.get("format"));
    let shape = match format.and_then(|format| format.get("schema")) {
        Some(schema) => Shape::Schema(schema.clone()),
        None => Shape::Free,
    };
    let without_thought = thinking.is_some_and(|kind| kind == "disabled");
    Conversation { turns, tools, choice, shape, without_thought, ..Conversation::default() }
}

fn system_turn(system: &Value) -> Turn {
    let text = match system {
        Value::String(text) => text.clone(),
        blocks => {
            let texts =
                blocks.as_array().into_iter().flatten().filter_map(|block| block.get("text")?.as_str());
            // vLLM drops the line that differs on every request and would defeat its prefix cache
            texts.filter(|text| !text.starts_with("x-anthropic-billing-header")).collect()
        }
    };
    Turn { role: "system".to_owned(), text, ..Turn::default() }
}

/// One message; the results of tools in it become turns of their own, before it.
fn message_turns(role: &str, content: &Value) -> Vec<Turn> {
    let mut turn = Turn { role: role.to_owned(), ..Turn::default() };
    if let Value::String(text) = content {
        turn.text.clone_from(text);
        return vec![turn];
    }
    let (mut turns, mut texts) = (Vec::new(), Vec::new());
    for block in content.as_array().into_iter().flatten() {
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match block.get("type").and_then(Value::as_str) {
            Some("text") => texts.push(text("text")),
            Some("tool_use") => turn.calls.push(Call {
                name: text("name"),
                arguments: block.get("input").map_or("{}".to_owned(), Value::to_string),
            }),
            Some("tool_result") => {
                let parts = block.get("content").and_then(Value::as_array).into_iter().flatten();
                let joined = parts.filter_map(turns::part_text).collect::<Vec<_>>().join("\n");
                let said = block.get("content").and_then(Value::as_str).map_or(joined, str::to_owned);
                turns.push(Turn { role: "tool".to_owned(), text: said, ..Turn::default() });
            }
            _ => {}
        }
    }
    if !texts.is_empty() || !turn.calls.is_empty() || role != "user" {
        turn.text = texts.join("\n");
        turn.last_part = texts.pop();
        turns.push(turn);
    }
    turns
}

fn tools(fields: &mut Fields<'_>) -> Vec<Tool> {
    let mut tools = Vec::new();
    for (index, tool) in fields.list("tools").unwrap_or_default().iter().enumerate() {
        let place = fields.place(&format!("tools.{index}"));
        let Some(name) = tool.get("name").and_then(Value::as_str) else {
            fields.wrong(Invalid::missing(format!("{place}.name"), tool));
            continue;
        };
        let Some(schema) = tool.get("input_schema") else {
            fields.wrong(Invalid::missing(format!("{place}.input_schema"), tool));
            continue;
        };
        tools.push(Tool {
            name: name.to_owned(),
            description: tool.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            parameters: schema.clone(),
        });
    }
    tools
}

fn choice(fields: &mut Fields<'_>, tools: &[Tool]) -> Choice {
    let Some(choice) = fields.get("tool_choice") else {
        return if tools.is_empty() { Choice::None } else { Choice::Auto };
    };
    let place = fields.place("tool_choice");
    match choice.get("type").and_then(Value::as_str) {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Required,
        Some("none") => Choice::None,
        Some("tool") => match choice.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
            Some(name) => Choice::Named(name.to_owned()),
            None => {
                let why = "tool_choice.name is required when type is 'tool'";
                fields.wrong(Invalid::rejected(place, why, choice));
                Choice::None
            }
        },
        Some(_) => {
            let place = format!("{place}.type");
            fields.wrong(Invalid::literal(place, "'auto', 'any', 'tool' or 'none'", &choice["type"]));
            Choice::None
        }
        None => {
            fields.wrong(Invalid::missing(format!("{place}.type"), choice));
            Choice::None
        }
    }
}
