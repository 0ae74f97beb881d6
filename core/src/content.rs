//! Content of a record: a conversation, a prompt with its completion, or a text.
//!
//! A record is a JSON object with exactly one of `messages` (a list of `{role, content}`), `prompt` with
//! `completion`, or `text`. Every other key is metadata, one of `prompt` and `completion` without the other
//! too. Keys of a message other than `role` and `content` are not used.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model; its words are what is scored.
    Assistant,
}

impl Role {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, as in the file.
    pub content: String,
}

/// The text of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A conversation of at least one message.
    Messages(Vec<Message>),
    /// A prompt and how it should go on.
    PromptCompletion {
        /// Not scored.
        prompt: String,
        /// Scored.
        completion: String,
    },
    /// Text to be scored as a whole.
    Text(String),
}

/// Why a record has no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Not a JSON object.
    #[error("it is no JSON object: {0}")]
    Json(String),
    /// None of the three shapes.
    #[error("nothing to train on: a record needs `messages`, or `prompt` and `completion`, or `text`")]
    Nothing,
    /// A prompt without completion or the other way round.
    #[error("`{present}` without `{missing}`: a record of this shape needs both")]
    HalfPair {
        /// The key that is there.
        present: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// More than one shape.
    #[error(
        "both {first} and {second}: a record has one of `messages`, `prompt` with `completion`, and `text`"
    )]
    Ambiguous {
        /// One shape.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// `messages` is no list, a prompt no string, and so on.
    #[error("`{at}` must be {expected}, found {found}")]
    WrongType {
        /// Where: `messages`, `messages[2].content`, ...
        at: String,
        /// What belongs there.
        expected: &'static str,
        /// Type of what is there.
        found: &'static str,
    },
    /// A message without role or content.
    #[error("message {index} has no `{key}`")]
    MissingKey {
        /// Index of the message, from 0.
        index: usize,
        /// The key.
        key: &'static str,
    },
    /// A conversation without messages.
    #[error("the conversation is empty: `messages` has no element")]
    EmptyMessages,
    /// A role that has no meaning.
    #[error("message {index} has the role {role:?}; known roles are system, user and assistant")]
    UnknownRole {
        /// Index of the message, from 0.
        index: usize,
        /// What it says.
        role: String,
    },
}

impl Content {
    /// Reads the content of a record, and nothing else of it.
    ///
    /// # Errors
    /// Text that is no JSON object; those of [`Content::take`].
    pub fn read(record: &[u8]) -> Result<Self, ContentError> {
        let Shapes(mut object) =
            serde_json::from_slice(record).map_err(|error| ContentError::Json(error.to_string()))?;
        Self::take(&mut object)
    }

    /// Takes the content out of a record and leaves the rest.
    ///
    /// # Errors
    /// A record without content, with more than one, or with values of other types.
    pub fn take(object: &mut Map<String, Value>) -> Result<Self, ContentError> {
        let pair = (object.contains_key("prompt"), object.contains_key("completion"));
        let shapes = [
            (object.contains_key("messages"), "`messages`"),
            (pair == (true, true), "`prompt` with `completion`"),
            (object.contains_key("text"), "`text`"),
        ];
        let mut present = shapes.iter().filter(|(there, _)| *there).map(|(_, shape)| *shape);
        match (present.next(), present.next()) {
            (Some(first), Some(second)) => return Err(ContentError::Ambiguous { first, second }),
            (Some(_), None) => {}
            (None, _) => {
                return Err(match pair {
                    (true, false) => ContentError::HalfPair { present: "prompt", missing: "completion" },
                    (false, true) => ContentError::HalfPair { present: "completion", missing: "prompt" },
                    _ => ContentError::Nothing,
                });
            }
        }
        if let Some(messages) = object.shift_remove("messages") {
            return parse_messages(messages).map(Self::Messages);
        }
        if let Some(value) = object.shift_remove("text") {
            return text("text".to_owned(), value).map(Self::Text);
        }
        let mut part = |key: &'static str| {
            let value = object.shift_remove(key).ok_or(ContentError::Nothing)?;
            text(key.to_owned(), value)
        };
        Ok(Self::PromptCompletion { prompt: part("prompt")?, completion: part("completion")? })
    }
}

/// The keys of an object that its content may be under.
struct Shapes(Map<String, Value>);

impl<'de> Deserialize<'de> for Shapes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Shapes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shapes, A::Error> {
                let mut object = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    match key.as_str() {
                        "messages" | "prompt" | "completion" | "text" => {
                            object.insert(key, entries.next_value()?);
                        }
                        _ => {
                            entries.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Shapes(object))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

fn parse_messages(value: Value) -> Result<Vec<Message>, ContentError> {
    let Value::Array(items) = value else {
        return Err(wrong_type("messages".to_owned(), "a list of messages", &value));
    };
    if items.is_empty() {
        return Err(ContentError::EmptyMessages);
    }
    items.into_iter().enumerate().map(|(index, item)| parse_message(index, item)).collect()
}

fn parse_message(index: usize, value: Value) -> Result<Message, ContentError> {
    let Value::Object(mut object) = value else {
        return Err(wrong_type(format!("messages[{index}]"), "an object with `role` and `content`", &value));
    };
    let mut part = |key: &'static str| {
        let value = object.shift_remove(key).ok_or(ContentError::MissingKey { index, key })?;
        text(format!("messages[{index}].{key}"), value)
    };
    let name = part("role")?;
    let role = Role::parse(&name).ok_or(ContentError::UnknownRole { index, role: name })?;
    Ok(Message { role, content: part("content")? })
}

fn text(at: String, value: Value) -> Result<String, ContentError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(at, "a string", &other)),
    }
}

fn wrong_type(at: String, expected: &'static str, found: &Value) -> ContentError {
    ContentError::WrongType { at, expected, found: json_type(found) }
}

/// What people call the type of a JSON value.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_the_content_alone_is_taking_it_from_the_object() {
        for (record, shape) in [
            (r#"{"text":"a","id":1,"prompt":["x"]}"#, Ok("text")),
            (r#"{"prompt":[1],"messages":[{"role":"user","content":"q","n":1}]}"#, Ok("messages")),
            (r#"{"prompt":"p","source":{"text":3},"completion":"c"}"#, Ok("pair")),
            (r#"{"prompt":null,"text":"t"}"#, Ok("text")),
            (r#"{"prompt":null,"completion":null,"text":"t"}"#, Err("both")),
            (r#"{"prompt":"p"}"#, Err("`prompt` without `completion`")),
            (r#"{"text":null}"#, Err("must be a string, found null")),
            ("{}", Err("nothing to train on")),
        ] {
            let read = Content::read(record.as_bytes());
            assert_eq!(read, Content::take(&mut serde_json::from_str(record).unwrap()), "{record}");
            match (read, shape) {
                (Ok(Content::Text(_)), Ok("text"))
                | (Ok(Content::Messages(_)), Ok("messages"))
                | (Ok(Content::PromptCompletion { .. }), Ok("pair")) => {}
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{record}: {error}"),
                other => panic!("{record}: {other:?}"),
            }
        }
        for bad in ["", "{", "[]", "3", "{\"text\":\"a\"} x"] {
            assert!(matches!(Content::read(bad.as_bytes()), Err(ContentError::Json(_))), "{bad}");
        }
    }
}
