//! `/models` replies: which models an upstream has, and what it says of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One model as an upstream lists it. Members that nobody here knows are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The id, as the upstream spells it.
    pub id: String,
    /// When it was made, Unix seconds; 0 if the upstream does not say.
    #[serde(default)]
    pub created: i64,
    /// The longest prompt and answer together, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,
    /// What it was loaded from (vLLM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The base model of an adapter (vLLM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The rest of what the upstream says, or was found out by asking it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Listed {
    /// A model of which only the id is known.
    pub fn named(id: impl Into<String>) -> Listed {
        Listed { id: id.into(), created: 0, max_model_len: None, root: None, parent: None, rest: Map::new() }
    }

    /// Whom the upstream names as its owner: engines name themselves.
    pub fn owned_by(&self) -> Option<&str> {
        self.rest.get("owned_by").and_then(Value::as_str)
    }

    /// The context length under whichever name the upstream gives it, in tokens.
    ///
    /// vLLM and SGLang say `max_model_len`; llama.cpp may say `meta.n_ctx`; others `context_length` or `context_window`.
    pub fn context_length(&self) -> Option<u64> {
        self.max_model_len
            .or_else(|| self.rest.get("context_length").and_then(Value::as_u64))
            .or_else(|| self.rest.get("context_window").and_then(Value::as_u64))
            .or_else(|| self.rest.get("meta").and_then(|m| m.get("n_ctx")).and_then(Value::as_u64))
    }
}

/// Reads an OpenAI-shaped list. An element that is not a model is left out; a text that is not such a list is an error,
/// told in a sentence.
pub fn read(json: &[u8]) -> Result<Vec<Listed>, String> {
    #[derive(Deserialize)]
    struct List {
        data: Option<Vec<Value>>,
        models: Option<Vec<Value>>,
    }
    let list: List =
        serde_json::from_slice(json).map_err(|e| format!("the model list is not JSON as expected: {e}"))?;
    // llama.cpp lists its model twice, and says only in the second list what it can do
    let (data, more) = match (list.data, list.models) {
        (Some(data), more) => (data, more.unwrap_or_default()),
        (None, Some(models)) => (models, Vec::new()),
        (None, None) => return Err("the model list has no `data`".into()),
    };
    let with_capabilities = |mut model: Listed| {
        let same = more.iter().find(|other| other.get("model").and_then(Value::as_str) == Some(&model.id));
        if let Some(capabilities) = same.and_then(|other| other.get("capabilities")?.as_array()) {
            model.rest.entry("capabilities").or_insert_with(|| capabilities.clone().into());
        }
        model
    };
    Ok(data
        .into_iter()
        .filter_map(|value| serde_json::from_value::<Listed>(value).ok())
        .filter(|model| !model.id.trim().is_empty())
        .map(with_capabilities)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vllm_says_of_a_model_is_kept() {
        let list = read(
            br#"{"object":"list","data":[{"id":"org/m","object":"model","created":7,"owned_by":"vllm","root":"/models/m","parent":null,"max_model_len":4096,"permission":[]},{"id":"adapter","parent":"org/m"},{"no":"id"}]}"#,
        )
        .expect("a list");
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].context_length(), list[0].root.as_deref()), (Some(4096), Some("/models/m")));
        assert_eq!(list[1].parent.as_deref(), Some("org/m"));
        assert_eq!(list[0].rest.get("owned_by"), Some(&Value::from("vllm")));
    }

    #[test]
    fn what_llamacpp_lists_twice_is_one_model() {
        let list = read(
            br#"{"models":[{"name":"m","model":"m","capabilities":["completion","multimodal"]}],"object":"list","data":[{"id":"m","owned_by":"llamacpp","meta":{"n_ctx_train":8192}}]}"#,
        )
        .expect("a list");
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].rest["capabilities"], serde_json::json!(["completion", "multimodal"]));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        assert!(read(b"<html>").is_err());
        assert!(read(br#"{"error":{"message":"no"}}"#).is_err());
        assert_eq!(read(br#"{"data":[]}"#).expect("an empty list"), vec![]);
    }
}
