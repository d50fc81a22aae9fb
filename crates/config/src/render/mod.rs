//! What is printed from the list of settings: reference page, example file, `.env` template, JSON Schema.

mod env_template;
mod example;
mod reference;
mod schema;

pub use env_template::env_template;
pub use example::example_yaml;
pub use reference::reference_markdown;
pub use schema::json_schema;

use crate::{ProviderType, Setting, discovery};

/// The variable of one type's field: `VLLM_BASE_URL`, `VLLM_API_KEY_2`.
fn variable(kind: &ProviderType, field: &str) -> String {
    format!("{}_{}", discovery::prefix(kind), field.replace("<n>", "2"))
}

/// The fields of a provider that a variable can set.
fn fields(settings: &[Setting]) -> impl Iterator<Item = (&str, &Setting)> {
    settings.iter().filter_map(|s| Some((s.field.as_deref()?, s)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Sources, load};
    use crate::settings;

    fn types() -> Vec<ProviderType> {
        let vllm = ProviderType {
            name: "vllm",
            default_base_url: Some("http://localhost:8000/v1"),
            keyless: true,
            needs_base_url: false,
            built: true,
        };
        vec![
            vllm,
            ProviderType {
                name: "openai",
                default_base_url: Some("https://api.openai.com/v1"),
                keyless: false,
                ..vllm
            },
            ProviderType { name: "llamacpp", default_base_url: None, needs_base_url: true, ..vllm },
            ProviderType { name: "groq", built: false, keyless: false, ..vllm },
        ]
    }

    #[test]
    fn every_setting_is_in_every_rendering() {
        let (reference, example, template) =
            (reference_markdown(&types()), example_yaml(&types()), env_template(&types()));
        let schema: serde_json::Value = serde_json::from_str(&json_schema(&types())).unwrap();
        for setting in settings() {
            assert!(
                reference.contains(&format!("`{}`", setting.path)),
                "{} is not in the reference",
                setting.path
            );
            let key = setting.path.rsplit('.').next().unwrap();
            assert!(example.contains(&format!("{key}:")), "{} is not in the example", setting.path);
            for name in &setting.env {
                assert!(template.contains(name) && reference.contains(name), "{name} is missing");
            }
            if let Some(field) = &setting.field {
                assert!(template.contains(&variable(&types()[0], field)), "{field} is not in the template");
            }
            let mut at = &schema;
            for segment in setting.path.split('.') {
                let target = crate::setting::target(&schema, at);
                at = if segment == "*" {
                    &target["additionalProperties"]
                } else {
                    &target["properties"][segment]
                };
            }
            assert!(at.is_object(), "{} is not in the schema", setting.path);
        }
    }

    #[test]
    fn the_example_loads_when_its_lines_are_uncommented() {
        let dir = tempfile::tempdir().unwrap();
        let example = example_yaml(&types());
        let live: String =
            example.lines().map(|l| l.strip_prefix('#').unwrap_or(l).to_owned() + "\n").collect();
        std::fs::write(dir.path().join("config.yaml"), &live).unwrap();
        let sources = Sources { types: types(), cwd: dir.path().into(), ..Sources::default() };
        let loaded = load(&sources).unwrap_or_else(|report| panic!("{report}\n{live}"));
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.providers.len(), 2);
        assert_eq!(loaded.config.server.port, 8080);

        std::fs::write(dir.path().join("config.yaml"), &example).unwrap();
        assert!(load(&sources).unwrap().providers.is_empty(), "as it is, the example sets nothing");
    }

    #[test]
    fn the_template_loads_when_its_lines_are_uncommented() {
        let dir = tempfile::tempdir().unwrap();
        let template = env_template(&types());
        let assigns = |l: &&str| {
            l.strip_prefix("# ").and_then(|l| l.split_once('=')).is_some_and(|(n, _)| {
                n.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            })
        };
        // a provider behind a proxy is left out, and a mode is ignored, until they are built
        let built = |l: &&str| !l.contains("_PROXY_URL=") && !l.contains("_API_MODE=");
        let live: String =
            template.lines().filter(assigns).filter(built).map(|l| l[2..].to_owned() + "\n").collect();
        assert!(live.lines().count() > 50);
        std::fs::write(dir.path().join(".env"), &live).unwrap();
        let sources = Sources { types: types(), cwd: dir.path().into(), ..Sources::default() };
        let loaded = load(&sources).unwrap_or_else(|report| panic!("{report}\n{live}"));
        let names: Vec<_> = loaded.providers.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["llamacpp", "openai", "vllm"]);
        assert_eq!(loaded.warnings, []);
    }

    #[test]
    fn the_schema_is_one_of_draft_2020_12() {
        let schema: serde_json::Value = serde_json::from_str(&json_schema(&types())).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        check_schema(&schema, &schema);
        // What GoModel has and we have not built does not make an editor complain.
        assert!(schema["properties"]["storage"]["properties"]["type"].is_object());
        assert!(!json_schema(&types()).contains("\"x-"), "notes for ourselves stay here");
    }

    /// Checks each schema object against the parts of the meta-schema that are used here.
    fn check_schema(root: &serde_json::Value, node: &serde_json::Value) {
        const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];
        let Some(node) = node.as_object() else { return assert!(node.is_boolean(), "{node}") };
        for (key, value) in node {
            match key.as_str() {
                "$ref" => assert!(
                    root.pointer(value.as_str().unwrap().trim_start_matches('#')).is_some(),
                    "{value}"
                ),
                "type" => {
                    let types = value.as_array().map_or(vec![value], |a| a.iter().collect());
                    assert!(types.iter().all(|t| TYPES.contains(&t.as_str().unwrap())), "{value}");
                }
                "properties" | "$defs" => {
                    value.as_object().unwrap().values().for_each(|v| check_schema(root, v))
                }
                "additionalProperties" | "items" => check_schema(root, value),
                "anyOf" | "oneOf" => value.as_array().unwrap().iter().for_each(|v| check_schema(root, v)),
                "enum" => assert!(value.is_array()),
                "minimum" | "maximum" => assert!(value.is_number()),
                "description" | "title" | "format" | "$schema" | "pattern" => assert!(value.is_string()),
                "const" | "default" | "deprecated" => {}
                "required" => assert!(value.is_array()),
                other => panic!("{other} is not a keyword that is expected here"),
            }
        }
    }
}
