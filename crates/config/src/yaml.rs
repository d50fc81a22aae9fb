//! The YAML file against the list of settings: every value that fits is taken, everything else is reported.

use std::path::Path as FilePath;

use serde_json::{Map, Number, Value, json};

use crate::draft::{Draft, Path, find_type};
use crate::expand::{Expanded, Gap, expand};
use crate::kind::Kind;
use crate::known::{self, Weight};
use crate::report::{Finding, Origin, Severity, nearest};
use crate::setting::{Setting, Shape, catalog};
use crate::tree::{Body, Node, Spot};

/// Reads one file's text into the draft.
pub(crate) fn read(draft: &mut Draft<'_>, file: &FilePath, text: &str) {
    let (root, flaws) = crate::tree::parse(text);
    let mut reader = Reader { draft, file };
    for flaw in flaws {
        let origin = reader.origin(flaw.at);
        reader.draft.error(&origin, &flaw.key, flaw.problem, flaw.fix);
    }
    if let Some(root) = root.filter(|r| !r.is_null()) {
        reader.shape(&catalog().root, &root, &Vec::new());
    }
}

struct Reader<'d, 'a> {
    draft: &'d mut Draft<'a>,
    file: &'d FilePath,
}

impl Reader<'_, '_> {
    fn origin(&self, at: Spot) -> Origin {
        Origin::File { path: self.file.into(), line: at.line, column: at.column }
    }

    fn error(&mut self, at: Spot, path: &Path, problem: impl Into<String>, fix: impl Into<String>) {
        let origin = self.origin(at);
        self.draft.error(&origin, &path.join("."), problem, fix);
    }

    fn shape(&mut self, shape: &Shape, node: &Node, path: &Path) {
        match shape {
            Shape::Leaf(index) => self.leaf(&catalog().settings[*index], node, path),
            Shape::Section(members) => self.section(Some(members), node, path),
            Shape::Map(inner) => self.providers(inner, node, path),
        }
    }

    /// A section: built members by shape, known ones by the table, the rest is unknown.
    fn section(&mut self, built: Option<&[(String, String, Shape)]>, node: &Node, path: &Path) {
        if node.is_null() {
            return;
        }
        let Body::Map(members) = &node.body else {
            let problem = format!("a section is expected here, not {}", what(node));
            return self.error(node.at, path, problem, "write the section's settings below it, indented");
        };
        let built = built.unwrap_or_default();
        for member in members {
            let mut inner = path.clone();
            inner.push(member.key.clone());
            if let Some((.., shape)) = built.iter().find(|(name, ..)| *name == member.key) {
                self.shape(shape, &member.value, &inner);
            } else if let Some(known) = known::at(&inner) {
                self.known(known, &member.value, member.at, &inner);
            } else if known::under(&inner) {
                self.section(None, &member.value, &inner);
            } else {
                self.unknown(built, &member.key, member.at, path);
            }
        }
    }

    fn known(&mut self, known: &'static known::Known, node: &Node, at: Spot, path: &Path) {
        let origin = self.origin(at);
        let (text, weight) = match &node.body {
            Body::Scalar { text, .. } if !node.is_null() => match expand(text, &self.draft.environment, true)
            {
                Ok(expanded) => (expanded.text.clone(), known.weigh_text(&expanded.text)),
                // Nobody reads a feature's value, so nobody misses it; a protection may have been meant.
                Err(_) if known.weight == Weight::Feature => (String::new(), Weight::Moot),
                Err(_) => (String::new(), known.weight),
            },
            _ => (String::new(), known.weigh_node(node)),
        };
        self.draft.note_unbuilt(known, weight, &path.join("."), &text, &origin);
    }

    fn unknown(&mut self, built: &[(String, String, Shape)], key: &str, at: Spot, section: &Path) {
        let mut siblings: Vec<&str> = built.iter().map(|(name, ..)| name.as_str()).collect();
        known::names(section).for_each(|name| siblings.push(name));
        let elsewhere = || {
            let settings = catalog().settings.iter().filter(|s| !s.path.contains('*'));
            settings.map(|s| s.path.as_str()).find(|p| p.rsplit('.').next() == Some(key)).map(String::from)
        };
        let prefixed =
            |name: String| if section.is_empty() { name } else { format!("{}.{name}", section.join(".")) };
        let nearest = nearest(key, siblings).map(prefixed).or_else(elsewhere);
        let mut path = section.clone();
        path.push(key.to_owned());
        let fix = match &nearest {
            Some(nearest) => format!("write {nearest}, or remove the line"),
            None => "remove the line; `ferrovia config reference` lists every setting".into(),
        };
        self.draft.unknown.push(Finding {
            severity: Severity::Error,
            source: self.origin(at),
            setting: path.join("."),
            problem: "there is no such setting".into(),
            nearest,
            fix,
        });
    }

