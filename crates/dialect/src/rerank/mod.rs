//! The rerank codec: requests as vLLM, Jina, Cohere and Bifrost write them, made into what a route takes; replies of
//! rerank and score routes, checked and written in vLLM's shape.
//!
//! Pure. Which route is asked is the provider's choice; what it answered is read with the [`ReplyShape`] of that route.

mod reply;
mod request;

pub use reply::{Reply, ReplyShape, Scored, read_reply, write_reply};
pub use request::{Document, MAX_DOCUMENTS, Request, Shape, read};
