//! The page about the command line, from its definition.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::super::Cli;

/// The page, in Markdown.
pub(super) fn page() -> String {
    let mut root = Cli::command();
    root.build();
    let mut page = String::from(
        "# Command line reference\n\nGenerated from the command line's own definition; do not edit.\n\n\
         Exit codes: 0 it went well, 1 it did not, 2 the command line was not understood.\n\
         Colours and progress appear on a terminal only; `NO_COLOR=1` turns colours off.\n",
    );
    section(&mut page, &root, "ferrovia");
    page
}

fn section(page: &mut String, command: &Command, path: &str) {
    let depth = "#".repeat(path.split(' ').count() + 1);
    let _ = write!(page, "\n{depth} `{path}`\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _ = write!(page, "\n{}\n", sentence(&about.to_string()));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let _ = write!(page, "\n```\n{usage}\n```\n");
    let shown: Vec<&Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    if !shown.is_empty() {
        page.push_str("\n| Command | What it does |\n|---|---|\n");
        for sub in shown.iter().filter(|sub| sub.get_name() != "help") {
            let name = format!("{path} {}", sub.get_name());
            let anchor = name.replace(' ', "-");
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "| [`{name}`](#{anchor}) | {} |", cell(&about));
        }
    }
    let everywhere = |arg: &Arg| arg.get_id() == "help" && path.contains(' ');
    let arguments: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_hide_set() && !everywhere(arg)).collect();
    if !arguments.is_empty() {
        page.push_str("\n| Argument | Meaning |\n|---|---|\n");
        for argument in arguments {
            let _ = writeln!(page, "| {} | {} |", spelling(argument), meaning(argument));
        }
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(page, "\n```sh\n{}\n```\n", after.to_string().trim());
    }
    for sub in shown.iter().filter(|sub| sub.get_name() != "help") {
        section(page, sub, &format!("{path} {}", sub.get_name()));
    }
}

fn spelling(argument: &Arg) -> String {
    let values: Vec<String> =
        argument.get_value_names().into_iter().flatten().map(|v| format!("<{v}>")).collect();
    let takes = argument.get_action().takes_values();
    let value =
        if takes && !argument.is_positional() { format!(" {}", values.join(" ")) } else { String::new() };
    let mut names = Vec::new();
    if let Some(long) = argument.get_long() {
        names.push(format!("`--{long}{value}`"));
    }
    if let Some(short) = argument.get_short() {
        names.push(format!("`-{short}{value}`"));
    }
    if names.is_empty() {
        names.push(format!("`{}`", values.join(" ")));
    }
    names.join(", ")
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let mut text = help.map(|help| cell(&help.to_string())).unwrap_or_default();
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " Default: {}.", defaults.join(", "));
    }
    let choices = argument.get_possible_values();
    let choices: Vec<String> = choices
        .iter()
        .filter(|choice| !choice.is_hide_set())
        .map(|choice| match choice.get_help() {
            Some(help) => {
                format!("`{}` ({})", choice.get_name(), cell(&help.to_string()).trim_end_matches('.'))
            }
            None => format!("`{}`", choice.get_name()),
        })
        .collect();
    if !choices.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " One of {}.", choices.join(", "));
    }
    text
}

/// Text on one line, fit for a cell.
fn cell(text: &str) -> String {
    sentence(&text.replace('\n', " ").replace('|', "\\|"))
}

/// The text with the full stop that clap takes off.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let ended = text.is_empty() || text.ends_with(['.', '?', '!']);
    if ended { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_and_argument_is_on_the_page() {
        let page = page();
        let mut root = Cli::command();
        root.build();
        for command in root.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            assert!(page.contains(&format!("`ferrovia {}`", command.get_name())), "{}", command.get_name());
            for long in command.get_arguments().filter_map(Arg::get_long) {
                assert!(page.contains(&format!("--{long}")), "{long}");
            }
        }
        assert!(!page.contains("ferrovia reference"), "the hidden command stays hidden");
    }
}
