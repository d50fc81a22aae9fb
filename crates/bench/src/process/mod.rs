//! Programs that are measured: started on a core, accounted for, and stopped whatever happens.

pub mod account;
pub mod machine;
mod running;

pub use running::{Running, Start, output};
