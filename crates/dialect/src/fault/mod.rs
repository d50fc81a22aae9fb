//! Errors: read from upstreams ([`mod@read`]), written to clients ([`mod@write`]).
//!
//! With `server::http`, the only place where HTTP status codes are chosen.

mod read;
mod write;

pub use read::{in_body, in_event, in_reply, is_about_the_model, refusal, shorten, status_named_in};
pub use write::{body, event, status};

#[cfg(test)]
mod tests;
