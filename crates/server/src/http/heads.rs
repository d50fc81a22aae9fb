//! Request heads in the bytes of an HTTP/2 connection: since when one is arriving.
//!
//! h2 bounds how long a head may be, not how long it may take. Its frames are counted here as they come in (RFC 9113,
//! 4.1, 6.2, 6.10), nothing in them is decoded.

use tokio::time::Instant;

/// What a client sends first.
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Length, type, flags, stream.
const FRAME_HEAD: usize = 9;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of one connection.
pub(super) struct Heads {
    /// Bytes of the present frame, or of the preface, still to come.
    left: usize,
    /// The beginning of the next frame, as far as it is here.
    frame: [u8; FRAME_HEAD],
    got: usize,
    /// Whether the end of the present frame is the end of a head.
    ends: bool,
    since: Option<Instant>,
}

impl Heads {
    /// At the beginning of a connection, before its preface.
    pub(super) fn new() -> Heads {
        Heads { left: PREFACE.len(), frame: [0; FRAME_HEAD], got: 0, ends: false, since: None }
    }

    /// Takes note of the bytes that came now.
    pub(super) fn hear(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let some = self.left.min(bytes.len());
                self.left -= some;
                bytes = &bytes[some..];
            } else {
                let some = (FRAME_HEAD - self.got).min(bytes.len());
                self.frame[self.got..self.got + some].copy_from_slice(&bytes[..some]);
                self.got += some;
                bytes = &bytes[some..];
                if self.got < FRAME_HEAD {
                    return;
                }
                self.begin(now);
            }
            if self.left == 0 && std::mem::take(&mut self.ends) {
                self.since = None;
            }
        }
    }

    fn begin(&mut self, now: Instant) {
        let [a, b, c, kind, flags, ..] = self.frame;
        self.got = 0;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.since.get_or_insert(now);
            self.ends = flags & END_HEADERS != 0;
        }
    }

    /// Since when a head is arriving, if one is.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn a_head_arrives_from_its_first_frame_to_the_end_of_its_last() {
        let parts: [(Vec<u8>, bool); 8] = [
            (PREFACE.to_vec(), false),
            (frame(0x4, 0, &[0; 12]), false),
            (frame(HEADERS, 0, b"abc"), true),
            (frame(CONTINUATION, 0, b"de"), true),
            (frame(CONTINUATION, END_HEADERS, b""), false),
            (frame(HEADERS, END_HEADERS | 0x1, b"abc"), false),
            (frame(0x0, 0x1, &[7; 300]), false),
            (frame(HEADERS, END_HEADERS, b"x"), false),
        ];
        for piece in [1, 2, 9, 10, 1000] {
            let mut heads = Heads::new();
            for (bytes, open) in &parts {
                for piece in bytes.chunks(piece) {
                    heads.hear(piece, Instant::now());
                }
                assert_eq!(heads.since().is_some(), *open, "{piece}: {bytes:?}");
            }
        }
    }

    #[test]
    fn the_clock_of_a_head_is_not_wound_up_again() {
        let (mut heads, began) = (Heads::new(), Instant::now());
        heads.hear(&PREFACE, began);
        heads.hear(&frame(HEADERS, 0, b"abc"), began);
        heads.hear(&frame(CONTINUATION, 0, b"abc"), began + std::time::Duration::from_secs(5));
        assert_eq!(heads.since(), Some(began));
    }
}
