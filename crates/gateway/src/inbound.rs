//! A request as it arrived: its head, and a body not yet read.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use domain::Dialect;
use http::HeaderName;
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;

/// What can go wrong while a body arrives.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is still arriving.
pub type InboundBody = UnsyncBoxBody<Bytes, BodyError>;

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// A request as it arrived.
pub struct Inbound {
    /// Method, path and headers. The path has lost the base path.
    pub head: http::request::Parts,
    /// The body, unread.
    pub body: InboundBody,
    /// The client's address: the other end of the connection, or what a trusted proxy there says.
    pub client: Option<IpAddr>,
    /// The dialect in which it is answered until it is understood.
    pub dialect: Dialect,
    /// The request's id: the client's, or ours.
    pub request_id: Arc<str>,
    /// When its head had arrived.
    pub arrived: Instant,
}

impl Inbound {
    /// How many bytes the body has, if its head says so.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The dialect in which somebody is answered whose request is not understood yet.
    pub fn speaks(head: &http::request::Parts) -> Dialect {
        if head.uri.path().starts_with("/v1/messages") || head.headers.contains_key(ANTHROPIC_VERSION) {
            Dialect::Messages
        } else {
            Dialect::Chat
        }
    }
}
