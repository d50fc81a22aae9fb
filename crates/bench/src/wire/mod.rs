//! As much HTTP/1.1 as a mock upstream and a load generator need: heads, and where a body ends.
//!
//! Written for cheapness: both share a core, and what they spend is not there for driving the gateway.

mod body;
mod head;

pub use body::Body;
pub use head::{Framing, Head};

/// What the other side sent is not HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not HTTP/1.1: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, malformed.0)
    }
}
