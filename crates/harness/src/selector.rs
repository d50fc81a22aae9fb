//! A model as a client names it: what is understood can be written down and is understood the same again.
//!
//! Input: the `provider` member, or an empty line; then the model.

use domain::Selector;

use crate::headed;

pub(crate) fn run(input: &[u8]) {
    let (provider, model) = headed(input);
    let (Ok(provider), Ok(model)) = (std::str::from_utf8(provider), std::str::from_utf8(model)) else {
        return;
    };
    let provider = Some(provider).filter(|provider| !provider.is_empty());
    let Some(found) = Selector::parse(model, provider) else {
        assert!(model.trim().is_empty(), "a model was named");
        return;
    };
    assert!(!found.model().is_empty() && found.model() == found.model().trim());
    assert!(model.contains(found.model()));
    if let Some(named) = found.provider() {
        assert!(!named.is_empty() && named == named.trim());
    }
    assert_eq!(found.explicit, provider.is_some_and(|provider| !provider.trim().is_empty()));
    match found.explicit {
        true => assert_eq!(found.provider(), provider.map(str::trim)),
        // the first slash separates, never a later one
        false => assert!(found.provider().is_none_or(|provider| !provider.contains('/'))),
    }
    let again = Selector::parse(found.qualified(), provider);
    assert_eq!(again.as_ref(), Some(&found), "`{}` means something else", found.qualified());
}
