//! Server-sent events as a test wants to see them: every block, comments kept, nothing tidied away.
//!
//! Follows the event-stream grammar of the HTML standard (§9.2.6), with two differences that tests need:
//! a block without data is an [`Event`] too, and an unfinished last block is kept and marked.

use std::ops::Range;

/// One block of an event stream: the lines up to and including a blank line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The last `event:` field.
    pub name: Option<String>,
    /// The `data:` fields joined by line feeds; `None` when there is none, as in a comment.
    pub data: Option<String>,
    /// The last `id:` field.
    pub id: Option<String>,
    /// The last `retry:` field, as written.
    pub retry: Option<String>,
    /// Lines that begin with a colon, without it and one following space.
    pub comments: Vec<String>,
    /// Fields that the grammar does not know, as written.
    pub unknown: Vec<String>,
    /// Whether the blank line that ends the block has arrived. A browser drops a block without it.
    pub complete: bool,
    /// Where the block stands in the body.
    pub range: Range<usize>,
}

impl Event {
    /// The data as JSON.
    ///
    /// # Panics
    /// When there is no data or it is not JSON; the message shows the event.
    pub fn json(&self) -> serde_json::Value {
        let data = self.data.as_deref().unwrap_or_else(|| panic!("an event without data: {self:?}"));
        serde_json::from_str(data).unwrap_or_else(|error| panic!("data that is not JSON ({error}): {data:?}"))
    }

    /// Whether this is the terminal marker of OpenAI's dialects, `data: [DONE]`.
    pub fn is_done(&self) -> bool {
        self.data.as_deref() == Some("[DONE]")
    }

    /// Whether the block holds comments and nothing else, as a keep-alive does.
    pub fn is_comment(&self) -> bool {
        let fields = [&self.name, &self.data, &self.id, &self.retry];
        !self.comments.is_empty() && self.unknown.is_empty() && fields.iter().all(|field| field.is_none())
    }
}

/// All blocks of `body`. Blank lines between blocks are no events.
pub fn parse(body: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut scan = Scan::default();
    while let Some(event) = scan.next(body, true) {
        events.push(event);
    }
    events
}

/// Reads blocks from a body that is still growing: always hand it the whole body so far.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Where the next block begins.
    start: usize,
    /// The beginning of the line that may be the blank one; before it no block ends.
    looked: usize,
    /// Before this offset that line does not end, so that a huge event is not searched again and again.
    searched: usize,
}

impl Scan {
    /// The next block; `None` when it is not whole yet, or when nothing is left at the end.
    pub(crate) fn next(&mut self, body: &[u8], ended: bool) -> Option<Event> {
        if self.start == 0 && body.starts_with(b"\xef\xbb\xbf") {
            self.start = 3;
        }
        loop {
            self.looked = self.looked.max(self.start);
            let Some(end) = self.block_end(body, ended) else {
                let rest = self.start..body.len();
                if !ended || rest.is_empty() {
                    return None;
                }
                self.start = body.len();
                return Some(read(body, rest, false));
            };
            let block = self.start..end;
            self.start = end;
            self.looked = end;
            let bytes = &body[block.clone()];
            if bytes.iter().any(|byte| !b"\r\n".contains(byte)) {
                return Some(read(body, block, true));
            }
        }
    }

    /// The end of the first blank line at or after `start`, remembering how far it looked.
    fn block_end(&mut self, body: &[u8], ended: bool) -> Option<usize> {
        let mut line = self.looked;
        loop {
            let from = self.searched.max(line);
            let Some(found) = body[from..].iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
                self.searched = body.len();
                return None;
            };
            let stop = from + found;
            let next = match (body[stop], body.get(stop + 1)) {
                (b'\r', Some(b'\n')) => stop + 2,
                // A line feed may still follow the carriage return.
                (b'\r', None) if !ended => return None,
                _ => stop + 1,
            };
            if stop == line {
                return Some(next);
            }
            line = next;
            self.looked = line;
        }
    }
}

fn read(body: &[u8], range: Range<usize>, complete: bool) -> Event {
    let text = String::from_utf8_lossy(&body[range.clone()]).replace("\r\n", "\n").replace('\r', "\n");
    let mut event = Event { complete, range, ..Event::default() };
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            "" => event.comments.push(value),
            "event" => event.name = Some(value),
            "id" => event.id = Some(value),
            "retry" => event.retry = Some(value),
            "data" => match &mut event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                none => *none = Some(value),
            },
            _ => event.unknown.push(line.to_owned()),
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks;

    const STREAM: &[u8] =
        b": hi\n\nevent: message_start\ndata: {\"a\":1}\n\ndata: one\r\ndata:  two\r\nid: 7\r\n\r\n\
        data\r\rretry: 9\nodd: 1\n\n\n\ndata: [DONE]\n\ndata: cut";

    #[test]
    fn every_field_and_comment_is_kept() {
        let events = parse(STREAM);
        assert_eq!(events.len(), 7, "{events:#?}");
        assert!(events[0].is_comment());
        assert_eq!(events[0].comments, ["hi"]);
        assert_eq!(events[1].name.as_deref(), Some("message_start"));
        assert_eq!(events[1].json()["a"], 1);
        assert_eq!(events[2].data.as_deref(), Some("one\n two"));
        assert_eq!(events[2].id.as_deref(), Some("7"));
        assert_eq!(events[3].data.as_deref(), Some(""));
        assert_eq!(events[4].retry.as_deref(), Some("9"));
        assert_eq!(events[4].unknown, ["odd: 1"]);
        assert!(events[5].is_done() && events[5].complete);
        assert_eq!((events[6].data.as_deref(), events[6].complete), (Some("cut"), false));
    }

    #[test]
    fn a_growing_body_gives_the_same_events() {
        let expected = parse(STREAM);
        for cutting in chunks::battery(STREAM, 30) {
            let (mut scan, mut body, mut events) = (Scan::default(), Vec::new(), Vec::new());
            for piece in &cutting.pieces {
                body.extend_from_slice(piece);
                while let Some(event) = scan.next(&body, false) {
                    events.push(event);
                }
            }
            while let Some(event) = scan.next(&body, true) {
                events.push(event);
            }
            assert_eq!(events, expected, "{cutting}");
        }
    }

    #[test]
    fn an_event_is_seen_as_soon_as_its_blank_line_is() {
        let mut scan = Scan::default();
        assert_eq!(scan.next(b"data: a\n", false), None);
        assert_eq!(scan.next(b"data: a\n\n", false).unwrap().data.as_deref(), Some("a"));
        assert_eq!(scan.next(b"data: a\n\n", true), None);
    }
}
