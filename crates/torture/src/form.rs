//! Forms with a file, as clients of speech routes send them.

use bytes::Bytes;

const BOUNDARY: &str = "the-wall-1d0c7e5b";

/// The media type of these forms.
pub(crate) const KIND: &str = "multipart/form-data; boundary=the-wall-1d0c7e5b";

/// A file that is read whole with its form, and one that is not: our own gateway keeps a mebibyte in memory.
const SMALL: usize = 2 << 10;
const LARGE: usize = 5 << 18;

/// What a form is like.
pub(crate) struct Form<'a> {
    pub(crate) model: &'a str,
    /// Whether the model stands behind the file.
    pub(crate) behind: bool,
    /// The other fields, all of them before the file.
    pub(crate) texts: Vec<(&'a str, &'a str)>,
    /// Whether the file is a large one.
    pub(crate) large: bool,
    /// What the file is made from.
    pub(crate) words: &'a str,
}

/// Writes a form.
pub(crate) fn write(asked: &Form<'_>) -> Bytes {
    let length = if asked.large { LARGE } else { SMALL };
    let mut form = Vec::with_capacity(length + 1_024);
    if !asked.behind {
        text(&mut form, "model", asked.model);
    }
    for (name, value) in &asked.texts {
        text(&mut form, name, value);
    }
    let head =
        "content-disposition: form-data; name=\"file\"; filename=\"wall.mp3\"\r\ncontent-type: audio/mpeg";
    form.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
    form.extend(noise(asked.words).take(length));
    form.extend_from_slice(b"\r\n");
    if asked.behind {
        text(&mut form, "model", asked.model);
    }
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form.into()
}

fn text(form: &mut Vec<u8>, name: &str, value: &str) {
    let part = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    form.extend_from_slice(part.as_bytes());
}

/// Bytes of all kinds, the same for the same words.
fn noise(words: &str) -> impl Iterator<Item = u8> {
    let mut state =
        words.bytes().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) | 1;
    std::iter::repeat_with(move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_stands_where_it_shall() {
        for (behind, large) in [(false, false), (true, true), (false, true)] {
            let texts = vec![("prompt", "a word")];
            let form = write(&Form { model: "m-1", behind, texts, large, words: "a word" });
            let at = |what: &str| form.windows(what.len()).position(|window| window == what.as_bytes());
            assert_eq!((at("m-1") > at("filename"), form.len() > 1 << 20), (behind, large));
            assert_eq!((at(BOUNDARY), at("\r\n\r\na word\r\n") < at("filename")), (Some(2), true));
        }
    }

    #[test]
    fn files_differ_as_their_words_do() {
        let file = |words: &str| noise(words).take(64).collect::<Vec<_>>();
        assert_eq!(file("a train"), file("a train"));
        assert_ne!(file("a train"), file("a bridge"));
    }
}
