//! A JSON value that satisfies a JSON schema.

use serde_json::{Map, Value, json};

use crate::pattern;
use crate::seed::Choices;
use crate::text;

/// How deep optional things are still written; what is required goes on to [`DEEPEST`].
const DEEP: usize = 6;
/// Where a schema that refers to itself is given up.
const DEEPEST: usize = 32;
/// How much a value may hold: each value in it counts one, and each sixteen characters that are demanded.
const MOST: usize = 50_000;

/// Fills schemas, with words of the conversation where a string may be anything.
pub(crate) struct Filler<'a> {
    root: &'a Value,
    choices: Choices,
    /// Words worth repeating, such as the name of a city that was asked about.
    names: Vec<&'a str>,
    left: usize,
}

impl<'a> Filler<'a> {
    /// For a schema, and the user's words.
    pub(crate) fn new(schema: &'a Value, seed: u64, said: &'a str) -> Self {
        Filler { root: schema, choices: Choices::new(seed), names: names(said), left: MOST }
    }

    /// A value for the whole schema.
    ///
    /// # Errors
    /// If the schema demands more than a simulation should hold.
    pub(crate) fn fill(&mut self) -> Result<Value, String> {
        let value = self.value(self.root, 0);
        if self.left == 0 {
            Err(format!("the JSON schema demands more than {MOST} values"))
        } else {
            Ok(value)
        }
    }

