//! Parsing of JSON requests.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tonic::Status;

/// What types of the code are called in messages.
const WORDS: [(&str, &str); 6] = [
    ("invalid type: sequence", "invalid type: list"),
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected f64", "expected a number"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected an object"),
];

/// What an object says. serde also reads the fields of a type from a list, in the order of its source code.
#[derive(Debug, Clone)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

/// Reads an object, which messages call `what`; objects in it are to be read as [`Object`].
pub(crate) fn read_object<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Status> {
    let object: Result<Object<T>, _> = serde_json::from_slice(bytes);
    object.map(|Object(read)| read).map_err(|e| {
        let why = WORDS.iter().fold(e.to_string(), |text, (ty, words)| text.replace(ty, words));
        Status::invalid_argument(format!("{what} cannot be read: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        rows: Option<usize>,
        within: Option<Box<Object<Body>>>,
    }

    #[test]
    fn messages_are_in_words_of_json() {
        let read = |text: &str| read_object::<Body>("the request", text.as_bytes());
        let good = read(r#" {"within": {"rows": 3}}"#).unwrap();
        assert_eq!((good.rows, good.within.and_then(|within| within.0.rows)), (None, Some(3)));
        for (bad, why) in [
            ("[3, null]", "the request cannot be read: invalid type: list, expected an object at line 1"),
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            (r#"{"rows": -1}"#, "integer `-1`, expected a whole number, 0 or more at line 1"),
            (r#"{"within": 3}"#, "integer `3`, expected an object at line 1"),
            (r#"{"within": [3, null]}"#, "list, expected an object at line 1"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.message().contains(why), "{bad}: {error}");
        }
    }
}
