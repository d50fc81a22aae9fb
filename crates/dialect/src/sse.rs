//! Server-sent events: where one ends, and which text it carries. Bytes stay as they arrived.

use std::borrow::Cow;

use memchr::{memchr2, memchr2_iter};

/// The length of the first whole event in `bytes`, its blank line included. `from` is where to begin looking: what
/// came before it is known to hold no end.
///
/// Lines end in `\n` or `\r\n`, as every engine writes them, or in the bare `\r` that the standard also allows. Two
/// kinds in one blank line are only understood as `\n\r\n`.
pub fn event_end(bytes: &[u8], from: usize) -> Option<usize> {
    // an end may straddle the place where the last look stopped: `\n` before it, `\r\n` or `\n` after it
    let from = from.saturating_sub(2);
    for newline in memchr2_iter(b'\n', b'\r', &bytes[from..]).map(|at| at + from) {
        match bytes.get(newline + 1) {
            Some(b'\r') if bytes[newline] == b'\r' => return Some(newline + 2),
            _ if bytes[newline] == b'\r' => {}
            Some(b'\n') => return Some(newline + 2),
            Some(b'\r') if bytes.get(newline + 2) == Some(&b'\n') => return Some(newline + 3),
            _ => {}
        }
    }
    // an event may also begin with its blank line: nothing but line ends
    None
}

/// The fields of one event that anybody needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of its `event:` line, empty if it has none.
    pub name: &'a [u8],
    /// The text of its `data:` lines, joined by newlines; `None` if it has none (a comment).
    pub data: Option<Cow<'a, [u8]>>,
}

/// Takes one event apart.
pub fn read(event: &[u8]) -> Event<'_> {
    let mut found = Event::default();
    let mut rest = event;
    while !rest.is_empty() {
        // the `\n` of `\r\n` makes one more line, an empty one that says nothing
        let (line, next) = match memchr2(b'\n', b'\r', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        rest = next;
        if let Some(value) = field(line, b"data") {
            found.data = Some(match found.data.take() {
                None => Cow::Borrowed(value),
                Some(before) => {
                    let mut joined = before.into_owned();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                    Cow::Owned(joined)
                }
            });
        } else if let Some(value) = field(line, b"event") {
            found.name = value;
        }
    }
    found
}

/// The value of the first line with this field, for fields that are not the standard's.
pub(crate) fn value<'a>(event: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    event.split(|byte| matches!(byte, b'\n' | b'\r')).find_map(|line| field(line, name))
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(rest.strip_prefix(b" ").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_its_blank_line() {
        assert_eq!(event_end(b"data: 1\n\ndata", 0), Some(9));
        assert_eq!(event_end(b"data: 1\r\n\r\nx", 0), Some(11));
        assert_eq!(event_end(b"data: 1\n", 0), None);
        assert_eq!(event_end(b"data: 1\n\n", 8), Some(9));
        assert_eq!(event_end(b"data: 1\r\n\r\n", 10), Some(11));
        assert_eq!(event_end(b"data: 1\r\rdata", 0), Some(9));
        assert_eq!(event_end(b"event: a\rdata: 1\r", 0), None);
    }

    #[test]
    fn looking_again_from_where_the_last_look_stopped_finds_the_same_end() {
        for text in [
            &b"event: a\ndata: 1\n\n"[..],
            b"data: x\r\ndata: y\r\n\r\n",
            b": comment\n\n",
            b"event: a\rdata: 1\r\r",
        ] {
            for split in 0..text.len() {
                assert_eq!(event_end(&text[..split], 0), None, "{split}");
                assert_eq!(event_end(text, split), Some(text.len()), "{split}");
            }
        }
    }

    #[test]
    fn fields_are_found_with_or_without_a_space() {
        let event = read(b"event: message_stop\r\ndata:{\"a\":1}\r\n\r\n");
        assert_eq!(event.name, b"message_stop");
        assert_eq!(event.data.as_deref(), Some(&b"{\"a\":1}"[..]));
        assert_eq!(read(b"data: a\ndata: b\n\n").data.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(read(b": keep-alive\n\n").data, None);
        let event = read(b"event: message_stop\rdata: a\rdata: b\r\r");
        assert_eq!((event.name, event.data.as_deref()), (&b"message_stop"[..], Some(&b"a\nb"[..])));
    }
}