    fn spend(&mut self, much: usize) -> bool {
        self.left = self.left.saturating_sub(much);
        self.left > 0
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        let Value::Object(rules) = schema else { return Value::Object(Map::new()) };
        if depth > DEEPEST || !self.spend(1) {
            return Value::Null;
        }
        if let Some(constant) = rules.get("const") {
            return constant.clone();
        }
        if let Some(Value::Array(allowed)) = rules.get("enum")
            && !allowed.is_empty()
        {
            return self.choices.pick(allowed).clone();
        }
        if let Some(target) = rules.get("$ref").and_then(Value::as_str).and_then(|path| self.resolve(path)) {
            return self.value(target, depth + 1);
        }
        for several in ["anyOf", "oneOf"] {
            if let Some(Value::Array(options)) = rules.get(several)
                && !options.is_empty()
            {
                let option = self.option(options, depth);
                return self.value(&merged(rules, option, several), depth + 1);
            }
        }
        if let Some(Value::Array(all)) = rules.get("allOf") {
            let whole = all.iter().fold(schema.clone(), |whole, part| {
                let part = part
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|path| self.resolve(path))
                    .unwrap_or(part);
                whole.as_object().map_or(Value::Null, |rules| merged(rules, part, "allOf"))
            });
            return self.value(&whole, depth + 1);
        }
        match kind(rules) {
            "object" => self.object(rules, depth),
            "array" => self.array(rules, depth),
            "string" => Value::String(self.string(rules)),
            "integer" => self.integer(rules),
            "number" => self.number(rules),
            "boolean" => Value::Bool(self.choices.below(2) == 1),
            _ => Value::Null,
        }
    }

    /// Where it is shallow any option, where it is deep the one that ends soonest.
    fn option<'s>(&mut self, options: &'s [Value], depth: usize) -> &'s Value {
        let simple = |option: &&Value| {
            option.as_object().is_some_and(|rules| {
                !matches!(kind(rules), "object" | "array") && !rules.contains_key("$ref")
            })
        };
        if depth >= DEEP {
            return options.iter().find(simple).unwrap_or(&options[0]);
        }
        let not_null = |option: &&Value| option.get("type").and_then(Value::as_str) != Some("null");
        options.iter().find(not_null).unwrap_or(&options[0])
    }

    fn object(&mut self, rules: &Map<String, Value>, depth: usize) -> Value {
        let empty = Map::new();
        let properties = rules.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: Option<Vec<&str>> = rules
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect());
        let mut object = Map::new();
        for (name, schema) in properties {
            // a schema that demands nothing still describes something: write it, unless it goes on for ever
            if required.as_ref().map_or(depth < DEEP, |required| required.contains(&name.as_str())) {
                object.insert(name.clone(), self.value(schema, depth + 1));
            }
        }
        let anything = json!({"type": "string"});
        for name in required.unwrap_or_default() {
            if !properties.contains_key(name) {
                let schema = rules
                    .get("additionalProperties")
                    .filter(|schema| schema.is_object())
                    .unwrap_or(&anything);
                object.insert(name.to_owned(), self.value(schema, depth + 1));
            }
        }
        let least = count(rules, "minProperties").unwrap_or(0);
        for extra in object.len()..least.min(object.len() + self.left) {
            let schema =
                rules.get("additionalProperties").filter(|schema| schema.is_object()).unwrap_or(&anything);
            object.insert(format!("key_{extra}"), self.value(schema, depth + 1));
        }
        Value::Object(object)
    }

    fn array(&mut self, rules: &Map<String, Value>, depth: usize) -> Value {
        let least = count(rules, "minItems").unwrap_or(0);
        let most = count(rules, "maxItems").unwrap_or(usize::MAX);
        let first: &[Value] = rules.get("prefixItems").and_then(Value::as_array).map_or(&[], Vec::as_slice);
        let wanted =
            if depth >= DEEP { least } else { least.max(first.len()).max(1 + self.choices.below(2)) };
        let anything = json!({"type": "string"});
        let items = rules.get("items").filter(|items| items.is_object()).unwrap_or(&anything);
        let unique = rules.get("uniqueItems") == Some(&Value::Bool(true));
        let mut array: Vec<Value> = Vec::new();
        for index in 0..wanted.min(most).min(self.left) {
            let mut value = self.value(first.get(index).unwrap_or(items), depth + 1);
            for _ in 0..16 {
                if !(unique && array.contains(&value)) {
                    break;
                }
                value = self.value(first.get(index).unwrap_or(items), depth + 1);
            }
            if unique && array.contains(&value) && index >= least {
                break;
            }
            array.push(value);
        }
        Value::Array(array)
    }

    fn string(&mut self, rules: &Map<String, Value>) -> String {
        if let Some(pattern) = rules.get("pattern").and_then(Value::as_str)
            && let Ok(text) = pattern::matching(pattern, &mut self.choices)
        {
            return text;
        }
        let number = self.choices.next();
        match rules.get("format").and_then(Value::as_str) {
            Some("date") => return format!("2026-{:02}-{:02}", number % 12 + 1, number / 12 % 28 + 1),
            Some("time") => return format!("{:02}:{:02}:00Z", number % 24, number / 24 % 60),
            Some("date-time") => {
                return format!(
                    "2026-{:02}-{:02}T{:02}:00:00Z",
                    number % 12 + 1,
                    number / 12 % 28 + 1,
                    number / 400 % 24
                );
            }
            Some("duration") => return format!("PT{}M", number % 60),
            Some("email") => return format!("{}@example.com", text::word(&mut self.choices)),
            Some("hostname") => return format!("{}.example.com", text::word(&mut self.choices)),
            Some("uri" | "url") => return format!("https://example.com/{}", text::word(&mut self.choices)),
            Some("ipv4") => return format!("192.0.2.{}", number % 256),
            Some("ipv6") => return format!("2001:db8::{:x}", number % 0xffff),
            Some("uuid") => {
                let low = self.choices.next();
                return uuid::Builder::from_random_bytes(
                    (u128::from(number) << 64 | u128::from(low)).to_be_bytes(),
                )
                .into_uuid()
                .to_string();
            }
            _ => {}
        }
        let mut text = match self.names.is_empty() {
            false => (*self.choices.pick(&self.names)).to_owned(),
            true => text::word(&mut self.choices).to_owned(),
        };
        let least = count(rules, "minLength").unwrap_or(0);
        if !self.spend(1 + least / 16) {
            return text;
        }
        while text.len() < least * 4 && text.chars().count() < least {
            text.push('-');
            text.push_str(text::word(&mut self.choices));
        }
        let most = count(rules, "maxLength").unwrap_or(usize::MAX);
        text.chars().take(most.max(least)).collect()
    }

    fn integer(&mut self, rules: &Map<String, Value>) -> Value {
        let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
        let low = bound("minimum")
            .map(|low| low.ceil() as i64)
            .max(bound("exclusiveMinimum").map(|low| low.floor() as i64 + 1));
        let high = match (
            bound("maximum").map(|high| high.floor() as i64),
            bound("exclusiveMaximum").map(|high| high.ceil() as i64 - 1),
        ) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) => (low, high.max(low)),
            (Some(low), None) => (low, low.saturating_add(99)),
            (None, Some(high)) => (high.saturating_sub(99), high),
            (None, None) => (0, 99),
        };
        let step = rules.get("multipleOf").and_then(Value::as_i64).unwrap_or(1).max(1);
        let width = usize::try_from(high.saturating_sub(low)).unwrap_or(99).min(9_999);
        let any = low.saturating_add(i64::try_from(self.choices.below(width + 1)).unwrap_or(0));
        // the nearest multiple at or below, or else the first one above the lower end
        let down = any - any.rem_euclid(step);
        json!(if down >= low { down } else { low + (step - low.rem_euclid(step)) % step })
    }

    fn number(&mut self, rules: &Map<String, Value>) -> Value {
        let bound = |name: &str| rules.get(name).and_then(Value::as_f64);
        if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
            let low = bound("minimum").or(bound("exclusiveMinimum")).unwrap_or(0.0);
            let steps = (low / step).ceil() + if bound("exclusiveMinimum").is_some() { 1.0 } else { 0.0 };
            return json!(steps * step);
        }
        let low = bound("minimum").or(bound("exclusiveMinimum"));
        let high = bound("maximum").or(bound("exclusiveMaximum"));
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) => (low, high),
            (Some(low), None) => (low, low + 100.0),
            (None, Some(high)) => (high - 100.0, high),
            (None, None) => (0.0, 100.0),
        };
        let share = (self.choices.below(98) + 1) as f64 / 100.0;
        json!(low + (high - low) * share)
    }

    /// `#`, `#/$defs/x`, `#/definitions/x`.
    fn resolve(&self, path: &str) -> Option<&'a Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }
}

