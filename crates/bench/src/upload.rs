//! Forms with a large file: made while they are sent, and known again by length and hash where they arrive.

use std::fmt;

/// Where they go.
pub const ROUTE: &str = "/v1/audio/transcriptions";

const BOUNDARY: &str = "a-hundred-megabytes";

/// A file is made of pieces of this size, each with its number in front.
const PIECE: usize = 64 << 10;

/// Where the model stands in a form: it decides whether a gateway can send the file on while it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Before the file.
    First,
    /// Behind the file.
    Last,
}

/// How many bytes came, and which (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    length: u64,
    hash: u64,
}

impl Default for Digest {
    fn default() -> Digest {
        Digest { length: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Digest {
    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes, {:016x}", self.length, self.hash)
    }
}

/// A form with a file of so many bytes.
#[derive(Clone, Debug)]
pub struct Form {
    begin: Vec<u8>,
    file: usize,
    end: Vec<u8>,
}

impl Form {
    /// A form that names this model.
    pub fn new(model: &str, place: Model, file: usize) -> Form {
        let part =
            format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n");
        let (before, behind) = match place {
            Model::First => (part.as_str(), ""),
            Model::Last => ("", part.as_str()),
        };
        let head =
            "content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\ncontent-type: audio/wav";
        Form {
            begin: format!("{before}--{BOUNDARY}\r\n{head}\r\n\r\n").into_bytes(),
            file,
            end: format!("\r\n{behind}--{BOUNDARY}--\r\n").into_bytes(),
        }
    }

    /// The media type.
    pub fn kind() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.begin.len() + self.file + self.end.len()
    }

    /// The piece that begins at this place, in `room`. Empty at the end.
    pub fn piece(&self, at: usize, room: &mut Vec<u8>) {
        room.clear();
        let Some(in_file) = at.checked_sub(self.begin.len()) else {
            room.extend_from_slice(&self.begin[at..]);
            return;
        };
        let Some(left) = self.file.checked_sub(in_file).filter(|left| *left > 0) else {
            room.extend_from_slice(self.end.get(in_file - self.file..).unwrap_or_default());
            return;
        };
        room.resize(PIECE.min(left), b'a');
        for (byte, digit) in room.iter_mut().zip((in_file as u64).to_le_bytes()) {
            *byte = digit;
        }
    }

    /// What arrives where all of it does.
    pub fn digest(&self) -> Digest {
        let (mut digest, mut room, mut at) = (Digest::default(), Vec::new(), 0);
        while at < self.length() {
            self.piece(at, &mut room);
            digest.add(&room);
            at += room.len();
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &Form) -> Vec<u8> {
        let (mut all, mut room) = (Vec::new(), Vec::new());
        loop {
            form.piece(all.len(), &mut room);
            if room.is_empty() {
                return all;
            }
            all.extend_from_slice(&room);
        }
    }

    #[test]
    fn a_form_is_as_long_as_it_says_and_known_again() {
        for (place, file) in [(Model::First, 200_000), (Model::Last, 2 * PIECE), (Model::First, 0)] {
            let form = Form::new("vllm/bench", place, file);
            let all = written(&form);
            let mut digest = Digest::default();
            all.chunks(777).for_each(|piece| digest.add(piece));
            assert_eq!((all.len(), digest), (form.length(), form.digest()), "{place:?} {file}");
            assert!(all.ends_with(b"--a-hundred-megabytes--\r\n"));
        }
    }

    #[test]
    fn what_is_lost_or_changes_places_shows() {
        let all = written(&Form::new("m", Model::First, 3 * PIECE));
        let digest = |bytes: &[u8]| {
            let mut digest = Digest::default();
            digest.add(bytes);
            digest.to_string()
        };
        let mut swapped = all.clone();
        let (one, other) = swapped.split_at_mut(200 + PIECE);
        one[200..].swap_with_slice(&mut other[..PIECE]);
        let told = digest(&all);
        assert!(told.starts_with(&format!("{} bytes, ", all.len())));
        assert!(told != digest(&swapped) && told != digest(&all[1..]));
    }

    #[test]
    fn the_model_stands_where_it_shall() {
        let at = |place| {
            let all = written(&Form::new("the-model", place, 9));
            let find = |what: &[u8]| memchr::memmem::find(&all, what).unwrap();
            find(b"the-model") < find(b"filename")
        };
        assert!(at(Model::First) && !at(Model::Last));
    }
}
