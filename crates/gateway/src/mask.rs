//! Configured secrets, kept out of everything that is said: messages, logs, relayed errors.

use domain::Secret;

/// Every configured secret, longest first.
#[derive(Clone, Default)]
pub struct Masks(Vec<Secret>);

/// Shorter ones are not masked: they would blot out ordinary words.
const SHORTEST: usize = 6;

impl Masks {
    /// Keeps these out.
    pub fn new(mut secrets: Vec<Secret>) -> Masks {
        secrets.retain(|secret| secret.reveal().len() >= SHORTEST);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        secrets.dedup();
        Masks(secrets)
    }

    /// The text with `***` for every secret in it.
    pub fn text(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| {
            if text.contains(secret.reveal()) { text.replace(secret.reveal(), "***") } else { text }
        })
    }

    /// The bytes with `***` for every secret in them; `None` if there is none.
    pub fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let found = self.0.iter().any(|secret| text.contains(secret.reveal()));
        found.then(|| self.text(text.to_owned()).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_inside_a_sentence_is_masked() {
        let masks = Masks::new(vec!["sk-upstream".into(), "sk-upstream-2".into(), "a".into()]);
        assert_eq!(masks.text("bad key sk-upstream-2, sk-upstream".into()), "bad key ***, ***");
        assert_eq!(masks.bytes(b"a plain text"), None);
        assert_eq!(masks.bytes(b"x sk-upstream").as_deref(), Some(&b"x ***"[..]));
    }
}