    /// The mapping of provider instances.
    fn providers(&mut self, inner: &Shape, node: &Node, path: &Path) {
        if node.is_null() {
            return;
        }
        let Body::Map(members) = &node.body else {
            let problem = format!("provider names are expected here, not {}", what(node));
            return self.error(
                node.at,
                path,
                problem,
                "write `name:` for each provider, and its settings below it",
            );
        };
        for member in members {
            let mut inner_path = path.clone();
            inner_path.push(member.key.clone());
            if member.key.is_empty()
                || member.key.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
            {
                let problem = "a provider's name is the prefix of its models: it cannot be empty, nor hold slashes or spaces";
                self.error(
                    member.at,
                    &inner_path,
                    problem,
                    "choose a name of letters, digits, hyphens and dots",
                );
                // what else is wrong with it is told in the same report
                self.shape(inner, &member.value, &inner_path);
                continue;
            }
            let origin = self.origin(member.at);
            let word = member.value.get("type").and_then(|n| match &n.body {
                Body::Scalar { text, .. } => expand(text, &self.draft.environment, true).ok().map(|e| e.text),
                _ => None,
            });
            let word = word.unwrap_or_else(|| member.key.clone());
            if let Some(kind) = find_type(self.draft.types, &word).filter(|t| !t.built) {
                self.keep_keys(&member.value);
                self.draft.leave_out(&member.key, kind, &origin);
                continue;
            }
            self.draft.instances.insert(member.key.clone(), origin);
            self.shape(inner, &member.value, &inner_path);
        }
    }

    /// The key of a provider that is left out is a secret all the same.
    fn keep_keys(&mut self, provider: &Node) {
        for node in [provider.get("api_key"), provider.get("api_keys")].into_iter().flatten() {
            let items = match &node.body {
                Body::List(items) => items.as_slice(),
                _ => std::slice::from_ref(node),
            };
            for item in items {
                if let Body::Scalar { text, .. } = &item.body
                    && let Ok(expanded) = expand(text, &self.draft.environment, true)
                {
                    self.draft.keep_secrets(&Value::String(expanded.text));
                }
            }
        }
    }

    fn leaf(&mut self, setting: &Setting, node: &Node, path: &Path) {
        if node.is_null() {
            return;
        }
        let origin = self.origin(node.at);
        let value = match (&setting.kind, &node.body) {
            (Kind::List | Kind::Statuses, Body::List(items)) => self.list(setting, items, path),
            (Kind::Models, Body::List(items)) => {
                Value::Array(items.iter().filter_map(|n| self.model(n, path)).collect())
            }
            (Kind::Headers, Body::Map(members)) => {
                let mut headers = Map::new();
                for member in members {
                    let mut inner = path.clone();
                    inner.push(member.key.clone());
                    if let Some(text) = self.text(&member.value, &inner) {
                        headers.insert(member.key.clone(), Value::String(text.text));
                    }
                }
                Value::Object(headers)
            }
            (_, Body::Scalar { .. }) => {
                if let Some(text) = self.text(node, path) {
                    self.draft.put(path.clone(), setting, &text, origin);
                }
                return;
            }
            _ => {
                let problem = format!("{} is expected here, not {}", setting.kind.expected(), what(node));
                return self.error(node.at, path, problem, format!("write {}", setting.kind.expected()));
            }
        };
        self.draft.set(path.clone(), setting, value, origin);
    }

    fn list(&mut self, setting: &Setting, items: &[Node], path: &Path) -> Value {
        let mut values = Vec::new();
        for item in items {
            let Some(text) = self.text(item, path) else { continue };
            match &setting.kind {
                Kind::Statuses => match Kind::Statuses.parse(&text.text) {
                    Ok(Value::Array(statuses)) => values.extend(statuses),
                    _ => {
                        let problem =
                            if text.replaced { "the value".into() } else { format!("`{}`", text.text) };
                        self.error(
                            item.at,
                            path,
                            format!("{problem} is not a status or a class"),
                            "write a number such as 503, or a class such as 5xx",
                        );
                    }
                },
                _ => values.push(Value::String(text.text)),
            }
        }
        Value::Array(values)
    }

