//! Errors of a schema: records without common columns.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use gstore_core::{Remedy, exact_float, named, shortened};
use gstore_store::{ColumnType, MetaValue};

use super::super::source::Place;

/// What the command line calls a type.
pub(super) fn type_text(ty: ColumnType) -> &'static str {
    match ty {
        ColumnType::Bool => "bool",
        ColumnType::Int => "int",
        ColumnType::Float => "float",
        ColumnType::Text => "utf8",
    }
}

/// Why records have no common columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    #[error("{0:?} is not a column and its type: write name:type, where type is bool, int, float or utf8")]
    BadOverride(String),
    #[error("column {key:?} is given two types, {} and {}: leave one out", type_text(*first), type_text(*second))]
    TwoOverrides { key: String, first: ColumnType, second: ColumnType },
    #[error("no record has a key {key:?} to give a type to{hint}")]
    UnknownOverride {
        key: String,
        /// The key that may be meant; empty or starting with `; `.
        hint: String,
    },
    #[error(
        "column {column:?} holds {} in {} and {} in {place}; \
         say what it is, for example {}", first.beside(found.ty()), first_place.after(place), found.beside(first.ty()),
        Remedy::Option("column", &format!("{column}:utf8"))
    )]
    Mixed { column: String, first: ObservedType, first_place: Place, found: ObservedType, place: Place },
    #[error(
        "column {column:?} is {} {by}, but {place} holds {}; use {}",
        type_text(*ty), found.with_value(*ty, value), way_out(column, *ty, found)
    )]
    Unfit { column: String, ty: ColumnType, by: FixedBy, found: ObservedType, value: String, place: Place },
    #[error(
        "{place} has a value of {column:?} that it did not have before: the file changed while it was read"
    )]
    FileChanged { column: String, place: Place },
}

/// Characters of a value that are shown.
const VALUE_SHOWN: usize = 40;

/// The beginning of a value.
pub(super) fn shown(value: &MetaValue) -> String {
    match value {
        MetaValue::Null => "null".to_owned(),
        MetaValue::Bool(value) => value.to_string(),
        MetaValue::Int(value) => value.to_string(),
        MetaValue::Float(value) => format!("{value:?}"),
        MetaValue::Text(text) => format!("{:?}", shortened(text, VALUE_SHOWN)),
    }
}

/// The type that holds what a column of type `ty` does not.
fn way_out(column: &str, ty: ColumnType, found: &ObservedType) -> String {
    match (ty, found.ty()) {
        (ColumnType::Int, ColumnType::Float) => {
            Remedy::Option("column", &format!("{column}:float")).to_string()
        }
        _ => format!("{} if it may hold anything", Remedy::Option("column", &format!("{column}:utf8"))),
    }
}

/// Who decides a column's type before its values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedBy {
    /// An override.
    User,
    /// The dataset, which has the column already.
    Dataset,
}

// As messages have it.
named!(FixedBy { User = "as asked", Dataset = "in the dataset" });

/// What a value is for the type of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedType {
    /// One of a type, and nothing more to say of it.
    Type(ColumnType),
    /// An integer that a float would round.
    Inexact(i64),
    /// An integer that 64 signed bits do not hold, so that it is text: how many digits it has.
    Long(usize),
}

impl ObservedType {
    /// `None` for a null, which fits every column.
    pub(super) fn of(value: &MetaValue) -> Option<Self> {
        Some(match value {
            MetaValue::Int(int) if exact_float(*int).is_none() => Self::Inexact(*int),
            MetaValue::Text(text) if is_long(text) => Self::Long(text.trim_start_matches('-').len()),
            other => Self::Type(other.column_type()?),
        })
    }

    pub(super) fn ty(&self) -> ColumnType {
        match self {
            Self::Type(ty) => *ty,
            Self::Inexact(_) => ColumnType::Int,
            Self::Long(_) => ColumnType::Text,
        }
    }

    pub(super) fn is_inexact(&self) -> bool {
        matches!(self, Self::Inexact(_))
    }

    /// How it is named where it does not fit what is of another type.
    fn beside(&self, other: ColumnType) -> String {
        match self {
            Self::Inexact(int) if other == ColumnType::Float => format!("{int} (a float would round it)"),
            Self::Long(digits) => {
                format!("an integer of {digits} digits (64 bits with a sign do not hold it, so it is text)")
            }
            held => type_text(held.ty()).to_owned(),
        }
    }

    /// The same with the value, unless its name has it.
    fn with_value(&self, other: ColumnType, value: &str) -> String {
        match self {
            Self::Type(_) => format!("{} ({value})", self.beside(other)),
            _ => self.beside(other),
        }
    }
}

fn is_long(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_err()
}
