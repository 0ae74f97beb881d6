//! Record batches, row by row.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Fields};
use serde_json::Value;

use super::value::{Floats, UnsupportedValue, object};
use super::{DataError, Place, RawRecord, RecordSource, Unit};

/// What gives the batches of a file. An error is a message about the row that comes next.
pub(super) trait BatchReader {
    /// The next batch, after so many rows; not called again after an error or the end.
    fn next_batch(&mut self, given: u64) -> Result<Option<RecordBatch>, String>;

    /// How much of the file was read for so many rows, as [`RecordSource::bytes_read`] has it.
    fn bytes_read(&self, given: u64) -> u64;
}

pub(super) struct BatchRows<R> {
    path: Arc<Path>,
    reader: R,
    batch: Option<RecordBatch>,
    next: usize,
    number: u64,
    json: Vec<u8>,
    floats: Floats,
    ended: bool,
}

impl<R> BatchRows<R> {
    /// The rows of a file that was opened, or why it was not.
    pub(super) fn new(path: Arc<Path>, opened: Result<R, String>) -> Result<Self, DataError> {
        let reader = opened.map_err(|message| DataError::damaged(&path, None, message))?;
        let (json, floats) = (Vec::new(), Floats::default());
        Ok(Self { path, reader, batch: None, next: 0, number: 0, json, floats, ended: false })
    }

    /// The row that comes next, for errors.
    fn place(&self) -> Place {
        Place { file: Arc::clone(&self.path), unit: Unit::Row, number: self.number }
    }

    /// An error at the row that comes next.
    fn damaged(&self, message: String) -> DataError {
        DataError::damaged(&self.path, (self.number > 0).then(|| self.place()), message)
    }

    /// Whether a row of the batch is left.
    fn is_ready(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| self.next < batch.num_rows())
    }
}

impl<R: BatchReader> RecordSource for BatchRows<R> {
    fn next_record(&mut self) -> Option<Result<RawRecord<'_>, DataError>> {
        while !self.ended && !self.is_ready() {
            match self.reader.next_batch(self.number) {
                Ok(Some(batch)) => (self.batch, self.next) = (Some(batch), 0),
                Ok(None) => self.ended = true,
                Err(message) => {
                    self.ended = true;
                    return Some(Err(self.damaged(message)));
                }
            }
        }
        if self.ended {
            return None;
        }
        let batch = self.batch.as_ref()?;
        let place = self.place();
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let row = object(names.zip(batch.columns()), self.next, self.floats);
        self.next += 1;
        let result = row.map_err(|unfit| unfit_error(place.clone(), unfit)).and_then(|row| {
            self.json.clear();
            serde_json::to_writer(&mut self.json, &Value::Object(row))
                .map_err(|error| self.damaged(error.to_string()))
        });
        if let Err(error) = result {
            (self.batch, self.ended) = (None, true);
            return Some(Err(error));
        }
        self.number += 1;
        Some(Ok(RawRecord { place, json: &self.json }))
    }

    fn nulls(&self) -> Vec<String> {
        let (Some(batch), Some(row)) = (&self.batch, self.next.checked_sub(1)) else { return Vec::new() };
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let nulls =
            columns.filter(|(_, values)| values.logical_nulls().is_some_and(|nulls| nulls.is_null(row)));
        nulls.map(|(field, _)| field.name().clone()).collect()
    }

    fn columns(&self) -> Vec<String> {
        let fields = self.batch.iter().flat_map(|batch| batch.schema_ref().fields());
        fields.map(|field| field.name().clone()).collect()
    }

    fn give_exact_floats(&mut self) {
        self.floats = Floats::Exact;
    }

    fn float_bits(&self, column: &str) -> Option<u8> {
        let schema = self.batch.as_ref()?.schema_ref();
        Floats::bits(schema.column_with_name(column)?.1.data_type())
    }

    fn bytes_read(&self) -> u64 {
        self.reader.bytes_read(self.number)
    }
}

/// Refuses columns of one name, of which an object could hold only one.
pub(super) fn check(fields: &Fields) -> Result<(), String> {
    let mut seen = HashSet::new();
    for field in fields {
        if !seen.insert(field.name()) {
            return Err(format!("two columns are called {:?}; rename one", field.name()));
        }
        check_type(field.data_type())?;
    }
    Ok(())
}

/// The same of the objects within values of a type.
fn check_type(ty: &DataType) -> Result<(), String> {
    match ty {
        DataType::Struct(fields) => check(fields),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => check_type(item.data_type()),
        DataType::Dictionary(_, values) => check_type(values),
        _ => Ok(()),
    }
}

fn unfit_error(place: Place, unfit: UnsupportedValue) -> DataError {
    let column = unfit.at.strip_prefix('.').unwrap_or(&unfit.at).to_owned();
    DataError::Value { place, column, message: unfit.message }
}

/// Why a file cannot be opened that is of a format whose index stands at its end.
pub(super) fn unopened(what: &str, message: &str) -> String {
    format!(
        "not {what}, or damaged or cut off at its end, which is read first: {message}; copy or download the file \
         again"
    )
}

/// A call into a library that panics on some invalid files; after a panic nothing of it is used again.
pub(super) fn caught<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    gstore_store::caught(f).unwrap_or_else(|| Err("its parts do not fit together".to_owned()))
}

#[cfg(test)]
mod tests {
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn names_are_distinct_in_objects_wherever_they_are() {
        let object = |names: [&str; 2]| {
            let fields = names.map(|name| Field::new(name, DataType::Int64, true));
            DataType::Struct(Fields::from(fields.to_vec()))
        };
        let within = |object: DataType| {
            let item = || Arc::new(Field::new("item", object.clone(), true));
            let entry =
                vec![Field::new("key", DataType::Utf8, false), Field::new("value", object.clone(), true)];
            let entries = Field::new("entries", DataType::Struct(Fields::from(entry)), false);
            [
                object.clone(),
                DataType::List(item()),
                DataType::LargeList(item()),
                DataType::FixedSizeList(item(), 2),
                DataType::ListView(item()),
                DataType::LargeListView(item()),
                DataType::Map(Arc::new(entries), false),
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(object.clone())),
            ]
        };
        let checked = |ty: DataType| check(&Fields::from(vec![Field::new("x", ty, true)]));
        for ty in within(object(["a", "b"])) {
            assert_eq!(checked(ty.clone()), Ok(()), "{ty}");
        }
        for ty in within(object(["a", "a"])) {
            let refused = checked(ty.clone()).expect_err("refused");
            assert_eq!(refused, "two columns are called \"a\"; rename one", "{ty}");
        }
    }
}
