//! A request as it arrived: its head, and a body not yet read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use domain::Dialect;
use http_body_util::combinators::UnsyncBoxBody;

/// What can go wrong while a body arrives.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is still arriving.
pub type InboundBody = UnsyncBoxBody<Bytes, BodyError>;

/// A request as it arrived.
pub struct Inbound {
    /// Method, path and headers. The path has lost the base path.
    pub head: http::request::Parts,
    /// The body, unread.
    pub body: InboundBody,
    /// The client's address: the other end of the connection, or what a trusted proxy there says.
    pub client: Option<IpAddr>,
    /// The request's id: the client's, or ours.
    pub request_id: Arc<str>,
    /// When its head had arrived.
    pub arrived: Instant,
}

impl Inbound {
    /// The dialect in which somebody is answered whose request is not understood yet.
    pub fn speaks(head: &http::request::Parts) -> Dialect {
        let path = head.uri.path();
        if head.headers.contains_key("anthropic-version") || path.starts_with("/v1/messages") {
            Dialect::Messages
        } else {
            Dialect::Chat
        }
    }
}
