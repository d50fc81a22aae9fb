//! A reply on its way to the client: past taps, ended exactly once.
//!
//! [`relay`] decides what is said (pure), with [`speech`] for what is in a dialect of ours; [`body`] polls the upstream
//! and the clock, and says it.

pub mod body;
pub mod relay;
pub mod speech;

pub use body::{Reply, ReplyBody};

use dialect::stream::Frame;
use domain::{Blame, Fault};

/// How a reply ended. Exactly once, always.
#[derive(Clone, Debug)]
pub enum End {
    /// As its dialect says it ends.
    Complete,
    /// The client left.
    ClientGone,
    /// It failed, and the client was told.
    Failed(Fault),
}

impl End {
    /// The word for it in logs.
    pub fn word(&self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::ClientGone => "client_gone",
            End::Failed(fault) if fault.blame == Blame::Caller => "refused",
            End::Failed(_) => "failed",
        }
    }

    /// What it failed with.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            End::Failed(fault) => Some(fault),
            End::Complete | End::ClientGone => None,
        }
    }
}

/// How closely a tap looks. The deepest one decides for the whole call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// It counts bytes.
    Bytes,
    /// It wants usage, errors and ends, noticed in the bytes.
    Marks,
}

/// Watches a reply go by. Cannot change it, cannot slow it.
pub trait Tap: Send + Unpin {
    /// How closely it looks.
    fn depth(&self) -> Depth;
    /// Some whole events, or a piece of a JSON reply, with what was noticed in it.
    fn see(&mut self, frame: &Frame);
    /// The reply is over.
    fn end(self, end: &End);
}
