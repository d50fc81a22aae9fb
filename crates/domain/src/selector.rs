//! What a client writes in `model`: parsed by the first-slash rule.

/// A model as a client asked for it, before anybody knows who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// `provider/model`, or the bare model.
    text: String,
    /// Where the slash between the two stands.
    slash: Option<usize>,
    /// Whether `provider` came from a member of its own, so that the model string is not a candidate as a whole.
    pub explicit: bool,
}

impl Selector {
    /// Parses a `model` string and an optional `provider` member.
    ///
    /// `None` means that no model was named. With a `provider` member, a leading `"<provider>/"` on the model is taken
    /// off once; any other prefix belongs to the model id. Without one, the first slash separates, if both halves
    /// have something in them.
    pub fn parse(model: &str, provider: Option<&str>) -> Option<Selector> {
        let model = model.trim();
        if model.is_empty() {
            return None;
        }
        if let Some(provider) = provider.map(str::trim).filter(|p| !p.is_empty()) {
            let rest = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
            let rest = if rest.trim().is_empty() { model } else { rest.trim() };
            return Some(Selector { explicit: true, ..Selector::of(provider, rest) });
        }
        if let Some((before, after)) = model.split_once('/') {
            let (before, after) = (before.trim(), after.trim());
            if !before.is_empty() && !after.is_empty() {
                return Some(Selector::of(before, after));
            }
        }
        Some(Selector::bare(model.into()))
    }

    /// A model id as it is, in which no slash means anything.
    pub fn bare(model: String) -> Selector {
        Selector { text: model, slash: None, explicit: false }
    }

    fn of(provider: &str, model: &str) -> Selector {
        Selector { text: [provider, "/", model].concat(), slash: Some(provider.len()), explicit: false }
    }

    /// What stands before the first slash, or what the `provider` member said.
    pub fn provider(&self) -> Option<&str> {
        self.slash.map(|slash| &self.text[..slash])
    }

    /// The rest: the model id, which may contain further slashes.
    pub fn model(&self) -> &str {
        &self.text[self.slash.map_or(0, |slash| slash + 1)..]
    }

    /// `provider/model`, or the bare model: how the selector is named in messages.
    pub fn qualified(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model: &str, provider: Option<&str>, expect: Option<(Option<&str>, &str)>) {
        let found = Selector::parse(model, provider);
        let found = found.as_ref().map(|s| (s.provider(), s.model()));
        assert_eq!(found, expect, "{model:?} {provider:?}");
    }

    #[test]
    fn only_the_first_slash_separates() {
        check("vllm/meta-llama/Llama-3.1-8B", None, Some((Some("vllm"), "meta-llama/Llama-3.1-8B")));
        check("gpt-5", None, Some((None, "gpt-5")));
        check("/x", None, Some((None, "/x")));
        check("x/", None, Some((None, "x/")));
        check("  ", None, None);
    }

    #[test]
    fn a_provider_member_is_authoritative() {
        check("openai/gpt-oss-120b", Some("groq"), Some((Some("groq"), "openai/gpt-oss-120b")));
        check("groq/openai/gpt-oss-120b", Some("groq"), Some((Some("groq"), "openai/gpt-oss-120b")));
        check("m", Some(" "), Some((None, "m")));
        check("groq/", Some("groq"), Some((Some("groq"), "groq/")));
    }
}
