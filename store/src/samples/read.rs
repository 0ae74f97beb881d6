//! Reading samples: in row order, or scattered rows.

use super::columns::{schema, value_at};
use super::value::{MetaRow, float_text, sample_digest};
use crate::error::{Damage, ReadError, StorageError};
use crate::layout::{Env, sample_file};
use crate::manifest::{DatasetPart, FileEntry};
use crate::table::TableFile;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow_schema::{ArrowError, DataType, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use gstore_core::{Cancel, Cancelled, Digest, RowSet, nearest};
use std::ops::Range;
use std::sync::Arc;

/// Rows whose ids are read at a time.
const IDS_AT_ONCE: usize = 4096;

/// A sample file of a dataset.
pub(crate) fn table(env: &Env, part: &DatasetPart, entry: &FileEntry) -> TableFile {
    TableFile::new(env.file(sample_file(part.number, entry.uuid)), entry)
}

/// The live samples of a dataset in one snapshot. Opening it reads no sample.
pub struct SampleReader {
    part: Arc<DatasetPart>,
    live: Arc<RowSet>,
    schema: SchemaRef,
    files: Vec<TableFile>,
}

impl SampleReader {
    /// A reader of some files of a dataset.
    pub(crate) fn open(env: &Env, part: &DatasetPart, live: Arc<RowSet>, files: &[FileEntry]) -> Self {
        let files = files.iter().map(|entry| table(env, part, entry)).collect();
        SampleReader { schema: schema(&part.columns), part: Arc::new(part.clone()), live, files }
    }

    /// The same files, with the deleted rows that are still in them.
    pub(crate) fn stored(&self) -> SampleReader {
        SampleReader {
            part: Arc::clone(&self.part),
            live: Arc::new(self.part.stored_rows()),
            schema: Arc::clone(&self.schema),
            files: self.files.clone(),
        }
    }

    /// The rows it shows.
    pub fn rows(&self) -> &RowSet {
        &self.live
    }

    /// The dataset's entry in the catalog.
    pub fn part(&self) -> &DatasetPart {
        &self.part
    }

    /// `row` u64, `id` utf8, `record` binary (nullable), then the metadata columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn project(&self, columns: &[&str]) -> Result<SchemaRef, ReadError> {
        let field = |name: &&str| {
            self.schema.field_with_name(name).cloned().map_err(|_| {
                let known: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
                ReadError::NoColumn {
                    dataset: self.part.name.clone(),
                    name: (*name).to_owned(),
                    nearest: nearest(name, known.iter().copied()).map(str::to_owned),
                    known: known.into_iter().map(str::to_owned).collect(),
                }
            })
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The live samples of a range of rows (all of them for `None`) in row order, in batches of bounded size.
    pub fn scan<'a>(
        &'a self,
        columns: &[&str],
        rows: Option<Range<u64>>,
    ) -> impl Iterator<Item = Result<RecordBatch, ReadError>> + use<'a> {
        self.scan_rows(columns, RowSet::from_range(rows.unwrap_or(0..u64::MAX)))
    }

    /// The same of any rows.
    pub fn scan_rows<'a>(
        &'a self,
        columns: &[&str],
        rows: RowSet,
    ) -> impl Iterator<Item = Result<RecordBatch, ReadError>> + use<'a> {
        let target = self.project(columns);
        let wanted = Arc::new(rows);
        let (error, target) = match target {
            Ok(target) => (None, Some(target)),
            Err(e) => (Some(Err(e)), None),
        };
        let parts = target.into_iter().flat_map(move |target| {
            let wanted = Arc::clone(&wanted);
            self.files.iter().flat_map(move |file| self.scan_file(file, &target, &wanted))
        });
        // As one type, whose steps are compiled here and not by each that takes batches.
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + 'a> =
            Box::new(error.into_iter().chain(parts));
        batches
    }

    /// Hands out the row and id of each live sample, in row order, until it is told to stop.
    ///
    /// # Errors
    /// Those of [`SampleReader::scan`]; inside, [`Cancelled`] once the flag is raised.
    pub fn each_id(
        &self,
        cancel: &Cancel,
        mut visit: impl FnMut(u64, &str),
    ) -> Result<Result<(), Cancelled>, ReadError> {
        self.visit_ids(cancel, &mut visit)
    }

    fn visit_ids(
        &self,
        cancel: &Cancel,
        visit: &mut dyn FnMut(u64, &str),
    ) -> Result<Result<(), Cancelled>, ReadError> {
        for batch in self.scan(&["row", "id"], None) {
            if let Err(cancelled) = cancel.check() {
                return Ok(Err(cancelled));
            }
            let batch = batch?;
            let rows = batch.column(0).as_primitive::<UInt64Type>().values();
            for (row, id) in rows.iter().zip(batch.column(1).as_string::<i32>()) {
                id.into_iter().for_each(|id| visit(*row, id));
            }
        }
        Ok(Ok(()))
    }

    /// The ids of some rows, in the order asked for.
    ///
    /// # Errors
    /// Those of [`SampleReader::get`].
    pub fn ids(&self, rows: &[u64]) -> Result<Vec<String>, ReadError> {
        let mut ids = Vec::with_capacity(rows.len());
        for some in rows.chunks(IDS_AT_ONCE) {
            let batch = self.get(some, &["id"])?;
            ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        Ok(ids)
    }

    fn scan_file<'a>(
        &'a self,
        file: &'a TableFile,
        target: &SchemaRef,
        wanted: &RowSet,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + 'a> {
        let here = wanted.intersection(&RowSet::from_range(file.entry().range()));
        let rows = self.live.intersection(&here);
        if rows.is_empty() {
            return Box::new(std::iter::empty());
        }
        let names: Vec<&str> = target.fields().iter().map(|f| f.name().as_str()).collect();
        match file.read(&names, rows.ranges()) {
            Err(e) => Box::new(std::iter::once(Err(e.into()))),
            Ok(read) => {
                let target = Arc::clone(target);
                Box::new(read.map(move |batch| adapt(&batch?, &target)))
            }
        }
    }

    /// Samples by row, in the order asked for; a row may be asked for twice.
    pub fn get(&self, rows: &[u64], columns: &[&str]) -> Result<RecordBatch, ReadError> {
        let target = self.project(columns)?;
        let wanted = RowSet::from_rows(rows.iter().copied()).intersection(&self.live);
        let mut batches = Vec::new();
        let mut found: Vec<Range<u64>> = Vec::new();
        let names: Vec<&str> = columns.to_vec();
        for file in &self.files {
            let here = wanted.intersection(&RowSet::from_range(file.entry().range()));
            if here.is_empty() {
                continue;
            }
            for batch in file.read(&names, here.ranges())? {
                batches.push(adapt(&batch?, &target)?);
            }
            found.extend(here.ranges().iter().cloned());
        }
        let found = RowSet::from_ranges(found);
        if let Some(row) = rows.iter().find(|r| !found.contains(**r)) {
            return Err(ReadError::NoRow { dataset: self.part.name.clone(), row: *row });
        }
        self.in_order(rows, &found, &target, &batches)
    }

    /// Puts the rows of `found`, which `batches` hold in ascending order, into the order of `rows`.
    fn in_order(
        &self,
        rows: &[u64],
        found: &RowSet,
        target: &SchemaRef,
        batches: &[RecordBatch],
    ) -> Result<RecordBatch, ReadError> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(target)));
        }
        let read: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if read as u64 != found.len() {
            let file = format!("samples of {}", self.part.name);
            return Err(Damage::new(file, "rows read", found.len(), read).into());
        }
        let of_batch = |(i, batch): (usize, &RecordBatch)| (0..batch.num_rows()).map(move |at| (i, at));
        let places: Vec<(u64, (usize, usize))> =
            found.iter().zip(batches.iter().enumerate().flat_map(of_batch)).collect();
        let place = |row: &u64| {
            let at = places.binary_search_by_key(row, |(row, _)| *row).ok()?;
            places.get(at).map(|(_, place)| *place)
        };
        let wanted: Vec<(usize, usize)> = rows.iter().filter_map(place).collect();
        let column = |i: usize| {
            let parts: Vec<&dyn Array> = batches.iter().map(|batch| &**batch.column(i)).collect();
            interleave(&parts, &wanted)
        };
        let columns: Result<Vec<ArrayRef>, ArrowError> = (0..target.fields().len()).map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let all = columns
            .and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(target), columns, &options));
        all.map_err(|e| match e {
            ArrowError::OffsetOverflowError(_) => {
                ReadError::TooLarge { dataset: self.part.name.clone(), rows: rows.len() }
            }
            e => StorageError::io("arrange samples", std::io::Error::other(e)).into(),
        })
    }
}

