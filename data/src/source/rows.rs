//! Record batches, row by row.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields};
use serde_json::Value;

use super::value::{UnsupportedValue, object};
use super::{DataError, Place, RawRecord, Unit};

/// The rows of the batches of one file.
pub(super) struct Rows {
    path: Arc<Path>,
    batch: Option<RecordBatch>,
    next: usize,
    number: u64,
    json: Vec<u8>,
    failed: bool,
}

impl Rows {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Self { path, batch: None, next: 0, number: 0, json: Vec::new(), failed: false }
    }

    /// Rows given so far.
    pub(super) fn given(&self) -> u64 {
        self.number
    }

    /// The row that comes next, for errors.
    pub(super) fn place(&self) -> Place {
        Place { file: Arc::clone(&self.path), unit: Unit::Row, number: self.number + 1 }
    }

    /// An error at the row that comes next.
    pub(super) fn damaged(&self, message: impl Into<String>) -> DataError {
        DataError::Damaged {
            path: self.path.to_path_buf(),
            place: (self.number > 0).then(|| self.place()),
            message: message.into(),
        }
    }

    /// Refuses columns of one name, of which an object could hold only one.
    pub(super) fn check(&self, fields: &Fields) -> Result<(), DataError> {
        let mut seen = HashSet::new();
        for field in fields {
            if !seen.insert(field.name()) {
                return Err(self.damaged(format!("two columns are called {:?}; rename one", field.name())));
            }
            match field.data_type() {
                DataType::Struct(fields) => self.check(fields)?,
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                    self.check(&Fields::from(vec![Arc::clone(item)]))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the next batch, once the last one is used up.
    pub(super) fn put(&mut self, batch: RecordBatch) {
        self.batch = Some(batch);
        self.next = 0;
    }

    /// Whether a row could not be given; then there are no more.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Whether a row is left.
    pub(super) fn is_ready(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| self.next < batch.num_rows())
    }

    /// Columns that are null in the row that was taken last.
    pub(super) fn nulls(&self) -> Vec<String> {
        let (Some(batch), Some(row)) = (&self.batch, self.next.checked_sub(1)) else { return Vec::new() };
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let nulls =
            columns.filter(|(_, values)| values.logical_nulls().is_some_and(|nulls| nulls.is_null(row)));
        nulls.map(|(field, _)| field.name().clone()).collect()
    }

    /// The columns of the batch that was put last.
    pub(super) fn columns(&self) -> Vec<String> {
        let fields = self.batch.iter().flat_map(|batch| batch.schema_ref().fields());
        fields.map(|field| field.name().clone()).collect()
    }

    /// The next row of the batch.
    pub(super) fn take(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        let batch = self.batch.as_ref()?;
        let place = self.place();
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let row = object(names.zip(batch.columns()), self.next);
        self.next += 1;
        let result = row.map_err(|unfit| unfit_error(place.clone(), unfit)).and_then(|row| {
            self.json.clear();
            serde_json::to_writer(&mut self.json, &Value::Object(row))
                .map_err(|error| self.damaged(error.to_string()))
        });
        if let Err(error) = result {
            (self.batch, self.failed) = (None, true);
            return Some(Err(error));
        }
        self.number += 1;
        Some(Ok(RawRecord { place, json: &self.json }))
    }
}

fn unfit_error(place: Place, unfit: UnsupportedValue) -> DataError {
    let column = unfit.at.strip_prefix('.').unwrap_or(&unfit.at).to_owned();
    DataError::Value { place, column, message: unfit.message }
}

/// A call into a library that panics on some invalid files; after a panic nothing of it is used again.
pub(super) fn caught<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    gstore_store::caught(f).unwrap_or_else(|| Err("its parts do not fit together".to_owned()))
}
