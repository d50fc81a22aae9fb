//! The `.env` template: every variable with its default, commented out.

use std::fmt::Write;

use super::{fields, variable};
use crate::setting::Setting;
use crate::{Kind, ProviderType, settings};

/// A `.env` file in which every variable stands commented out with its default.
pub fn env_template(types: &[ProviderType]) -> String {
    let mut text = String::from(
        "# Copy this file to .env and take the comment sign from the lines you want.\n\
         # The environment of the process wins over this file; this file wins over config.yaml.\n\
         # Generated from the settings themselves; do not edit.\n",
    );
    let settings = settings();
    let mut section = None;
    for setting in settings.iter().filter(|s| !s.env.is_empty()) {
        let this = setting.path.split_once('.').map_or("", |(section, _)| section);
        if section != Some(this) {
            section = Some(this);
            let _ = write!(text, "\n## {}\n", if this.is_empty() { "general" } else { this });
        }
        entry(&mut text, setting);
    }
    for kind in types.iter().filter(|t| t.built) {
        let _ = write!(
            text,
            "\n## providers of type {}; with a suffix, {}_EAST_… makes a further one\n",
            kind.name,
            variable(kind, "").trim_end_matches('_')
        );
        for (field, setting) in fields(&settings) {
            let value = match field {
                "BASE_URL" => kind.default_base_url.unwrap_or("http://localhost:8000/v1"),
                _ => sample(setting),
            };
            let _ = writeln!(text, "# {}={value}", variable(kind, field));
        }
    }
    text
}

fn entry(text: &mut String, setting: &Setting) {
    let (name, others) = (&setting.env[0], &setting.env[1..]);
    let also = if others.is_empty() { String::new() } else { format!(" (also {})", others.join(", ")) };
    let _ = writeln!(text, "# {}{also}\n# {name}={}", setting.doc, setting.default);
}

/// A value that shows what is meant.
fn sample(setting: &Setting) -> &str {
    match (&setting.kind, setting.secret) {
        (Kind::Bool, _) => &setting.default,
        _ if setting.path.ends_with("proxy_url") => "http://proxy.example.com:3128",
        (_, true) => "your-key",
        (Kind::Models, _) => "model-a,model-b",
        (Kind::List, _) => "*",
        _ => "",
    }
}