/// The columns of `target` from a batch of a file: a column that the file does not have yet is null, one
/// whose type was widened since is converted.
fn adapt(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch, ReadError> {
    let arrow = |e: ArrowError| StorageError::io("convert a column", std::io::Error::other(e));
    let mut columns = Vec::with_capacity(target.fields().len());
    for field in target.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), batch.num_rows()),
            Some(c) if c.data_type() == field.data_type() => Arc::clone(c),
            Some(c) => widened(c, field.data_type()).map_err(arrow)?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options).map_err(|e| arrow(e).into())
}

/// A column of a file as the type that its column has by now, as an append makes it of single values.
fn widened(column: &ArrayRef, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    match column.as_primitive_opt::<Float64Type>() {
        // Arrow spells large ones otherwise: `1e20`.
        Some(floats) if *ty == DataType::Utf8 => {
            Ok(Arc::new(floats.iter().map(|value| value.map(float_text)).collect::<StringArray>()))
        }
        _ => arrow_cast::cast(column, ty),
    }
}

/// Id, row and digest of each sample from a row on, without those that were purged: of them nothing is left
/// to know.
pub(crate) fn scan_known(
    reader: &SampleReader,
    first: u64,
) -> impl Iterator<Item = Result<(String, u64, Digest), ReadError>> + '_ {
    let names: Vec<&str> = reader.schema.fields().iter().map(|f| f.name().as_str()).collect();
    reader.scan(&names, Some(first..u64::MAX)).flat_map(|batch| match batch {
        Err(e) => vec![Err(e)],
        Ok(batch) => known_of(&batch).into_iter().map(Ok).collect(),
    })
}

