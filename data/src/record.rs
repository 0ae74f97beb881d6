//! Records: one parsed line of training data.
//!
//! `id` is a record's id, [`Content`] what it is trained on; every other key is metadata.

use std::collections::HashMap;

use gstore_core::content::{Content, ContentError, json_type};
use gstore_core::json::parts;
use gstore_core::{Remedy, did_you_mean, first_of};
use gstore_store::MetaValue;
use serde_json::{Map, Value};

use super::field::Field;
use super::json::{Unique, is_long_integer, may_have_long_integers, write_compact};
use super::layout::{Layout, LayoutError, PROMPTS};
use super::nested::is_within;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The record's `id`, an integer as its digits; `None` if it has none (see [`super::IdAllocator`]).
    pub id: Option<String>,
    /// Its text.
    pub content: Content,
    /// The other keys in order of appearance. Lists and objects are their compact JSON text; an integer
    /// beyond 64 signed bits is its digits as text, and keeps them inside of lists and objects.
    pub metadata: Vec<(String, MetaValue)>,
    /// Keys of the metadata whose text is JSON, and no text there: lists, objects and such integers.
    pub json_keys: Vec<String>,
    /// The layout that it was read from, where that is not gstore's own.
    pub layout: Option<Layout>,
}

/// Why a line is not a record. The caller adds file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum RecordError {
    /// Not JSON, or an object with a key twice.
    #[error("malformed JSON at column {column}: {message}")]
    Json {
        /// Byte of the line, from 1.
        column: usize,
        message: String,
    },
    #[error("lists and objects nested deeper than 127 levels, at column {0}")]
    Nested(usize),
    #[error("expected a JSON object, found {0}")]
    NotObject(&'static str),
    #[error(transparent)]
    Content(#[from] ContentError),
    /// None of the three shapes.
    #[error("{}; {}; {}", ContentError::Nothing, of.listed(keys), way_out(keys, *of, talk.as_deref()))]
    Nothing {
        keys: Vec<String>,
        of: KeysOf,
        /// The names of fields with which a list in it is a conversation.
        talk: Option<String>,
    },
    #[error("{said}; if it has another name, give it with {}", Remedy::Option("field", &format!("{key}=KEY")))]
    MissingKey { said: ContentError, key: &'static str },
    #[error(
        "message {index} has no {key:?}, which was named as its {field}; give the name that it has with {}",
        Remedy::Option("field", &format!("{field}=KEY"))
    )]
    MissingPart { index: usize, field: Field, key: String },
    #[error("the records seem to be the list under {0:?}: `jq -c '.[{0:?}][]'` puts each on its own line")]
    Around(String),
    /// All records in one object, by columns or by rows.
    #[error(
        "this looks like a whole table that pandas wrote as one object; write it with \
         `df.to_json(.., orient='records', lines=True)`"
    )]
    Frame,
    /// Half of a pair, where another key may be the other half.
    #[error("{}", half_of_pair(present, missing, key))]
    HalfPair { present: &'static str, missing: &'static str, key: String },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("no {} {key:?}, which was named as its {field}; {}{}", of.noun(), of.listed(keys), did_you_mean(key, keys.iter().map(String::as_str)))]
    NoField { field: Field, key: String, keys: Vec<String>, of: KeysOf },
    #[error(
        "{key:?}, which was named as its {field}, is an object; name a key within it: {}",
        first_of(keys.iter().map(|key| Remedy::Option("field", &format!("{field}={key}")).to_string()), KEYS_SHOWN)
    )]
    NestedField { field: Field, key: String, keys: Vec<String> },
    #[error("column {0:?} is null here, so there is nothing to train on: fill it, or leave the row out")]
    Null(String),
    #[error("`id` must be a string or an integer, found {0}")]
    IdType(&'static str),
    #[error("`id` is empty")]
    EmptyId,
}

/// What has the keys of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysOf {
    /// The record itself.
    Record,
    /// The table that it is a row of.
    Table,
}

impl KeysOf {
    fn noun(self) -> &'static str {
        match self {
            Self::Record => "key",
            Self::Table => "column",
        }
    }

    fn listed(self, keys: &[String]) -> String {
        let names = first_of(keys.iter().map(|key| format!("`{key}`")), KEYS_SHOWN);
        match self {
            Self::Record if keys.is_empty() => "it has no key".to_owned(),
            Self::Record => format!("it has {names}"),
            Self::Table => format!("the table has the columns {names}"),
        }
    }
}

