//! How to talk to each kind of provider. Pure: a call in, plans out; no IO, so a test is a text diff.
//!
//! # Adding a provider
//!
//! A provider that speaks OpenAI's API is one entry in [`catalog`]: its name, where it lives, how it wants its key, and
//! what it is known to do. Everything else (environment names, docs, `/v1/models`, the passthrough, the 501 for what
//! it cannot do) follows from the entry.
//!
//! ```
//! use provider::{Auth, Known, Spec};
//!
//! const EXAMPLE: Spec = Spec {
//!     name: "example",
//!     default_base_url: Some("https://api.example.com/v1"),
//!     auth: Auth::Bearer,
//!     ..Spec::OPENAI_COMPATIBLE
//! };
//! assert_eq!(EXAMPLE.knows(domain::Operation::Embed, domain::Dialect::Embeddings), Known::Unknown);
//! ```
//!
//! What differs in more than data gets a folder of its own, once there is one.

pub mod abilities;
pub mod base;
pub mod catalog;
pub mod control;
pub mod engine;
pub mod passthrough;
pub mod plan;
pub mod spec;

pub use abilities::{Abilities, ModelAbilities};
pub use base::Base;
pub use catalog::CATALOG;
pub use plan::{Outgoing, Plan, ReplyShape, Unsupported};
pub use spec::{Auth, Known, Spec};

/// The entry of the engine whose model list names this owner.
pub fn owner(owned_by: &str) -> Option<&'static Spec> {
    CATALOG.iter().copied().find(|spec| spec.owner == Some(owned_by))
}

/// The entry of this type.
pub fn find(name: &str) -> Option<&'static Spec> {
    CATALOG.iter().copied().find(|spec| spec.name == name)
}
