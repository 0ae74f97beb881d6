//! Metadata columns: their names and types, found by one pass over the records.
//!
//! Invariants
//! - columns stand in the order in which their keys first appear
//! - a column has the type of its values; integers among floats are floats; any other mixture is refused and names both lines
//! - a column of nulls only is left out until a value appears, since nothing says its type
//! - names that gstore uses itself get a `_` at the end

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use super::record::Record;
use crate::stand_in::{ColumnType, MetaValue};

/// Column names that every dataset table has already.
const TAKEN: [&str; 5] = ["row", "id", "record", "score", "tokens"];

/// What the command line calls a type.
fn type_text(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Bool => "bool",
        ColumnType::Int => "int",
        ColumnType::Float => "float",
        ColumnType::Text => "utf8",
    }
}

/// A metadata column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in tables.
    pub name: String,
    /// Key in the records.
    pub key: String,
    /// Type.
    pub ty: ColumnType,
}

/// The user's word on a column: `name:type`, where type is one of `bool`, `int`, `float`, `utf8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOverride {
    /// Key in the records, or the column's name.
    pub name: String,
    /// Type that it gets.
    pub ty: ColumnType,
}

impl FromStr for ColumnOverride {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let bad = || SchemaError::BadOverride(text.to_owned());
        let (name, ty) = text.rsplit_once(':').ok_or_else(bad)?;
        let types = [ColumnType::Bool, ColumnType::Int, ColumnType::Float, ColumnType::Text];
        let ty = types.into_iter().find(|t| type_text(*t) == ty).ok_or_else(bad)?;
        if name.is_empty() { Err(bad()) } else { Ok(Self { name: name.to_owned(), ty }) }
    }
}

/// Why records have no common columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// Not `name:type`.
    #[error("{0:?} is not a column and its type: write name:type, where type is bool, int, float or utf8")]
    BadOverride(String),
    /// An override of a key that no record has.
    #[error("no record has a key {name:?} to give a type to{}", did_you_mean(nearest))]
    UnknownOverride {
        /// The name given.
        name: String,
        /// The closest key.
        nearest: Option<String>,
    },
    /// Values of two types.
    #[error(
        "column {column:?} holds {} in line {first_line} and {} in line {line}; \
         say what it is, for example --column {column}:utf8", type_text(*first), type_text(*found)
    )]
    Mixed {
        /// Key in the records.
        column: String,
        /// Type so far.
        first: ColumnType,
        /// A line of that type.
        first_line: u64,
        /// The other type.
        found: ColumnType,
        /// Its line.
        line: u64,
    },
    /// A value that does not fit the type that the user or the dataset gives the column.
    #[error(
        "column {column:?} is {} {by}, but line {line} holds {}; use --column {column}:utf8 when the dataset is made",
        type_text(*ty), type_text(*found)
    )]
    Unfit {
        /// Key in the records.
        column: String,
        /// Type it has to have.
        ty: ColumnType,
        /// Who says so.
        by: FixedBy,
        /// Type of the value.
        found: ColumnType,
        /// Line of the value.
        line: u64,
    },
    /// The second reading found something that the first had not seen.
    #[error("line {line} has a column {column:?} that it had not before: the file changed while it was read")]
    FileChanged {
        /// Key in the records.
        column: String,
        /// The line.
        line: u64,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// Who decides a column's type before its values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedBy {
    /// An override.
    User,
    /// The dataset, which has the column already.
    Dataset,
}

impl fmt::Display for FixedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FixedBy::User => "as asked",
            FixedBy::Dataset => "in the dataset",
        })
    }
}

#[derive(Debug)]
struct Candidate {
    key: String,
    /// Type and the line that gave it; none while all values are null.
    seen: Option<(ColumnType, u64)>,
    fixed: Option<(ColumnType, FixedBy)>,
}

/// Collects columns over a first pass.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    candidates: Vec<Candidate>,
    by_key: HashMap<String, usize>,
    overrides: Vec<ColumnOverride>,
    existing: Vec<Column>,
}

impl SchemaBuilder {
    /// For a new dataset.
    pub fn new(overrides: Vec<ColumnOverride>) -> Self {
        Self { overrides, ..Self::default() }
    }

    /// The dataset has these columns: they come first and keep name and type.
    #[must_use]
    pub fn with_existing(mut self, columns: Vec<Column>) -> Self {
        for column in &columns {
            self.by_key.insert(column.key.clone(), self.candidates.len());
            let fixed = Some((column.ty, FixedBy::Dataset));
            self.candidates.push(Candidate { key: column.key.clone(), seen: None, fixed });
        }
        self.existing = columns;
        self
    }