/// `batch` has all columns of the dataset, so the first three are row, id and record.
fn known_of(batch: &RecordBatch) -> Vec<(String, u64, Digest)> {
    let [rows, ids, records, metadata @ ..] = batch.columns() else { return Vec::new() };
    let (rows, ids) = (rows.as_primitive::<UInt64Type>(), ids.as_string::<i32>());
    let records = records.as_binary::<i32>();
    let schema = batch.schema();
    let one = |i: usize| {
        let record = records.is_valid(i).then(|| records.value(i));
        let mut values: MetaRow<'_> = match record {
            Some(_) => Vec::new(),
            None => schema
                .fields()
                .iter()
                .skip(3)
                .zip(metadata)
                .map(|(f, c)| (f.name().as_str(), value_at(c, i)))
                .collect(),
        };
        let digest = sample_digest(record, &mut values);
        (ids.value(i).to_owned(), rows.value(i), digest)
    };
    (0..batch.num_rows()).filter(|i| !ids.value(*i).is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ColumnType;
    use crate::samples::MetaValue;
    use arrow_array::{BooleanArray, Float64Array, Int64Array};

    /// A column as texts, and what an append makes of its values.
    fn both_ways(column: ArrayRef) -> (Vec<MetaValue>, Vec<MetaValue>) {
        let read = widened(&column, &DataType::Utf8).unwrap();
        let each = |i: usize| (value_at(&read, i), value_at(&column, i).fit(ColumnType::Text).unwrap());
        (0..column.len()).map(each).unzip()
    }

    #[test]
    fn a_column_that_became_text_reads_as_its_values_are_stored_in_one() {
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        let floats = [1e15, 1e16, -1e16, 1.5e17, 1e20, 1e300, 1e-5, 1e-7, 5e-324, f64::MAX, 0.1, 3.0];
        let floats = floats.into_iter().chain(special).map(Some).chain([None]).collect::<Float64Array>();
        let columns: [ArrayRef; 3] = [
            Arc::new(floats),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(0), None])),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ];
        for column in columns {
            let (read, stored) = both_ways(column);
            assert_eq!(read, stored);
        }
    }

    /// The digests of stores that are there are made of these.
    #[test]
    fn the_texts_of_floats_stay_as_they_are() {
        for (float, text) in [
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (-1.5e17, "-1.5e+17"),
            (1e300, "1e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1e-5, "0.00001"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (-0.0, "-0.0"),
            (3.0, "3.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_text(float), text);
        }
    }
}
