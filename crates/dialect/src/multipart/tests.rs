//! Forms in every cutting, and what is refused because readers might disagree about it.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const FORM: &str = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
    Content-Type: audio/wav\r\n\r\nRIFF\r\n--xy\0\r\n-\r\n--xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\
    vllm/whisper\r\n--xyz\r\ncontent-disposition: form-data; name=empty\r\n\r\n\r\n--xyz--\r\n";

/// The parts with their values, once everything fits together again.
fn parts(pieces: &[Piece], whole: &[u8]) -> Vec<(String, bool, Vec<u8>)> {
    let together: Vec<u8> = pieces.iter().filter_map(Piece::bytes).flatten().copied().collect();
    assert_eq!(together, whole, "all bytes, in order");
    let mut parts: Vec<(String, bool, Vec<u8>)> = Vec::new();
    let mut open = false;
    for piece in pieces {
        match piece {
            Piece::Frame(_) => assert!(!open, "a delimiter inside a value"),
            Piece::Begin(part) => {
                open = true;
                parts.push((part.name.clone(), part.is_file, Vec::new()));
            }
            Piece::Data(bytes) => {
                assert!(open, "a value without a part");
                parts.last_mut().expect("a part began").2.extend_from_slice(bytes);
            }
            Piece::End => open = false,
        }
    }
    parts
}

fn scan(boundary: &str, pieces: &[&[u8]]) -> Result<Vec<Piece>, Flaw> {
    let mut scanner = Scanner::new(boundary);
    let mut out = Vec::new();
    for piece in pieces {
        scanner.push(Bytes::copy_from_slice(piece), &mut out)?;
    }
    scanner.finish()?;
    Ok(out)
}

#[test]
fn parts_are_found_wherever_the_form_is_cut() {
    let form = FORM.as_bytes();
    let expect = vec![
        ("file".to_owned(), true, b"RIFF\r\n--xy\0\r\n-".to_vec()),
        ("model".to_owned(), false, b"vllm/whisper".to_vec()),
        ("empty".to_owned(), false, Vec::new()),
    ];
    for cut in 0..=form.len() {
        let pieces = scan("xyz", &[&form[..cut], &form[cut..]]).expect("a form");
        assert_eq!(parts(&pieces, form), expect, "cut at {cut}");
    }
    let every: Vec<&[u8]> = form.chunks(1).collect();
    assert_eq!(parts(&scan("xyz", &every).expect("a form"), form), expect);
}

