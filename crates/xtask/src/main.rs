//! The repository's own tool: `cargo run -p xtask -- generate`, `cargo run -p xtask -- tidy`.

mod bench;
mod fuzz;
mod gate;
mod generate;
mod repository;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

use repository::Repository;

const USAGE: &str = "\
usage: cargo run -p xtask -- <command>

  generate          write the reference pages, the examples, the schema and the index of the documentation
  generate --check  fail if one of them is not what `generate` would write
  tidy              fail on what no lint knows: missing `//!`, broken walls, import cycles, …
  gate [flags]      count instructions and allocations, and hold them against docs/benchmarks/gate.json (--bless, --top N)
  soak [flags]      many calls with faults, stalled clients, prompts and files beside streams; --calls N, --only mix,…
  fuzz [flags]      let the fuzz targets search (docs/testing.md); --seconds N for each, or names of targets
  bench [flags]     measure the gateway beside nginx and HAProxy (docs/benchmarks.md); `bench --help` lists the flags
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let repository = Repository::here();
    let done = match arguments[..] {
        ["generate"] => generate::write(&repository),
        ["generate", "--check"] => generate::check(&repository),
        ["tidy"] => tidy::run(&repository),
        ["bench", ref flags @ ..] => bench::run(&repository, flags),
        ["gate", ref flags @ ..] => gate::count(&repository, flags),
        ["soak", ref flags @ ..] => gate::soak(&repository, flags),
        ["fuzz", ref flags @ ..] => fuzz::run(&repository, flags),
        ["--help" | "-h" | "help"] => return told(USAGE, ExitCode::SUCCESS),
        _ => return told(USAGE, ExitCode::from(2)),
    };
    match done {
        Ok(report) if report.failed => told(&report.text, ExitCode::FAILURE),
        Ok(report) => told(&report.text, ExitCode::SUCCESS),
        Err(error) => told(&format!("error: {error:#}\n"), ExitCode::FAILURE),
    }
}

/// What a command has to say, and whether it failed.
struct Report {
    text: String,
    failed: bool,
}

fn told(text: &str, code: ExitCode) -> ExitCode {
    // nobody is left to be told that nobody listens
    let _ = std::io::stderr().write_all(text.as_bytes());
    code
}
