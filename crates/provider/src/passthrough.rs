//! Where a passthrough path goes under a base URL.

use crate::{Base, Spec};

/// The upstream path for what a client wrote after `/p/{provider}/`, still encoded. `written_v1` says whether it began
/// with `v1/`, which is not part of `rest`.
pub fn path(spec: &Spec, base: &Base, rest: &str, written_v1: bool) -> String {
    let Some(api_paths) = spec.api_paths else {
        return format!("{}/{rest}", base.api);
    };
    let is_api = api_paths
        .iter()
        .any(|api| rest.strip_prefix(api).is_some_and(|after| after.is_empty() || after.starts_with('/')));
    if is_api || (written_v1 && spec.keeps_written_v1) {
        format!("{}/{rest}", base.api)
    } else {
        format!("{}/{rest}", base.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    fn check(kind: &str, url: &str, rest: &str, written_v1: bool, expect: &str) {
        let base = Base::parse(url).expect("a base URL");
        assert_eq!(path(find(kind).expect("a known type"), &base, rest, written_v1), expect);
    }

    #[test]
    fn vllms_own_routes_live_at_the_root() {
        check("vllm", "http://h/v1", "tokenize", false, "/tokenize");
        check("vllm", "http://h/v1", "rerank", true, "/rerank");
        check("vllm", "http://h/v1", "chat/completions", false, "/v1/chat/completions");
        check("vllm", "http://h/gpu/v1", "messages/count_tokens", true, "/gpu/v1/messages/count_tokens");
        check("vllm", "http://h", "modelsx", false, "/modelsx");
    }

    #[test]
    fn others_differ_as_they_do() {
        check("sglang", "http://h/v1", "generate", false, "/generate");
        check("sglang", "http://h/v1", "score", true, "/v1/score");
        check("openai", "https://api.openai.com/v1", "files/f%2F1", false, "/v1/files/f%2F1");
        check("ollama", "http://h:11434", "api/tags", false, "/api/tags");
    }
}
