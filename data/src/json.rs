//! JSON in which no object has a key twice, and the spelling of its numbers.
//!
//! `serde_json::Value` keeps the last of two equal keys without a word; for training data that hides a
//! defect of the file. It turns an integer of more than 64 bits into a float, so the digits of such a one
//! are taken from the text.

use std::fmt;

use gstore_core::json::parts;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON value; keys of every object are distinct, in order of appearance.
pub(super) struct Unique(pub(super) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} appears twice in one object")));
            }
            let Unique(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Whether a number stands in its text as an integer that `Value` holds as a float.
pub(super) fn is_long_integer(number: &Number, text: &str) -> bool {
    number.is_f64() && text != "-0" && !text.contains(['.', 'e', 'E'])
}

/// Whether there may be such an integer in a value.
pub(super) fn may_have_long_integers(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|x| x.abs() >= 2_f64.powi(63))
        }
        Value::Array(items) => items.iter().any(may_have_long_integers),
        Value::Object(members) => members.values().any(may_have_long_integers),
        _ => false,
    }
}

/// Every number as it is written: as a value it may have lost digits.
pub(super) fn every_number(_: &Number, _: &str) -> bool {
    true
}

/// Appends the compact JSON of a value that was read from `text`, with the numbers that
/// `as_it_stands` chooses as they are written there. Keys and texts may have been changed since, but
/// nothing added, removed or moved.
pub(super) fn write_compact(
    value: &Value,
    text: &str,
    as_it_stands: fn(&Number, &str) -> bool,
    out: &mut String,
) {
    let mut next = "";
    match value {
        Value::Number(number) if as_it_stands(number, text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (item, (_, text)) in items.iter().zip(parts(text)) {
                out.push_str(std::mem::replace(&mut next, ","));
                write_compact(item, text, as_it_stands, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for ((key, member), (_, text)) in members.iter().zip(parts(text)) {
                out.push_str(std::mem::replace(&mut next, ","));
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_compact(member, text, as_it_stands, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str, as_it_stands: fn(&Number, &str) -> bool) -> String {
        let Unique(value) = serde_json::from_str(text).unwrap();
        let mut out = String::new();
        write_compact(&value, text.trim_ascii(), as_it_stands, &mut out);
        out
    }

    #[test]
    fn numbers_are_written_as_they_stand_or_as_values() {
        let text =
            r#" {"a" : [1e5, -0, 1.50, 7, 340282366920938463463374607431768211455], "\u0062":"\u00e9" } "#;
        assert_eq!(
            compact(text, |_, _| true),
            r#"{"a":[1e5,-0,1.50,7,340282366920938463463374607431768211455],"b":"\u00e9"}"#
                .replace("\\u00e9", "\u{e9}")
        );
        assert_eq!(
            compact(text, is_long_integer),
            r#"{"a":[100000.0,-0.0,1.5,7,340282366920938463463374607431768211455],"b":"\u00e9"}"#
                .replace("\\u00e9", "\u{e9}")
        );
    }

    proptest::proptest! {
        /// What is written is the value that was read, whatever stands in the strings.
        #[test]
        fn compact_text_is_the_same_value(texts in proptest::collection::vec(".{0,6}", 1..4), n in proptest::num::i64::ANY) {
            let value = serde_json::json!({ "k,{": [texts, n, { "": [] }], texts[0].as_str(): { "x": null } });
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                proptest::prop_assert_eq!(compact(&text, |_, _| true), value.to_string());
            }
        }
    }
}
