//! Lines that cannot stand for themselves, and their escaped spelling.

/// What a marker line begins with.
pub(super) const MARKERS: [&str; 4] = ["--- ", ">>> ", "<<< ", "=== "];

/// Whether a line of the file is a marker.
pub(super) fn is_marker(line: &str) -> bool {
    MARKERS.iter().any(|marker| line.starts_with(marker))
}

/// Spells a line so that it can stand in a file.
pub(super) fn escape(line: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(line)
        && !text.starts_with('\\')
        && !is_marker(text)
        && !text.chars().any(needs_escape)
    {
        return text.to_owned();
    }
    let mut escaped = String::from("\\");
    for part in line.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '\\' => escaped.push_str("\\\\"),
                '\r' => escaped.push_str("\\r"),
                odd if needs_escape(odd) => {
                    let mut bytes = [0; 4];
                    odd.encode_utf8(&mut bytes).bytes().for_each(|byte| escaped.push_str(&hex(byte)));
                }
                plain => escaped.push(plain),
            }
        }
        part.invalid().iter().for_each(|&byte| escaped.push_str(&hex(byte)));
    }
    escaped
}

/// Controls would not survive editors and terminals; a byte order mark may be dropped by either.
fn needs_escape(character: char) -> bool {
    character != '\t' && (character.is_control() || character == '\u{feff}')
}

fn hex(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

/// The bytes that a line of the file stands for, or what is wrong with it.
pub(super) fn unescape(line: &str) -> Result<Vec<u8>, String> {
    let Some(mut rest) = line.strip_prefix('\\') else {
        return Ok(line.as_bytes().to_vec());
    };
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let after = &rest[at + 1..];
        let taken = match after.as_bytes() {
            [b'\\', ..] => {
                bytes.push(b'\\');
                1
            }
            [b'r', ..] => {
                bytes.push(b'\r');
                1
            }
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let value = u8::from_str_radix(&after[1..3], 16).expect("both are hexadecimal digits");
                bytes.push(value);
                3
            }
            _ => {
                return Err("an escape other than \\\\, \\r or \\xNN on a line that begins with \\; \
                     to have the line as it stands, double its backslashes"
                    .to_owned());
            }
        };
        rest = &after[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stands_for_itself() {
        for plain in [r#"{"a":"\n\u00e9\\"}"#, "", "data: [DONE]", "tab\there", "---", ">>>", "naïve"] {
            assert_eq!(escape(plain.as_bytes()), plain);
            assert_eq!(unescape(plain).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn what_cannot_stand_for_itself_is_escaped() {
        for (bytes, escaped) in [
            (&b"\\x"[..], "\\\\\\x"),
            (b"--- a", "\\--- a"),
            (b"data: 1\r", "\\data: 1\\r"),
            (b"a\\b\r", "\\a\\\\b\\r"),
            (b"caf\xc3\xa9 \xc3", "\\café \\xc3"),
            (b"\x00\x1b\xef\xbb\xbf", "\\\\x00\\x1b\\xef\\xbb\\xbf"),
            (b"\xc2\x85", "\\\\xc2\\x85"),
        ] {
            assert_eq!(escape(bytes), escaped);
            assert_eq!(unescape(escaped).unwrap(), bytes);
        }
        assert_eq!(unescape("\\needless").unwrap(), b"needless");
    }

    #[test]
    fn unknown_escapes_are_refused() {
        for wrong in [r"\a\n", r"\a\", r"\\", r"\a\x1", r"\a\xg1", r"\a\x1é"] {
            assert!(unescape(wrong).is_err(), "{wrong:?}");
        }
    }
}
