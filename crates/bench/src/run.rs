//! A run, as far as it is told beside its figures.

use crate::process::machine::Machine;

/// A run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Whether it is the vendor's shape.
    pub vendor: bool,
    /// Whether counts were cut.
    pub quick: bool,
    /// Rounds.
    pub rounds: usize,
    /// Streams that were asked for in S5.
    pub streams: usize,
    /// What took part, with its version.
    pub versions: Vec<(String, String)>,
    /// What one has to know.
    pub remarks: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// How long it took.
    pub seconds: f64,
}
