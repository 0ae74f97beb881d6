//! Metadata values and the digest of a sample.

use crate::manifest::ColumnType;
use gstore_core::Digest;
use xxhash_rust::xxh3::Xxh3;

/// The value of a metadata column.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text, or nested JSON as its text.
    Text(String),
}

impl MetaValue {
    /// The type of column that holds it; a null fits every column.
    pub fn column_type(&self) -> Option<ColumnType> {
        match self {
            MetaValue::Null => None,
            MetaValue::Bool(_) => Some(ColumnType::Bool),
            MetaValue::Int(_) => Some(ColumnType::Int),
            MetaValue::Float(_) => Some(ColumnType::Float),
            MetaValue::Text(_) => Some(ColumnType::Text),
        }
    }

    /// The value as a column of `ty` stores it; `None` if it does not fit.
    pub(crate) fn fit(&self, ty: ColumnType) -> Option<MetaValue> {
        match (self, ty) {
            (MetaValue::Null, _) => Some(MetaValue::Null),
            (MetaValue::Bool(_), ColumnType::Bool)
            | (MetaValue::Int(_), ColumnType::Int)
            | (MetaValue::Float(_), ColumnType::Float)
            | (MetaValue::Text(_), ColumnType::Text) => Some(self.clone()),
            (MetaValue::Int(i), ColumnType::Float) => Some(MetaValue::Float(*i as f64)),
            (MetaValue::Bool(b), ColumnType::Text) => Some(MetaValue::Text(b.to_string())),
            (MetaValue::Int(i), ColumnType::Text) => Some(MetaValue::Text(i.to_string())),
            (MetaValue::Float(f), ColumnType::Text) => Some(MetaValue::Text(float_text(*f))),
            _ => None,
        }
    }
}

/// A float in a column of texts, as JSON has it: `1e+20`. The digests of samples without a record are made of
/// such texts, so each way to a column of texts has to spell them alike, and as long as there are stores.
pub(super) fn float_text(value: f64) -> String {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string(), |number| number.to_string())
}

/// The metadata of a row as (column name, stored value).
pub(crate) type MetaRow<'a> = Vec<(&'a str, MetaValue)>;

/// XXH3-128 of a sample: of its record, or of its metadata by column name where it has no record.
///
/// Computed from stored values, so that it can be computed again from the file. Nulls do not count: a column
/// that appears later does not change the samples before it.
pub(crate) fn sample_digest(record: Option<&[u8]>, metadata: &mut MetaRow<'_>) -> Digest {
    let mut hash = Xxh3::new();
    if let Some(record) = record {
        hash.update(&[1]);
        hash.update(record);
        return Digest::of_hashed(&hash);
    }
    hash.update(&[2]);
    metadata.sort_unstable_by_key(|(name, _)| *name);
    let mut text = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for (name, value) in metadata.iter() {
        // By text, so that a column which becomes text later does not change the samples before it.
        if let Some(MetaValue::Text(value)) = value.fit(ColumnType::Text) {
            text(name.as_bytes());
            text(value.as_bytes());
        }
    }
    Digest::of_hashed(&hash)
}

/// A sample to add.
#[derive(Debug, Clone)]
pub struct NewSample<'a> {
    /// The user's id.
    pub id: &'a str,
    /// The original record, byte for byte.
    pub record: Option<&'a [u8]>,
    /// One value per column of the append.
    pub metadata: Vec<MetaValue>,
}
