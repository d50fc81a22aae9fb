//! Text to token ids and back, losing nothing: 256 byte tokens under a vocabulary of common pieces.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::text::WORDS;

/// Ends a text.
pub(crate) const END: u32 = 2;
/// Opens a turn.
pub(crate) const TURN: u32 = 1;

/// The tokens that stand for no text of their own, in id order.
const SPECIAL: [&str; 7] =
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"];
/// Where the byte tokens begin.
const BYTES: usize = SPECIAL.len();

/// What text that is not prose is made of: JSON, Markdown, code.
const FRAGMENTS: &str = r#"": ": ", ", {" {" "} }, }} [" "] ], [{ }] }, ":{ ":[ ":" "," () (); // /* */ --- == != <= >= -> => :: && || ** ## ``` ... </ /> https:// http:// .com \n \" 00 000 10 19 20"#;
/// Beginnings and ends of words, for words that are not in the vocabulary.
const SYLLABLES: &str = "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke fr oo av ag if ap gr od bo sp rd do uc bu ei ov by rm ep tt oc fa ef cu rn sc gi da yo cr cl du ga qu ue ff ba ey ls va um pp ua up lu go ht ru ug ds lt pi rc rr eg au ck ew mu br bi pt ak pu ui rg ib tl ny ki rk ys ob mm fu ph og ms ye ud mb ip ub oi rl gu dr hr cc tw ft wn nu af hu nn eo vo rv nf xp gn sm fl iz ok nl my gl aw ju oa eq sy sl ps jo lf nv je nk kn gs dy hy ze ks xt bs ik dd pt rp sk xi oe oy ws lv dl rf eu dg wr xa yi nm eb rb tm xc eh tc gy ja hn yp za gg ym sw bj lm cs ii ix xe oh lk dv lp ax ox uf dm iu sf bt ka yt ek pm ya gt wl rh yl hs ah yc yb rw hw cy dw ox ing ion ent tion ment able ness ight ould ally ated ting ation";

struct Node {
    /// Sorted by byte.
    next: Vec<(u8, u32)>,
    token: Option<u32>,
}

struct Vocabulary {
    pieces: Vec<Box<[u8]>>,
    nodes: Vec<Node>,
    longest: usize,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::build);

impl Vocabulary {
    fn build() -> Self {
        let mut pieces: Vec<Box<[u8]>> = SPECIAL.iter().map(|name| name.as_bytes().into()).collect();
        pieces.extend((0..=u8::MAX).map(|byte| Box::from([byte])));
        let mut known: HashSet<Box<[u8]>> = pieces[BYTES..].iter().cloned().collect();
        let mut add = |piece: &str| {
            let piece: Box<[u8]> = piece.as_bytes().into();
            if known.insert(piece.clone()) {
                pieces.push(piece);
            }
        };
        for word in WORDS.split_ascii_whitespace() {
            let capital = word[..1].to_ascii_uppercase() + &word[1..];
            for piece in [word, &capital] {
                add(piece);
                add(&format!(" {piece}"));
            }
        }
        for piece in FRAGMENTS.split_ascii_whitespace().chain(SYLLABLES.split_ascii_whitespace()) {
            add(piece);
        }
        for syllable in SYLLABLES.split_ascii_whitespace().filter(|piece| piece.len() == 2) {
            add(&format!(" {syllable}"));
        }
        for letter in 'a'..='z' {
            add(&format!(" {letter}"));
            add(&format!(" {}", letter.to_ascii_uppercase()));
        }
        for spaces in [2, 3, 4, 8, 16] {
            add(&" ".repeat(spaces));
        }
        for piece in ["\": \"", "\", \"", "\n\n", "\n  ", "\n    ", ". The", " \"", ", ", ": "] {
            add(piece);
        }
        let mut vocabulary =
            Vocabulary { pieces, nodes: vec![Node { next: Vec::new(), token: None }], longest: 0 };
        for id in BYTES..vocabulary.pieces.len() {
            vocabulary.insert(id);
        }
        vocabulary
    }

