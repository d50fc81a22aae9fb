//! The head of a scripted reply as it goes on the wire.

use super::{Delimiting, Reply, Step};
use crate::wire;

impl Reply {
    /// The bytes that the steps write, endless ones not counted.
    pub(crate) fn written(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Write(bytes) = step { bytes.len() } else { 0 }).sum()
    }

    /// The head as it goes on the wire; `None` for a verbatim reply.
    pub(crate) fn head(&self, close: bool) -> Option<String> {
        if self.delimiting == Delimiting::Verbatim {
            return None;
        }
        let reason = self.reason.as_deref().or_else(|| {
            let status = http::StatusCode::from_u16(self.status).ok()?;
            status.canonical_reason()
        });
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or_default());
        let mut field = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if let Some(content_type) = &self.content_type {
            field("content-type", content_type);
        }
        self.headers.iter().for_each(|(name, value)| field(name, value));
        match self.delimiting {
            Delimiting::Length if wire::bodiless(self.status) => {}
            Delimiting::Length => field("content-length", &self.written().to_string()),
            Delimiting::Declared(length) => field("content-length", &length.to_string()),
            Delimiting::Chunked => field("transfer-encoding", "chunked"),
            Delimiting::UntilClose | Delimiting::Verbatim => {}
        }
        if close || self.closing {
            field("connection", "close");
        }
        head.push_str("\r\n");
        Some(head)
    }
}
