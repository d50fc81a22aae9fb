//! Settings of GoModel and Aurora that this version knows but has not built.
//!
//! Setting one to anything but its idle values warns; one that protects something stops the start, because
//! running without the protection would be worse than not running. When a feature is built, its lines move
//! from here to a typed section.

mod observe;
mod policy;
mod routing;
mod serving;
mod store;
mod upstream;

use serde_json::Value;

use crate::tree::{Body, Node};
use crate::value::boolean;

/// A setting that is known, but not built.
#[derive(Debug)]
pub(crate) struct Known {
    /// Path in YAML with everything under it; `*` is any name. Empty when only the environment has it.
    pub(crate) path: &'static str,
    /// Variables; a `*` at the end is any rest.
    pub(crate) env: &'static [&'static str],
    /// Values that ask for nothing that we do not do anyway.
    pub(crate) idle: &'static [&'static str],
    /// What happens when it asks for something.
    pub(crate) weight: Weight,
}

/// What happens when a known setting asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A feature: warn.
    Feature,
    /// A protection: stop the start.
    Protection,
    /// Virtual models: a protection if one of them restricts who may use what, a feature otherwise.
    VirtualModels,
    /// Means nothing here, and nothing is lost.
    Moot,
}

const fn feature(path: &'static str, env: &'static [&'static str], idle: &'static [&'static str]) -> Known {
    Known { path, env, idle, weight: Weight::Feature }
}

const fn protection(
    path: &'static str,
    env: &'static [&'static str],
    idle: &'static [&'static str],
) -> Known {
    Known { path, env, idle, weight: Weight::Protection }
}

const fn moot(path: &'static str, env: &'static [&'static str]) -> Known {
    Known { path, env, idle: &[], weight: Weight::Moot }
}

/// Every known setting, by area.
pub(crate) fn all() -> impl Iterator<Item = &'static Known> {
    [store::ALL, serving::ALL, observe::ALL, policy::ALL, routing::ALL, upstream::ALL].into_iter().flatten()
}

/// The known setting at exactly this path.
pub(crate) fn at(path: &[String]) -> Option<&'static Known> {
    all().find(|k| !k.path.is_empty() && k.path.split('.').count() == path.len() && begins(k.path, path))
}

/// Whether known settings lie under this path.
pub(crate) fn under(path: &[String]) -> bool {
    all().any(|k| k.path.split('.').count() > path.len() && begins(k.path, path))
}

/// The names of known settings and their sections directly under this path.
pub(crate) fn names<'p>(path: &'p [String]) -> impl Iterator<Item = &'static str> + use<'p> {
    all().filter(|k| begins(k.path, path)).filter_map(|k| k.path.split('.').nth(path.len()))
}

/// The known setting that a variable sets. Our own prefix is understood before every name.
pub(crate) fn variable(name: &str) -> Option<&'static Known> {
    let bare = name.strip_prefix("FERROVIA_").unwrap_or(name);
    all().find(|k| {
        k.env.iter().any(|known| match known.strip_suffix('*') {
            Some(stem) => bare.starts_with(stem) || name.starts_with(stem),
            None => *known == bare || *known == name,
        })
    })
}

fn begins(pattern: &str, path: &[String]) -> bool {
    let mut segments = pattern.split('.');
    path.iter().all(|name| segments.next().is_some_and(|segment| segment == "*" || segment == name))
}

