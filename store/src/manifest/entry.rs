//! Entries of long lists, and reading them fast.
//!
//! A derived `Deserialize` with a flattened map buffers every field before it looks at it, which is most
//! of the time of opening a store with many files. The macro here writes the loop by hand and keeps
//! unknown fields all the same.

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// An entry of a list that may have pages.
pub(crate) trait Entry: Clone + PartialEq + serde::Serialize + serde::de::DeserializeOwned {
    /// The rows that it is about.
    fn rows(&self) -> Range<u64>;
}

/// A key of a JSON object; borrowed where it has no escapes.
pub(super) struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Text)
    }
}

/// `Deserialize` for a struct whose other fields go to `extra`. Every field is required; the
/// type is that of the file.
macro_rules! deserialize_with_extra {
    ($name:ident { $($field:ident: $stored:ty),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object of type ", stringify!($name)))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        use serde::de::Error;
                        $(let mut $field: Option<$stored> = None;)*
                        let mut extra = $crate::manifest::Extra::new();
                        while let Some(key) = map.next_key::<$crate::manifest::entry::Key<'de>>()? {
                            match &*key.0 {
                                $(stringify!($field) => {
                                    if $field.replace(map.next_value()?).is_some() {
                                        return Err(A::Error::duplicate_field(stringify!($field)));
                                    }
                                })*
                                _ => {
                                    extra.insert(key.0.into_owned(), map.next_value()?);
                                }
                            }
                        }
                        $(let Some($field) = $field else {
                            return Err(A::Error::missing_field(stringify!($field)));
                        };)*
                        Ok($name { $($field: $field.into(),)* extra })
                    }
                }
                d.deserialize_map(Fields)
            }
        }
    };
}
pub(super) use deserialize_with_extra;

#[cfg(test)]
mod tests {
    use crate::manifest::SegmentEntry;

    const TEXT: &str = r#"{"uuid": "00000000-0000-0000-0000-000000000007", "first_row": 3, "end_row": 9, "rows": 5, "len": 100,
        "tail_len": 40, "footer_digest": "000000000000000000000000000000ab", "later": {"x": [1, 2]}, "k\u0065y": null}"#;

    #[test]
    fn fields_that_are_not_known_are_kept() {
        let entry: SegmentEntry = serde_json::from_str(TEXT).unwrap();
        assert_eq!((entry.range(), entry.rows, entry.tail_len), (3..9, 5, 40));
        assert_eq!(entry.extra.len(), 2);
        let again: SegmentEntry = serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap();
        assert_eq!(again, entry);
        assert_eq!(again.extra["later"]["x"][1], 2);
    }

    #[test]
    fn a_field_that_is_missing_twice_or_of_another_type_is_an_error() {
        for (from, to) in [
            ("\"rows\": 5,", ""),
            ("\"rows\": 5,", "\"rows\": 5, \"rows\": 5,"),
            ("\"rows\": 5,", "\"rows\": -5,"),
            ("\"rows\": 5,", "\"rows\": \"5\","),
        ] {
            let text = TEXT.replace(from, to);
            assert!(serde_json::from_str::<SegmentEntry>(&text).is_err(), "{text}");
        }
    }
}
