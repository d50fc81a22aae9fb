//! Configured secrets, kept out of everything that is said: messages, logs, relayed errors.

use std::ops::Range;
use std::sync::Arc;

use domain::{Fault, Secret};
use http::{HeaderMap, HeaderValue};

/// Every configured secret. A clone shares the list: every call has one.
#[derive(Clone, Default)]
pub struct Masks(Arc<[Secret]>);

/// Shorter ones are not masked: nothing would be left of what is said.
const SHORTEST: usize = 4;

/// Shorter ones are masked only where they stand alone: inside of words they would blot out ordinary ones.
const LONG: usize = 8;

/// So often JSON is put into strings of JSON, at most.
const LEVELS: usize = 3;

impl Masks {
    /// Keeps these out.
    pub fn new(mut secrets: Vec<Secret>) -> Masks {
        secrets.retain(|secret| secret.reveal().len() >= SHORTEST);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        secrets.dedup();
        Masks(secrets.into())
    }

    /// The text with `***` for every secret in it.
    pub fn text(&self, text: String) -> String {
        self.masked(&text).unwrap_or(text)
    }

    /// The bytes with `***` for every secret in them; `None` if there is none.
    pub fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.masked(&String::from_utf8_lossy(bytes)).map(String::into_bytes)
    }

    /// Takes every secret out of what a fault says.
    pub fn fault(&self, fault: &mut Fault) {
        let said = [Some(&mut fault.message), fault.param.as_mut(), fault.code.as_mut()];
        for text in said.into_iter().flatten().chain(fault.headers.iter_mut().map(|(_, value)| value)) {
            if let Some(masked) = self.masked(text) {
                *text = masked;
            }
        }
        // a wait with stars in it is none
        fault.retry_after.take_if(|wait| self.masked(wait).is_some());
    }

    /// Takes every secret out of the values of a head.
    pub fn head(&self, head: &mut HeaderMap) {
        for value in head.values_mut() {
            if let Some(masked) = self.bytes(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("***"));
            }
        }
    }

    /// The text with `***` for every secret, also where it stands with JSON's escapes; `None` if there is none.
    fn masked(&self, text: &str) -> Option<String> {
        let mut found = Vec::new();
        for secret in self.0.iter() {
            places(text, secret.reveal(), |place| found.push(place));
        }
        let mut read: Option<Unescaped> = None;
        for _ in 0..LEVELS {
            if self.0.is_empty() || !read.as_ref().map_or(text, |read| &read.text).contains('\\') {
                break;
            }
            let level = Unescaped::of(text, read.as_ref());
            for secret in self.0.iter() {
                places(&level.text, secret.reveal(), |place| {
                    found.push(level.written[place.start].start..level.written[place.end - 1].end);
                });
            }
            read = Some(level);
        }
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|place| place.start);
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        for place in found {
            if place.start >= at {
                masked.push_str(&text[at..place.start]);
                masked.push_str("***");
            }
            at = at.max(place.end);
        }
        masked.push_str(&text[at..]);
        Some(masked)
    }
}

/// Where a secret stands in a text.
fn places(text: &str, secret: &str, mut found: impl FnMut(Range<usize>)) {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    for (start, _) in text.match_indices(secret) {
        let end = start + secret.len();
        let inside = in_word(text[..start].chars().next_back()) || in_word(text[end..].chars().next());
        if secret.len() >= LONG || !inside {
            found(start..end);
        }
    }
}

/// A text as JSON's strings are read, and for every byte of it where it was written.
struct Unescaped {
    text: String,
    written: Vec<Range<usize>>,
}

