//! Metadata columns: their types, found by one pass over the records.
//!
//! Invariants
//! - columns stand in the order in which their keys first appear, those of a table in that of its header or
//!   schema: see [`SchemaBuilder::arrange`]
//! - a column has the type of its values; integers among floats are floats, if a float is exactly that
//!   integer, also those that a dataset has already; any other mixture is refused and names both places
//! - a column of nulls only is left out until a value appears, since nothing says its type: a type that is
//!   guessed would refuse or change the values that come later
//!
//! Names are the store's affair (a key that clashes with a built-in column gets a `_`), as is turning a value
//! into its column's type.

mod error;

use std::collections::HashMap;
use std::str::FromStr;

use gstore_core::did_you_mean;
use gstore_store::{ColumnDef, ColumnSpec, ColumnType, MetaValue};

use super::record::Record;
use super::source::Place;
pub use error::{FixedBy, ObservedType, SchemaError};
use error::{shown, type_text};

/// The user's word on a column: `key:type`, where type is one of `bool`, `int`, `float`, `utf8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOverride {
    /// Key in the records.
    pub key: String,
    /// Type that it gets.
    pub ty: ColumnType,
}

impl FromStr for ColumnOverride {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let bad = || SchemaError::BadOverride(text.to_owned());
        let (key, ty) = text.rsplit_once(':').ok_or_else(bad)?;
        let ty = ColumnType::ALL.into_iter().find(|t| type_text(*t) == ty).ok_or_else(bad)?;
        if key.is_empty() { Err(bad()) } else { Ok(Self { key: key.to_owned(), ty }) }
    }
}

impl ColumnOverride {
    /// Several of them, each as `key:type`.
    ///
    /// # Errors
    /// One that is written otherwise, and a column that is given two types.
    pub fn all(texts: &[String]) -> Result<Vec<Self>, SchemaError> {
        let mut all: Vec<Self> = Vec::with_capacity(texts.len());
        for text in texts {
            let next: Self = text.parse()?;
            if let Some(Self { key, ty }) =
                all.iter().find(|other| other.key == next.key && other.ty != next.ty)
            {
                return Err(SchemaError::TwoOverrides { key: key.clone(), first: *ty, second: next.ty });
            }
            all.push(next);
        }
        Ok(all)
    }
}

#[derive(Debug)]
struct Candidate {
    key: String,
    /// What the values are and the place that says so; none while all are null.
    seen: Option<(ObservedType, Place)>,
    fixed: Option<(ColumnType, FixedBy)>,
}

/// Collects columns over a first pass.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    candidates: Vec<Candidate>,
    by_key: HashMap<String, usize>,
    overrides: Vec<ColumnOverride>,
    existing: HashMap<String, ColumnType>,
}

impl SchemaBuilder {
    /// `overrides` go before everything else; `existing` are the columns that the dataset has already.
    pub fn new(overrides: Vec<ColumnOverride>, existing: &[ColumnDef]) -> Self {
        let existing = existing.iter().map(|c| (c.key.clone(), c.ty)).collect();
        Self { overrides, existing, ..Self::default() }
    }

