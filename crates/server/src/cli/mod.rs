//! The command line: one definition, from which help, completions, the man page and the reference page are printed.
//!
//! One file for each subcommand. A subcommand returns how it ended; what it has to say goes through [`mod@print`].

mod check;
mod completions;
mod demo;
mod doctor;
mod fetch;
mod health;
mod man;
mod models;
mod print;
mod reference;
mod serve;
mod settings;
mod simulate;
mod torture;
mod version;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use config::{Loaded, Sources};

/// An AI gateway in one binary: every app in front, every model behind, vLLM first.
///
/// Without a subcommand it serves. Settings come from flags, the environment (a .env file included) and a YAML file;
/// `ferrovia config reference` lists them all.
#[derive(Parser)]
#[command(name = "ferrovia", version, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(flatten)]
    probes: health::ProbeFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings come from besides the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingFlags {
    /// Configuration file. Without it `config/config.yaml`, `configs/config.yaml` or `config.yaml` is read if it is there.
    #[arg(long, short, value_name = "FILE", help_heading = "Settings")]
    pub(crate) config: Option<PathBuf>,
    /// Set one setting by its path, as in `--set server.base_path=/ai`. Wins over everything else. May be repeated.
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair, help_heading = "Settings")]
    pub(crate) set: Vec<(String, String)>,
    /// TCP port to listen on, the setting `server.port`.
    #[arg(long, value_name = "PORT", help_heading = "Settings")]
    pub(crate) port: Option<u16>,
}

impl SettingFlags {
    /// These flags on top of those that were written before the subcommand.
    fn on_top_of(self, outer: SettingFlags) -> SettingFlags {
        let mut set = outer.set;
        set.extend(self.set);
        SettingFlags { config: self.config.or(outer.config), set, port: self.port.or(outer.port) }
    }

    fn is_empty(&self) -> bool {
        self.config.is_none() && self.set.is_empty() && self.port.is_none()
    }
}

#[derive(Subcommand)]
enum Command {
    /// Serve. This is also what happens without a subcommand.
    Serve(SettingFlags),
    /// Show the gateway at work: it and a simulated vLLM, one streamed request, and lines to paste. Needs nothing.
    Demo(demo::Demo),
    /// Run the simulated vLLM alone, to build and test against.
    Simulate(simulate::Simulate),
    /// Play every known fault against this gateway, or any other, and print a scorecard of what it told the truth about.
    Torture(torture::Torture),
    /// Check the configuration: every error and warning at once. Asks nobody.
    Check(check::Check),
    /// Show settings: their values, or what may be written.
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Examine every configured provider: reachable, key, engine, models, abilities, and what to fix.
    Doctor(doctor::Doctor),
    /// List the models of the configured providers, or of a running gateway.
    Models(models::Models),
    /// Ask a running gateway whether it is well: for container health checks.
    Health(health::Health),
    /// Print which version this is.
    Version(version::Version),
    /// Print completions for a shell.
    Completions(completions::Completions),
    /// Print the man page.
    Man(man::Man),
    /// Print a page of the reference, for the repository's own tool.
    #[command(hide = true)]
    Reference(reference::Reference),
}

