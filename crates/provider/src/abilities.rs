//! What was found out about one instance: its version, its routes.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a probe showed. Everything is unknown until then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// The engine's version, as it spells it.
    pub version: Option<String>,
    /// Every route with its methods in upper case, if the engine told them.
    pub routes: Option<BTreeMap<String, Vec<String>>>,
}

impl Abilities {
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
        let abilities = Abilities { version: Abilities::read_version(br#"{"version":"0.32.0"}"#), routes };
        assert_eq!(abilities.version.as_deref(), Some("0.32.0"));
        assert_eq!(abilities.has_route("/v1/chat/completions"), Some(true));
        assert_eq!(abilities.has_route("/v1/models"), Some(false));
        assert_eq!(abilities.has_route("/v1/rerank"), Some(false));
        assert_eq!(Abilities::default().has_route("/v1/rerank"), None);
        assert!(Abilities::read_routes(b"<html>").is_none());
    }
}
