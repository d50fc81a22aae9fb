//! `ferrovia config`: each setting's value and where it came from, and everything that is printed from the settings.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use config::{Entry, render};
use serde_json::json;

use super::{SettingFlags, load, print};
use crate::app::provider_types;

/// What `ferrovia config` can show.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Each setting, its value, and where the value came from. Secrets print as `***`.
    Show(Values),
    /// The reference page: every setting with its variable, type, default and meaning. Markdown.
    Reference,
    /// The JSON Schema of the YAML file, for editors.
    Schema,
    /// A YAML file in which every setting stands commented out with its default.
    Example,
    /// A .env file in which every variable stands commented out with its default.
    Env,
}

/// What `ferrovia config show` takes.
#[derive(Args)]
pub(crate) struct Values {
    /// Only settings below this path, such as `server` or `providers.vllm`.
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only what somebody wrote: no defaults.
    #[arg(long)]
    changed: bool,
    /// Print them as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) settings: SettingFlags,
}

/// Prints what was asked for.
pub(super) fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let types = provider_types();
    let page = match command {
        ConfigCommand::Show(values) => return self::values(values),
        ConfigCommand::Reference => render::reference_markdown(&types),
        ConfigCommand::Schema => render::json_schema(&types),
        ConfigCommand::Example => render::example_yaml(&types),
        ConfigCommand::Env => render::env_template(&types),
    };
    print::out().write_all(page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn values(values: &Values) -> anyhow::Result<ExitCode> {
    let loaded = match load(&values.settings) {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    let wanted = |entry: &&Entry| {
        values.prefix.as_deref().is_none_or(|prefix| below(prefix, &entry.path))
            && !(values.changed && entry.origin == config::Origin::Default)
    };
    let entries: Vec<&Entry> = loaded.origins.iter().filter(wanted).collect();
    if values.json {
        let entries = entries.iter().map(
            |entry| json!({ "path": entry.path, "value": entry.value, "source": entry.origin.to_string() }),
        );
        print::json(&entries.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (true, Some(prefix)) = (entries.is_empty(), &values.prefix) {
        print::error(&format!(
            "nothing is set below {prefix:?}; `ferrovia config reference` lists every setting"
        ));
        return Ok(ExitCode::FAILURE);
    }
    // values last: some are long
    let rows =
        entries.iter().map(|entry| vec![entry.path.clone(), entry.origin.to_string(), entry.value.clone()]);
    writeln!(print::out(), "{}", print::table(&["SETTING", "FROM", "VALUE"], rows))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a setting is the one named, or lies below it.
fn below(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('.'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_name_ends() {
        assert!(below("server", "server.port"));
        assert!(below("server.", "server.port"));
        assert!(below("server.port", "server.port"));
        assert!(!below("serv", "server.port"));
        assert!(!below("providers.vllm", "providers.vllm-test.base_url"));
    }
}
