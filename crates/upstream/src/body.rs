//! What is sent: a request as its caller gives it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::combinators::UnsyncBoxBody;
use smallvec::SmallVec;

use crate::fields::Fields;

/// An error of unknown kind, as request body streams give it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One request, ready to go to a [`Target`](crate::Target).
#[derive(Debug)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// The whole path, the target's prefix included, with the query if there is one.
    pub path_and_query: Cow<'static, str>,
    /// What every request to this upstream begins with.
    pub fixed: Option<Fields>,
    /// The other headers; a name that stands in `fixed` is sent twice. `host`, `content-length` and `transfer-encoding` are set by the pool, which knows
    /// the target and the body; `connection` is dropped, since the connection is the pool's.
    pub headers: HeaderMap,
    /// The body.
    pub body: OutBody,
}

/// Pieces of a body, in order.
pub type Pieces = SmallVec<[Bytes; 4]>;

/// The body of a request.
pub enum OutBody {
    /// None.
    Empty,
    /// Pieces in memory, written without joining them. Can be sent again.
    Segments(Pieces),
    /// Flows from elsewhere, at the pace of the upstream. Cannot be sent again once it began to flow.
    Stream {
        /// The pieces.
        body: UnsyncBoxBody<Bytes, BoxError>,
        /// The length if it is known, which then goes ahead as `content-length`; else it is chunked.
        length: Option<u64>,
    },
}

impl fmt::Debug for OutBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutBody::Empty => f.write_str("Empty"),
            OutBody::Segments(parts) => {
                write!(f, "Segments({} bytes)", parts.iter().map(Bytes::len).sum::<usize>())
            }
            OutBody::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}
