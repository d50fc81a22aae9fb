//! One model at one provider: what is finally called.

use std::fmt;

use crate::{ModelName, ProviderName};

/// A model at a configured provider instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deployment {
    /// The configured instance.
    pub provider: ProviderName,
    /// The model, as that provider spells it.
    pub model: ModelName,
}

impl fmt::Display for Deployment {
    /// The public id, `instance/model`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}