#[test]
fn what_readers_might_read_differently_is_refused() {
    let field = "Content-Disposition: form-data; name=\"a\"";
    for (form, says) in [
        (String::new(), "empty"),
        ("--xyz--\r\n".into(), "no parts"),
        (format!("preamble\r\n--xyz\r\n{field}\r\n\r\n1\r\n--xyz--"), "does not begin"),
        (format!("--xyz\r\n{field}\r\n\r\n1\r\n--xyz"), "before its last delimiter"),
        (format!("--xyz\r\n{field}\r\n\r\n1"), "before its last delimiter"),
        (format!("--xyz\r\n{field}\r\n\r\n1\n--xyz--"), "where no part begins"),
        (format!("--xyz\r\n{field}\r\n\r\n1--xyz--"), "where no part begins"),
        (format!("--xyz\r\n{field}\r\n\r\n1\r\n--xyz \r\n"), "where no part begins"),
        (format!("--xyz\r\n{field}\r\nx: --xyz\r\n\r\n1\r\n--xyz--"), "where no part begins"),
        (format!("--xyz\r\n{field}\r\n\r\n1\r\n--xyz--\r\nmore"), "follows its last delimiter"),
        ("--xyz\r\nContent-Type: a/b\r\n\r\n1\r\n--xyz--".into(), "no content-disposition"),
        (format!("--xyz\r\n{field}\r\n{field}\r\n\r\n1\r\n--xyz--"), "two content-disposition"),
        (format!("--xyz\r\n{field}; name=\"model\"\r\n\r\n1\r\n--xyz--"), "two names"),
        (format!("--xyz\r\n{field}; rename=\"model\"\r\n\r\n1\r\n--xyz--"), "ends in `name`"),
        (
            "--xyz\r\nContent-Disposition: form-data; name=a: b; x=\"c\"\r\n\r\n1\r\n--xyz--".into(),
            "must stand in quotes",
        ),
        (format!("--xyz\r\n{field}; name*=utf-8''model\r\n\r\n1\r\n--xyz--"), "`name*`"),
        (
            "--xyz\r\nContent-Disposition: form-data; filename=\"a\\\"; name=\"model\"\r\n\r\n1\r\n--xyz--"
                .into(),
            "parameters",
        ),
        (
            "--xyz\r\nContent-Disposition: form-data; name=\"mo\\del\"\r\n\r\n1\r\n--xyz--".into(),
            "backslashes",
        ),
        ("--xyz\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\n1\r\n--xyz--".into(), "no name"),
        ("--xyz\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n1\r\n--xyz--".into(), "form-data"),
        (format!("--xyz\r\n{field}\n\r\n\r\n1\r\n--xyz--"), "colon"),
        (format!("--xyz\r\n{field}\r\n folded: 1\r\n\r\n1\r\n--xyz--"), "no name"),
        (format!("--xyz\r\nx: 1\n{field}\r\n\r\n1\r\n--xyz--"), "line break"),
        (format!("--xyz\r\n{field}\r\nContent-Transfer-Encoding: base64\r\n\r\n1\r\n--xyz--"), "encoded"),
        (format!("--xyz\r\n{field}\r\nx: {}\r\n\r\n1\r\n--xyz--", "y".repeat(HEAD)), "longer than"),
    ] {
        let flaw = scan("xyz", &[form.as_bytes()]).expect_err(&form);
        assert!(flaw.to_string().contains(says), "{form:?}: {flaw}");
        let bytes: Vec<&[u8]> = form.as_bytes().chunks(1).collect();
        assert!(scan("xyz", &bytes).is_err(), "{form:?}, byte by byte");
    }
    let many = format!("{}--xyz--", format!("--xyz\r\n{field}\r\n\r\n1\r\n").repeat(PARTS + 1));
    assert!(scan("xyz", &[many.as_bytes()]).expect_err("too many").to_string().contains("more than"));
}

#[test]
fn the_boundary_is_read_from_the_content_type() {
    for (kind, expect) in [
        ("multipart/form-data; boundary=xyz", Some("xyz")),
        ("Multipart/Form-Data;charset=utf-8; Boundary=\"a b:c\"", Some("a b:c")),
        ("multipart/form-data; boundary=----WebKitFormBoundaryAbc", Some("----WebKitFormBoundaryAbc")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=\"a\\\"b\"", None),
        ("multipart/mixed; boundary=xyz", None),
        ("application/json", None),
    ] {
        assert_eq!(boundary(kind).ok().as_deref(), expect, "{kind}");
    }
    assert!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_err());
}

proptest! {
    #[test]
    fn any_values_come_back_however_they_are_cut(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6),
        cuts in prop::collection::vec(1usize..64, 1..40),
    ) {
        let boundary = "7f3a9c-b0und4ry";
        let mut form = Vec::new();
        for (at, value) in values.iter().enumerate() {
            form.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"f{at}\"\r\n\r\n").as_bytes(),
            );
            form.extend_from_slice(value);
            form.extend_from_slice(b"\r\n");
        }
        form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = &form[..];
        for size in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let found = scan(boundary, &pieces).expect("a form");
        let found: Vec<_> = parts(&found, &form).into_iter().map(|(_, _, value)| value).collect();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn no_bytes_make_it_panic_or_lose_any(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        let mut whole = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n".to_vec();
        whole.extend_from_slice(&bytes);
        whole.extend_from_slice(b"\r\n--x--");
        let cut = cut.min(whole.len());
        if let Ok(pieces) = scan("x", &[&whole[..cut], &whole[cut..]]) {
            parts(&pieces, &whole);
        }
    }
}
