//! One message of a transcript.

use crate::wire;

/// One side of a call: what stands on its marker line, its headers, its body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Side {
    /// `POST /v1/chat/completions` of a request, `200 application/json` of a reply. One line, without blanks
    /// at either end.
    pub head: String,
    /// Header fields in order. Names are tokens, values have no blanks at either end.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl Side {
    /// A side without headers.
    pub fn new(head: &str, body: impl AsRef<[u8]>) -> Side {
        Side { head: head.to_owned(), headers: Vec::new(), body: body.as_ref().to_vec() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Side {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The first value of a header, any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::find(&self.headers, name)
    }

    /// The method of a request.
    ///
    /// # Panics
    /// When the head has none.
    pub fn method(&self) -> &str {
        self.words().0
    }

    /// The target of a request: path and query, or a whole URL.
    ///
    /// # Panics
    /// When the head has none.
    pub fn target(&self) -> &str {
        let target = self.words().1;
        assert!(!target.is_empty(), "a request's head is a method and a target, not {:?}", self.head);
        target
    }

    /// The status of a reply.
    ///
    /// # Panics
    /// When the head does not begin with one.
    pub fn status(&self) -> u16 {
        let status = self.words().0;
        status.parse().unwrap_or_else(|_| panic!("a reply's head begins with a status, not {:?}", self.head))
    }

    /// The content type of a reply: what follows the status on its marker line, or the header.
    pub fn content_type(&self) -> Option<&str> {
        Some(self.words().1).filter(|kind| !kind.is_empty()).or_else(|| self.header("content-type"))
    }

    fn words(&self) -> (&str, &str) {
        let (first, rest) = self.head.split_once(' ').unwrap_or((&self.head, ""));
        (first, rest.trim())
    }
}
