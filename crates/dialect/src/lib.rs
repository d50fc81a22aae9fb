//! The languages of the APIs: how a request is read and changed, what a reply's bytes mean, how an error is said.
//!
//! Pure: no IO, no async. A body is *looked at* through its index and *changed* by splices; it is re-encoded only when
//! the language changes. A reply is decoded only as far as somebody asks.
//!
//! | Module | What lives there |
//! |---|---|
//! | [`json`] | one validating pass over a JSON text; an incremental one for large replies |
//! | [`body`], [`edit`] | a request that has not forgotten how it was written, and the only ways to change it |
//! | [`multipart`] | a form with files, looked at while it arrives |
//! | [`sse`], [`marks`] | event boundaries, and what may be noticed in an event without decoding it |
//! | [`stream`] | a streamed reply cut into frames |
//! | [`reply`] | one whole JSON reply |
//! | [`usage`] | tokens, wherever a dialect reports them |
//! | [`fault`] | errors: read from upstreams, written to clients |
//! | [`listing`] | `/models` replies |
//! | [`rerank`] | the rerank codec |

pub mod body;
pub mod edit;
pub mod fault;
pub mod json;
pub mod listing;
pub mod marks;
pub mod multipart;
pub mod reply;
pub mod rerank;
pub mod sse;
pub mod stream;
pub mod usage;

pub use body::{Body, Reject};
pub use edit::{Edit, Segments};
