//! The program's own log: lines on standard error, text for people, JSON for machines.

use std::io::IsTerminal;

use config::{Format, Level, Log};
use tracing_subscriber::EnvFilter;

/// Starts logging as configured. Calling it twice keeps the first.
pub(crate) fn start(log: &Log) {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    // libraries say nothing below a warning unless everything is wanted
    let filter = match log.level {
        Level::Trace => EnvFilter::new("trace"),
        _ => EnvFilter::new(format!("warn,ferrovia={level},gateway={level},upstream={level},simulator={level},server={level}")),
    };
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !terminal,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.compact().with_ansi(terminal).try_init()
    };
}
