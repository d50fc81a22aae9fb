//! How durations, sizes, statuses and secrets are written in a configuration, and read back.

use std::time::Duration;

use domain::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Reads `true/false`, `1/0`, `yes/no` and `on/off`, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

const UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// Reads a size in bytes: `10M`, `512KB`, `1g`, `1048576`. K is 1024.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_uppercase();
    let text = text.strip_suffix('B').unwrap_or(&text);
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, *unit)))
        .unwrap_or((text, 1));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Writes a size in the largest unit that is exact.
pub(crate) fn format_size(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((letter, unit)) => format!("{}{letter}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Reads a duration as Go writes it: `500ms`, `1m30s`, `1.5h`, `0`.
///
/// With `bare`, a plain whole number counts seconds.
pub(crate) fn parse_duration(text: &str, bare: bool) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if bare && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let nanos = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        let amount: f64 = number.parse().ok()?;
        let nanos = (amount * nanos).round();
        // Beyond a century it is a slip, and adding could overflow.
        if !nanos.is_finite() || nanos > 3.2e18 {
            return None;
        }
        total = total.checked_add(Duration::from_nanos(nanos as u64))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// Writes a duration so that it reads back the same: `1m30s`, `500ms`, `0s`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let mut text = String::new();
    for (amount, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
        if amount > 0 {
            text += &format!("{amount}{unit}");
        }
    }
    for (amount, unit) in [(nanos / 1_000_000, "ms"), (nanos / 1000 % 1000, "us"), (nanos % 1000, "ns")] {
        if amount > 0 {
            text += &format!("{amount}{unit}");
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// A status that a rule names: one code (`429`) or a class (`5xx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum StatusPattern {
    /// Exactly this status.
    Exact(u16),
    /// Every status with this first digit.
    Class(u16),
}

impl StatusPattern {
    /// Reads `429` or `5xx`.
    pub fn parse(text: &str) -> Option<StatusPattern> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().filter(|c| (1..=5).contains(c)).map(StatusPattern::Class);
        }
        text.parse().ok().filter(|code| (100..=599).contains(code)).map(StatusPattern::Exact)
    }

    /// Whether this status is meant.
    pub fn matches(self, status: u16) -> bool {
        match self {
            StatusPattern::Exact(code) => code == status,
            StatusPattern::Class(class) => class == status / 100,
        }
    }
}

impl std::fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusPattern::Exact(code) => write!(f, "{code}"),
            StatusPattern::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Serialize for StatusPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        StatusPattern::parse(&text).ok_or_else(|| D::Error::custom("not a status or a class such as 5xx"))
    }
}

/// Serde for a size in bytes.
pub(crate) mod size {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(*bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse_size(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("not a size"))
    }
}

/// Serde for a duration.
pub(crate) mod duration {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?, true)
            .ok_or_else(|| D::Error::custom("not a duration"))
    }
}

/// Serde for a duration whose default depends on the provider's type.
pub(crate) mod optional_duration {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(format_duration).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|t| parse_duration(&t, true).ok_or_else(|| D::Error::custom("not a duration"))).transpose()
    }
}

/// Serde for one secret: written as `***`.
pub(crate) mod secret {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(secret)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::from)
    }
}

/// Serde for several secrets.
pub(crate) mod secrets {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(secrets: &[Secret], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(secrets.iter().map(Secret::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Secret>, D::Error> {
        Ok(Vec::<String>::deserialize(deserializer)?.into_iter().map(Secret::from).collect())
    }
}

/// Serde for secrets by name.
pub(crate) mod secret_map {
    use std::collections::BTreeMap;

    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        map: &BTreeMap<String, Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, secret)| (name, secret.to_string())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Secret>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(name, text)| (name, Secret::from(text))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        let check = |text: &str, bare, millis: Option<u64>| {
            assert_eq!(parse_duration(text, bare), millis.map(Duration::from_millis), "{text:?} {bare}");
        };
        check("500ms", false, Some(500));
        check("1m30s", false, Some(90_000));
        check("1.5h", false, Some(5_400_000));
        check("0", false, Some(0));
        check("600", true, Some(600_000));
        check("600", false, None);
        check("10 m", true, None);
        check("-1s", true, None);
        check("1d", true, None);
        check("", true, None);
        check("s", true, None);
        check("99999999999h", true, None);
    }

    #[test]
    fn durations_and_sizes_read_back_as_written() {
        for text in ["1h", "1m30s", "500ms", "0s", "1s1ms1us1ns", "2h3m4s"] {
            let duration = parse_duration(text, false).unwrap();
            assert_eq!(format_duration(duration), text);
        }
        for (text, bytes) in [("10M", 10 << 20), ("1G", 1 << 30), ("1500", 1500), ("0", 0)] {
            assert_eq!((parse_size(text), format_size(bytes)), (Some(bytes), text.to_owned()));
        }
    }

    #[test]
    fn sizes_take_gomodels_spellings_and_nothing_else() {
        for (text, bytes) in [
            ("10m", Some(10 << 20)),
            ("1024KB", Some(1 << 20)),
            ("5b", Some(5)),
            ("M", None),
            ("-1", None),
            ("1.5M", None),
            ("1MiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn a_status_is_a_code_or_a_class() {
        assert_eq!(StatusPattern::parse("5XX"), Some(StatusPattern::Class(5)));
        assert_eq!(StatusPattern::parse("429"), Some(StatusPattern::Exact(429)));
        assert_eq!(StatusPattern::parse("9xx"), None);
        assert_eq!(StatusPattern::parse("42"), None);
        assert!(StatusPattern::Class(5).matches(503) && !StatusPattern::Class(5).matches(429));
    }
}
