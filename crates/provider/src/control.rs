//! Routes that control an engine rather than ask it something: closed on the passthrough unless an operator opens them.

use crate::Spec;

/// Whether this path, decoded and normalised, is a control route of the type, or lies below one.
///
/// Compared without regard to case and to a `/v1` before either: engines mount some of them in both places, and whether
/// the path that is sent will have one is decided later.
pub fn is_control(spec: &Spec, path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let path = bare(path.trim_end_matches('/'));
    let is = |control: &str| {
        path.strip_prefix(control).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    spec.control_paths.iter().any(|control| is(bare(control)))
}

/// A path without the `/v1` before it, however often it stands there.
fn bare(mut path: &str) -> &str {
    while let Some(rest) = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')) {
        path = rest;
    }
    path
}

/// Decodes and normalises a passthrough path, so that no spelling of a control route slips by.
///
/// `None` for a path that climbs (`..`), hides a backslash behind an encoding, or a slash in a segment with parameters,
/// or is not UTF-8: nothing honest needs those.
pub fn normalise(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    for written in path.split('/') {
        let decoded = decoded(written)?;
        // cut off before it is decoded or after: servers differ, and so would the path
        if decoded.contains('\\') || (decoded.contains(';') && decoded.contains('/')) {
            return None;
        }
        for segment in decoded.split('/') {
            // `;` begins path parameters, which some servers cut off
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => return None,
                name => {
                    normal.push('/');
                    normal.push_str(name);
                }
            }
        }
    }
    Some(normal)
}

fn decoded(segment: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        let value = (hex(bytes.next())? * 16 + hex(bytes.next())?) as u8;
        if matches!(value, b'\\' | b'%' | 0..=31 | 127) {
            return None;
        }
        decoded.push(value);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    fn check(kind: &str, path: &str, expect: Option<bool>) {
        let spec = find(kind).expect("a known type");
        assert_eq!(normalise(path).map(|p| is_control(spec, &p)), expect, "{path}");
    }

    #[test]
    fn no_spelling_of_a_control_route_slips_by() {
        check("vllm", "/sleep", Some(true));
        check("vllm", "/SLEEP/", Some(true));
        check("vllm", "//sleep", Some(true));
        check("vllm", "/./sleep", Some(true));
        check("vllm", "/%73leep", Some(true));
        check("vllm", "/sleep;x=1", Some(true));
        check("vllm", "/v1/load_lora_adapter", Some(true));
        check("vllm", "/load_lora_adapter", Some(true));
        check("vllm", "/collective_rpc/x", Some(true));
        check("vllm", "/v1/sleep", Some(true));
        check("vllm", "/x/../sleep", None);
        check("vllm", "/%2e%2e/sleep", None);
        check("vllm", "/x%5csleep", None);
        check("vllm", "/%2573leep", None);
        check("vllm", "/;x%2fy/sleep", None);
        check("vllm", "/x%2f%2e%2e/sleep", None);
        check("ollama", "/api/pull", Some(true));
        // SGLang's is below `/v1` only; the passthrough takes a `v1/` off before it asks
        check("sglang", "/v1/loads", Some(true));
        check("sglang", "/loads", Some(true));
        check("vllm", "/V1/v1/load_lora_adapter", Some(true));
    }

    #[test]
    fn asking_is_not_controlling() {
        check("vllm", "/tokenize", Some(false));
        check("vllm", "/sleepy", Some(false));
        check("vllm", "/v1/chat/completions", Some(false));
        check("ollama", "/api/chat", Some(false));
        check("openai", "/v1/files/file-1%2Fcontent", Some(false));
    }
}
