//! Records: what one line of training data says.
//!
//! A record is a JSON object with exactly one of `messages` (a list of `{role, content}`), `prompt` with `completion`, or
//! `text`. `id` is its id; every other key is metadata. Keys of a message other than `role` and `content` are not used.

use std::collections::HashMap;
use std::fmt;

use gstore_store::MetaValue;
use serde_json::{Map, Value};

use super::fields::Field;
use super::json::{Unique, is_long_integer, may_have_long_integers, parts, type_name, write_compact};

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The one who asks.
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

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The record's `id`, an integer as its digits; `None` if it has none (see [`super::IdAllocator`]).
    pub id: Option<String>,
    /// Its text.
    pub content: Content,
    /// The other keys in order of appearance. Lists and objects are their compact JSON text; an integer beyond 64 signed bits
    /// is its digits as text, and keeps them inside of lists and objects.
    pub metadata: Vec<(String, MetaValue)>,
}

/// Why a line is not a record. The caller adds file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not JSON, or an object with a key twice.
    #[error("malformed JSON at column {column}: {message}")]
    Json {
        /// Byte of the line, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// JSON, but no object.
    #[error("expected a JSON object, found {found}")]
    NotObject {
        /// Type of the value.
        found: &'static str,
    },
    /// None of the three shapes.
    #[error(
        "nothing to train on: a record needs `messages`, or `prompt` and `completion`, or `text`; \
         if they have other names, give them with --field, for example --field text=content"
    )]
    NoContent,
    /// Not there under the name that was given.
    #[error("no key {key:?}, which was named as its {field}")]
    NoField {
        /// What was looked for.
        field: Field,
        /// The key that was named.
        key: String,
    },
    /// A column of a table that holds nothing here.
    #[error(
        "column {column:?} is null here, so there is nothing to train on: fill it, or leave the row out of the file"
    )]
    Null {
        /// The column.
        column: String,
    },
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
    /// An id that is neither string nor integer.
    #[error("`id` must be a string or an integer, found {found}")]
    IdType {
        /// Type of what is there.
        found: &'static str,
    },
    /// The empty string as an id.
    #[error("`id` is empty")]
    EmptyId,
}

impl RecordError {
    /// The same error of a record of a table, of which these columns are null: what is not there may be one of them.
    #[must_use]
    pub fn with_nulls(self, nulls: &[String]) -> Self {
        let wanted: &[&str] = match &self {
            Self::NoContent => &["messages", "text", "prompt", "completion"],
            Self::HalfPair { missing, .. } => &[missing],
            Self::NoField { key, .. } => &[key],
            _ => &[],
        };
        match nulls.iter().find(|column| wanted.contains(&column.as_str())) {
            Some(column) => Self::Null { column: column.clone() },
            None => self,
        }
    }
}

/// Reads one line.
pub fn parse_record(line: &[u8]) -> Result<Record, RecordError> {
    record_of(parse_object(line)?, line)
}

/// The object on a line.
pub(super) fn parse_object(line: &[u8]) -> Result<Map<String, Value>, RecordError> {
    let Unique(value) = serde_json::from_slice(line).map_err(|error| json_error(&error))?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(RecordError::NotObject { found: type_name(&other) }),
    }
}

/// What an object says; `line` is its text.
pub(super) fn record_of(mut object: Map<String, Value>, line: &[u8]) -> Result<Record, RecordError> {
    let long = long_integers(&object, line);
    if let (Some(Value::Number(_)), Some(digits)) = (object.get("id"), long.get("id")) {
        object["id"] = Value::from(digits.as_str());
    }
    let id = object.shift_remove("id").map(id_text).transpose()?;
    let content = take_content(&mut object)?;
    for (key, text) in long {
        if let Some(value) = object.get_mut(&key) {
            *value = Value::from(text);
        }
    }
    let metadata = object.into_iter().map(|(key, value)| (key, meta_value(value))).collect();
    Ok(Record { id, content, metadata })
}