const KEYS_SHOWN: usize = 40;

/// Names that completions have elsewhere, in the order of their likelihood.
const COMPLETIONS: [&str; 11] = [
    "answer",
    "response",
    "output",
    "completion",
    "solution",
    "reply",
    "assistant",
    "target",
    "chosen",
    "label",
    "a",
];
/// The same of texts.
const TEXTS: [&str; 9] =
    ["content", "text", "document", "body", "passage", "article", "code", "paragraph", "sentence"];

/// Names of the speaker in conversations.
const SPEAKERS: [&str; 3] = ["role", "from", "speaker"];

/// How a record of these keys may be meant, of which `talk` names a list as a conversation.
fn way_out(keys: &[String], of: KeysOf, talk: Option<&str>) -> String {
    if let Some(talk) = talk {
        return format!("if it has a conversation, say so: {}", Remedy::Option("field", talk));
    }
    let has = |name: &str| keys.iter().any(|key| key == name);
    // What a query wrote with all the columns of a dataset.
    if has("record") && has("row") {
        return "the samples are texts in `record`: write that column alone, one a line".to_owned();
    }
    let option = |field: &str, key: &str| Remedy::Option("field", &format!("{field}={key}")).to_string();
    // Only names that say what they hold: another column may be anything.
    let likely =
        |names: &[&str]| names.iter().find_map(|name| keys.iter().find(|key| key.eq_ignore_ascii_case(name)));
    let meant = match (likely(&PROMPTS), likely(&COMPLETIONS), likely(&TEXTS)) {
        (Some(prompt), Some(completion), _) => {
            format!("for example {} {}", option("prompt", prompt), option("completion", completion))
        }
        (_, _, Some(text)) => format!("for example {}", option("text", text)),
        _ => {
            let any = of.noun().to_uppercase();
            let id = if has("id") { String::new() } else { format!(" {}", option("id", &any)) };
            let [prompt, completion, text] =
                ["prompt", "completion", "text"].map(|field| option(field, &any));
            format!("as in {prompt} {completion}{id}, or {text}{id}")
        }
    };
    format!("if they have other names, give them with {}, {meant}", Remedy::Option("field", ""))
}

fn half_of_pair(present: &'static str, missing: &'static str, key: &str) -> String {
    let said = ContentError::HalfPair { present, missing };
    format!(
        "{said}; if `{key}` is its {missing}, say so: {}",
        Remedy::Option("field", &format!("{missing}={key}"))
    )
}

/// The error about content, with what may be meant where the keys of the record say it.
fn content_error(error: ContentError, named: Option<String>, object: &Map<String, Value>) -> RecordError {
    match error {
        ContentError::Nothing => match list_of_records(object).filter(|_| named.is_none()) {
            Some(key) => RecordError::Around(key.to_owned()),
            None => RecordError::Nothing {
                keys: named.into_iter().chain(object.keys().cloned()).collect(),
                of: KeysOf::Record,
                talk: conversation(object),
            },
        },
        ContentError::MissingKey { key, .. } => RecordError::MissingKey { said: error, key },
        ContentError::HalfPair { present, missing } => {
            let names: &[&str] = if missing == "prompt" { &PROMPTS } else { &COMPLETIONS };
            let is_other = |key: &&String| !key.eq_ignore_ascii_case(present);
            let key = names
                .iter()
                .find_map(|name| object.keys().filter(is_other).find(|key| key.eq_ignore_ascii_case(name)));
            match key {
                Some(key) => RecordError::HalfPair { present, missing, key: key.clone() },
                None => error.into(),
            }
        }
        error => error.into(),
    }
}

/// Whether an object is a table as pandas writes it: its columns by name, each with its values by the number
/// of the row; its rows by number; or the names of its columns next to their values.
fn is_frame(object: &Map<String, Value>) -> bool {
    let are_numbers = |mut keys: serde_json::map::Keys<'_>| keys.all(|key| key.parse::<u64>().is_ok());
    let mut parts = object.values().map(Value::as_object);
    let Some(Some(first)) = parts.next() else {
        let is_split = |part: &Value| part.as_array().is_some_and(|list| list.iter().all(Value::is_array));
        return object.contains_key("columns") && object.get("data").is_some_and(is_split);
    };
    let is_like_first =
        |part: Option<&Map<String, Value>>| part.is_some_and(|part| part.keys().eq(first.keys()));
    !first.is_empty() && parts.all(is_like_first) && (are_numbers(first.keys()) || are_numbers(object.keys()))
}

