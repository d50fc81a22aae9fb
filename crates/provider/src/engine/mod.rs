//! What engines say of themselves, read: from the bytes of their answers to facts.
//!
//! vLLM's version and FastAPI's routes are read in [`abilities`](crate::abilities). A member that is missing or of
//! another type is a fact that is not known, never an error: engines change their pages from version to version.

pub mod llamacpp;
pub mod ollama;
pub mod sglang;
