//! What may be written as a setting's value, and how text becomes JSON of the right type.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::report::nearest;
use crate::value::{StatusPattern, boolean, format_duration, format_size, parse_duration, parse_size};

/// What may be written as a setting's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, or their other spellings.
    Bool,
    /// A whole number within bounds.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number within bounds.
    Number {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of a few words.
    Choice {
        /// The words.
        words: Vec<String>,
        /// Other spellings of them.
        spellings: Vec<(String, String)>,
    },
    /// A size in bytes within bounds.
    Size {
        /// The least, in bytes.
        min: u64,
        /// The greatest, in bytes.
        max: u64,
    },
    /// A duration.
    Duration {
        /// Whether a number without a unit counts seconds.
        bare: bool,
    },
    /// Texts; in a variable, separated by commas.
    List,
    /// Statuses and classes of statuses.
    Statuses,
    /// Model ids, or ids with metadata.
    Models,
    /// Headers by name.
    Headers,
}

/// Why a text is not a value of a kind. Never holds the text.
#[derive(Debug, PartialEq)]
pub(crate) struct Misfit {
    /// What would have fitted: `a whole number from 0 to 65535`.
    pub(crate) expected: String,
    /// The word that was probably meant.
    pub(crate) nearest: Option<String>,
}

/// A century: beyond it a duration is a slip, and an instant could overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Kind {
    /// The kind that a schema node describes; `target` is the node behind its `$ref`.
    pub(crate) fn of(node: &Value, target: &Value) -> Kind {
        let bound = |key: &str| node.get(key).or_else(|| target.get(key));
        match node.get("x-kind").and_then(Value::as_str) {
            Some("size") => {
                let bytes = |key, otherwise| bound(key).and_then(Value::as_u64).unwrap_or(otherwise);
                return Kind::Size { min: bytes("x-min", 0), max: bytes("x-max", 1 << 40) };
            }
            Some("seconds") => return Kind::Duration { bare: true },
            Some("duration") => return Kind::Duration { bare: false },
            Some("statuses") => return Kind::Statuses,
            Some("models") => return Kind::Models,
            Some("headers") => return Kind::Headers,
            _ => {}
        }
        if let Some(words) = target.get("oneOf").or_else(|| target.get("enum")).and_then(Value::as_array) {
            let words =
                words.iter().filter_map(|w| w.get("const").unwrap_or(w).as_str()).map(String::from).collect();
            let spellings = node.get("x-spellings").and_then(Value::as_object).into_iter().flatten();
            let spellings =
                spellings.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
            return Kind::Choice { words, spellings };
        }
        let kind = target.get("type");
        let is = |name: &str| {
            kind.is_some_and(|t| t == name || t.as_array().is_some_and(|a| a.iter().any(|x| x == name)))
        };
        if is("boolean") {
            Kind::Bool
        } else if is("integer") {
            let widest = match target.get("format").and_then(Value::as_str) {
                Some("uint16") => (0, u16::MAX.into()),
                Some("int32") => (i32::MIN.into(), i32::MAX.into()),
                _ => (0, u32::MAX.into()),
            };
            let whole = |key, otherwise| bound(key).and_then(Value::as_i64).unwrap_or(otherwise);
            Kind::Integer { min: whole("minimum", widest.0), max: whole("maximum", widest.1) }
        } else if is("number") {
            let number = |key, otherwise| bound(key).and_then(Value::as_f64).unwrap_or(otherwise);
            Kind::Number { min: number("minimum", f64::MIN), max: number("maximum", f64::MAX) }
        } else if is("array") {
            Kind::List
        } else {
            Kind::Text
        }
    }

    /// Reads one text: a variable, a flag, or a YAML scalar.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, Misfit> {
        let trimmed = text.trim();
        let value = match self {
            Kind::Text => Some(json!(text)),
            Kind::Bool => boolean(trimmed).map(Value::from),
            Kind::Integer { min, max } => {
                trimmed.parse::<i64>().ok().filter(|n| (min..=max).contains(&n)).map(Value::from)
            }
            Kind::Number { min, max } => trimmed
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && (min..=max).contains(&n))
                .map(Value::from),
            Kind::Choice { words, spellings } => {
                let word = trimmed.to_ascii_lowercase();
                let word = spellings.iter().find(|(k, _)| *k == word).map_or(word, |(_, v)| v.clone());
                words.contains(&word).then(|| json!(word))
            }
            Kind::Size { min, max } => {
                parse_size(trimmed).filter(|n| (min..=max).contains(&n)).map(|n| json!(format_size(n)))
            }
            Kind::Duration { bare } => {
                parse_duration(trimmed, *bare).filter(|d| *d <= LONGEST).map(|d| json!(format_duration(d)))
            }
            Kind::List => Some(json!(items(trimmed).collect::<Vec<_>>())),
            Kind::Models => Some(json!(items(trimmed).map(|id| json!({"id": id})).collect::<Vec<_>>())),
            Kind::Statuses => items(trimmed)
                .map(|item| StatusPattern::parse(item).map(|s| json!(s.to_string())))
                .collect::<Option<Vec<_>>>()
                .map(Value::from),
            Kind::Headers => None,
        };
        value.ok_or_else(|| Misfit { expected: self.expected(), nearest: self.near(trimmed) })
    }

    /// Whether an empty text means that nothing was written.
    pub(crate) fn empty_is_unset(&self) -> bool {
        *self != Kind::Text
    }

    fn near(&self, text: &str) -> Option<String> {
        match self {
            Kind::Choice { words, .. } => {
                nearest(&text.to_ascii_lowercase(), words.iter().map(String::as_str))
            }
            Kind::Bool => nearest(&text.to_ascii_lowercase(), ["true", "false"]),
            Kind::Duration { bare: false } if text.parse::<u32>().is_ok() => Some(format!("{text}s")),
            _ => None,
        }
    }

    /// What may be written, as a phrase: `a whole number from 0 to 65535`.
    pub(crate) fn expected(&self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Integer { min, max } if *max >= i64::from(i32::MAX) => match min {
                0 => "a whole number, not negative".into(),
                1 => "a whole number from 1".into(),
                _ => "a whole number".into(),
            },
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Text => "a text".into(),
            Kind::Choice { words, .. } => format!("one of {}", words.join(", ")),
            Kind::Size { min, max } if *max >= 1 << 40 => {
                format!("a size such as 10M or 512K, {} at least", format_size(*min))
            }
            Kind::Size { min, max } => {
                format!("a size such as 10M or 512K, from {} to {}", format_size(*min), format_size(*max))
            }
            Kind::Duration { bare: true } => {
                "seconds, or a duration with a unit such as 500ms, 30s or 1m30s".into()
            }
            Kind::Duration { bare: false } => "a duration with a unit, such as 500ms, 30s or 1m30s".into(),
            Kind::List => "a list of texts".into(),
            Kind::Statuses => "a list of statuses from 100 to 599 or classes such as 5xx".into(),
            Kind::Models => "a list of model ids, or of entries with `id` and `metadata`".into(),
            Kind::Headers => "a mapping of header names to texts".into(),
        }
    }
}