    /// One configured model: an id, or `{id, metadata}`.
    fn model(&mut self, node: &Node, path: &Path) -> Option<Value> {
        let Body::Map(members) = &node.body else {
            return self.text(node, path).map(|id| json!({"id": id.text}));
        };
        let mut model = Map::new();
        for member in members {
            match member.key.as_str() {
                "id" => drop(model.insert("id".into(), Value::String(self.text(&member.value, path)?.text))),
                "metadata" => drop(model.insert("metadata".into(), self.free(&member.value, path))),
                key => {
                    let mut path = path.clone();
                    path.push(key.to_owned());
                    let nearest = nearest(key, ["id", "metadata"]);
                    let origin = self.origin(member.at);
                    let finding = self.draft.error(
                        &origin,
                        &path.join("."),
                        "a model has only `id` and `metadata`",
                        "put it under `metadata`, or remove it",
                    );
                    finding.nearest = nearest;
                }
            }
        }
        if !model.contains_key("id") {
            self.error(
                node.at,
                path,
                "the model has no `id`",
                "add `id:` with the id that the provider uses",
            );
            return None;
        }
        Some(Value::Object(model))
    }

    /// JSON of any shape, with YAML's own types.
    fn free(&mut self, node: &Node, path: &Path) -> Value {
        match &node.body {
            Body::List(items) => Value::Array(items.iter().map(|n| self.free(n, path)).collect()),
            Body::Map(members) => {
                Value::Object(members.iter().map(|m| (m.key.clone(), self.free(&m.value, path))).collect())
            }
            Body::Scalar { .. } if node.is_null() => Value::Null,
            Body::Scalar { plain, .. } => {
                let text = self.text(node, path).map(|t| t.text).unwrap_or_default();
                let number = || {
                    text.parse::<i64>()
                        .ok()
                        .map(Number::from)
                        .or_else(|| Number::from_f64(text.parse().ok()?))
                };
                match text.as_str() {
                    "true" if *plain => Value::Bool(true),
                    "false" if *plain => Value::Bool(false),
                    _ => {
                        number().filter(|_| *plain).map_or_else(|| Value::String(text.clone()), Value::Number)
                    }
                }
            }
        }
    }

    /// A scalar's text with everything put in. What cannot be put in is reported or, for a provider's address and key,
    /// remembered: that provider is left out.
    fn text(&mut self, node: &Node, path: &Path) -> Option<Expanded> {
        let Body::Scalar { text, .. } = &node.body else {
            let problem = format!("a text is expected here, not {}", what(node));
            self.error(node.at, path, problem, "write a text");
            return None;
        };
        let gap = match expand(text, &self.draft.environment, true) {
            Ok(expanded) => return Some(expanded),
            Err(gap) => gap,
        };
        let origin = self.origin(node.at);
        match gap {
            Gap::Broken(problem, fix) => drop(self.draft.error(&origin, &path.join("."), problem, fix)),
            Gap::Unset(name) => self.unset(name, &origin, path),
        }
        None
    }

    fn unset(&mut self, name: String, origin: &Origin, path: &Path) {
        let field = match path.as_slice() {
            [root, _, rest @ ..] if root == "providers" => rest.join("."),
            _ => String::new(),
        };
        let instance = path.get(1).cloned().unwrap_or_default();
        match field.as_str() {
            "api_key" => drop(self.draft.unresolved.insert((instance, "api_key"), (name, origin.clone()))),
            "base_url" | "network_config.base_url" => {
                drop(self.draft.unresolved.insert((instance, "base_url"), (name, origin.clone())));
            }
            "api_keys" => {
                let problem = format!("${{{name}}} is not set; this further key is left out");
                self.draft.warn(origin, &path.join("."), problem, format!("set {name}, or remove the key"));
            }
            _ => {
                let problem = format!("${{{name}}} is not set");
                self.draft.error(
                    origin,
                    &path.join("."),
                    problem,
                    format!("set {name}, or write ${{{name}:-default}}"),
                );
            }
        }
    }
}

/// What a node is, for a message.
fn what(node: &Node) -> &'static str {
    match &node.body {
        Body::Scalar { .. } => "a single value",
        Body::List(_) => "a list",
        Body::Map(_) => "a mapping",
    }
}
