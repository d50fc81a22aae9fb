//! Header fields that many requests have in common, written out once.

use std::{fmt, sync::Arc};

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

/// Header fields that every request to an upstream begins with. Cloning shares them.
#[derive(Clone)]
pub struct Fields(Arc<Inner>);

struct Inner {
    map: HeaderMap,
    /// As they stand in a request's head.
    text: Vec<u8>,
}

impl Fields {
    /// Writes these fields out. What is the pool's own business (`host`, the framing) is left out.
    pub fn new(map: HeaderMap) -> Fields {
        let mut text = Vec::new();
        for (name, value) in map.iter().filter(|(name, _)| !belongs_to_the_pool(name)) {
            field(&mut text, name, value.as_bytes());
        }
        Fields(Arc::new(Inner { map, text }))
    }

    /// The fields.
    pub fn map(&self) -> &HeaderMap {
        &self.0.map
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.0.text
    }
}

/// Without the text, in which a key would stand readable.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map.fmt(f)
    }
}

/// Whether a field is about the connection, or the framing of the body that is really sent.
pub(crate) fn belongs_to_the_pool(name: &HeaderName) -> bool {
    matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION)
}

/// Appends one field.
pub(crate) fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for piece in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}