impl Command {
    /// The subcommand with the flags that were written before it, if it takes any.
    fn take_up(self, outer: SettingFlags) -> Result<Command, SettingFlags> {
        Ok(match self {
            Command::Serve(own) => Command::Serve(own.on_top_of(outer)),
            Command::Check(mut own) => {
                own.settings = own.settings.on_top_of(outer);
                Command::Check(own)
            }
            Command::Config(settings::ConfigCommand::Show(mut own)) => {
                own.settings = own.settings.on_top_of(outer);
                Command::Config(settings::ConfigCommand::Show(own))
            }
            Command::Doctor(mut own) => {
                own.settings = own.settings.on_top_of(outer);
                Command::Doctor(own)
            }
            Command::Models(mut own) => {
                own.settings = own.settings.on_top_of(outer);
                Command::Models(own)
            }
            Command::Health(mut own) => {
                own.settings = own.settings.on_top_of(outer);
                Command::Health(own)
            }
            other if outer.is_empty() => other,
            _ => return Err(outer),
        })
    }
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let matches = Cli::command().get_matches_from(as_gomodel_writes(std::env::args_os()));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let command = match (cli.probes.asked(&cli.settings), cli.command) {
        (Some(_), Some(_)) => {
            let message = "--health and --ready stand alone; write `ferrovia health` or `ferrovia health --ready`";
            Cli::command().error(ErrorKind::ArgumentConflict, message).exit()
        }
        (Some(health), None) => Command::Health(health),
        (None, Some(command)) => command.take_up(cli.settings).unwrap_or_else(|_| {
            let message = "--config, --set and --port stand before a subcommand only if it reads the configuration; \
                           this one does not";
            Cli::command().error(ErrorKind::ArgumentConflict, message).exit()
        }),
        (None, None) => Command::Serve(cli.settings),
    };
    let done = match command {
        Command::Serve(flags) => return serve::run(&flags),
        Command::Demo(demo) => demo::run(&demo),
        Command::Simulate(simulate) => simulate::run(&simulate),
        Command::Torture(torture) => torture::run(&torture),
        Command::Check(check) => check::run(&check),
        Command::Config(command) => settings::run(&command),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Models(models) => models::run(&models),
        Command::Health(health) => health::run(&health),
        Command::Version(version) => version::run(&version),
        Command::Completions(completions) => completions::run(&completions),
        Command::Man(man) => man::run(&man),
        Command::Reference(reference) => reference::run(&reference),
    };
    done.unwrap_or_else(|error| {
        let broken = error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
        if broken {
            // whoever read our output has read enough
            return ExitCode::SUCCESS;
        }
        print::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// GoModel's flags are written with one dash or two. The arguments with two.
fn as_gomodel_writes(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const FLAGS: [&str; 6] = ["version", "help", "health", "ready", "health-timeout", "ready-timeout"];
    let mut leading = true;
    let two_dashes = |(at, argument): (usize, OsString)| {
        let Some(text) = argument.to_str().filter(|_| at > 0 && leading) else { return argument };
        leading = text.starts_with('-');
        let name = text.strip_prefix('-').map(|rest| rest.split('=').next().unwrap_or(rest));
        if name.is_some_and(|name| FLAGS.contains(&name)) { format!("-{text}").into() } else { argument }
    };
    arguments.enumerate().map(two_dashes).collect()
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE, for example server.port=9000")?;
    Ok((path.trim().to_owned(), value.to_owned()))
}

/// A duration as people and Go programs write it: `2s`, `500ms`, `1m30s`; a number alone counts seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a duration such as 2s or 500ms".to_owned();
    let found = match text.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        Err(_) => {
            let signed: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
            Duration::try_from(signed).map_err(|_| wrong())?
        }
    };
    if found.is_zero() { Err("write a duration longer than nothing".into()) } else { Ok(found) }
}

/// Everything that settings may come from.
pub(crate) fn sources(flags: &SettingFlags) -> Sources {
    let mut set = flags.set.clone();
    if let Some(port) = flags.port {
        set.push(("server.port".into(), port.to_string()));
    }
    Sources {
        types: crate::app::provider_types(),
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        cwd: std::env::current_dir().unwrap_or_default(),
        config_path: flags.config.clone(),
        flags: set,
    }
}

/// Loads the configuration, or says everything that is wrong with it.
pub(crate) fn load(flags: &SettingFlags) -> Result<Loaded, ExitCode> {
    load_from(&sources(flags))
}

/// The same from sources that are known.
fn load_from(sources: &Sources) -> Result<Loaded, ExitCode> {
    config::load(sources).map_err(|report| {
        anstream::eprintln!("{}", print::report(&report));
        ExitCode::FAILURE
    })
}

/// A runtime for a command that asks a few questions.
fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(future);
    // a name that is being looked up must not hold up the end
    runtime.shutdown_background();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn gomodels_single_dashes_are_understood() {
        let given = ["gomodel", "-health", "-health-timeout=1s", "-c", "x", "-version"];
        let read = as_gomodel_writes(given.iter().map(OsString::from));
        assert_eq!(read, ["gomodel", "--health", "--health-timeout=1s", "-c", "x", "-version"]);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0", "0s", "-1", "-2s", "soon", "1e300", "NaN"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_before_a_subcommand_hold_for_it_and_its_own_win() {
        let cli = Cli::parse_from([
            "ferrovia", "--port", "1", "--set", "a=1", "check", "--port", "2", "--set", "b=2",
        ]);
        let command = cli.command.map(|command| command.take_up(cli.settings));
        let Some(Ok(Command::Check(check))) = command else { panic!("not a check") };
        assert_eq!(check.settings.port, Some(2));
        assert_eq!(check.settings.set, [("a".into(), "1".into()), ("b".into(), "2".into())]);

        let cli = Cli::parse_from(["ferrovia", "--port", "1", "version"]);
        assert!(cli.command.is_some_and(|command| command.take_up(cli.settings).is_err()));
    }
}
