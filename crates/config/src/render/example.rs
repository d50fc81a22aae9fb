//! The commented example of a YAML file.

use std::fmt::Write;

use super::reference::describe;
use crate::setting::{Shape, catalog};
use crate::{Kind, ProviderType, Setting};

/// A YAML file in which every setting stands commented out with its default.
///
/// Taking the first `#` from a line makes it live; what then still begins with `#` is explanation.
pub fn example_yaml(types: &[ProviderType]) -> String {
    let mut text = String::from(
        "## Every setting with its default. Take the first # from the lines you want, the section's name included.\n\
         ## Variables win over this file. ${NAME}, ${NAME:-default}, ${env:NAME} and ${file:/path} work in every value.\n\
         ## Generated from the settings themselves; do not edit.\n",
    );
    let Shape::Section(members) = &catalog().root else { return text };
    for (name, _, shape) in members {
        text.push('\n');
        match shape {
            Shape::Map(inner) => providers(&mut text, name, inner, types),
            shape => member(&mut text, name, shape, 0, &|s| s.default.clone()),
        }
    }
    text
}

fn member(text: &mut String, name: &str, shape: &Shape, depth: usize, value: &dyn Fn(&Setting) -> String) {
    let indent = "  ".repeat(depth);
    match shape {
        Shape::Leaf(index) => {
            let setting = &catalog().settings[*index];
            let env =
                if setting.env.is_empty() { String::new() } else { format!(" ({})", setting.env.join(", ")) };
            let _ = writeln!(text, "#{indent}# {}{env}", setting.doc);
            let _ = writeln!(text, "#{indent}{name}:{}", scalar(setting, &value(setting)));
        }
        Shape::Section(members) => {
            if depth == 0 {
                let _ = writeln!(text, "## {}", describe(name));
            }
            let _ = writeln!(text, "#{indent}{name}:");
            members.iter().for_each(|(name, _, shape)| member(text, name, shape, depth + 1, value));
        }
        Shape::Map(_) => {}
    }
}

/// A value in YAML, with the space before it.
fn scalar(setting: &Setting, text: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match &setting.kind {
        Kind::List | Kind::Statuses | Kind::Models => {
            let items: Vec<String> = text.split(',').filter(|i| !i.is_empty()).map(quoted).collect();
            format!(" [{}]", items.join(", "))
        }
        Kind::Headers => " {}".into(),
        // Without a value the key stands for "not set", which is the default.
        Kind::Duration { .. } if text.is_empty() => String::new(),
        Kind::Text => format!(" {}", quoted(text)),
        _ => format!(" {text}"),
    }
}

/// Two providers as examples: an engine without a key, in full, and a hosted one.
fn providers(text: &mut String, name: &str, inner: &Shape, types: &[ProviderType]) {
    let _ = writeln!(text, "## {}\n#{name}:", describe(name));
    let built = || types.iter().filter(|t| t.built && t.default_base_url.is_some());
    if let (Some(kind), Shape::Section(members)) = (built().find(|t| t.keyless), inner) {
        let _ = writeln!(text, "#  my-{}:", kind.name);
        let value = |setting: &Setting| match setting.path.as_str() {
            "providers.*.type" => kind.name.to_owned(),
            "providers.*.base_url" => kind.default_base_url.unwrap_or_default().to_owned(),
            _ => setting.default.clone(),
        };
        members.iter().for_each(|(name, _, shape)| member(text, name, shape, 2, &value));
    }
    if let Some(kind) = built().find(|t| !t.keyless) {
        let variable = super::variable(kind, "API_KEY");
        let _ = write!(
            text,
            "#  my-{0}:\n#    type: {0}\n#    api_key: ${{{variable}:-sk-example}}\n",
            kind.name
        );
    }
}
