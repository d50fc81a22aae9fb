//! What was found out about one instance: which engine it is, its version, its routes, what its models can do.

use std::collections::BTreeMap;

use domain::Operation;
use serde::Deserialize;

/// What a probe showed. Everything is unknown until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The name of the type that the engine proved to be, whatever type it was configured as.
    pub engine: Option<&'static str>,
    /// The engine's version, as it spells it.
    pub version: Option<String>,
    /// Every route with its methods in upper case, if the engine told them.
    pub routes: Option<BTreeMap<String, Vec<String>>>,
    /// Whether it is still loading its model, and refuses calls until it has.
    pub loading: bool,
    /// What holds for every model: an engine that serves a single one says it once.
    pub every_model: ModelAbilities,
    /// What is known of single models, by id.
    pub models: BTreeMap<String, ModelAbilities>,
}

/// What is known of one model. Everything is unknown until it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelAbilities {
    /// The longest prompt and answer together that the engine takes now, in tokens.
    pub context_length: Option<u64>,
    /// The longest that the model was made for, in tokens; the engine may run it with less.
    pub trained_length: Option<u64>,
    /// Whether it continues texts.
    pub generates: Option<bool>,
    /// Whether it turns texts into vectors.
    pub embeds: Option<bool>,
    /// What it can do in the engine's words: `completion`, `embedding`, `tools`, `vision` …
    pub capabilities: Vec<String>,
}

impl ModelAbilities {
    /// Whether it can do this. `None` if nobody said.
    pub fn can(&self, operation: Operation) -> Option<bool> {
        match operation {
            Operation::Generate | Operation::Complete | Operation::CountTokens => self.generates,
            Operation::Embed => self.embeds,
            _ => None,
        }
    }
}

impl Abilities {
    /// What is known of a model.
    pub fn model(&self, id: &str) -> &ModelAbilities {
        self.models.get(id).unwrap_or(&self.every_model)
    }

    /// Whether the engine has this route. `None` if it did not tell its routes.
    pub fn has_route(&self, path: &str) -> Option<bool> {
        Some(self.routes.as_ref()?.get(path).is_some_and(|methods| methods.iter().any(|m| m == "POST")))
    }

    /// Reads vLLM's `/version`: `{"version":"0.32.0"}`.
    pub fn read_version(json: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        serde_json::from_slice::<Version>(json).ok().map(|v| v.version)
    }

    /// Reads the routes out of an OpenAPI document, as FastAPI serves it.
    pub fn read_routes(json: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
        #[derive(Deserialize)]
        struct Document {
            paths: BTreeMap<String, BTreeMap<String, serde::de::IgnoredAny>>,
        }
        let document: Document = serde_json::from_slice(json).ok()?;
        let upper =
            |methods: BTreeMap<String, _>| methods.into_keys().map(|m| m.to_ascii_uppercase()).collect();
        Some(document.paths.into_iter().map(|(path, methods)| (path, upper(methods))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_come_from_the_openapi_document() {
        let routes = Abilities::read_routes(
            br#"{"openapi":"3.1.0","paths":{"/v1/models":{"get":{}},"/v1/chat/completions":{"post":{"summary":"x"}}}}"#,
        );
        let abilities = Abilities {
            version: Abilities::read_version(br#"{"version":"0.32.0"}"#),
            routes,
            ..Abilities::default()
        };
        assert_eq!(abilities.version.as_deref(), Some("0.32.0"));
        assert_eq!(abilities.has_route("/v1/chat/completions"), Some(true));
        assert_eq!(abilities.has_route("/v1/models"), Some(false));
        assert_eq!(abilities.has_route("/v1/rerank"), Some(false));
        assert_eq!(Abilities::default().has_route("/v1/rerank"), None);
        assert!(Abilities::read_routes(b"<html>").is_none());
    }
}
