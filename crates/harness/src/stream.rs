//! A streamed reply cut anywhere: the same bytes, the same marks, the same end.
//!
//! Input: a line with the dialect (`c`, `p`, `r`, `m`, `f`), the number of choices, `s` if usage chunks come apart, and
//! `l` to make an event too long to hold (the byte 0x1f becomes 270,000 letters); then the stream.

use bytes::Bytes;
use dialect::stream::{EventStream, Frame};
use domain::Dialect;

use crate::{dialect, headed};

/// Longer than what is held back of one event.
const LONG: usize = 270_000;

/// How many places of a long stream are tried.
const PLACES: usize = 160;

pub(crate) fn run(input: &[u8]) {
    let (head, text) = headed(input);
    let asked = Asked {
        dialect: dialect(head.first()),
        choices: head.get(1).map_or(1, |digit| u32::from(digit.saturating_sub(b'0').min(9))),
        separate_usage: head.contains(&b's'),
    };
    if head.contains(&b'l') {
        return long(asked, text);
    }
    let whole = asked.hear([text]);
    assert_eq!(asked.hear(text.chunks(1)), whole, "byte by byte");
    assert_eq!(asked.hear(text.chunks(7)), whole, "in sevens");
    for cut in (0..text.len()).step_by(text.len() / PLACES + 1) {
        let (one, other) = text.split_at(cut);
        assert_eq!(asked.hear([one, other]), whole, "cut at {cut}");
    }
}

/// An event too long to be held is not looked at whole, so only its bytes are the same however it comes.
fn long(asked: Asked, text: &[u8]) {
    let Some(at) = text.iter().position(|byte| *byte == 0x1f) else { return };
    let text = [&text[..at], &vec![b'x'; LONG], &text[at + 1..]].concat();
    for size in [1_000, 65_536, text.len()] {
        asked.hear(text.chunks(size));
    }
}

#[derive(Clone, Copy)]
struct Asked {
    dialect: Dialect,
    choices: u32,
    separate_usage: bool,
}

/// Everything that was noticed.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    /// Bytes of all frames.
    bytes: Vec<u8>,
    /// What stands in frames of its own: where it ends, and what it is.
    alone: Vec<(usize, String)>,
    finished: u32,
    terminal: bool,
    usage: Option<domain::Usage>,
    events: u64,
    complete: bool,
    over: bool,
    missing_end: bool,
    leftover: Vec<u8>,
}

impl Asked {
    fn hear<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
        let mut stream = EventStream::new(self.dialect, self.choices, self.separate_usage);
        let (mut frames, mut all) = (Vec::new(), Vec::new());
        for piece in pieces {
            stream.push(Bytes::copy_from_slice(piece), &mut frames);
            all.extend_from_slice(piece);
        }
        let mut heard = Heard {
            usage: stream.usage(),
            events: stream.events(),
            complete: stream.complete(),
            over: stream.over(),
            missing_end: stream.missing_end().is_some(),
            leftover: stream.leftover().to_vec(),
            ..Heard::default()
        };
        for frame in &frames {
            self.note(frame, &mut heard);
        }
        let shown = [&heard.bytes[..], &heard.leftover].concat();
        assert!(all.starts_with(&shown), "bytes were changed");
        assert!(heard.over || shown.len() == all.len(), "{} bytes are lost", all.len() - shown.len());
        assert!(!heard.over || heard.leftover.is_empty());
        heard
    }

    fn note(self, frame: &Frame, heard: &mut Heard) {
        let marks = &frame.marks;
        assert!(!frame.raw.is_empty());
        heard.bytes.extend_from_slice(&frame.raw);
        heard.finished += marks.finished;
        heard.terminal |= marks.terminal;
        let apart = marks.only_usage && self.separate_usage;
        if marks.fault.is_some() || marks.done || apart {
            let what = format!("{:?} done {} usage {apart}", marks.fault, marks.done);
            heard.alone.push((heard.bytes.len(), what));
        }
    }
}
