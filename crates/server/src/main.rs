//! The binary `ferrovia`: parse, load, build, run, drain.

mod app;
mod cli;
mod http;
mod reload;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