/// The texts of those values of an object that hold integers beyond 64 bits, by their keys.
fn long_integers(object: &Map<String, Value>, line: &[u8]) -> HashMap<String, String> {
    let Some(line) = std::str::from_utf8(line).ok().filter(|_| object.values().any(may_have_long_integers))
    else {
        return HashMap::new();
    };
    let text = |((key, value), text): ((&String, &Value), &str)| {
        let mut exact = String::new();
        match value {
            Value::Number(number) if !is_long_integer(number, text) => return None,
            value if !may_have_long_integers(value) => return None,
            value => write_compact(value, text, is_long_integer, &mut exact),
        }
        Some((key.clone(), exact))
    };
    object.iter().zip(parts(line)).filter_map(text).collect()
}

fn json_error(error: &serde_json::Error) -> RecordError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    RecordError::Json { column: error.column(), message }
}

fn id_text(value: Value) -> Result<String, RecordError> {
    match value {
        Value::String(id) if id.is_empty() => Err(RecordError::EmptyId),
        Value::String(id) => Ok(id),
        Value::Number(n) if n.is_i64() || n.is_u64() => Ok(n.to_string()),
        Value::Number(_) => Err(RecordError::IdType { found: "a number with a fraction or exponent" }),
        other => Err(RecordError::IdType { found: type_name(&other) }),
    }
}

fn take_content(object: &mut Map<String, Value>) -> Result<Content, RecordError> {
    let pair = (object.contains_key("prompt"), object.contains_key("completion"));
    let shapes = [
        (object.contains_key("messages"), "`messages`"),
        (pair == (true, true), "`prompt` with `completion`"),
        (object.contains_key("text"), "`text`"),
    ];
    let mut present = shapes.iter().filter(|(there, _)| *there).map(|(_, shape)| *shape);
    match (present.next(), present.next()) {
        (Some(first), Some(second)) => return Err(RecordError::Ambiguous { first, second }),
        (Some(_), None) => {}
        (None, _) => {
            return Err(match pair {
                (true, false) => RecordError::HalfPair { present: "prompt", missing: "completion" },
                (false, true) => RecordError::HalfPair { present: "completion", missing: "prompt" },
                _ => RecordError::NoContent,
            });
        }
    }
    if let Some(messages) = object.shift_remove("messages") {
        return parse_messages(messages).map(Content::Messages);
    }
    if let Some(value) = object.shift_remove("text") {
        return text("text".to_owned(), value).map(Content::Text);
    }
    let mut part = |key: &'static str| {
        let value = object.shift_remove(key).ok_or(RecordError::NoContent)?;
        text(key.to_owned(), value)
    };
    Ok(Content::PromptCompletion { prompt: part("prompt")?, completion: part("completion")? })
}

fn parse_messages(value: Value) -> Result<Vec<Message>, RecordError> {
    let Value::Array(items) = value else {
        return Err(wrong_type("messages".to_owned(), "a list of messages", &value));
    };
    if items.is_empty() {
        return Err(RecordError::EmptyMessages);
    }
    items.into_iter().enumerate().map(|(index, item)| parse_message(index, item)).collect()
}

fn parse_message(index: usize, value: Value) -> Result<Message, RecordError> {
    let Value::Object(mut object) = value else {
        return Err(wrong_type(format!("messages[{index}]"), "an object with `role` and `content`", &value));
    };
    let mut part = |key: &'static str| {
        let value = object.shift_remove(key).ok_or(RecordError::MissingKey { index, key })?;
        text(format!("messages[{index}].{key}"), value)
    };
    let name = part("role")?;
    let role = Role::parse(&name).ok_or(RecordError::UnknownRole { index, role: name })?;
    Ok(Message { role, content: part("content")? })
}

fn text(at: String, value: Value) -> Result<String, RecordError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(at, "a string", &other)),
    }
}

fn wrong_type(at: String, expected: &'static str, found: &Value) -> RecordError {
    RecordError::WrongType { at, expected, found: type_name(found) }
}

fn meta_value(value: Value) -> MetaValue {
    match value {
        Value::Null => MetaValue::Null,
        Value::Bool(b) => MetaValue::Bool(b),
        Value::String(s) => MetaValue::Text(s),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => MetaValue::Int(i),
            (None, Some(f)) if n.is_f64() => MetaValue::Float(f),
            // Digits stay exact: as a float, ids and hashes of 64 bits would lose their last places without a word.
            _ => MetaValue::Text(n.to_string()),
        },
        nested => MetaValue::Text(nested.to_string()),
    }
}

#[cfg(test)]
mod tests;