/// The words of a text that begin with a capital, though no sentence begins with them.
fn names(said: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut begins = true;
    for word in said.split_whitespace().rev().take(200).collect::<Vec<_>>().into_iter().rev() {
        let plain = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        if !begins && plain.len() > 1 && plain.starts_with(char::is_uppercase) && plain.len() <= 40 {
            names.push(plain);
        }
        begins = word.ends_with(['.', '!', '?', ':']);
    }
    names
}

fn kind(rules: &Map<String, Value>) -> &str {
    match rules.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if rules.contains_key("properties") || rules.contains_key("required") => "object",
        _ if rules.contains_key("items") || rules.contains_key("prefixItems") => "array",
        _ if rules.contains_key("pattern") || rules.contains_key("minLength") => "string",
        _ if rules.contains_key("minimum") || rules.contains_key("maximum") => "number",
        _ => "object",
    }
}

fn count(rules: &Map<String, Value>, name: &str) -> Option<usize> {
    rules.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok())
}

/// The rules without the member that held the alternatives, with those of one alternative laid over them.
fn merged(rules: &Map<String, Value>, option: &Value, without: &str) -> Value {
    let mut whole = rules.clone();
    if without != "allOf" || option.get("allOf").is_none() {
        whole.remove(without);
    }
    for (name, rule) in option.as_object().into_iter().flatten() {
        match (whole.get_mut(name), rule) {
            (Some(Value::Object(here)), Value::Object(there)) => {
                here.extend(there.iter().map(|(name, rule)| (name.clone(), rule.clone())));
            }
            (Some(Value::Array(here)), Value::Array(there)) if name == "required" => {
                here.extend(there.iter().cloned())
            }
            _ => {
                whole.insert(name.clone(), rule.clone());
            }
        }
    }
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the schema with fifty seeds and checks each value.
    fn check(schema: &Value, fits: impl Fn(&Value) -> bool) {
        for seed in 0..50 {
            let value = Filler::new(schema, seed, "What is the weather in Paris?").fill().unwrap();
            assert!(fits(&value), "{value} for {schema}");
        }
    }

    #[test]
    fn bounds_are_kept() {
        check(&json!({"type": "integer", "minimum": 3, "maximum": 5}), |value| {
            (3..=5).contains(&value.as_i64().unwrap())
        });
        check(&json!({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}), |value| {
            let number = value.as_i64().unwrap();
            number > 3 && number % 5 == 0
        });
        check(&json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}), |value| {
            let number = value.as_f64().unwrap();
            number > 0.0 && number < 1.0
        });
        check(&json!({"type": "string", "minLength": 10, "maxLength": 12}), |value| {
            (10..=12).contains(&value.as_str().unwrap().chars().count())
        });
        check(
            &json!({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3}),
            |value| (2..=3).contains(&value.as_array().unwrap().len()),
        );
    }

    #[test]
    fn required_members_are_there_in_the_schemas_order() {
        let schema = json!({"type": "object", "properties": {"b": {"type": "boolean"}, "a": {"const": 1}, "c": {}},
            "required": ["a", "b"]});
        check(&schema, |value| {
            value["a"] == 1
                && value["b"].is_boolean()
                && value.get("c").is_none()
                && value.as_object().unwrap().keys().next().unwrap() == "b"
        });
    }

    #[test]
    fn references_and_alternatives_are_followed() {
        let schema = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["next", "value"],
            "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}});
        check(&schema, |value| value["value"].is_i64() && value.get("next").is_some());
        check(&json!({"oneOf": [{"type": "null"}, {"type": "string"}]}), Value::is_string);
        check(
            &json!({"allOf": [{"type": "object", "required": ["x"]}, {"properties": {"x": {"const": 2}}}]}),
            |value| value["x"] == 2,
        );
    }

    #[test]
    fn a_schema_that_never_ends_is_given_up() {
        let schema = json!({"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}});
        check(&schema, Value::is_object);
    }

    #[test]
    fn a_schema_that_demands_too_much_is_refused() {
        let many = json!({"type": "array", "minItems": 1_000, "items": {"type": "array", "minItems": 1_000}});
        let long = json!({"type": "string", "minLength": 10_000_000});
        for schema in [many, long] {
            let refused = Filler::new(&schema, 1, "").fill().unwrap_err();
            assert!(refused.contains("more than"), "{refused}");
        }
    }

    #[test]
    fn a_free_string_repeats_the_name_that_was_asked_about() {
        check(&json!({"type": "string"}), |value| value == "Paris");
    }
}