/// The items of a comma list, blanks dropped. `[]` is the empty list.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let text = if text == "[]" { "" } else { text };
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

impl fmt::Display for Kind {
    /// The word for the reference page.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Bool => "boolean",
            Kind::Integer { .. } => "integer",
            Kind::Number { .. } => "number",
            Kind::Text => "text",
            Kind::Choice { words, .. } => return f.write_str(&words.join(" | ")),
            Kind::Size { .. } => "size",
            Kind::Duration { .. } => "duration",
            Kind::List => "list",
            Kind::Statuses => "list of statuses",
            Kind::Models => "list of models",
            Kind::Headers => "headers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &Kind, text: &str, expect: Result<Value, Option<&str>>) {
        let found = kind.parse(text).map_err(|m| m.nearest);
        assert_eq!(found, expect.map_err(|n| n.map(String::from)), "{kind} {text:?}");
    }

    #[test]
    fn texts_become_values_of_their_kind() {
        for text in ["true", "1", "YES", "On"] {
            check(&Kind::Bool, text, Ok(json!(true)));
        }
        check(&Kind::Bool, "treu", Err(Some("true")));
        let port = Kind::Integer { min: 0, max: 65535 };
        check(&port, " 8080 ", Ok(json!(8080)));
        check(&port, "65536", Err(None));
        check(&port, "80a", Err(None));
        let mode = Kind::Choice {
            words: vec!["fallback".into(), "merge".into()],
            spellings: vec![("mrg".into(), "merge".into())],
        };
        check(&mode, "Merge", Ok(json!("merge")));
        check(&mode, "mrg", Ok(json!("merge")));
        check(&mode, "fallbak", Err(Some("fallback")));
        let size = Kind::Size { min: 1024, max: 100 << 20 };
        check(&size, "10mb", Ok(json!("10M")));
        check(&size, "1G", Err(None));
        check(&size, "12", Err(None));
        check(&Kind::Duration { bare: true }, "600", Ok(json!("10m")));
        check(&Kind::Duration { bare: false }, "2", Err(Some("2s")));
        check(&Kind::List, " a, ,b ", Ok(json!(["a", "b"])));
        check(&Kind::Statuses, "429, 5XX", Ok(json!(["429", "5xx"])));
        check(&Kind::Statuses, "[]", Ok(json!([])));
        check(&Kind::Statuses, "teapot", Err(None));
        check(&Kind::Models, "a/b,c", Ok(json!([{"id": "a/b"}, {"id": "c"}])));
        check(&Kind::Number { min: 0.0, max: 1.0 }, "NaN", Err(None));
    }
}
