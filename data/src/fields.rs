//! Field names: the keys that records use in place of gstore's own.
//!
//! A record that is read with such names is stored under gstore's own (`text`, `messages`, ...), so that
//! readers of the store need no options. A key within an object is named by its path with dots, unless the
//! record has a key of exactly that name, and is taken out of it. A key whose place is thereby taken gets a
//! `_` at its end. The record is stored as compact JSON in which every number stands as it was written.

use std::borrow::Cow;
use std::collections::HashMap;

use gstore_core::content::ContentError;
use gstore_core::did_you_mean;
use serde_json::{Map, Value};

use super::field::Field;
use super::json::{every_number, write_compact};
use super::layout::Layout;
use super::nested;
use super::record::{KeysOf, Record, RecordError, parse_object, record_of};

/// Why names of fields cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum FieldError {
    #[error("{0:?} does not name a field: write field=key, for example text=content")]
    Form(String),
    #[error("there is no field {field:?}{}; fields are {}", did_you_mean(field, Field::ALL.map(Field::name)), Field::ALL.map(Field::name).join(", "))]
    Unknown { field: String },
    #[error("{0:?} is named twice")]
    Twice(String),
    #[error(
        "{first} and {second} cannot be combined: a record has one of messages, prompt with completion, and text"
    )]
    Shapes { first: Field, second: Field },
    #[error("{field} cannot be named for records in the {layout} layout, which says where their text is")]
    Layout { field: Field, layout: Layout },
}

/// What metadata is said to be, for the fields of a CSV file, which do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedType {
    /// Text: a number or bool stands as it is written.
    Text,
    /// Numbers or bools: a field that is none does not make text of the others in its column.
    Typed,
    /// Integers or bools: nor does a number with a fraction make floats of the others.
    Exact,
}

/// The keys of fields that are not called as gstore calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldNames {
    named: Vec<(Field, String)>,
    /// The layout of all records; without one each record's own.
    layout: Option<Layout>,
    /// What metadata is said to be, by its keys.
    expected: HashMap<String, ExpectedType>,
}

/// A record's text under gstore's names.
struct RenamedRecord<'a> {
    text: Cow<'a, [u8]>,
    object: Map<String, Value>,
    layout: Option<Layout>,
}

impl<'a> RenamedRecord<'a> {
    fn read(self) -> Result<(Cow<'a, [u8]>, Record), RecordError> {
        let record = record_of(self.object, &self.text)?;
        Ok((self.text, Record { layout: self.layout, ..record }))
    }
}

