//! What a call through Ferrovia costs, measured beside nginx and HAProxy: the harness of `cargo xtask bench`.
//!
//! One program in three parts: a mock upstream (`mock`), a load generator (`load`), and the harness (`measure`), which
//! starts the other two and what is to be measured, each pinned to a core, and reads the kernel's books. The metric is
//! CPU time, and what is told are ratios to nginx in the same round: both survive a busy machine. See
//! `docs/benchmarks.md`.

pub mod arguments;
pub mod command;
pub mod dialect;
pub mod gate;
pub mod goals;
pub mod load;
pub mod measure;
pub mod mock;
pub mod process;
pub mod report;
mod rounds;
pub mod run;
pub mod samples;
pub mod scenario;
pub mod soak;
pub mod stage;
pub mod statistics;
pub mod target;
pub mod upload;
pub mod vendor;
pub mod wire;
