//! The reference page: every setting, section by section.

use std::fmt::Write;

use super::{fields, variable};
use crate::known::{self, Weight};
use crate::setting::{Shape, catalog};
use crate::{ProviderType, Setting, settings};

/// The reference page for all settings, in Markdown.
pub fn reference_markdown(types: &[ProviderType]) -> String {
    let mut page = String::from(PREFACE);
    let settings = settings();
    let section_of = |setting: &Setting| {
        setting.path.rsplit_once('.').map_or(String::new(), |(section, _)| section.to_owned())
    };
    let mut sections: Vec<String> = Vec::new();
    for section in settings.iter().map(section_of) {
        if !sections.contains(&section) {
            sections.push(section);
        }
    }
    for section in &sections {
        heading(&mut page, section);
        settings.iter().filter(|s| section_of(s) == *section).for_each(|s| row(&mut page, s));
    }
    providers(&mut page, types, &settings);
    unbuilt(&mut page);
    page
}

const PREFACE: &str = "# Configuration reference

Generated from the settings themselves; do not edit.

A value comes from the first of these that has it: a flag, the environment (a `.env` file included), the YAML file, the
default. The YAML file is the one that `--config` or `FERROVIA_CONFIG` names, else the first of `config/config.yaml`,
`configs/config.yaml` and `config.yaml`. An empty variable counts as not set. A secret reference, `${env:NAME}` or
`${file:/absolute/path}`, may stand in any text, `${NAME}` and `${NAME:-default}` in the YAML file and in `.env`; `$${` is a literal `${`.
Durations are written `500ms`, `30s`, `1m30s`; sizes `512K`, `10M`, `1G`.
";

fn heading(page: &mut String, section: &str) {
    let title = if section.is_empty() { "Top level".to_owned() } else { format!("`{section}`") };
    let doc = describe(section);
    let _ = write!(page, "\n## {title}\n\n");
    if !doc.is_empty() {
        let _ = write!(page, "{doc}\n\n");
    }
    page.push_str("| Setting | Variable | Type | Default | Meaning |\n|---|---|---|---|---|\n");
}

/// The description of a section, from the struct that defines it.
pub(super) fn describe(section: &str) -> String {
    let (mut shape, mut doc) = (&catalog().root, String::new());
    for name in section.split('.') {
        match shape {
            Shape::Section(members) => match members.iter().find(|(n, ..)| n == name) {
                Some((_, text, inner)) => (shape, doc) = (inner, text.clone()),
                None => return String::new(),
            },
            Shape::Map(inner) => shape = inner,
            Shape::Leaf(_) => return String::new(),
        }
    }
    doc
}

fn row(page: &mut String, setting: &Setting) {
    let field = setting.field.as_ref().map(|f| format!("<TYPE>_{f}"));
    let env: Vec<String> = setting.env.iter().chain(&field).map(|n| format!("`{n}`")).collect();
    let default =
        if setting.default.is_empty() { "–".to_owned() } else { format!("`{}`", setting.default) };
    let restart = if setting.needs_restart { " A change needs a restart." } else { "" };
    let secret = if setting.secret { " Secret: never shown." } else { "" };
    let kind = setting.kind.to_string().replace('|', "\\|");
    let env = if env.is_empty() { "–".to_owned() } else { env.join(", ") };
    let doc = setting.doc.replace('|', "\\|");
    let _ = writeln!(page, "| `{}` | {env} | {kind} | {default} | {doc}{secret}{restart} |", setting.path);
}

fn providers(page: &mut String, types: &[ProviderType], settings: &[Setting]) {
    page.push_str("\n## Providers from the environment\n\n");
    page.push_str(
        "`<TYPE>_<FIELD>` sets the instance named like the type; `<TYPE>_<SUFFIX>_<FIELD>` makes a further one: `VLLM_TEST_BASE_URL` is \
         the instance `vllm-test`. The environment wins over a provider of the same name in the file, field by field.\n\n\
         | Type | Makes an instance | Key | Default address |\n|---|---|---|---|\n",
    );
    for kind in types.iter().filter(|t| t.built) {
        let starts = if kind.keyless { "BASE_URL" } else { "API_KEY" };
        let key = if kind.keyless { "optional" } else { "needed" };
        let base = kind.default_base_url.map_or("–".to_owned(), |u| format!("`{u}`"));
        let _ = writeln!(page, "| `{}` | `{}` | {key} | {base} |", kind.name, variable(kind, starts));
    }
    let names: Vec<String> = fields(settings).map(|(field, _)| format!("`{field}`")).collect();
    let _ = write!(page, "\nFields: {}.\n", names.join(", "));
    let unbuilt: Vec<String> = types.iter().filter(|t| !t.built).map(|t| format!("`{}`", t.name)).collect();
    if !unbuilt.is_empty() {
        let _ = write!(
            page,
            "\nKnown, but not built in this version, and left out with a warning: {}.\n",
            unbuilt.join(", ")
        );
    }
}

fn unbuilt(page: &mut String) {
    page.push_str(
        "\n## Known, but not built in this version\n\nSettings of GoModel and Aurora that are recognised. A feature is ignored with a warning; a \
         protection stops the start.\n\n| Setting | Variable | If it is set |\n|---|---|---|\n",
    );
    for known in known::all() {
        let path = if known.path.is_empty() { "–".to_owned() } else { format!("`{}`", known.path) };
        let env: Vec<String> = known.env.iter().map(|n| format!("`{n}`")).collect();
        let env = if env.is_empty() { "–".to_owned() } else { env.join(", ") };
        let effect = match known.weight {
            Weight::Feature => "warning",
            Weight::Protection => "stops the start",
            Weight::VirtualModels => "warning; with `user_paths`, stops the start",
            Weight::Moot => "no effect",
        };
        let _ = writeln!(page, "| {path} | {env} | {effect} |");
    }
}
