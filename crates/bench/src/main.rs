//! `ferrovia-bench`: mock upstream, load generator and harness in one program. See the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    bench::command::run(&words)
}
