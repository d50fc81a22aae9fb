//! A configuration while it is being read: values by path, where each came from, and what was wrong.

use std::collections::{BTreeMap, BTreeSet};

use domain::Secret;
use serde_json::{Map, Value};

use crate::ProviderType;
use crate::environment::Environment;
use crate::expand::Expanded;
use crate::known::{Known, Weight};
use crate::report::{Finding, Origin, Severity};
use crate::setting::{Setting, written};

/// The names from the root to a setting.
pub(crate) type Path = Vec<String>;

/// One value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// Taken over from the settings for all providers: what is wrong with it has been said there.
    pub(crate) inherited: bool,
}

/// A configuration while it is being read.
pub(crate) struct Draft<'a> {
    pub(crate) types: &'a [ProviderType],
    pub(crate) environment: Environment,
    pub(crate) leaves: BTreeMap<Path, Leaf>,
    /// What files say in vain, because the environment or a flag says otherwise.
    pub(crate) shadowed: BTreeMap<Path, Vec<Value>>,
    pub(crate) findings: Vec<Finding>,
    /// Unknown YAML keys: errors or warnings, by the setting `strict`.
    pub(crate) unknown: Vec<Finding>,
    /// What was asked of settings that are not built, by their path: text and place.
    pub(crate) unbuilt: BTreeMap<&'static str, (String, Origin)>,
    /// Every provider instance that is mentioned, and where first.
    pub(crate) instances: BTreeMap<String, Origin>,
    /// Instances of types that are not built, already reported.
    pub(crate) left_out: BTreeSet<String>,
    /// Instances whose `api_key` or `base_url` names a variable that is not set.
    pub(crate) unresolved: BTreeMap<(String, &'static str), (String, Origin)>,
    /// Every configured secret.
    pub(crate) secrets: BTreeSet<String>,
}

/// A secret below this length guards nothing, and masking it would spoil every text.
const SHORTEST_SECRET: usize = 4;

/// Words before a credential in a header.
const SCHEMES: [&str; 3] = ["bearer", "basic", "token"];

/// What the name of a header with a credential has in it.
const SECRET_HEADERS: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];

