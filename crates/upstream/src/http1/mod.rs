//! HTTP/1.1 as a client speaks it (RFC 9112): bytes in, bytes out. Nothing here knows a socket.
//!
//! A request's head is written by `request`, a response's head read by `response`, which also says how the
//! body that follows is delimited; `body` then finds that body's pieces. What leaves room for two readings
//! is refused: an upstream behind a proxy that reads it otherwise would mix up answers.

mod body;
pub(crate) mod request;
mod response;

pub use body::Body;
pub use response::{Head, Heads};

/// What is wrong with what an upstream sent, in words fit for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub std::borrow::Cow<'static, str>);

impl Malformed {
    pub(crate) const fn new(what: &'static str) -> Malformed {
        Malformed(std::borrow::Cow::Borrowed(what))
    }
}