/// The only key that has a list of objects, unless these look like the messages of one conversation.
fn list_of_records(object: &Map<String, Value>) -> Option<&str> {
    let mut lists =
        object.iter().filter_map(|(key, value)| Some((key, value.as_array()?.first()?.as_object()?)));
    let (key, item) = lists.next()?;
    let is_message = SPEAKERS.iter().any(|name| item.contains_key(*name));
    (lists.next().is_none() && !is_message).then_some(key.as_str())
}

/// The names of fields with which the only list of objects with a speaker and words is a conversation.
fn conversation(object: &Map<String, Value>) -> Option<String> {
    let of = |(key, value): (&String, &Value)| {
        let turn = value.as_array()?.first()?.as_object()?;
        let name = |names: &[&'static str]| names.iter().copied().find(|name| turn.contains_key(*name));
        let said = name(&[Field::Content.name(), "value", "text", "message"])?;
        let mut names = format!("{}={key}", Field::Messages);
        for (field, name) in [(Field::Role, name(&SPEAKERS)?), (Field::Content, said)] {
            if field.name() != name {
                names.push_str(&format!(",{field}={name}"));
            }
        }
        Some(names)
    };
    let mut found = object.iter().filter_map(of);
    let names = found.next()?;
    found.next().is_none().then_some(names)
}

impl RecordError {
    /// The error of a record, where the whole of it is a table the one that says so.
    #[must_use]
    pub(super) fn or_frame(self, json: &[u8]) -> Self {
        if parse_object(json).is_ok_and(|object| is_frame(&object)) { Self::Frame } else { self }
    }

    /// Whether the keys of another record are wrong in the same way, as they often are all over a file.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing { of, talk, .. }, Self::Nothing { of: of_other, talk: other, .. }) => {
                of == of_other && talk == other
            }
            (Self::NoField { field, of, .. }, Self::NoField { field: other, of: of_other, .. }) => {
                of == of_other && field == other
            }
            (
                Self::MissingKey { .. }
                | Self::MissingPart { .. }
                | Self::Around(_)
                | Self::HalfPair { .. }
                | Self::NestedField { .. }
                | Self::Content(ContentError::HalfPair { .. })
                | Self::Layout(_),
                other,
            ) => self == other,
            _ => false,
        }
    }

    /// Lists the keys of a record like this one as well.
    pub fn add_keys(&mut self, like: &Self) {
        let (Self::Nothing { keys: listed, .. } | Self::NoField { keys: listed, .. }) = self else { return };
        let (Self::Nothing { keys, .. } | Self::NoField { keys, .. }) = like else { return };
        for key in keys {
            // One more than are shown says that there are others.
            if listed.len() > KEYS_SHOWN {
                return;
            }
            if !listed.contains(key) {
                listed.push(key.clone());
            }
        }
    }

    /// The same error of a row of a table with these columns, none where records have keys of their own. What
    /// is not there may be one of those that are null.
    #[must_use]
    pub(super) fn in_table(mut self, columns: Vec<String>, nulls: &[String]) -> Self {
        let wanted: &[&str] = match &self {
            Self::Nothing { .. } => &["messages", "text", "prompt", "completion"],
            Self::Content(ContentError::HalfPair { missing, .. }) | Self::HalfPair { missing, .. } => {
                &[missing]
            }
            // A null object has no keys.
            Self::NoField { key, .. } => &[key, key.split('.').next().unwrap_or(key)],
            _ => &[],
        };
        if let Some(column) = nulls.iter().find(|column| wanted.contains(&column.as_str())) {
            return Self::Null(column.clone());
        }
        if let Self::Nothing { keys, of, .. } | Self::NoField { keys, of, .. } = &mut self
            && !columns.is_empty()
        {
            let named = |column: String| {
                let within: Vec<String> =
                    keys.iter().filter(|key| is_within(key, &column)).cloned().collect();
                if within.is_empty() { vec![column] } else { within }
            };
            (*keys, *of) = (columns.into_iter().flat_map(named).collect(), KeysOf::Table);
        }
        self
    }
}

/// Reads one line.
pub fn parse_record(line: &[u8]) -> Result<Record, RecordError> {
    record_of(parse_object(line)?, line)
}