impl<'a> Draft<'a> {
    pub(crate) fn new(
        types: &'a [ProviderType],
        environment: Environment,
        findings: Vec<Finding>,
    ) -> Draft<'a> {
        Draft {
            types,
            environment,
            leaves: BTreeMap::new(),
            shadowed: BTreeMap::new(),
            findings,
            unknown: Vec::new(),
            unbuilt: BTreeMap::new(),
            instances: BTreeMap::new(),
            left_out: BTreeSet::new(),
            unresolved: BTreeMap::new(),
            secrets: BTreeSet::new(),
        }
    }

    /// Reports what stops the start.
    pub(crate) fn error(
        &mut self,
        source: &Origin,
        setting: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> &mut Finding {
        self.find(Severity::Error, source, setting, problem.into(), fix.into())
    }

    /// Reports what is left out.
    pub(crate) fn warn(
        &mut self,
        source: &Origin,
        setting: &str,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> &mut Finding {
        self.find(Severity::Warning, source, setting, problem.into(), fix.into())
    }

    fn find(
        &mut self,
        severity: Severity,
        source: &Origin,
        setting: &str,
        problem: String,
        fix: String,
    ) -> &mut Finding {
        let finding = Finding {
            severity,
            source: source.clone(),
            setting: setting.into(),
            problem,
            nearest: None,
            fix,
        };
        self.findings.push(finding);
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// Reports an error at the place where a setting was written.
    pub(crate) fn error_at(&mut self, setting: &str, problem: impl Into<String>, fix: &str) {
        if let Some(origin) = self.place(setting) {
            self.error(&origin, setting, problem, fix);
        }
    }

    /// Reports a warning at the place where a setting was written.
    pub(crate) fn warn_at(&mut self, setting: &str, problem: impl Into<String>, fix: &str) {
        if let Some(origin) = self.place(setting) {
            self.warn(&origin, setting, problem, fix);
        }
    }

    /// Where a setting was written; `None` if what is wrong with it was said elsewhere.
    fn place(&self, setting: &str) -> Option<Origin> {
        match self.leaves.iter().find(|(path, _)| path.join(".") == setting) {
            Some((_, leaf)) => (!leaf.inherited).then(|| leaf.origin.clone()),
            None => Some(Origin::Default),
        }
    }

    /// Takes one text as a setting's value, or reports why it cannot be one.
    pub(crate) fn put(&mut self, path: Path, setting: &Setting, text: &Expanded, origin: Origin) {
        if setting.path == "server.master_key" && text.referenced && text.text.trim().is_empty() {
            let fix = "put the key where the reference points, or remove the setting to run an open gateway";
            self.error(&origin, &path.join("."), "the reference leads to an empty key", fix);
            return;
        }
        if text.text.trim().is_empty() && setting.kind.empty_is_unset() {
            return;
        }
        match setting.kind.parse(&text.text) {
            Ok(value) => self.set(path, setting, value, origin),
            Err(misfit) => {
                let shown = shown(setting, text);
                let problem = format!("{shown} is not {}", misfit.expected);
                let fix = format!("write {}", misfit.expected);
                let nearest = misfit.nearest.filter(|_| !setting.secret && !text.replaced);
                self.error(&origin, &path.join("."), problem, fix).nearest = nearest;
            }
        }
    }

    /// Takes a value that fits; the last one wins.
    pub(crate) fn set(&mut self, path: Path, setting: &Setting, value: Value, origin: Origin) {
        if setting.secret {
            self.keep_secrets(&value);
        }
        let above = !matches!(origin, Origin::File { .. });
        let below = self.leaves.insert(path.clone(), Leaf { value, origin, inherited: false });
        if let Some(below) = below
            && above
            && matches!(below.origin, Origin::File { .. } | Origin::DotEnv { .. })
        {
            self.shadowed.entry(path).or_default().push(below.value);
        }
    }

    /// Remembers what must be masked everywhere.
    pub(crate) fn keep_secrets(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                // An upstream may echo the key without `Bearer`, or the password without the proxy.
                let password =
                    text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')?.0.split_once(':'));
                let token = text
                    .split_once(' ')
                    .filter(|(scheme, _)| SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()));
                let parts =
                    [Some(text.as_str()), password.map(|(_, word)| word), token.map(|(_, word)| word)];
                let worth = |part: &&str| part.len() >= SHORTEST_SECRET;
                self.secrets.extend(parts.into_iter().flatten().filter(worth).map(String::from));
            }
            Value::Array(items) => items.iter().for_each(|v| self.keep_secrets(v)),
            Value::Object(headers) => {
                for (name, value) in headers {
                    let name = name.to_ascii_lowercase();
                    // `X-Team: search` must not mask the word in every text.
                    if SECRET_HEADERS.iter().any(|word| name.contains(word)) {
                        self.keep_secrets(value);
                    }
                }
            }
            _ => {}
        }
    }

    /// Reports a setting that is known but not built, if it asks for something.
    pub(crate) fn note_unbuilt(
        &mut self,
        known: &'static Known,
        weight: Weight,
        setting: &str,
        text: &str,
        origin: &Origin,
    ) {
        // The environment is read after the file, and wins.
        if !known.path.is_empty() {
            self.unbuilt.insert(known.path, (text.trim().to_owned(), origin.clone()));
        }
        match weight {
            Weight::Moot => {}
            Weight::Protection => {
                let problem = "this protects something, and is not built in this version; starting without it would not be safe";
                self.error(
                    origin,
                    setting,
                    problem,
                    "remove it if the gateway may run without this protection",
                );
            }
            Weight::Feature | Weight::VirtualModels => {
                let problem = "known, but not built in this version; it is ignored";
                self.warn(
                    origin,
                    setting,
                    problem,
                    "nothing needs to be done; remove it to be rid of this warning",
                );
            }
        }
    }

    /// The text of a setting of one provider.
    pub(crate) fn text(&self, instance: &str, field: &str) -> Option<&str> {
        self.leaves.get(&provider_path(instance, field)).and_then(|leaf| leaf.value.as_str())
    }

    /// The type of a provider instance: as written, or as its name says.
    pub(crate) fn kind_of(&self, instance: &str) -> Option<&'a ProviderType> {
        let word = self.text(instance, "type").unwrap_or(instance);
        find_type(self.types, word)
    }

    /// Everything that was written, as the JSON of a [`Config`](crate::Config).
    pub(crate) fn document(&self) -> Value {
        let mut root = Map::new();
        for (path, leaf) in &self.leaves {
            let Some((last, sections)) = path.split_last() else { continue };
            let mut at = &mut root;
            for name in sections {
                let next = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
                at = next.as_object_mut().expect("a path never leads through a value");
            }
            at.insert(last.clone(), leaf.value.clone());
        }
        Value::Object(root)
    }

    /// The secrets, longest first, so that masking one never leaves a part of another.
    pub(crate) fn take_secrets(&mut self) -> Vec<Secret> {
        let mut secrets: Vec<String> = std::mem::take(&mut self.secrets).into_iter().collect();
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.into_iter().map(Secret::from).collect()
    }
}

/// A value as a message may show it.
fn shown(setting: &Setting, text: &Expanded) -> String {
    if setting.secret || text.replaced {
        return "the value".into();
    }
    let short: String = text.text.chars().take(60).collect();
    if short.len() < text.text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}

/// `providers.<instance>.<field>`, where the field may be a dotted path itself.
pub(crate) fn provider_path(instance: &str, field: &str) -> Path {
    let mut path = vec!["providers".to_owned(), instance.to_owned()];
    path.extend(field.split('.').map(String::from));
    path
}

/// The type of this name; `-` and `_` are the same.
pub(crate) fn find_type<'a>(types: &'a [ProviderType], word: &str) -> Option<&'a ProviderType> {
    let plain = |text: &str| text.trim().to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    types.iter().find(|t| plain(t.name) == word)
}

/// A value as `config show` prints it.
pub(crate) fn display(value: &Value) -> String {
    written(value)
}