impl FieldNames {
    /// Reads `field=key` texts.
    ///
    /// # Errors
    /// A text of another form, an unknown field, a field or key named twice, text of two shapes.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, FieldError> {
        let mut names = Self::default();
        for text in texts.iter().map(AsRef::as_ref) {
            let split = text.split_once('=').filter(|(field, key)| !field.is_empty() && !key.is_empty());
            let (name, key) = split.ok_or_else(|| FieldError::Form(text.to_owned()))?;
            let field = Field::parse(name).ok_or_else(|| FieldError::Unknown { field: name.to_owned() })?;
            for (other, taken) in &names.named {
                if *other == field {
                    return Err(FieldError::Twice(name.to_owned()));
                }
                if taken == key && other.is_of_message() == field.is_of_message() {
                    return Err(FieldError::Twice(key.to_owned()));
                }
                if other.shape().is_some() && field.shape().is_some() && other.shape() != field.shape() {
                    return Err(FieldError::Shapes { first: *other, second: field });
                }
            }
            names.named.push((field, key.to_owned()));
        }
        Ok(names)
    }

    /// The same for records that are all in one layout; `None`: each in the one that its keys show.
    ///
    /// # Errors
    /// A name for text or for parts of messages, of which the layout decides.
    pub fn with_layout(mut self, layout: Option<Layout>) -> Result<Self, FieldError> {
        if let (Some(layout), Some((field, _))) = (layout, self.of_text()) {
            return Err(FieldError::Layout { field: *field, layout });
        }
        self.layout = layout;
        Ok(self)
    }

    /// The same where metadata of these keys is said to be something.
    #[must_use]
    pub fn with_expected(mut self, expected: HashMap<String, ExpectedType>) -> Self {
        self.expected = expected;
        self
    }

    /// What the metadata is said to be that a column is, of a table of these columns.
    pub(super) fn expected_of(&self, column: &str, columns: &[String]) -> Option<ExpectedType> {
        self.expected.get(&self.stored_key(column, columns)).copied()
    }

    /// The key under which a key of a record, or a column of a table, is stored; `keys` are all that it has.
    fn stored_key(&self, key: &str, keys: &[String]) -> String {
        match self.field_of(key) {
            Some(field) => field.name().to_owned(),
            None if is_of_record(key) => free_key(key, keys),
            None => key.to_owned(),
        }
    }

    /// A name that says where text is.
    fn of_text(&self) -> Option<&(Field, String)> {
        self.named.iter().find(|(field, _)| field.shape().is_some() || field.is_of_message())
    }

    /// The key that was named for a field.
    pub fn key_of(&self, field: Field) -> Option<&str> {
        self.named.iter().find(|(named, _)| *named == field).map(|(_, key)| key.as_str())
    }

    pub(super) fn layout_of<'v>(&self, get: impl Fn(&str) -> Option<&'v Value>) -> Option<Layout> {
        // Where text has a name, the keys of a layout are keys like others.
        self.layout.or_else(|| Layout::of(get).filter(|_| self.of_text().is_none()))
    }

    pub(super) fn field_of(&self, key: &str) -> Option<Field> {
        let of_record = |field: &Field| !field.is_of_message();
        let named = self.named.iter().find(|(field, named)| of_record(field) && named == key);
        named.map(|(field, _)| *field).or_else(|| {
            let own = Field::ALL.into_iter().filter(of_record).find(|field| field.name() == key);
            own.filter(|field| self.key_of(*field).is_none() && !self.is_displaced(*field))
        })
    }

    /// The metadata that a column of a table is; `None` for what is none, and for one whose name a field of
    /// a record has, which may be metadata under another.
    pub fn metadata_of<'a>(&self, column: &'a str) -> Option<&'a str> {
        match self.field_of(column) {
            Some(Field::Subtask) => Some(Field::Subtask.name()),
            Some(_) => None,
            // Of an object that keys are taken from, what is left shows itself in the records.
            None if self.named.iter().any(|(_, key)| nested::is_within(key, column)) => None,
            None => (!is_of_record(column)).then_some(column),
        }
    }

    /// Whether text of another shape was named, so that this key is none to train on.
    fn is_displaced(&self, field: Field) -> bool {
        let shape = self.named.iter().find_map(|(named, _)| named.shape());
        shape.is_some() && field.shape().is_some() && field.shape() != shape
    }

    /// Reads a record; the bytes are those to store: as given, or written again under gstore's names.
    ///
    /// # Errors
    /// As [`super::parse_record`]; a record without a key that was named for its text.
    pub fn read<'a>(&self, json: &'a [u8]) -> Result<(Cow<'a, [u8]>, Record), RecordError> {
        let read = self.under_own_names(json).and_then(RenamedRecord::read);
        read.map_err(|error| self.with_given_name(error).or_frame(json))
    }

    /// The same of a record whose prompt may stand without a completion, which is empty then.
    ///
    /// # Errors
    /// As [`FieldNames::read`].
    pub fn read_prompt<'a>(&self, json: &'a [u8]) -> Result<(Cow<'a, [u8]>, Record), RecordError> {
        let read = self.under_own_names(json).and_then(|mut renamed| {
            let object = &mut renamed.object;
            let [prompt, completion, text_key, messages] =
                [Field::Prompt, Field::Completion, Field::Text, Field::Messages].map(|f| f.name());
            let others = [completion, text_key, messages];
            if object.contains_key(prompt) && !others.iter().any(|key| object.contains_key(*key)) {
                object.insert(completion.to_owned(), Value::String(String::new()));
            }
            renamed.read()
        });
        read.map_err(|error| self.with_given_name(error).or_frame(json))
    }

    /// An error of a message that lacks a part, with the key that was named for the part.
    fn with_given_name(&self, error: RecordError) -> RecordError {
        let RecordError::MissingKey { said: ContentError::MissingKey { index, .. }, key } = &error else {
            return error;
        };
        match Field::parse(key).and_then(|field| Some((field, self.key_of(field)?))) {
            Some((field, named)) => RecordError::MissingPart { index: *index, field, key: named.to_owned() },
            None => error,
        }
    }

    /// An error of a record with what its table says of it: the columns of the table, and those that are null
    /// in the record.
    pub fn error_in(&self, columns: Vec<String>, nulls: &[String], error: RecordError) -> RecordError {
        let id = self.key_of(Field::Id);
        let own = |column: String| {
            if id == Some(column.as_str()) { Field::Id.name().to_owned() } else { column }
        };
        error.in_table(columns.into_iter().map(own).collect(), nulls)
    }

    /// A record's text and keys under gstore's names.
    fn under_own_names<'a>(&self, json: &'a [u8]) -> Result<RenamedRecord<'a>, RecordError> {
        let mut object = parse_object(json)?;
        let mut text = Cow::Borrowed(json);
        let layout = self.layout_of(|key| object.get(key));
        if let Some(layout) = layout {
            let (line, renamed) = layout.convert(&object, &String::from_utf8_lossy(json))?;
            (text, object) = (Cow::Owned(line.into_bytes()), renamed);
        }
        if self.named.is_empty() {
            return Ok(RenamedRecord { text, object, layout });
        }
        let is_path = |key: &&str| key.contains('.') && !object.contains_key(*key);
        let of_record = self.named.iter().filter(|(field, _)| !field.is_of_message());
        let paths: Vec<&str> = of_record.map(|(_, key)| key.as_str()).filter(is_path).collect();
        if !paths.is_empty() {
            let lifted = nested::lifted(&object, &String::from_utf8_lossy(&text), &paths);
            if let Some((line, all)) = lifted {
                (text, object) = (Cow::Owned(line.into_bytes()), all);
            }
        }
        let renamed = Value::Object(self.rename(object)?);
        let mut line = String::with_capacity(text.len());
        write_compact(&renamed, &String::from_utf8_lossy(&text), every_number, &mut line);
        let Value::Object(object) = renamed else { return Err(ContentError::Nothing.into()) };
        Ok(RenamedRecord { text: Cow::Owned(line.into_bytes()), object, layout })
    }

    fn rename(&self, object: Map<String, Value>) -> Result<Map<String, Value>, RecordError> {
        for (field, key) in self.named.iter().filter(|(field, _)| field.shape().is_some()) {
            let (field, key) = (*field, key.clone());
            match object.get(&key) {
                None => {
                    let keys = nested::paths(&object);
                    return Err(RecordError::NoField { field, key, keys, of: KeysOf::Record });
                }
                Some(Value::Object(inner)) if !inner.is_empty() => {
                    let keys = nested::paths_within(&key, inner);
                    return Err(RecordError::NestedField { field, key, keys });
                }
                Some(_) => {}
            }
        }
        let mut renamed = rename_keys(object, |key, keys| self.stored_key(key, keys));
        if let Some(Value::Array(messages)) = renamed.get_mut(Field::Messages.name()) {
            messages.iter_mut().for_each(|message| self.rename_message(message));
        }
        Ok(renamed)
    }

    fn rename_message(&self, message: &mut Value) {
        let parts = [Field::Role, Field::Content];
        let Value::Object(object) = message else { return };
        if parts.iter().all(|part| self.key_of(*part).is_none()) {
            return;
        }
        let key_of = |part: Field| self.key_of(part).unwrap_or(part.name());
        *object = rename_keys(std::mem::take(object), |key, keys| {
            match parts.iter().find(|part| key_of(**part) == key) {
                Some(part) => part.name().to_owned(),
                None if parts.iter().any(|part| part.name() == key) => free_key(key, keys),
                None => key.to_owned(),
            }
        });
        // Who keeps the role under another key often gives it other names, too.
        if self.key_of(Field::Role).is_some()
            && let Some(Value::String(role)) = object.get_mut(Field::Role.name())
        {
            match role.as_str() {
                "human" => *role = "user".to_owned(),
                "gpt" => *role = "assistant".to_owned(),
                _ => {}
            }
        }
    }
}

/// Whether this is the name of a field of a record, and so no key of metadata.
fn is_of_record(name: &str) -> bool {
    Field::ALL.iter().any(|field| !field.is_of_message() && field.name() == name)
}

/// The object with keys that `of` makes of each key and all keys.
fn rename_keys(object: Map<String, Value>, of: impl Fn(&str, &[String]) -> String) -> Map<String, Value> {
    let keys: Vec<String> = object.keys().cloned().collect();
    object.into_iter().map(|(key, value)| (of(&key, &keys), value)).collect()
}

/// A key with a `_` at its end, or with more of them where that is taken.
fn free_key(key: &str, taken: &[String]) -> String {
    let mut free = format!("{key}_");
    while taken.contains(&free) {
        free.push('_');
    }
    free
}

#[cfg(test)]
mod tests;
