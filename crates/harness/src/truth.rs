//! What serde_json sees in a text: the judge in most claims.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object in their order, values as they were written; `None` if the text is no object.
pub(crate) fn members(text: &[u8]) -> Option<Vec<(String, String)>> {
    struct Members(Vec<(String, String)>);
    struct Collect;

    impl<'de> Visitor<'de> for Collect {
        type Value = Members;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                members.push((name, value.get().to_owned()));
            }
            Ok(Members(members))
        }
    }

    impl<'de> Deserialize<'de> for Members {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
            deserializer.deserialize_map(Collect)
        }
    }

    serde_json::from_slice::<Members>(text).ok().map(|members| members.0)
}

/// The text decoded whole, if it is an object in which nothing stands twice, at no depth, and nothing is escaped: then all
/// parsers see the same.
pub(crate) fn plain_object(text: &[u8]) -> Option<Value> {
    let escaped = text.windows(2).any(|pair| pair == b"\\u");
    serde_json::from_slice::<Unambiguous>(text).ok()?;
    let value: Value = serde_json::from_slice(text).ok()?;
    (value.is_object() && !escaped).then_some(value)
}

/// Any JSON in which no object has a member twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON that can be read in one way only")
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unambiguous, A::Error> {
        while items.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, _)) = map.next_entry::<String, Unambiguous>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Unambiguous)
    }
}
