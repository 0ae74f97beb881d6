//! Requests to register samples, and their reports.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use super::super::IngestError;
use gstore_data::{ColumnOverride, Duplicates, ExpectedType, FieldNames, Layout};
use gstore_store::{ColumnDef, ColumnType, DatasetPart, IfChanged, IfDeleted, WriteNote};

/// Data to register.
#[derive(Debug, Clone, Default)]
pub struct AddRequest {
    /// The dataset; it is made if it does not exist.
    pub dataset: String,
    /// Files, folders and patterns, read in this order (see [`gstore_data::find`]).
    pub data: Vec<PathBuf>,
    /// Names under which the records keep what is looked for, as `field=key`; none if they use gstore's own.
    pub fields: Vec<String>,
    /// The layout of the records; without one each record's own, as its keys show it.
    pub layout: Option<Layout>,
    /// Types of columns, as `name:type`.
    pub columns: Vec<String>,
    /// How many records that cannot be read are left out; with more of them nothing is added.
    pub skip_bad: u64,
    /// What happens to a record whose id an earlier one of the same files has.
    pub duplicates: Duplicates,
    /// What happens to a line that differs from the stored sample of its id.
    pub if_changed: IfChanged,
    /// What happens to a line whose id was deleted.
    pub if_deleted: IfDeleted,
    /// What data the dataset takes if it is there.
    pub existing: ExistingDataset,
    /// Columns whose types are known, of which those of the dataset go first. For a forecast in a store that
    /// lacks the dataset they are the columns that it has: records are read as they will be for it.
    pub known_columns: Vec<ColumnDef>,
    /// The command as the history shows it.
    pub command: String,
    /// Where the samples come from, as the history shows it; without it the names of the files.
    pub source: Option<String>,
}

/// What data a dataset that is there takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExistingDataset {
    /// Any.
    #[default]
    Append,
    /// A newer state of what it was made of, known by a sample that both have.
    Continue,
}

impl AddRequest {
    /// A request with everything as the command line has it by default.
    pub fn new(dataset: impl Into<String>, data: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { dataset: dataset.into(), data: data.into_iter().collect(), ..Self::default() }
    }

    /// How its files are read for a dataset of these columns.
    ///
    /// # Errors
    /// A name of a field, or a type of a column, that cannot be used.
    pub fn field_names(&self, stored: &[ColumnDef]) -> Result<FieldNames, IngestError> {
        let names = FieldNames::parse(&self.fields).and_then(|names| names.with_layout(self.layout));
        let names = names.map_err(|source| IngestError::FieldOption { source })?;
        Ok(names.with_expected(self.expected(stored)?))
    }

    /// The columns that are known before its records are: those of the dataset, and others of the request.
    pub fn columns_with(&self, part: Option<&DatasetPart>) -> Vec<ColumnDef> {
        let mut columns = part.map_or_else(Vec::new, |part| part.columns.clone());
        let is_other =
            |known: &&ColumnDef| part.is_none_or(|part| part.columns.iter().all(|own| own.key != known.key));
        columns.extend(self.known_columns.iter().filter(is_other).cloned());
        columns
    }

    /// The types of columns that it asks for.
    ///
    /// # Errors
    /// One that is not written as a column and its type, and a column that is given two types.
    pub fn overrides(&self) -> Result<Vec<ColumnOverride>, IngestError> {
        ColumnOverride::all(&self.columns).map_err(|source| IngestError::ColumnOption { source })
    }

    /// What it says of columns by their keys, or else the dataset does.
    fn expected(&self, stored: &[ColumnDef]) -> Result<HashMap<String, ExpectedType>, IngestError> {
        let of_dataset = |column: &ColumnDef| {
            let expected = match column.ty {
                ColumnType::Text => ExpectedType::Text,
                // A float in the column changes its type.
                ColumnType::Bool | ColumnType::Int | ColumnType::Float => ExpectedType::Typed,
            };
            (column.key.clone(), expected)
        };
        let asked = |column: ColumnOverride| {
            let expected = match column.ty {
                ColumnType::Text => ExpectedType::Text,
                ColumnType::Float => ExpectedType::Typed,
                // A float in the column is an error.
                ColumnType::Bool | ColumnType::Int => ExpectedType::Exact,
            };
            (column.key, expected)
        };
        let mut expected: HashMap<String, ExpectedType> = stored.iter().map(of_dataset).collect();
        // Of two types of one column the first counts.
        expected.extend(self.overrides()?.into_iter().rev().map(asked));
        Ok(expected)
    }
}

/// What a registration did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AddReport {
    /// New samples.
    pub added: u64,
    /// Samples that were there already.
    pub unchanged: u64,
    /// Changed lines that took the place of stored samples, as new rows under the same ids.
    pub replaced: u64,
    /// Changed lines that were skipped.
    pub kept: u64,
    /// Ids that were deleted before, whose lines were left out.
    pub left_out: u64,
    /// Records that could not be read and were left out.
    pub skipped: u64,
    /// Records that were left out because an earlier one has their id.
    pub duplicates: u64,
    /// Records without a token that could be scored, whatever the tokenizer.
    pub unscorable: u64,
    /// The layout of the first record that has none of gstore's own.
    pub layout: Option<Layout>,
    /// The published snapshot, if anything was added.
    pub snapshot: Option<u64>,
}

/// What a registration would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddPreview {
    /// Its report.
    #[serde(flatten)]
    pub report: AddReport,
    /// The metadata columns that the dataset would have.
    pub columns: Vec<ColumnDef>,
}

/// A client whose samples are registered from a copy of what it sent.
#[derive(Debug, Clone, Default)]
pub struct AddClient {
    /// What it calls this write, so that sending it twice adds it once.
    pub key: Option<String>,
    /// Where the samples come from, as the history shows it in place of the copy's name.
    pub source: String,
}

/// What became of a client's samples.
#[derive(Debug, Clone, PartialEq)]
pub enum AddOutcome {
    /// They were registered.
    Done(AddReport),
    /// They had been registered before, under the same key.
    Repeated(WriteNote),
}
