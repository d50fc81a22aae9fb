//! The program's own log: lines on standard error, text for people, JSON for machines.
//!
//! What happens now and then goes through `tracing`. The line of each call has a writer of its own, which takes many at
//! once: a formatted line for each call would cost more than relaying it.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use config::{Format, Level, Log};
use gateway::log::{CallLog, Lines};
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
        _ => EnvFilter::new(format!(
            "warn,ferrovia={level},gateway={level},upstream={level},simulator={level},server={level}"
        )),
    };
    let terminal = std::io::stderr().is_terminal();
    let json = is_json(log);
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.compact().with_ansi(terminal).try_init()
    };
}

fn is_json(log: &Log) -> bool {
    match log.format {
        Format::Json => true,
        Format::Text => false,
        Format::Auto => !std::io::stderr().is_terminal(),
    }
}

/// Lines are gathered for so long before they are written together.
const GATHER: Duration = Duration::from_millis(10);

/// Starts the writer of the calls' lines. It ends when the log is closed.
pub(crate) fn write_calls(log: &Log, calls: &Arc<CallLog>) -> std::io::Result<std::thread::JoinHandle<()>> {
    let (json, level) = (is_json(log), log.level);
    let calls = calls.clone();
    if level != Level::Error {
        calls.open();
    }
    std::thread::Builder::new().name("ferrovia-log".into()).spawn(move || {
        let (mut entries, mut out, mut lines) = (Vec::new(), Vec::new(), Lines::default());
        while let Some(left_out) = calls.take(&mut entries) {
            out.clear();
            for entry in &entries {
                if level == Level::Warn && entry.level != "WARN" {
                    continue;
                }
                if json { lines.json(entry, &mut out) } else { lines.text(entry, &mut out) }
            }
            // nobody can be told that the log cannot be written
            let _ = std::io::stderr().lock().write_all(&out);
            if left_out > 0 {
                tracing::warn!(left_out, "calls came faster than their log lines could be written");
            }
            std::thread::sleep(GATHER);
        }
    })
}
