//! A base URL taken apart: where the server's root is, and where its `/v1` is.

/// The two places under one base URL. Neither ends in a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Scheme, host and port: `http://localhost:8000`.
    pub origin: String,
    /// Path of the server's root: empty, or `/prefix`.
    pub root: String,
    /// Path of the API: `/v1`, `/prefix/v1`, `/openai/v1`, `/api/paas/v4`.
    pub api: String,
}

/// The text is not a base URL; the sentence says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBase(pub &'static str);

impl Base {
    /// Takes a base URL apart. `/v1` may be written or left out, a trailing slash too.
    ///
    /// A path with a version in it (`v1`, `v4`, `v1beta`) is taken as it is, so `…/api/paas/v4` and `…/v1beta/openai`
    /// stay; a path without one gets `/v1`.
    pub fn parse(url: &str) -> Result<Base, InvalidBase> {
        let url = url.trim();
        let (scheme, rest) =
            url.split_once("://").ok_or(InvalidBase("it must begin with http:// or https://"))?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(InvalidBase("it must begin with http:// or https://"));
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(InvalidBase("it must not have blanks in it"));
        }
        if rest.contains(['?', '#']) {
            return Err(InvalidBase("it must not have a query or a fragment"));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.is_empty() {
            return Err(InvalidBase("it names no host"));
        }
        if authority.contains('@') {
            return Err(InvalidBase("it must not contain credentials; set the key as a setting of its own"));
        }
        let path = path.trim_end_matches('/');
        let versioned = path.split('/').any(is_version);
        let root = match path.rsplit_once('/') {
            Some((before, last)) if is_version(last) => before.trim_end_matches('/'),
            _ => path,
        };
        Ok(Base {
            origin: format!("{}://{authority}", scheme.to_ascii_lowercase()),
            root: root.to_owned(),
            api: if versioned { path.to_owned() } else { format!("{path}/v1") },
        })
    }
}

fn is_version(segment: &str) -> bool {
    let mut chars = segment.chars();
    chars.next() == Some('v') && chars.next().is_some_and(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: Result<(&str, &str, &str), ()>) {
        let found = Base::parse(url);
        let found =
            found.as_ref().map(|b| (b.origin.as_str(), b.root.as_str(), b.api.as_str())).map_err(|_| ());
        assert_eq!(found, expect, "{url}");
    }

    #[test]
    fn v1_may_be_written_or_left_out() {
        check("http://localhost:8000", Ok(("http://localhost:8000", "", "/v1")));
        check("http://localhost:8000/", Ok(("http://localhost:8000", "", "/v1")));
        check("http://localhost:8000/v1", Ok(("http://localhost:8000", "", "/v1")));
        check("HTTPS://h/llm/v1/", Ok(("https://h", "/llm", "/llm/v1")));
        check("https://h/llm", Ok(("https://h", "/llm", "/llm/v1")));
        check("http://h//v1", Ok(("http://h", "", "//v1")));
    }

    #[test]
    fn other_versions_stay_as_they_are() {
        check("https://api.z.ai/api/paas/v4", Ok(("https://api.z.ai", "/api/paas", "/api/paas/v4")));
        check("https://g/v1beta/openai", Ok(("https://g", "/v1beta/openai", "/v1beta/openai")));
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for url in
            ["localhost:8000", "ftp://h", "http://", "http://h/v1?x=1", "http://u:p@h/v1", "http://h/v1 /"]
        {
            check(url, Err(()));
        }
    }
}