/// The object on a line: no key of it, nor of one within it, stands there twice.
///
/// # Errors
/// A line that is not JSON, has a key twice, or is no object.
pub fn parse_object(line: &[u8]) -> Result<Map<String, Value>, RecordError> {
    let Unique(value) = serde_json::from_slice(line).map_err(|error| match line.trim_ascii() {
        // A line that ends so begins an object over several lines, where one that was cut off ends anywhere.
        [b'{'] | [b'{', .., b'[' | b'{'] if error.is_eof() => RecordError::Json {
            column: error.column(),
            message: "an object over several lines; `jq -c .` puts each on one".to_owned(),
        },
        _ => json_error(&error, line),
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(RecordError::NotObject(json_type(&other))),
    }
}

/// What an object says; `line` is its text.
pub(super) fn record_of(mut object: Map<String, Value>, line: &[u8]) -> Result<Record, RecordError> {
    let long = long_integers(&object, line);
    if let (Some(Value::Number(_)), Some(digits)) = (object.get("id"), long.get("id")) {
        object["id"] = Value::from(digits.as_str());
    }
    let stated = object.shift_remove("id");
    let named = stated.is_some().then(|| "id".to_owned());
    // A table leaves nulls out, so a null id is none there as well.
    let id = stated.filter(|id| !id.is_null()).map(id_text).transpose()?;
    let content = Content::take(&mut object).map_err(|error| content_error(error, named, &object))?;
    let is_json = |(key, value): &(&String, &Value)| {
        long.contains_key(*key) || value.is_array() || value.is_object() || value.is_u64() && !value.is_i64()
    };
    let json_keys = object.iter().filter(is_json).map(|(key, _)| key.clone()).collect();
    for (key, text) in long {
        if let Some(value) = object.get_mut(&key) {
            *value = Value::from(text);
        }
    }
    let metadata = object.into_iter().map(|(key, value)| (key, meta_value(value))).collect();
    Ok(Record { id, content, metadata, json_keys, layout: None })
}

/// The texts of those values of an object that hold integers beyond 64 bits, by their keys.
fn long_integers(object: &Map<String, Value>, line: &[u8]) -> HashMap<String, String> {
    let Some(line) = std::str::from_utf8(line).ok().filter(|_| object.values().any(may_have_long_integers))
    else {
        return HashMap::new();
    };
    let text = |((key, value), (_, text)): ((&String, &Value), (Option<&str>, &str))| {
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

fn json_error(error: &serde_json::Error, line: &[u8]) -> RecordError {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let column = error.column();
    if text.starts_with("recursion limit exceeded") {
        return RecordError::Nested(column);
    }
    let rest = line.get(column.saturating_sub(1)..).unwrap_or_default();
    // What Python's `json` writes of floats that are none of JSON's.
    let message = match ["NaN", "Infinity"].into_iter().find(|word| rest.starts_with(word.as_bytes())) {
        Some(word) => format!("{word} is not valid JSON; write null"),
        None => match text.strip_suffix(&place).unwrap_or(&text) {
            // Of `\ud83d` without what should follow, and of what should without it.
            "unexpected end of hex escape" | "lone leading surrogate in hex escape" => {
                "an escape `\\u` that is half of a surrogate pair, without the other half".to_owned()
            }
            other => other.to_owned(),
        },
    };
    RecordError::Json { column, message }
}

fn id_text(value: Value) -> Result<String, RecordError> {
    match value {
        Value::String(id) if id.is_empty() => Err(RecordError::EmptyId),
        Value::String(id) => Ok(id),
        Value::Number(n) if n.is_i64() || n.is_u64() => Ok(n.to_string()),
        // JSON readers take the sign of a zero for a float's.
        Value::Number(n) if n.as_f64() == Some(0.0) => {
            Err(RecordError::IdType("a zero with a sign, fraction or exponent"))
        }
        Value::Number(_) => Err(RecordError::IdType("a number with a fraction or exponent")),
        other => Err(RecordError::IdType(json_type(&other))),
    }
}

fn meta_value(value: Value) -> MetaValue {
    match value {
        Value::Null => MetaValue::Null,
        Value::Bool(b) => MetaValue::Bool(b),
        Value::String(s) => MetaValue::Text(s),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => MetaValue::Int(i),
            (None, Some(f)) if n.is_f64() => MetaValue::Float(f),
            // Digits stay exact: as a float, ids and hashes of 64 bits would lose their
            // last places without a word.
            _ => MetaValue::Text(n.to_string()),
        },
        nested => MetaValue::Text(nested.to_string()),
    }
}

#[cfg(test)]
mod tests;
