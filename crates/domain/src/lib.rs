//! The words every other crate uses. No IO, no async, no JSON beyond derives.
//!
//! A word means one thing here; `GLOSSARY.md` says what.

pub mod deployment;
pub mod fault;
pub mod name;
pub mod operation;
pub mod secret;
pub mod selector;
pub mod usage;
pub mod user_path;

pub use deployment::Deployment;
pub use fault::{Blame, Fault, FaultKind, Retry};
pub use name::{ModelName, ProviderName};
pub use operation::{Dialect, Operation};
pub use secret::Secret;
pub use selector::Selector;
pub use usage::Usage;
pub use user_path::UserPath;
