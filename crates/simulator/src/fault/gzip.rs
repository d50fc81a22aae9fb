//! Gzip, as far as it takes to say something in it: stored blocks, and one run of a single byte.

use std::sync::LazyLock;

use bytes::Bytes;

const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|index| {
        (0..8).fold(index as u32, |value, _| (value >> 1) ^ (0xedb8_8320 & (value & 1).wrapping_neg()))
    })
});

/// What is being compressed, which here makes it a little longer.
#[derive(Debug)]
pub(super) struct Gzip {
    sum: u32,
    length: u32,
    begun: bool,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Gzip { sum: u32::MAX, length: 0, begun: false }
    }

    /// Some bytes, complete in themselves: whoever reads them has all of the text.
    pub(super) fn piece(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = self.head();
        for block in bytes.chunks(usize::from(u16::MAX)) {
            let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
            out.push(0);
            out.extend(length.to_le_bytes());
            out.extend((!length).to_le_bytes());
            out.extend_from_slice(block);
        }
        self.count(bytes);
        out.into()
    }

    /// The end.
    pub(super) fn end(&mut self) -> Bytes {
        let mut out = self.head();
        out.extend([1, 0, 0, 0xff, 0xff]);
        self.trailer(&mut out);
        out.into()
    }

    fn head(&mut self) -> Vec<u8> {
        if std::mem::replace(&mut self.begun, true) { Vec::new() } else { HEAD.to_vec() }
    }

    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = (self.sum >> 8) ^ TABLE[((self.sum ^ u32::from(*byte)) & 0xff) as usize];
        }
        self.length = self.length.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
    }

    fn trailer(&self, out: &mut Vec<u8>) {
        out.extend((!self.sum).to_le_bytes());
        out.extend(self.length.to_le_bytes());
    }
}

/// So many spaces, compressed to a hundred-and-sixtieth.
pub(super) fn spaces(count: usize) -> Bytes {
    let mut bits = Bits { out: HEAD.to_vec(), held: 0, count: 0 };
    // the last block, with the codes that need no table
    bits.low_first(0b011, 3);
    bits.high_first(0x30 + u32::from(b' '), 8);
    let mut left = count.saturating_sub(1);
    while left >= 258 {
        // as many bytes again as one code can repeat, from one byte back
        bits.high_first(0b1100_0101, 8);
        bits.high_first(0, 5);
        left -= 258;
    }
    for _ in 0..left {
        bits.high_first(0x30 + u32::from(b' '), 8);
    }
    bits.high_first(0, 7);
    let mut out = bits.finish();
    let mut sum = Gzip::new();
    let block = [b' '; 4_096];
    let mut left = count.max(1);
    while left > 0 {
        let now = left.min(block.len());
        sum.count(&block[..now]);
        left -= now;
    }
    sum.trailer(&mut out);
    out.into()
}

struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn low_first(&mut self, value: u32, count: u32) {
        for place in 0..count {
            self.push(value >> place & 1);
        }
    }

    fn high_first(&mut self, value: u32, count: u32) {
        for place in (0..count).rev() {
            self.push(value >> place & 1);
        }
    }

    fn push(&mut self, bit: u32) {
        self.held |= bit << self.count;
        self.count += 1;
        if self.count == 8 {
            self.out.push(self.held.to_le_bytes()[0]);
            (self.held, self.count) = (0, 0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.push(0);
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_everybody_uses() {
        let mut gzip = Gzip::new();
        let piece = gzip.piece(b"123456789");
        assert_eq!(piece[..10], HEAD);
        assert_eq!(piece[10..15], [0, 9, 0, 246, 255]);
        let end = gzip.end();
        assert_eq!(end[5..9], 0xcbf4_3926_u32.to_le_bytes());
        assert_eq!(end[9..], 9_u32.to_le_bytes());
    }

    #[test]
    fn a_bomb_is_small() {
        let bomb = spaces(1 << 20);
        assert!(bomb.len() < (1 << 20) / 150, "{}", bomb.len());
        assert_eq!(bomb[bomb.len() - 4..], (1_u32 << 20).to_le_bytes());
    }
}
