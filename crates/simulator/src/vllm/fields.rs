//! Reading the members of a request as pydantic reads them: leniently, and with its words for what is wrong.

use serde_json::{Map, Value};

use super::malformed;
use super::refusal::{Invalid, Refusal};

/// The body of a request as an object.
///
/// # Errors
/// Pydantic's or Python's finding, if it is none.
pub(crate) fn body(bytes: &[u8]) -> Result<Value, Refusal> {
    let invalid = |finding| Err(Refusal::Invalid(vec![finding]));
    if bytes.is_empty() {
        return invalid(Invalid::missing("body", &Value::Null));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Null) => invalid(Invalid::missing("body", &Value::Null)),
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(other) => invalid(Invalid::new(
            "model_attributes_type",
            "body",
            "Input should be a valid dictionary or object to extract fields from",
            &other,
        )),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            let fault =
                malformed::fault(&text).unwrap_or(malformed::Fault { at: 0, says: "Expecting value" });
            let empty = Value::Object(Map::new());
            let mut finding =
                Invalid::new("json_invalid", format!("body.{}", fault.at), "JSON decode error", &empty);
            finding.more = Some(format!("{{'error': {}}}", super::refusal::repr(fault.says)));
            invalid(finding)
        }
    }
}

/// The members of one object, and what was wrong with those that were read.
pub(crate) struct Fields<'a> {
    whole: &'a Value,
    place: String,
    wrong: Vec<Invalid>,
}

impl<'a> Fields<'a> {
    /// The members of a request's body.
    pub(crate) fn new(body: &'a Value) -> Self {
        Fields { whole: body, place: "body".to_owned(), wrong: Vec::new() }
    }

    /// The object itself.
    pub(crate) fn whole(&self) -> &'a Value {
        self.whole
    }

    /// A member that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.whole.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn wrong(&mut self, finding: Invalid) {
        self.wrong.push(finding);
    }

    /// Where a member is.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// A member that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Option<&'a Value> {
        let value = self.whole.get(name);
        if value.is_none() {
            self.wrong.push(Invalid::missing(self.place(name), self.whole));
        }
        value
    }

    pub(crate) fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        let (kind, says) = match value {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => return Some(number),
                (None, Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => {
                    return Some(float as i64);
                }
                (None, Some(float)) if float.fract() != 0.0 => {
                    ("int_from_float", "Input should be a valid integer, got a number with a fractional part")
                }
                _ => {
                    ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
                }
            },
            Value::Bool(flag) => return Some(i64::from(*flag)),
            Value::String(text) => match text.trim().parse() {
                Ok(number) => return Some(number),
                Err(_) => {
                    ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
                }
            },
            _ => ("int_type", "Input should be a valid integer"),
        };
        self.wrong.push(Invalid::new(kind, self.place(name), says, value));
        None
    }

    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        let value = self.get(name)?;
        let (kind, says) = match value {
            Value::Number(number) => return number.as_f64(),
            Value::Bool(flag) => return Some(f64::from(u8::from(*flag))),
            Value::String(text) => match text.trim().parse() {
                Ok(number) => return Some(number),
                Err(_) => {
                    ("float_parsing", "Input should be a valid number, unable to parse string as a number")
                }
            },
            _ => ("float_type", "Input should be a valid number"),
        };
        self.wrong.push(Invalid::new(kind, self.place(name), says, value));
        None
    }

    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        let (kind, says) = match value {
            Value::Bool(flag) => return Some(*flag),
            Value::Number(number) if number.as_f64() == Some(0.0) => return Some(false),
            Value::Number(number) if number.as_f64() == Some(1.0) => return Some(true),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => return Some(true),
                "false" | "f" | "no" | "n" | "off" | "0" => return Some(false),
                _ => ("bool_parsing", "Input should be a valid boolean, unable to interpret input"),
            },
            Value::Number(_) => {
                ("bool_parsing", "Input should be a valid boolean, unable to interpret input")
            }
            _ => ("bool_type", "Input should be a valid boolean"),
        };
        self.wrong.push(Invalid::new(kind, self.place(name), says, value));
        None
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        let value = self.get(name)?;
        if value.is_string() {
            return value.as_str();
        }
        self.wrong.push(Invalid::new(
            "string_type",
            self.place(name),
            "Input should be a valid string",
            value,
        ));
        None
    }

    pub(crate) fn list(&mut self, name: &str) -> Option<&'a [Value]> {
        let value = self.get(name)?;
        if let Value::Array(items) = value {
            return Some(items);
        }
        self.wrong.push(Invalid::new("list_type", self.place(name), "Input should be a valid list", value));
        None
    }

    /// A list that must be there.
    pub(crate) fn required_list(&mut self, name: &str) -> &'a [Value] {
        match self.required(name) {
            Some(Value::Null) => {
                self.wrong.push(Invalid::new(
                    "list_type",
                    self.place(name),
                    "Input should be a valid list",
                    &Value::Null,
                ));
                &[]
            }
            Some(_) => self.list(name).unwrap_or_default(),
            None => &[],
        }
    }

    /// A string, or a list of strings.
    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        match self.get(name) {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let texts: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                if texts.len() < items.len() {
                    let at = items.iter().position(|item| !item.is_string()).unwrap_or(0);
                    let place = self.place(&format!("{name}.{at}"));
                    self.wrong.push(Invalid::new(
                        "string_type",
                        place,
                        "Input should be a valid string",
                        &items[at],
                    ));
                }
                texts
            }
            Some(other) => {
                self.wrong.push(Invalid::new(
                    "string_type",
                    self.place(name),
                    "Input should be a valid string",
                    other,
                ));
                self.wrong.push(Invalid::new(
                    "list_type",
                    self.place(name),
                    "Input should be a valid list",
                    other,
                ));
                Vec::new()
            }
        }
    }

    /// What was found, if anything was.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.wrong.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.wrong)) }
    }
}
