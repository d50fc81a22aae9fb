//! The command line: one definition, from which help, completions and the man page are printed.

mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use config::{Loaded, Sources};

/// An AI gateway in one binary: every app in front, every model behind, vLLM first.
///
/// Without a subcommand it serves.
#[derive(Parser)]
#[command(name = "ferrovia", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where settings come from besides the environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SettingFlags {
    /// Configuration file; without it `config/config.yaml`, then `config.yaml` is read if it is there.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one setting, by its path: `--set server.port=9000`. Wins over everything else. May be repeated.
    #[arg(long, global = true, value_name = "PATH=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// TCP port to listen on (`server.port`).
    #[arg(long, global = true)]
    pub(crate) port: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what happens without a subcommand).
    Serve,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE, for example server.port=9000")?;
    Ok((path.trim().to_owned(), value.to_owned()))
}

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None | Some(Command::Serve) => serve::run(&cli.settings),
    }
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
    config::load(&sources(flags)).map_err(|report| {
        anstream::eprintln!("{report}");
        ExitCode::FAILURE
    })
}
