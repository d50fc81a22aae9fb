//! The list of settings, walked out of the JSON Schema of [`Config`].

use std::fmt;
use std::sync::LazyLock;

use serde_json::Value;

use crate::Config;
use crate::kind::Kind;

/// One leaf of the configuration.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Dotted path in YAML; `*` stands for an operator's own name, as in `providers.*.base_url`.
    pub path: String,
    /// Names in the environment, the usual one first. Two that are set must agree.
    pub env: Vec<String>,
    /// For a provider's settings, the last part of the variable's name: `BASE_URL` in `VLLM_BASE_URL`.
    pub field: Option<String>,
    /// What may be written.
    pub kind: Kind,
    /// The default, as it would be written.
    pub default: String,
    /// What it is for.
    pub doc: String,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether a change takes effect only after a restart.
    pub needs_restart: bool,
}

/// What may stand at a place of the YAML tree.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A mapping with these members and their description.
    Section(Vec<(String, String, Shape)>),
    /// A mapping whose keys the operator chooses.
    Map(Box<Shape>),
    /// A setting, by its place in the list.
    Leaf(usize),
}

/// All settings, as a list and as a tree.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) settings: Vec<Setting>,
    pub(crate) root: Shape,
}

/// Every setting, in the order in which the structs declare them.
pub fn settings() -> Vec<Setting> {
    catalog().settings.clone()
}

/// The same, built once.
pub(crate) fn catalog() -> &'static Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
        let schema = schema();
        let mut settings = Vec::new();
        let root = walk(&schema, &schema, &mut Vec::new(), &mut settings);
        Catalog { settings, root }
    });
    &CATALOG
}

/// The JSON Schema as the structs give it, `x-` notes included.
pub(crate) fn schema() -> Value {
    serde_json::to_value(schemars::schema_for!(Config)).expect("a schema is JSON")
}

impl Catalog {
    /// The setting that a concrete path means.
    pub(crate) fn find(&self, path: &[String]) -> Option<&Setting> {
        let mut shape = &self.root;
        for segment in path {
            shape = match shape {
                Shape::Section(members) => {
                    members.iter().find(|(name, ..)| name == segment).map(|(.., s)| s)?
                }
                Shape::Map(inner) => inner,
                Shape::Leaf(_) => return None,
            };
        }
        match shape {
            Shape::Leaf(index) => Some(&self.settings[*index]),
            _ => None,
        }
    }

    /// The settings of one provider that the environment can set, with the field's name.
    pub(crate) fn provider_fields(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().filter_map(|s| Some((s.field.as_deref()?, s)))
    }

    /// The path segments of a dotted path written by an operator, who may have dots in a provider's name.
    pub(crate) fn split(&self, dotted: &str) -> Option<Vec<String>> {
        let plain: Vec<String> = dotted.split('.').map(String::from).collect();
        if self.find(&plain).is_some() {
            return Some(plain);
        }
        self.settings.iter().find_map(|setting| {
            let (before, after) = setting.path.split_once('*')?;
            let name = dotted.strip_prefix(before)?.strip_suffix(after)?;
            let mut path: Vec<String> = before.trim_end_matches('.').split('.').map(String::from).collect();
            path.push(name.to_owned());
            path.extend(after.trim_start_matches('.').split('.').map(String::from));
            (!name.is_empty()).then_some(path)
        })
    }
}

/// Follows a `$ref` to what it means.
pub(crate) fn target<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap_or(node),
        None => node,
    }
}

fn walk(root: &Value, node: &Value, path: &mut Vec<String>, settings: &mut Vec<Setting>) -> Shape {
    let target = target(root, node);
    if node.get("x-kind").is_none() {
        if let Some(members) = target.get("properties").and_then(Value::as_object) {
            let members = members.iter().map(|(name, child)| {
                path.push(name.clone());
                let shape = walk(root, child, path, settings);
                path.pop();
                (name.clone(), text(child, "description"), shape)
            });
            return Shape::Section(members.collect());
        }
        if let Some(inner) = target.get("additionalProperties").filter(|v| v.is_object()) {
            path.push("*".into());
            let shape = walk(root, inner, path, settings);
            path.pop();
            return Shape::Map(Box::new(shape));
        }
    }
    settings.push(Setting {
        path: path.join("."),
        // One variable cannot mean a setting of every provider.
        env: if path.iter().any(|p| p == "*") { Vec::new() } else { env_names(node) },
        field: node.get("x-field").and_then(Value::as_str).map(String::from),
        kind: Kind::of(node, target),
        default: written(node.get("default").unwrap_or(&Value::Null)),
        doc: text(node, "description"),
        secret: node.get("x-secret").is_some(),
        needs_restart: node.get("x-restart").is_some(),
    });
    Shape::Leaf(settings.len() - 1)
}

/// The names as declared; a bare one is accepted under our prefix too.
fn env_names(node: &Value) -> Vec<String> {
    let declared = node.get("x-env").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<String> = declared.filter_map(Value::as_str).map(String::from).collect();
    if let Some(first) = names.first().filter(|_| !names.iter().any(|n| n.starts_with("FERROVIA_"))) {
        names.push(format!("FERROVIA_{first}"));
    }
    names
}

fn text(node: &Value, key: &str) -> String {
    node.get(key).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// A JSON value as an operator would write it in a variable.
pub(crate) fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(","),
        Value::Object(members) => match members.get("id") {
            Some(id) => written(id),
            None => {
                members.iter().map(|(k, v)| format!("{k}: {}", written(v))).collect::<Vec<_>>().join(", ")
            }
        },
        other => other.to_string(),
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn setting(path: &str) -> Setting {
        settings().into_iter().find(|s| s.path == path).unwrap_or_else(|| panic!("no setting {path}"))
    }

    #[test]
    fn every_setting_is_documented_and_no_variable_sets_two() {
        let mut seen = HashSet::new();
        for setting in settings() {
            assert!(setting.doc.ends_with(['.', '…']), "{}: {:?}", setting.path, setting.doc);
            for name in &setting.env {
                assert!(seen.insert(name.clone()), "{name} is used twice");
                assert!(
                    name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
                    "{name}"
                );
            }
            let in_env = !setting.env.is_empty() || setting.path.starts_with("providers.");
            assert!(in_env, "{} cannot be set in the environment", setting.path);
        }
    }

    #[test]
    fn settings_carry_what_the_structs_say() {
        let port = setting("server.port");
        assert_eq!(
            (port.env, port.default.as_str(), port.needs_restart),
            (vec!["PORT".into(), "FERROVIA_PORT".into()], "8080", true)
        );
        assert_eq!(setting("server.body_size_limit").default, "10M");
        assert_eq!(setting("resilience.retry.initial_backoff").default, "1s");
        assert_eq!(setting("resilience.circuit_breaker.scope").default, "model");
        assert_eq!(
            setting("models.configured_provider_models_mode").kind.to_string(),
            "fallback | allowlist | merge"
        );
        let key = setting("server.master_key");
        assert!(key.secret && key.default.is_empty() && key.env[0] == "FERROVIA_MASTER_KEY");
        assert_eq!(setting("providers.*.base_url").field.as_deref(), Some("BASE_URL"));
    }

    #[test]
    fn a_dotted_path_may_hold_a_provider_name_with_dots() {
        let split = |dotted| catalog().split(dotted);
        assert_eq!(split("server.port"), Some(vec!["server".into(), "port".into()]));
        assert_eq!(
            split("providers.my.vllm.base_url"),
            Some(vec!["providers".into(), "my.vllm".into(), "base_url".into()])
        );
        assert_eq!(split("server.prot"), None);
    }
}
