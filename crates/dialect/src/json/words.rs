//! Skipping what is of no interest, eight bytes at a time and, on long runs, sixty-four.
//!
//! A word holds eight bytes, the first in its lowest bits. The tests below set the top bit of every byte that is
//! wanted; above the first such byte a borrow may set bits that mean nothing, so only the lowest one is ever used.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Words looked at before sixty-four bytes at a time are worth their set-up.
const WORDS_BEFORE_BLOCKS: usize = 8;

/// The first byte at or after `from` that is a quote, a backslash or a control character; `text.len()` if none is.
#[inline(always)]
pub(super) fn string_stop(text: &[u8], from: usize) -> usize {
    let Some((near, _)) = text.get(from..).and_then(<[u8]>::split_first_chunk::<16>) else {
        return far_string_stop(text, from);
    };
    // most strings are names and words: they end right here
    let (words, _) = near.as_chunks();
    for (place, word) in words.iter().enumerate() {
        let hits = string_stops(u64::from_le_bytes(*word));
        if hits != 0 {
            return from + place * 8 + first(hits);
        }
    }
    far_string_stop(text, from + near.len())
}

#[inline(never)]
fn far_string_stop(text: &[u8], from: usize) -> usize {
    find(text, from, string_stops, |byte| (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
}

/// The first byte at or after `from` that may be a quote or a bracket of any kind; `text.len()` if none is.
///
/// `_`, `Y`, `y` and DEL are found too: one mask catches the four brackets and these, and outside of strings JSON
/// has none of them.
#[inline]
pub(super) fn bracket_stop(text: &[u8], from: usize) -> usize {
    find(
        text,
        from,
        |word| below(word ^ every(b'"'), word, 1) | below((word | every(0x26)) ^ every(0x7f), word, 1),
        |byte| (byte == b'"') | ((byte | 0x26) == 0x7f),
    )
}

/// The first quote at or after `from` behind which one of these letters stands; `text.len()` if there is none.
#[inline]
pub(crate) fn quoted(text: &[u8], from: usize, initials: [u8; 3]) -> usize {
    let mut rest = text.get(from..).unwrap_or_default();
    while any_quoted::<32>(rest, initials) == Some(false) {
        rest = &rest[32..];
    }
    if any_quoted::<16>(rest, initials) == Some(false) {
        rest = &rest[16..];
    }
    let place = rest.windows(2).position(|pair| pair[0] == b'"' && initials.contains(&pair[1]));
    text.len() - rest.len() + place.unwrap_or(rest.len())
}

/// Whether one of the first so many bytes is such a quote. `None` if the text is too short to tell.
#[inline(always)]
fn any_quoted<const N: usize>(text: &[u8], [one, two, three]: [u8; 3]) -> Option<bool> {
    let quotes = text.first_chunk::<N>()?;
    let letters = text[1..].first_chunk::<N>()?;
    // branchless, so that the compiler makes vector instructions of it
    let is_initial = |letter: u8| (letter == one) | (letter == two) | (letter == three);
    let pairs = quotes.iter().zip(letters);
    Some(pairs.fold(false, |any, (quote, letter)| any | (*quote == b'"') & is_initial(*letter)))
}

#[inline(always)]
fn string_stops(word: u64) -> u64 {
    // this bit turned over, the quote and nothing else stands right behind the control characters
    below(word ^ every(b'"' ^ 0x20), word, 0x21) | below(word ^ every(b'\\'), word, 1)
}

/// `word_test` sets the top bit of wanted bytes, `byte_test` says the same of one byte. Both must be branchless: the
/// compiler turns the block loop into vector instructions then.
#[inline(always)]
fn find(text: &[u8], from: usize, word_test: impl Fn(u64) -> u64, byte_test: impl Fn(u8) -> bool) -> usize {
    let mut rest = text.get(from..).unwrap_or_default();
    loop {
        for _ in 0..WORDS_BEFORE_BLOCKS {
            let Some((word, after)) = rest.split_first_chunk::<8>() else {
                let tail = rest.iter().position(|byte| byte_test(*byte)).unwrap_or(rest.len());
                return text.len() - rest.len() + tail;
            };
            let hits = word_test(u64::from_le_bytes(*word));
            if hits != 0 {
                return text.len() - rest.len() + first(hits);
            }
            rest = after;
        }
        while let Some((block, after)) = rest.split_first_chunk::<64>() {
            if block.iter().fold(false, |any, byte| any | byte_test(*byte)) {
                break;
            }
            rest = after;
        }
    }
}

/// Which byte the first hit is.
#[inline(always)]
const fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// Eight times this byte.
const fn every(byte: u8) -> u64 {
    ONES * byte as u64
}

/// Bytes of `turned` smaller than `limit`, which must not be above 128. What was turned over of `word`, if anything,
/// must not be top bits: then one look at those of `word` does for all tests of it.
#[inline(always)]
const fn below(turned: u64, word: u64, limit: u8) -> u64 {
    turned.wrapping_sub(every(limit)) & !word & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_string_stop(byte: u8) -> bool {
        byte < 0x20 || byte == b'"' || byte == b'\\'
    }

    fn first_quoted(text: &[u8], from: usize) -> usize {
        let is_stop =
            |at: &usize| text[*at] == b'"' && text.get(at + 1).is_some_and(|next| b"uef".contains(next));
        (from..text.len()).find(is_stop).unwrap_or(text.len())
    }

    fn is_bracket_stop(byte: u8) -> bool {
        matches!(byte, b'"' | b'[' | b']' | b'{' | b'}' | b'_' | b'y' | b'Y' | 0x7f)
    }

    /// Every search finds what a plain loop finds.
    fn agrees(text: &[u8], from: usize) {
        let plain = |is: fn(u8) -> bool| (from..text.len()).find(|i| is(text[*i])).unwrap_or(text.len());
        assert_eq!(string_stop(text, from), plain(is_string_stop), "string in {text:?} from {from}");
        assert_eq!(bracket_stop(text, from), plain(is_bracket_stop), "bracket in {text:?} from {from}");
    }

    #[test]
    fn every_byte_is_judged_alike_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..200 {
                let mut text = vec![b'1'; 200];
                text[place] = byte;
                agrees(&text, 0);
            }
        }
    }

    proptest! {
        #[test]
        fn quoted_initials_are_found_as_a_plain_loop_finds_them(
            text in prop::collection::vec(prop_oneof![20 => b'a'..=b'z', 3 => Just(b'"'), 1 => any::<u8>()], 0..200),
            from in 0usize..220,
        ) {
            prop_assert_eq!(quoted(&text, from, *b"uef"), first_quoted(&text, from));
        }

        #[test]
        fn the_first_stop_is_found_as_a_plain_loop_finds_it(
            text in prop::collection::vec(prop_oneof![20 => b'0'..=b'9', 20 => 0x80..=0xffu8, 1 => any::<u8>()], 0..400),
            from in 0usize..420,
        ) {
            agrees(&text, from);
        }
    }
}