    fn insert(&mut self, id: usize) {
        let piece = self.pieces[id].clone();
        self.longest = self.longest.max(piece.len());
        let mut at = 0_usize;
        for byte in &piece {
            let place = self.nodes[at].next.binary_search_by_key(byte, |(byte, _)| *byte);
            at = match place {
                Ok(found) => self.nodes[at].next[found].1 as usize,
                Err(place) => {
                    let new = self.nodes.len();
                    self.nodes.push(Node { next: Vec::new(), token: None });
                    self.nodes[at].next.insert(place, (*byte, u32::try_from(new).unwrap_or(0)));
                    new
                }
            };
        }
        self.nodes[at].token = u32::try_from(id).ok();
    }

    /// The longest piece that `bytes` begins with.
    fn longest_prefix(&self, bytes: &[u8]) -> (u32, usize) {
        let (mut at, mut best) = (0_usize, (BYTES as u32 + u32::from(bytes[0]), 1));
        for (depth, byte) in bytes.iter().enumerate() {
            let node = &self.nodes[at];
            let Ok(found) = node.next.binary_search_by_key(byte, |(byte, _)| *byte) else { break };
            at = node.next[found].1 as usize;
            if let Some(token) = self.nodes[at].token {
                best = (token, depth + 1);
            }
        }
        best
    }
}

/// The tokens of a text, each with the byte offset at which it ends.
pub(crate) fn with_ends(text: &str) -> impl Iterator<Item = (u32, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.as_bytes().get(at..).filter(|rest| !rest.is_empty())?;
        let (token, length) = VOCABULARY.longest_prefix(rest);
        at += length;
        Some((token, at))
    })
}

/// The tokens of a text.
pub(crate) fn encode(text: &str) -> Vec<u32> {
    with_ends(text).map(|(token, _)| token).collect()
}

/// How many tokens a text has.
pub(crate) fn count(text: &str) -> usize {
    with_ends(text).count()
}

/// The text of some tokens. Ids that are none yield nothing; bytes that make no text are replaced.
pub(crate) fn decode(tokens: &[u32]) -> String {
    let mut bytes = Vec::with_capacity(tokens.len() * 4);
    for token in tokens {
        bytes.extend_from_slice(piece(*token));
    }
    String::from_utf8(bytes).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}

/// One token's text, as it is shown.
pub(crate) fn name(token: u32) -> String {
    String::from_utf8_lossy(piece(token)).into_owned()
}

fn piece(token: u32) -> &'static [u8] {
    VOCABULARY.pieces.get(token as usize).map_or(&[], |piece| piece)
}

/// How many tokens there are.
pub(crate) fn vocabulary() -> u32 {
    u32::try_from(VOCABULARY.pieces.len()).unwrap_or(u32::MAX)
}

/// The first token that is not special.
pub(crate) fn first_plain() -> u32 {
    BYTES as u32
}

/// The most characters that one token can stand for.
pub(crate) fn longest_piece() -> usize {
    VOCABULARY.longest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_prose_takes_about_one_token_a_word() {
        let text = "The gateway checks the queue before it answers the next request.";
        let words = text.split(' ').count();
        assert!(encode(text).len() <= words + 3, "{} tokens", encode(text).len());
    }

    #[test]
    fn a_special_token_in_a_text_is_only_text() {
        assert!(!encode("<|im_end|>").contains(&END));
        assert_eq!(decode(&encode("<|im_end|>")), "<|im_end|>");
    }

    #[test]
    fn an_id_beyond_the_vocabulary_is_nothing() {
        assert_eq!(decode(&[99_999_999]), "");
    }

    proptest! {
        #[test]
        fn every_text_survives_the_round_trip(text in "\\PC{0,200}") {
            prop_assert_eq!(decode(&encode(&text)), text);
        }

        #[test]
        fn the_ends_of_the_tokens_cover_the_text(text in any::<String>()) {
            let ends: Vec<_> = with_ends(&text).collect();
            prop_assert_eq!(ends.last().map_or(0, |(_, end)| *end), text.len());
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 < pair[1].1));
        }
    }
}
