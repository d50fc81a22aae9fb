//! A form with files: what is taken for one comes back byte for byte however it is cut, and another reader that takes it
//! too finds the same parts in it.
//!
//! Input: a first line that says where it is cut; then the form, whose boundary is `x`. A line feed without its carriage
//! return is given one, so that seeds can be written by hand; after a line that begins with `!` nothing is touched.

use bytes::Bytes;
use dialect::multipart::{Part, Piece, Scanner};
use futures_util::{FutureExt, stream};

use crate::{cut, headed, with_returns};

pub(crate) fn run(input: &[u8]) {
    let (cuts, text) = headed(input);
    let form = if cuts.starts_with(b"!") { text.to_vec() } else { with_returns(text) };
    let whole = scan(&[&form]);
    let pieces = cut(&form, cuts);
    let in_pieces = scan(&pieces);
    let bytes: Vec<&[u8]> = form.chunks(1).collect();
    let by_byte = scan(&bytes);
    assert_eq!(whole, in_pieces, "it depends on the cuts");
    assert_eq!(whole, by_byte, "it depends on the cuts");
    let Some(found) = whole else { return };
    // whoever refuses it is not misled
    let Some(theirs) = elsewhere(&form) else { return };
    let ours: Vec<_> = found.into_iter().map(|(part, value)| (part.name, value)).collect();
    assert_eq!(ours, theirs, "another reader finds other parts");
}

/// The parts and their values; `None` if it is no form. All bytes come back, in order.
fn scan(pieces: &[&[u8]]) -> Option<Vec<(Part, Vec<u8>)>> {
    let mut scanner = Scanner::new("x");
    let mut out = Vec::new();
    for piece in pieces {
        scanner.push(Bytes::copy_from_slice(piece), &mut out).ok()?;
    }
    scanner.finish().ok()?;
    let (mut parts, mut together, mut open) = (Vec::<(Part, Vec<u8>)>::new(), Vec::new(), false);
    for piece in out {
        match piece {
            Piece::Frame(bytes) => {
                assert!(!open, "a delimiter inside a value");
                together.extend_from_slice(&bytes);
            }
            Piece::Begin(part) => {
                open = true;
                parts.push((part, Vec::new()));
            }
            Piece::Data(bytes) => {
                assert!(open, "a value outside of a part");
                together.extend_from_slice(&bytes);
                parts.last_mut().expect("a part began").1.extend_from_slice(&bytes);
            }
            Piece::End => open = false,
        }
    }
    assert_eq!(together, pieces.concat(), "bytes were lost");
    Some(parts)
}

/// What multer finds.
fn elsewhere(form: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let whole = Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(form));
    let mut reader = multer::Multipart::new(stream::iter([whole]), "x");
    let all = async {
        let mut parts = Vec::new();
        while let Some(part) = reader.next_field().await.ok()? {
            let name = part.name().unwrap_or_default().to_owned();
            parts.push((name, part.bytes().await.ok()?.to_vec()));
        }
        Some(parts)
    };
    // all of it is there, so nothing is waited for
    all.now_or_never()?
}
