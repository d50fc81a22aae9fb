//! What an edit comes to: a configuration compared with the one before it, setting by setting.

use std::collections::{BTreeMap, BTreeSet};

use domain::Secret;
use serde_json::Value;

use crate::draft::Draft;
use crate::report::Origin;
use crate::setting::catalog;
use crate::{Entry, Loaded};

/// What is different from the configuration before. Paths of settings; never values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Settings that have another value, and providers that came or went.
    pub changed: Vec<String>,
    /// Those of them that take effect only after a restart.
    pub needs_restart: Vec<String>,
    /// What was edited in vain, because something above it says otherwise: setting and what wins.
    pub overridden: Vec<String>,
}

/// What was written, kept for the next comparison. Values are secrets, so that nothing shows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    values: BTreeMap<String, Secret>,
    /// Taken over from the settings for all providers: their change has been told there.
    inherited: BTreeSet<String>,
    /// What has no effect, by what it sets: its value, and what wins.
    shadowed: BTreeMap<String, (Secret, Origin)>,
}

impl Written {
    pub(crate) fn of(draft: &Draft<'_>) -> Written {
        let mut written = Written::default();
        for (path, leaf) in &draft.leaves {
            if leaf.inherited {
                written.inherited.insert(path.join("."));
            } else {
                written.values.insert(path.join("."), kept(&leaf.value));
            }
        }
        for (path, values) in &draft.shadowed {
            if let Some(leaf) = draft.leaves.get(path) {
                let value = kept(&Value::Array(values.clone()));
                written.shadowed.insert(path.join("."), (value, leaf.origin.clone()));
            }
        }
        for (name, value) in &draft.environment.shadowed {
            let winner = Origin::Environment(name.clone());
            written.shadowed.insert(name.clone(), (Secret::from(value.as_str()), winner));
        }
        written
    }
}

fn kept(value: &Value) -> Secret {
    Secret::from(value.to_string())
}

impl Loaded {
    /// What is different from an earlier configuration.
    pub fn changes_since(&self, before: &Loaded) -> Changes {
        let (old, new) = (by_path(before), by_path(self));
        let came_or_went: Vec<&String> = {
            let (old, new) = (&before.config.providers, &self.config.providers);
            let gone = old.keys().filter(|name| !new.contains_key(*name));
            gone.chain(new.keys().filter(|name| !old.contains_key(*name))).collect()
        };
        let mut changes = Changes::default();
        let paths: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        for path in paths {
            let of_one = came_or_went
                .iter()
                .any(|name| path.strip_prefix("providers.").is_some_and(|p| begins(p, name)));
            let inherited = self.written.inherited.contains(path) || before.written.inherited.contains(path);
            let shown = |entries: &BTreeMap<&str, &Entry>| entries.get(path).map(|entry| entry.value.clone());
            let setting = catalog().split(path).and_then(|path| catalog().find(&path));
            let secret = setting.is_some_and(|setting| setting.secret);
            let differs = shown(&old) != shown(&new)
                || secret && before.written.values.get(path) != self.written.values.get(path);
            if !differs || of_one || inherited {
                continue;
            }
            changes.changed.push(path.to_owned());
            if setting.is_some_and(|setting| setting.needs_restart) {
                changes.needs_restart.push(path.to_owned());
            }
        }
        changes.changed.extend(came_or_went.iter().map(|name| format!("providers.{name}")));
        if before.config.server.tls.on() != self.config.server.tls.on() {
            changes.needs_restart.push("server.tls".to_owned());
        }
        for (what, (value, winner)) in &self.written.shadowed {
            if before.written.shadowed.get(what).is_none_or(|(old, _)| old != value) {
                changes.overridden.push(format!("{what} ({winner})"));
            }
        }
        changes
    }
}

fn by_path(loaded: &Loaded) -> BTreeMap<&str, &Entry> {
    loaded.origins.iter().map(|entry| (entry.path.as_str(), entry)).collect()
}

/// Whether a path begins with this name and a dot.
fn begins(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}
