//! Ollama's `/api/show` and `/api/ps` (its docs, "Show model details" and "List running models"): what each model can do,
//! and how long a context it runs with, which is often shorter than what the model was made for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::ModelAbilities;

/// Reads `/api/show`. `None`: this is not Ollama's.
///
/// The context length is what the model's own file asks for (`num_ctx`), else what it was made for. A model that is
/// not said to embed may do so all the same; versions that tell no capabilities tell nothing.
pub fn show(json: &[u8]) -> Option<ModelAbilities> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        capabilities: Value,
        #[serde(default)]
        model_info: Value,
        #[serde(default)]
        parameters: Value,
    }
    let page: Page = serde_json::from_slice(json).ok()?;
    let told: Option<Vec<String>> = page
        .capabilities
        .as_array()
        .map(|words| words.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    if told.is_none() && !page.model_info.is_object() {
        return None;
    }
    let capabilities = told.unwrap_or_default();
    let has = |word: &str| capabilities.iter().any(|one| one == word);
    let architecture = page.model_info.get("general.architecture").and_then(Value::as_str);
    let trained = architecture
        .and_then(|name| page.model_info.get(format!("{name}.context_length").as_str()))
        .and_then(Value::as_u64);
    let asked = page.parameters.as_str().unwrap_or_default().lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("num_ctx")).then(|| words.next()?.parse::<u64>().ok()).flatten()
    });
    Some(ModelAbilities {
        context_length: asked.or(trained),
        trained_length: trained,
        generates: (!capabilities.is_empty()).then(|| has("completion")),
        embeds: has("embedding").then_some(true),
        capabilities,
    })
}

/// Reads `/api/ps`: the context length with which each loaded model runs, by name. Older versions do not tell it.
pub fn running(json: &[u8]) -> BTreeMap<String, u64> {
    #[derive(Deserialize)]
    struct Page {
        models: Vec<Value>,
    }
    let Ok(page) = serde_json::from_slice::<Page>(json) else { return BTreeMap::new() };
    let length = |model: &Value| {
        let name = model.get("model").or(model.get("name"))?.as_str()?;
        let length = model.get("context_length")?.as_u64().filter(|length| *length > 0)?;
        Some((name.to_owned(), length))
    };
    page.models.iter().filter_map(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_tell_what_a_model_cannot_do() {
        let chat = show(br#"{"capabilities":["completion","tools"],"model_info":{"general.architecture":"llama","llama.context_length":131072}}"#)
            .expect("Ollama's");
        assert_eq!((chat.generates, chat.embeds), (Some(true), None));
        assert_eq!((chat.context_length, chat.trained_length), (Some(131_072), Some(131_072)));
        let vectors = show(br#"{"capabilities":["embedding"]}"#).expect("Ollama's");
        assert_eq!((vectors.generates, vectors.embeds), (Some(false), Some(true)));
        let old = show(br#"{"model_info":{"general.architecture":"llama"}}"#).expect("Ollama's");
        assert_eq!(old, ModelAbilities::default());
    }

    #[test]
    fn a_model_runs_with_what_its_file_asks_for() {
        let page = br#"{"capabilities":["completion"],"parameters":"stop \"x\"\nnum_ctx                        8192","model_info":{"general.architecture":"q","q.context_length":40960}}"#;
        let model = show(page).expect("Ollama's");
        assert_eq!((model.context_length, model.trained_length), (Some(8192), Some(40_960)));
    }

    #[test]
    fn what_is_running_tells_its_length() {
        let page = br#"{"models":[{"name":"a:latest","model":"a:latest","context_length":4096},{"name":"b:1"},{"name":"c:1","context_length":0},7]}"#;
        assert_eq!(running(page), BTreeMap::from([("a:latest".to_owned(), 4096)]));
        assert!(running(b"<html>").is_empty() && running(br#"{"models":null}"#).is_empty());
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        for other in [&b"<html>"[..], b"{}", br#"{"error":"model 'x' not found"}"#, br#"{"model_info":7}"#] {
            assert_eq!(show(other), None);
        }
    }
}
