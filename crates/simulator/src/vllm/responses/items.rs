//! Output items: messages, thoughts, calls.

use serde_json::{Value, json};

use super::About;
use crate::engine;
use crate::vllm::chat::call_id;
use crate::vllm::generation::Generation;
use crate::vllm::scored;

/// The output of a whole answer.
pub(super) fn whole(generation: &Generation, about: &About) -> Vec<Value> {
    let script = &generation.scripts[0];
    let whole = script.whole();
    let mut output = Vec::new();
    if let Some(thought) = whole.thought.filter(|_| !about.hide_thought) {
        output.push(reasoning(&format!("rs_{}", engine::id()), Some(&thought), None));
    }
    if let Some(text) = whole.text {
        let top = about.logprobs.filter(|_| !about.hide_thought);
        let scores = top.map(|top| scored::scores(generation, 0, 0, script.length(), top));
        let logprobs = scores.map_or(Value::Null, |scores| scored::for_responses(&scores, true));
        output.push(message(&format!("msg_{}", engine::id()), Some((&text, logprobs)), "completed"));
    }
    if let Some((name, arguments)) = whole.call {
        let call = CallItem::new(&name, about);
        output.push(call.item(&arguments, "completed"));
    }
    if output.is_empty() {
        output.push(message(&format!("msg_{}", engine::id()), None, "completed"));
    }
    output
}

/// A message item.
pub(super) fn message(id: &str, content: Option<(&str, Value)>, status: &str) -> Value {
    let content = content.map(|(text, logprobs)| text_part(text, logprobs)).into_iter().collect::<Vec<_>>();
    json!({"id": id, "content": content, "role": "assistant", "status": status, "type": "message", "phase": null})
}

/// A text part of a message.
pub(super) fn text_part(text: &str, logprobs: Value) -> Value {
    json!({"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs})
}

/// A reasoning item; one that has just begun has no content.
pub(super) fn reasoning(id: &str, text: Option<&str>, status: Option<&str>) -> Value {
    let content = text.map(|text| [json!({"text": text, "type": "reasoning_text"})]);
    json!({"id": id, "summary": [], "type": "reasoning", "content": content, "encrypted_content": null, "status": status})
}

/// A call, with the ids that all of its events share.
#[derive(Clone, Debug)]
pub(super) struct CallItem {
    pub(super) id: String,
    call_id: String,
    pub(super) name: String,
    namespace: Option<String>,
    /// The tool takes free text.
    pub(super) custom: bool,
}

impl CallItem {
    pub(super) fn new(name: &str, about: &About) -> Self {
        let custom = about.custom.iter().any(|custom| custom == name);
        let (namespace, local) = match name.split_once("__") {
            Some((namespace, local)) if about.has_namespace(namespace) => (Some(namespace.to_owned()), local),
            _ => (None, name),
        };
        let prefix = if custom { "ctc" } else { "fc" };
        let id = format!("{prefix}_{}", engine::id());
        CallItem { id, call_id: call_id(), name: local.to_owned(), namespace, custom }
    }

    /// The item, with as much of the arguments as there is.
    pub(super) fn item(&self, arguments: &str, status: &str) -> Value {
        if self.custom {
            return json!({"call_id": self.call_id, "input": free_text(arguments), "name": self.name,
                "type": "custom_tool_call", "id": self.id, "async": null, "caller": null, "namespace": self.namespace});
        }
        json!({"arguments": arguments, "call_id": self.call_id, "name": self.name, "type": "function_call", "id": self.id,
            "async": null, "caller": null, "namespace": self.namespace, "status": status})
    }
}

impl About {
    fn has_namespace(&self, name: &str) -> bool {
        let tools = self.echoed.tools.as_array().into_iter().flatten();
        tools.into_iter().any(|tool| tool["type"] == "namespace" && tool["name"] == name)
    }
}

/// The free text inside the arguments that the model wrote for it.
pub(super) fn free_text(arguments: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(arguments).ok();
    parsed.and_then(|parsed| Some(parsed.get("input")?.as_str()?.to_owned())).unwrap_or_default()
}