    /// Takes one record into account; `place` is named in errors.
    pub fn observe(&mut self, place: impl Into<Place>, record: &Record) -> Result<(), SchemaError> {
        let place = place.into();
        for (key, value) in &record.metadata {
            let index = match self.by_key.get(key) {
                Some(index) => *index,
                None => self.add(key),
            };
            if let (Some(candidate), Some(held)) = (self.candidates.get_mut(index), ObservedType::of(value)) {
                candidate.see(held, value, &place)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &str) -> usize {
        let asked = self.overrides.iter().find(|o| o.key == key).map(|o| (o.ty, FixedBy::User));
        let fixed = asked.or_else(|| Some((*self.existing.get(key)?, FixedBy::Dataset)));
        self.candidates.push(Candidate { key: key.to_owned(), seen: None, fixed });
        self.by_key.insert(key.to_owned(), self.candidates.len() - 1);
        self.candidates.len() - 1
    }

    /// Whether a record had this key.
    pub fn has_seen(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Takes a key into account that the records of a table lack where it is null.
    pub fn name(&mut self, key: &str) {
        if !self.has_seen(key) {
            self.add(key);
        }
    }

    /// The keys seen so far.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.candidates.iter().map(|candidate| candidate.key.as_str())
    }

    /// Puts columns into an order of their keys, of which the first mention counts. Others come behind them.
    pub fn arrange(&mut self, order: &[String]) {
        let mut places = HashMap::new();
        for (place, key) in order.iter().enumerate() {
            places.entry(key.as_str()).or_insert(place);
        }
        let place_of = |candidate: &Candidate| places.get(candidate.key.as_str()).copied();
        self.candidates.sort_by_key(|candidate| place_of(candidate).unwrap_or(usize::MAX));
        let keys = self.candidates.iter().map(|candidate| candidate.key.clone());
        self.by_key = keys.enumerate().map(|(i, key)| (key, i)).collect();
    }

    /// Keys that become no columns: all their values are null, and nothing else says their type.
    pub fn without_values(&self) -> impl Iterator<Item = &str> {
        let untyped = self.candidates.iter().filter(|c| c.seen.is_none() && c.fixed.is_none());
        untyped.map(|candidate| candidate.key.as_str())
    }

    /// The columns.
    pub fn finish(self) -> Result<Schema, SchemaError> {
        for asked in &self.overrides {
            if !self.by_key.contains_key(&asked.key) {
                let hint = did_you_mean(&asked.key, self.candidates.iter().map(|c| c.key.as_str()));
                return Err(SchemaError::UnknownOverride { key: asked.key.clone(), hint });
            }
        }
        let column = |candidate: Candidate| {
            let ty = candidate.ty()?;
            Some(match candidate.fixed {
                Some((_, FixedBy::User)) => ColumnSpec::declared(candidate.key, ty),
                _ => ColumnSpec::inferred(candidate.key, ty),
            })
        };
        let columns: Vec<ColumnSpec> = self.candidates.into_iter().filter_map(column).collect();
        let by_key = columns.iter().enumerate().map(|(i, c)| (c.key.clone(), i)).collect();
        Ok(Schema { columns, by_key })
    }
}

/// Whether a column of type `ty` holds values of type `found`.
fn fits(ty: ColumnType, found: ColumnType) -> bool {
    ty == found || ty == ColumnType::Text || (ty, found) == (ColumnType::Float, ColumnType::Int)
}

impl Candidate {
    /// The type as far as it is known.
    fn ty(&self) -> Option<ColumnType> {
        let seen = self.seen.as_ref().map(|(held, _)| held.ty());
        match self.fixed {
            Some((ColumnType::Int, FixedBy::Dataset)) => seen.or(Some(ColumnType::Int)),
            Some((ty, _)) => Some(ty),
            None => seen,
        }
    }

    fn see(&mut self, found: ObservedType, value: &MetaValue, place: &Place) -> Result<(), SchemaError> {
        let is_number = matches!(found.ty(), ColumnType::Int | ColumnType::Float);
        // Floats make floats of the dataset's integers, so those of the file have to go with them.
        let may_widen = is_number && self.fixed == Some((ColumnType::Int, FixedBy::Dataset));
        if let Some((ty, by)) = self.fixed.filter(|_| !may_widen) {
            // A column that the caller fixed as floats takes any number, rounded or not.
            let rounded = by == FixedBy::Dataset && ty == ColumnType::Float && found.is_inexact();
            return if fits(ty, found.ty()) && !rounded {
                Ok(())
            } else {
                let (column, value) = (self.key.clone(), shown(value));
                Err(SchemaError::Unfit { column, ty, by, found, value, place: place.clone() })
            };
        }
        let Some((first, first_place)) = &self.seen else {
            self.seen = Some((found, place.clone()));
            return Ok(());
        };
        match (first.ty(), found.ty()) {
            // The integer by which floats after it are refused.
            (ColumnType::Int, ColumnType::Int) if found.is_inexact() && !first.is_inexact() => {
                self.seen = Some((found, place.clone()));
            }
            (before, ty) if before == ty => {}
            (ColumnType::Float, ColumnType::Int) if !found.is_inexact() => {}
            (ColumnType::Int, ColumnType::Float) if !first.is_inexact() => {
                self.seen = Some((found, place.clone()));
            }
            _ => {
                return Err(SchemaError::Mixed {
                    column: self.key.clone(),
                    first: first.clone(),
                    first_place: first_place.clone(),
                    found,
                    place: place.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The metadata columns of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    columns: Vec<ColumnSpec>,
    by_key: HashMap<String, usize>,
}

impl Schema {
    /// The columns, in order.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// A record's metadata in column order; what it lacks is null. `place` is named in errors.
    pub fn row(
        &self,
        place: impl Into<Place>,
        metadata: Vec<(String, MetaValue)>,
    ) -> Result<Vec<MetaValue>, SchemaError> {
        let mut row = vec![MetaValue::Null; self.columns.len()];
        for (key, value) in metadata {
            let Some(found) = value.column_type() else { continue };
            let index = self.by_key.get(&key);
            let cell = index.and_then(|i| Some((row.get_mut(*i)?, self.columns.get(*i)?)));
            match cell {
                Some((cell, column)) if fits(column.ty, found) => *cell = value,
                _ => return Err(SchemaError::FileChanged { column: key, place: place.into() }),
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests;
