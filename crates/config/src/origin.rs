//! Each setting's value, and where it came from: what `config show` prints.

use serde_json::Value;

use crate::Config;
use crate::draft::{Draft, Path, display};
use crate::report::Origin;
use crate::setting::{Shape, catalog};

/// Every setting's value and where it came from, secrets as `***`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<Entry>);

/// One setting's value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Dotted path, with the provider's name in it.
    pub path: String,
    /// The value as it would be written; `***` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl Origins {
    /// All of them, in the order of the reference page.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// One of them.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.path == path)
    }

    pub(crate) fn of(draft: &Draft<'_>, config: &Config) -> Origins {
        let values = serde_json::to_value(config).expect("a configuration is JSON");
        let mut entries = Vec::new();
        collect(draft, &catalog().root, &values, &mut Vec::new(), &mut entries);
        Origins(entries)
    }
}

fn collect(draft: &Draft<'_>, shape: &Shape, value: &Value, path: &mut Path, entries: &mut Vec<Entry>) {
    let mut inner = |name: &str, shape: &Shape, value: &Value| {
        path.push(name.to_owned());
        collect(draft, shape, value, path, entries);
        path.pop();
    };
    match shape {
        Shape::Section(members) => {
            members.iter().for_each(|(name, _, shape)| inner(name, shape, &value[name]))
        }
        Shape::Map(each) => {
            value.as_object().into_iter().flatten().for_each(|(name, value)| inner(name, each, value))
        }
        Shape::Leaf(_) => {
            let origin = draft.leaves.get(path).map_or(Origin::Default, |leaf| leaf.origin.clone());
            entries.push(Entry { path: path.join("."), value: display(value), origin });
        }
    }
}
