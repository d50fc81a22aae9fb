//! Ways to cut bytes into pieces, for tests that say "any chunking, same result".

use std::fmt;

/// One way to cut bytes; prints as its name, so that a failing test can say which way failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutting<'a> {
    /// Which way this is, such as `split at 7` or `random, seed 3`.
    pub name: String,
    /// The pieces in order; joined, they are the bytes that were cut.
    pub pieces: Vec<&'a [u8]>,
}

impl fmt::Display for Cutting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One byte at a time.
pub fn single_bytes(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}

/// Pieces of `size` bytes; the last may be shorter.
///
/// # Panics
/// When `size` is 0.
pub fn pieces_of(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    assert!(size > 0, "pieces of 0 bytes never end");
    bytes.chunks(size).collect()
}

/// Cut at the given offsets; offsets that are 0, past the end, or repeated cut nothing.
pub fn at<'a>(bytes: &'a [u8], offsets: &[usize]) -> Vec<&'a [u8]> {
    let mut offsets: Vec<usize> =
        offsets.iter().copied().filter(|&offset| offset > 0 && offset < bytes.len()).collect();
    offsets.sort_unstable();
    offsets.dedup();
    let mut pieces = Vec::with_capacity(offsets.len() + 1);
    let mut start = 0;
    for offset in offsets {
        pieces.push(&bytes[start..offset]);
        start = offset;
    }
    if start < bytes.len() {
        pieces.push(&bytes[start..]);
    }
    pieces
}

/// Two pieces, once for every position between two bytes.
pub fn every_split(bytes: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
    (1..bytes.len()).map(|position| {
        let (left, right) = bytes.split_at(position);
        [left, right]
    })
}

/// Pieces of pseudo-random sizes; the same seed always gives the same pieces. Small sizes and large ones (up
/// to a third of the bytes) are both common, so that neighbouring cuts and long pieces occur.
pub fn random(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut numbers = Random::seeded(seed);
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let largest = [1, 2, 4, 16, bytes.len().div_ceil(3)][numbers.below(5)];
        let size = (1 + numbers.below(largest)).min(rest.len());
        let (piece, after) = rest.split_at(size);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Every way there is: 2 to the power of (length − 1) of them.
///
/// # Panics
/// With more than 20 bytes, which would be over half a million ways; use [`battery`] for those.
pub fn all_ways(bytes: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    assert!(bytes.len() <= 20, "{} bytes can be cut in too many ways to try all", bytes.len());
    (0..1u32 << bytes.len().saturating_sub(1)).map(move |mask| {
        let offsets: Vec<usize> =
            (1..bytes.len()).filter(|position| mask >> (position - 1) & 1 == 1).collect();
        at(bytes, &offsets)
    })
}

/// The usual set: whole, single bytes, single bytes with empty pieces between, a few fixed sizes, a split at
/// every position, and `seeds` random ways.
pub fn battery(bytes: &[u8], seeds: u64) -> impl Iterator<Item = Cutting<'_>> {
    let whole = if bytes.is_empty() { Vec::new() } else { vec![bytes] };
    let with_empty = bytes.chunks(1).flat_map(|piece| [&[][..], piece]).chain([&[][..]]).collect();
    let fixed = [
        ("whole".to_owned(), whole),
        ("single bytes".to_owned(), single_bytes(bytes)),
        ("single bytes and empty pieces".to_owned(), with_empty),
    ];
    let sizes = [2, 3, 7, 37, 1000].map(|size| (format!("pieces of {size}"), pieces_of(bytes, size)));
    let splits =
        every_split(bytes).enumerate().map(|(at, two)| (format!("split at {}", at + 1), two.to_vec()));
    let random = (0..seeds).map(move |seed| (format!("random, seed {seed}"), random(bytes, seed)));
    fixed.into_iter().chain(sizes).chain(splits).chain(random).map(|(name, pieces)| Cutting { name, pieces })
}

/// A small deterministic source of numbers (SplitMix64, Steele et al. 2014), for seeded tests.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed always gives the same numbers.
    pub fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number, any of 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number in `0..limit`.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        assert!(limit > 0, "no number is below 0");
        usize::try_from(self.number() % limit as u64).expect("it is below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TEXT: &[u8] = b"data: {\"id\":1}\r\n\r\ndata: [DONE]\n\n";

    #[test]
    fn every_cutting_joins_to_what_was_cut() {
        for bytes in [TEXT, b"", b"x"] {
            let mut names = BTreeSet::new();
            for cutting in battery(bytes, 50) {
                assert_eq!(cutting.pieces.concat(), bytes, "{cutting}");
                assert!(names.insert(cutting.name.clone()), "{cutting} occurs twice");
            }
            assert_eq!(names.len(), 58 + bytes.len().saturating_sub(1));
        }
    }

    #[test]
    fn all_ways_are_all_and_different() {
        let ways: BTreeSet<Vec<&[u8]>> = all_ways(b"abcdefgh").collect();
        assert_eq!(ways.len(), 128);
        assert!(
            ways.iter().all(|way| way.concat() == b"abcdefgh" && way.iter().all(|piece| !piece.is_empty()))
        );
        assert_eq!(all_ways(b"").collect::<Vec<_>>(), [Vec::<&[u8]>::new()]);
    }

    #[test]
    fn a_seed_is_a_way_of_its_own_and_stays_it() {
        assert_eq!(random(TEXT, 7), random(TEXT, 7));
        let ways: BTreeSet<_> = (0..50).map(|seed| random(TEXT, seed)).collect();
        assert!(ways.len() > 40, "{} of 50 seeds differ", ways.len());
    }

    #[test]
    fn cuts_fall_where_they_were_asked_for() {
        assert_eq!(at(b"abcdef", &[4, 2, 2, 0, 6, 9]), [&b"ab"[..], b"cd", b"ef"]);
        assert_eq!(every_split(b"abc").collect::<Vec<_>>(), [[&b"a"[..], b"bc"], [b"ab", b"c"]]);
        assert_eq!(pieces_of(b"abcde", 2), [&b"ab"[..], b"cd", b"e"]);
    }
}