impl Unescaped {
    /// Reads a text, or what came of reading it before.
    fn of(text: &str, before: Option<&Unescaped>) -> Unescaped {
        let source = before.map_or(text, |before| &before.text);
        let mut read = Unescaped {
            text: String::with_capacity(source.len()),
            written: Vec::with_capacity(source.len()),
        };
        let mut at = 0;
        while let Some(c) = source[at..].chars().next() {
            let (c, length) = escape(&source[at..]).unwrap_or((c, c.len_utf8()));
            let place = match before {
                None => at..at + length,
                Some(before) => before.written[at].start..before.written[at + length - 1].end,
            };
            read.text.push(c);
            read.written.extend(std::iter::repeat_n(place, c.len_utf8()));
            at += length;
        }
        read
    }
}

/// The character that an escape at the beginning of a text stands for, and how long the escape is.
fn escape(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let c = match text.strip_prefix('\\')?.chars().next()? {
        c @ ('"' | '\\' | '/') => c,
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        _ => {
            let first = unit(text)?;
            if let Some(c) = char::from_u32(first.into()) {
                return Some((c, 6));
            }
            let pair = [first, unit(&text[6..])?];
            return char::decode_utf16(pair).next()?.ok().map(|c| (c, 12));
        }
    };
    Some((c, 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::FaultKind;

    fn masks() -> Masks {
        Masks::new(
            ["sk-upstream", "sk-upstream-2", "abcd", "tab\tin\"it", "a", "\u{1f511}-key"]
                .map(Secret::from)
                .to_vec(),
        )
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(masks().text(text.into()), expect);
        let bytes = masks().bytes(text.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        assert_eq!(bytes.as_deref(), (text != expect).then_some(expect));
    }

    #[test]
    fn a_secret_inside_a_sentence_is_masked() {
        check("bad key sk-upstream-2, sk-upstream", "bad key ***, ***");
        check("xsk-upstreamx", "x***x");
        check("a plain text", "a plain text");
        assert_eq!(masks().bytes(b"\xff sk-upstream").as_deref(), Some("\u{fffd} ***".as_bytes()));
    }

    #[test]
    fn a_short_secret_is_masked_where_it_stands_alone() {
        check("abcd, (abcd) key=abcd", "***, (***) key=***");
        check("abcde xabcd abcd_e 1abcd", "abcde xabcd abcd_e 1abcd");
        check(r#"{"x":"abcd"}"#, r#"{"x":"***"}"#);
    }

    #[test]
    fn a_secret_with_escapes_is_masked() {
        check(r#"{"m":"is sk\u002dup\u0073tream, a\nb"}"#, r#"{"m":"is ***, a\nb"}"#);
        check(r#"{"m":"{\"m\":\"sk\\u002Dupstream\"}"}"#, r#"{"m":"{\"m\":\"***\"}"}"#);
        check(r#""tab\tin\"it" "\ud83d\udd11-key""#, r#""***" "***""#);
        check(
            r"sk\\u002dupstrea \u00 \ud83d \ud83d\u0041 \x \",
            r"sk\\u002dupstrea \u00 \ud83d \ud83d\u0041 \x \",
        );
        check(r#""abcde" "\u0061bcd""#, r#""abcde" "***""#);
    }

    #[test]
    fn nothing_that_a_fault_says_keeps_a_secret() {
        let mut fault =
            Fault::new(FaultKind::Broken, "m sk-upstream").param("p sk-upstream").code("sk-upstream");
        fault.retry_after = Some("sk-upstream".into());
        fault.headers = vec![("x-request-id".into(), "h sk-upstream".into()), ("x".into(), "y".into())];
        masks().fault(&mut fault);
        assert!(!format!("{fault:?}").contains("sk-up"), "{fault:?}");
        assert_eq!((fault.message.as_str(), fault.headers[1].1.as_str()), ("m ***", "y"));
        assert_eq!((fault.code.as_deref(), fault.retry_after), (Some("***"), None));
    }

    #[test]
    fn nothing_that_a_head_says_keeps_a_secret() {
        let mut head = HeaderMap::new();
        head.append("x-a", HeaderValue::from_static("1"));
        head.append("x-a", HeaderValue::from_static("key sk-upstream"));
        masks().head(&mut head);
        assert_eq!(head.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "key ***"]);
    }
}