    /// Takes one record into account; `line` is named in errors.
    pub fn observe(&mut self, line: u64, record: &Record) -> Result<(), SchemaError> {
        for (key, value) in &record.metadata {
            let index = match self.by_key.get(key) {
                Some(index) => *index,
                None => self.add(key),
            };
            if let (Some(candidate), Some(ty)) = (self.candidates.get_mut(index), type_of(value)) {
                candidate.see(ty, line)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &str) -> usize {
        let asked = self.overrides.iter().find(|o| o.name == key || table_name(key) == o.name);
        let fixed = asked.map(|o| (o.ty, FixedBy::User));
        self.candidates.push(Candidate { key: key.to_owned(), seen: None, fixed });
        self.by_key.insert(key.to_owned(), self.candidates.len() - 1);
        self.candidates.len() - 1
    }

    /// The columns.
    pub fn finish(self) -> Result<Schema, SchemaError> {
        for asked in &self.overrides {
            let keys = || self.candidates.iter().map(|c| c.key.as_str());
            if !keys().any(|key| key == asked.name || table_name(key) == asked.name) {
                let nearest = crate::stand_in::nearest(&asked.name, keys()).map(str::to_owned);
                return Err(SchemaError::UnknownOverride { name: asked.name.clone(), nearest });
            }
        }
        let existing = self.existing.len();
        let mut columns = self.existing;
        let mut names: HashSet<String> = columns.iter().map(|c| c.name.clone()).collect();
        names.extend(self.candidates.iter().skip(existing).map(|c| c.key.clone()));
        for candidate in self.candidates.into_iter().skip(existing) {
            let Some(ty) = candidate.fixed.map(|f| f.0).or(candidate.seen.map(|s| s.0)) else { continue };
            let mut name = table_name(&candidate.key);
            while name != candidate.key && !names.insert(name.clone()) {
                name.push('_');
            }
            columns.push(Column { name, key: candidate.key, ty });
        }
        let by_key = columns.iter().enumerate().map(|(i, c)| (c.key.clone(), i)).collect();
        Ok(Schema { columns, by_key })
    }
}

impl Candidate {
    fn see(&mut self, found: ColumnType, line: u64) -> Result<(), SchemaError> {
        if let Some((ty, by)) = self.fixed {
            let fits = ty == found
                || ty == ColumnType::Text
                || (ty, found) == (ColumnType::Float, ColumnType::Int);
            let unfit = || SchemaError::Unfit { column: self.key.clone(), ty, by, found, line };
            return if fits { Ok(()) } else { Err(unfit()) };
        }
        match self.seen {
            None => self.seen = Some((found, line)),
            Some((ty, _)) if ty == found => {}
            Some((ColumnType::Float, _)) if found == ColumnType::Int => {}
            Some((ColumnType::Int, _)) if found == ColumnType::Float => self.seen = Some((found, line)),
            Some((first, first_line)) => {
                return Err(SchemaError::Mixed { column: self.key.clone(), first, first_line, found, line });
            }
        }
        Ok(())
    }
}

/// A key as a column name: a `_` is added to names that are taken.
fn table_name(key: &str) -> String {
    if TAKEN.contains(&key) { format!("{key}_") } else { key.to_owned() }
}

fn type_of(value: &MetaValue) -> Option<ColumnType> {
    match value {
        MetaValue::Null => None,
        MetaValue::Bool(_) => Some(ColumnType::Bool),
        MetaValue::Int(_) => Some(ColumnType::Int),
        MetaValue::Float(_) => Some(ColumnType::Float),
        MetaValue::Text(_) => Some(ColumnType::Text),
    }
}

/// The metadata columns of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    columns: Vec<Column>,
    by_key: HashMap<String, usize>,
}

impl Schema {
    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A record's metadata in column order, each value in its column's type; what it lacks is null.
    pub fn row(&self, line: u64, record: &Record) -> Result<Vec<MetaValue>, SchemaError> {
        let mut row = vec![MetaValue::Null; self.columns.len()];
        for (key, value) in &record.metadata {
            let place = self.by_key.get(key).and_then(|i| Some((row.get_mut(*i)?, self.columns.get(*i)?)));
            let changed = || SchemaError::FileChanged { column: key.clone(), line };
            match (place, value) {
                (None, MetaValue::Null) => {}
                (None, _) => return Err(changed()),
                (Some((place, column)), value) => *place = convert(value, column.ty).ok_or_else(changed)?,
            }
        }
        Ok(row)
    }
}

fn convert(value: &MetaValue, ty: ColumnType) -> Option<MetaValue> {
    Some(match (value, ty) {
        (MetaValue::Null, _) => MetaValue::Null,
        (MetaValue::Bool(b), ColumnType::Text) => MetaValue::Text(b.to_string()),
        (MetaValue::Int(i), ColumnType::Text) => MetaValue::Text(i.to_string()),
        (MetaValue::Float(f), ColumnType::Text) => MetaValue::Text(serde_json::Value::from(*f).to_string()),
        (MetaValue::Int(i), ColumnType::Float) => MetaValue::Float(*i as f64),
        (value, ty) if type_of(value) == Some(ty) => value.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
