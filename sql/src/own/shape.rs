//! Shapes of JSON values: single values, lists and objects. A column has one of them.

use std::collections::HashMap;
use std::fmt;

use gstore_core::content::json_type;
use serde_json::Value;

/// What the values of one place are, as far as they were seen.
#[derive(Debug, Default)]
pub(super) enum JsonShape {
    /// Null, or not there.
    #[default]
    Unknown,
    /// Text, a number, true or false: where they meet they are text.
    Single,
    List(Box<JsonShape>),
    Object(HashMap<String, JsonShape>),
}

/// Why a value does not go together with others.
#[derive(Debug)]
pub(super) struct ShapeConflict {
    /// Keys from the outermost to that of the value.
    keys: Vec<String>,
    why: String,
}

impl fmt::Display for ShapeConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value of {:?} {}", self.keys.join("."), self.why)
    }
}

impl JsonShape {
    /// Takes a value in, if it is what those before it were.
    pub(super) fn see(&mut self, value: &Value) -> Result<(), ShapeConflict> {
        if matches!(self, Self::Unknown) {
            *self = match value {
                Value::Null => Self::Unknown,
                Value::Array(_) => Self::List(Box::default()),
                Value::Object(_) => Self::Object(HashMap::new()),
                _ => Self::Single,
            };
        }
        match (self, value) {
            (_, Value::Null) => Ok(()),
            (Self::List(item), Value::Array(items)) => {
                let is_nested = |item: &Value| item.is_array() || item.is_object();
                if items.iter().any(Value::is_null) && items.iter().any(is_nested) {
                    let why = "has nulls among lists or objects; leave the nulls out".to_owned();
                    return Err(ShapeConflict { keys: Vec::new(), why });
                }
                items.iter().try_for_each(|value| item.see(value))
            }
            (Self::Object(members), Value::Object(object)) => object.iter().try_for_each(|(key, value)| {
                members.entry(key.clone()).or_default().see(value).map_err(|mut other| {
                    other.keys.insert(0, key.clone());
                    other
                })
            }),
            (Self::Single, Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(()),
            (before, _) => Err(ShapeConflict { keys: Vec::new(), why: before.differs(json_type(value)) }),
        }
    }

    fn differs(&self, found: &str) -> String {
        let before = match self {
            Self::Unknown => "null",
            Self::Single => "a single value",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        };
        format!(
            "is {found} here, and {before} before; a column has one kind of values: \
             write all of them as text, or leave some out"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_kind_go_together_and_others_are_named() {
        let seen = |texts: &[&str]| {
            let mut shape = JsonShape::default();
            let see = |text: &&str| shape.see(&serde_json::from_str(text).unwrap());
            texts.iter().try_for_each(see).map_err(|other| other.to_string())
        };
        let fine =
            ["{}", r#"{"x":null,"y":[]}"#, r#"{"x":1,"y":[1,"a",null]}"#, r#"{"x":"b","z":{"a":[[1],[]]}}"#];
        assert_eq!(seen(&fine), Ok(()));
        for (texts, says) in [
            (
                &[r#"{"x":1}"#, r#"{"x":{"y":1}}"#][..],
                "the value of \"x\" is an object here, and a single value before;",
            ),
            (
                &[r#"{"x":{"y":[1]}}"#, r#"{"x":{"y":2}}"#],
                "the value of \"x.y\" is a number here, and a list before;",
            ),
            (&[r#"{"x":[1,[2]]}"#], "the value of \"x\" is a list here, and a single value before;"),
            (&[r#"{"x":[null,{}]}"#], "the value of \"x\" has nulls among lists or objects;"),
        ] {
            let error = seen(texts).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
