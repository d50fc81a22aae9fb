//! Counting the events of a stream as its bytes go by.

use memchr::{memchr_iter, memmem};

/// Counts events with data, and notices the marker that ends a stream.
#[derive(Clone, Debug)]
pub struct EventCount {
    marker: Option<&'static [u8]>,
    /// Enough of what went by to find a marker that was cut.
    tail: Vec<u8>,
    at_line_start: bool,
    /// Events so far.
    pub events: u64,
    /// Whether the marker has come.
    pub ended: bool,
}

impl EventCount {
    /// Counts a stream that ends with this marker. Without one nothing is counted.
    pub fn new(marker: Option<&'static [u8]>) -> EventCount {
        EventCount { marker, tail: Vec::new(), at_line_start: true, events: 0, ended: marker.is_none() }
    }

    /// The next piece of the body.
    pub fn look(&mut self, piece: &[u8]) {
        let Some(marker) = self.marker else { return };
        // of all fields of an event only `data` begins with a d
        let data = |at: usize| u64::from(piece.get(at) == Some(&b'd'));
        if self.at_line_start {
            self.events += data(0);
        }
        self.events += memchr_iter(b'\n', piece).map(|at| data(at + 1)).sum::<u64>();
        if let Some(last) = piece.last() {
            self.at_line_start = *last == b'\n';
        }
        if !self.ended {
            self.look_for(marker, piece);
        }
    }

    fn look_for(&mut self, marker: &[u8], piece: &[u8]) {
        let overlap = marker.len() - 1;
        self.tail.extend_from_slice(&piece[..piece.len().min(overlap)]);
        self.ended = memmem::find(&self.tail, marker).is_some() || memmem::find(piece, marker).is_some();
        if piece.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            let excess = self.tail.len().saturating_sub(overlap);
            self.tail.drain(..excess);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_the_stream_is_cut() {
        let text = b": keep-alive\n\ndata: {\"delta\":\"d\"}\n\nevent: x\ndata: 2\n\ndata: [DONE]\n\n";
        for size in 1..text.len() {
            let mut count = EventCount::new(Some(b"data: [DONE]"));
            for (at, piece) in text.chunks(size).enumerate() {
                assert!(!count.ended || at > 0);
                count.look(piece);
            }
            assert_eq!((count.events, count.ended), (3, true), "in pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_its_marker_has_not_ended() {
        let mut count = EventCount::new(Some(b"data: [DONE]"));
        count.look(b"data: 1\n\ndata: [DON");
        assert!(!count.ended);
        count.look(b"'T]\n\n");
        assert!(!count.ended);
    }
}
