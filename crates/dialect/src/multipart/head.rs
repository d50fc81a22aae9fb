//! The heads of a form and of its parts: boundary, names, whether a part is a file.

use super::{Flaw, flaw};

/// What a part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The form field.
    pub name: String,
    /// Whether it names a file: its value is not a text to be read.
    pub is_file: bool,
}

/// The boundary that a `content-type` value names.
///
/// # Errors
/// If it is not `multipart/form-data` with exactly one boundary that RFC 2046 allows.
pub fn boundary(content_type: &str) -> Result<String, Flaw> {
    let (kind, rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return flaw("the content-type must be multipart/form-data");
    }
    let mut found = None;
    for Parameter { name, value, .. } in parameters(rest.as_bytes())? {
        if name == "boundary" && found.replace(value).is_some() {
            return flaw("the content-type names two boundaries");
        }
    }
    let found = found.map(|boundary| String::from_utf8_lossy(&boundary).into_owned());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    match found {
        None => flaw("the content-type names no boundary"),
        Some(boundary)
            if boundary.is_empty()
                || boundary.len() > 70
                || boundary.ends_with(' ')
                || !boundary.bytes().all(allowed) =>
        {
            flaw("the content-type's boundary is not one that RFC 2046 allows")
        }
        Some(boundary) => Ok(boundary),
    }
}

/// Reads the head of a part, without the blank line that ends it.
pub(super) fn part(head: &[u8]) -> Result<Part, Flaw> {
    let mut disposition = None;
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\r') {
            return flaw("a header of a part holds a line break");
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return flaw("a header of a part has no colon");
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic()) {
            // also the continuation of the line before
            return flaw("a header of a part has no name");
        }
        if name.eq_ignore_ascii_case(b"content-disposition") {
            if disposition.replace(value).is_some() {
                return flaw("a part has two content-disposition headers");
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            let plain = [&b"binary"[..], b"8bit", b"7bit"];
            if !plain.iter().any(|plain| value.eq_ignore_ascii_case(plain)) {
                return flaw("a part is encoded (content-transfer-encoding); send it as it is");
            }
        }
    }
    // a bare line feed would end the line for some readers only
    if head.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r')) {
        return flaw("a header of a part holds a line break");
    }
    let Some(disposition) = disposition else { return flaw("a part has no content-disposition header") };
    let kind = disposition.split(|byte| *byte == b';').next().unwrap_or_default();
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return flaw("the content-disposition of a part must be form-data");
    }
    let (mut name, mut is_file) = (None, false);
    for parameter in parameters(disposition.get(kind.len() + 1..).unwrap_or_default())? {
        let value = parameter.value;
        // RFC 9110 5.6.6; boundaries are often written otherwise, and nobody misunderstands those
        if !parameter.quoted && !is_token(&value) {
            return flaw("a parameter of a part must stand in quotes");
        }
        match &*parameter.name {
            "name" if name.is_some() => return flaw("a part has two names"),
            "name" => name = Some(value),
            "name*" => return flaw("the name of a part is written as `name*`; write it as `name`"),
            "filename" | "filename*" => is_file = true,
            // readers that look for `name=` anywhere would take it for the name
            other if other.ends_with("name") => return flaw("a parameter of a part ends in `name`"),
            _ => {}
        }
    }
    let name = name.map(String::from_utf8).transpose();
    match name.map_err(|_| Flaw("the name of a part is not UTF-8".into()))? {
        // with escapes left in it, readers would not agree on what it is
        Some(name) if name.contains(['\\', '"']) => flaw("the name of a part holds quotes or backslashes"),
        Some(name) => Ok(Part { name, is_file }),
        None => flaw("a part has no name"),
    }
}

/// A parameter of a header's value.
struct Parameter {
    /// In lower case.
    name: String,
    /// Without its quotes.
    value: Vec<u8>,
    quoted: bool,
}

/// Whether a value may do without quotes.
fn is_token(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:<=>?@[\\]{}".contains(byte))
}

/// Parameters of a header's value, `;` between them. What stands behind a backslash in quotes is taken as it is.
fn parameters(text: &[u8]) -> Result<Vec<Parameter>, Flaw> {
    let wrong = || Flaw("a header's parameters cannot be read".into());
    let mut found = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            continue;
        }
        let equals = memchr::memchr(b'=', rest).ok_or_else(wrong)?;
        let name = rest[..equals].trim_ascii();
        if name.is_empty() || !name.iter().all(|b| b.is_ascii_alphanumeric() || b"-*_.".contains(b)) {
            return Err(wrong());
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        rest = rest[equals + 1..].trim_ascii_start();
        let quotes = rest.strip_prefix(b"\"");
        let value = match quotes {
            Some(text) => {
                let (value, after) = unquote(text).ok_or_else(wrong)?;
                rest = after.trim_ascii_start();
                if !rest.is_empty() && !rest.starts_with(b";") {
                    return Err(wrong());
                }
                value
            }
            None => {
                let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
                let value = rest[..end].trim_ascii();
                rest = &rest[end..];
                value.to_vec()
            }
        };
        found.push(Parameter { name, value, quoted: quotes.is_some() });
    }
    Ok(found)
}

/// A quoted text without its quotes, and what follows.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => {
                // kept, so that a name with one is seen to have one
                value.push(b'\\');
                value.push(*bytes.next()?.1);
            }
            byte => value.push(*byte),
        }
    }
    None
}