impl Known {
    /// What a value of the environment asks for.
    pub(crate) fn weigh_text(&self, text: &str) -> Weight {
        let text = text.trim();
        if self.is_idle(text) || matches!(text, "" | "[]" | "{}") {
            return Weight::Moot;
        }
        if self.weight != Weight::VirtualModels {
            return self.weight;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(models)) if !models.iter().any(restricts) => Weight::Feature,
            // What cannot be read may restrict somebody.
            _ => Weight::Protection,
        }
    }

    /// What a part of the YAML file asks for.
    pub(crate) fn weigh_node(&self, node: &Node) -> Weight {
        match &node.body {
            _ if node.is_null() => Weight::Moot,
            Body::Scalar { text, .. } => self.weigh_text(text),
            Body::List(items) if items.is_empty() || self.is_idle(&comma_list(items)) => Weight::Moot,
            Body::Map(members) if members.is_empty() => Weight::Moot,
            _ if self.weight != Weight::VirtualModels => self.weight,
            Body::List(items) if !items.iter().any(node_restricts) => Weight::Feature,
            _ => Weight::Protection,
        }
    }

    fn is_idle(&self, text: &str) -> bool {
        let same = |idle: &&str| match (boolean(idle), boolean(text)) {
            (Some(a), Some(b)) => a == b,
            _ => idle.eq_ignore_ascii_case(text),
        };
        self.idle.iter().any(same)
    }
}

fn comma_list(items: &[Node]) -> String {
    let texts = items.iter().map(|item| match &item.body {
        Body::Scalar { text, .. } => text.as_str(),
        _ => "…",
    });
    texts.collect::<Vec<_>>().join(",")
}

/// Whether a virtual model restricts who may use what: it names user paths, or is a mere policy without a target.
fn restricts(model: &Value) -> bool {
    let given = |key: &str| {
        model.get(key).is_some_and(|v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()))
    };
    given("user_paths") || !(given("target") || given("targets"))
}

fn node_restricts(model: &Node) -> bool {
    let given = |key: &str| {
        model
            .get(key)
            .is_some_and(|n| !n.is_null() && !matches!(&n.body, Body::List(items) if items.is_empty()))
    };
    given("user_paths") || !(given("target") || given("targets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::catalog;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(String::from).collect()
    }

    #[test]
    fn nothing_is_both_built_and_unbuilt() {
        for setting in &catalog().settings {
            assert!(at(&path(&setting.path)).is_none(), "{} is built", setting.path);
            for name in &setting.env {
                assert!(variable(name).is_none(), "{name} is built");
            }
        }
    }

    #[test]
    fn no_known_setting_hides_another() {
        let mut seen = std::collections::HashSet::new();
        for known in all() {
            assert!(known.path.is_empty() || seen.insert(known.path), "{} is listed twice", known.path);
            for name in known.env {
                assert!(seen.insert(name), "{name} is listed twice");
            }
        }
    }

    #[test]
    fn known_settings_are_found_by_path_and_by_variable() {
        assert_eq!(at(&path("storage.type")).unwrap().env, ["STORAGE_TYPE"]);
        assert!(at(&path("storage")).is_none() && under(&path("storage")));
        assert!(at(&path("providers.x.api_version")).is_some());
        assert!(variable("SET_BUDGET_TEAM__A").is_some() && variable("FERROVIA_STORAGE_TYPE").is_some());
        assert!(variable("STORAGE_TYPES").is_none());
    }

    #[test]
    fn virtual_models_protect_only_where_they_restrict() {
        let models = at(&path("virtual_models")).unwrap();
        let weigh = |yaml: &str| models.weigh_node(&crate::tree::parse(yaml).0.unwrap());
        assert_eq!(weigh("[{source: a, target: b}]"), Weight::Feature);
        assert_eq!(weigh("[{source: a, target: b, user_paths: [/x]}]"), Weight::Protection);
        assert_eq!(weigh("[{source: a, enabled: false}]"), Weight::Protection);
        assert_eq!(weigh("[]"), Weight::Moot);
        assert_eq!(models.weigh_text(r#"[{"source":"a","target":"b"}]"#), Weight::Feature);
        assert_eq!(
            models.weigh_text(r#"[{"source":"a","target":"b","user_paths":["/x"]}]"#),
            Weight::Protection
        );
        assert_eq!(models.weigh_text("[]"), Weight::Moot);
    }
}
