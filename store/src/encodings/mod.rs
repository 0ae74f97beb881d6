//! Encodings: token counts of samples under a tokenizer, a template and a maximum length.
//!
//! Invariants
//! - a file's rows are dense: a row that was not live when it was written, between rows that were, has counts
//!   of zero. Where it comes back, by a revert or by a repair that forgets deletes, the snapshot lacks the file
//! - files may overlap, because the counts of a live sample follow from the encoding's key
//! - where files overlap, the earlier one is read

use crate::error::{Damage, ReadError, StorageError, WriteError};
use crate::layout::{Env, encoding_file};
use crate::manifest::{EncodingEntry, FileEntry};
use crate::table::{TableFile, TableMetadata, TableWriter, properties};
use crate::vfs::Vfs;
use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_core::{EncodingSpec, RowSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Token counts of a sample in an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// The sample.
    pub row: u64,
    /// Tokens after cutting.
    pub tokens: u32,
    /// Tokens that count for the loss.
    pub scored: u32,
    /// Whether the sample was cut to the maximum length.
    pub truncated: bool,
}

impl TokenCount {
    /// What a file has of a row that was not live.
    pub(crate) fn nothing(row: u64) -> Self {
        TokenCount { row, tokens: 0, scored: 0, truncated: false }
    }

    /// Whether it is what a file has of a row that was not live. That of an empty text is the same.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::nothing(self.row)
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("tokens", DataType::UInt32, false),
        Field::new("scored_tokens", DataType::UInt32, false),
        Field::new("truncated", DataType::Boolean, false),
    ]))
}

/// Most rows that are not live between two in one file, of token counts or of samples.
pub(crate) const GAP_ROWS: u64 = 65_536;

/// Rows that wait in memory before they are written.
const BATCH_ROWS: usize = 8192;

/// Writes the counts of an encoding for rows without gaps, or with those that it fills.
pub struct EncodingWriter {
    pub(crate) dataset: String,
    pub(crate) spec: EncodingSpec,
    pub(crate) label: String,
    pub(crate) path: PathBuf,
    pub(crate) uuid: Uuid,
    /// Rows without counts, which [`EncodingWriter::fill_to`] has put between others.
    pub(crate) filled: RowSet,
    vfs: Arc<dyn Vfs>,
    writer: Option<TableWriter>,
    waiting: Vec<TokenCount>,
    last: Option<u64>,
}

impl EncodingWriter {
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        path: PathBuf,
        uuid: Uuid,
        dataset: String,
        spec: EncodingSpec,
        label: String,
    ) -> Self {
        EncodingWriter {
            dataset,
            spec,
            label,
            path,
            uuid,
            filled: RowSet::new(),
            vfs,
            writer: None,
            waiting: Vec::new(),
            last: None,
        }
    }

    /// Adds the counts of a row. Each row follows the one before it; where rows are missing, fill the gap, or
    /// seal and start another file.
    pub fn push(&mut self, count: TokenCount) -> Result<(), WriteError> {
        if let Some(last) = self.last.filter(|l| l.checked_add(1) != Some(count.row)) {
            return Err(WriteError::Order { row: count.row, last });
        }
        if self.writer.is_none() {
            let p = properties().set_dictionary_enabled(false).build();
            let about = TableMetadata::encoding(&self.dataset, &self.spec, &self.label);
            self.writer =
                Some(TableWriter::create(&*self.vfs, &self.path, self.uuid, count.row, schema(), p, about)?);
        }
        self.last = Some(count.row);
        self.waiting.push(count);
        if self.waiting.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.rows) + self.waiting.len() as u64
    }

    /// Lets this row come next: those missing before it get counts of zero. Returns `false`, and adds
    /// nothing, if one of them is live or they are too many for a file.
    pub fn fill_to(&mut self, row: u64, live: &RowSet) -> Result<bool, WriteError> {
        let Some(last) = self.last else { return Ok(true) };
        let gap = last.saturating_add(1)..row;
        if row.saturating_sub(gap.start) > GAP_ROWS || live.within(gap.clone()).next().is_some() {
            return Ok(false);
        }
        self.filled.insert(gap.clone());
        for missing in gap {
            self.push(TokenCount::nothing(missing))?;
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(writer) = self.writer.as_mut() else { return Ok(()) };
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(UInt64Array::from_iter_values(waiting.iter().map(|c| c.row))),
            Arc::new(UInt32Array::from_iter_values(waiting.iter().map(|c| c.tokens))),
            Arc::new(UInt32Array::from_iter_values(waiting.iter().map(|c| c.scored))),
            Arc::new(BooleanArray::from_iter(waiting.iter().map(|c| Some(c.truncated)))),
        ];
        let batch = RecordBatch::try_new(schema(), columns)
            .map_err(|e| StorageError::io("write token counts", std::io::Error::other(e)))?;
        writer.write(&batch)
    }

    pub(crate) fn finish(mut self) -> Result<FileEntry, WriteError> {
        self.flush()?;
        match self.writer.take() {
            Some(w) => Ok(w.finish()?.1),
            None => Err(WriteError::Empty),
        }
    }
}

/// The counts of an encoding in one snapshot. Opening it reads nothing.
pub struct EncodingReader {
    entry: EncodingEntry,
    files: Vec<TableFile>,
}

impl EncodingReader {
    pub(crate) fn new(entry: EncodingEntry, files: Vec<TableFile>) -> Self {
        EncodingReader { entry, files }
    }

    /// A reader of the published files of an encoding.
    pub(crate) fn open(env: &Env, entry: EncodingEntry) -> Self {
        let file = |f: &FileEntry| TableFile::new(env.file(encoding_file(entry.number, f.uuid)), f);
        let files = entry.files.iter().map(file).collect();
        EncodingReader { entry, files }
    }

    /// The encoding's entry in the catalog.
    pub fn entry(&self) -> &EncodingEntry {
        &self.entry
    }

    /// The rows it has counts of.
    pub fn rows(&self) -> RowSet {
        self.entry.rows()
    }

    /// `row` u64, `tokens` u32, `scored_tokens` u32, `truncated` bool.
    pub fn schema(&self) -> SchemaRef {
        schema()
    }

    /// The counts of those rows of a range that there are, ascending.
    pub fn counts(&self, rows: Range<u64>) -> Result<Vec<TokenCount>, ReadError> {
        let mut out: Vec<TokenCount> = Vec::new();
        for batch in self.scan(Some(rows)) {
            out.extend(counts_of(&batch?)?);
        }
        out.sort_unstable_by_key(|c| c.row);
        Ok(out)
    }

    /// Whether it has such counts of some row of a range.
    pub(crate) fn has(
        &self,
        rows: Range<u64>,
        such: impl Fn(&TokenCount) -> bool,
    ) -> Result<bool, ReadError> {
        for batch in self.scan(Some(rows)) {
            if counts_of(&batch?)?.iter().any(&such) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The counts of a range of rows (all for `None`) as batches, each row once, in row order if no
    /// files overlap out of order.
    pub fn scan<'a>(
        &'a self,
        rows: Option<Range<u64>>,
    ) -> impl Iterator<Item = Result<RecordBatch, ReadError>> + use<'a> {
        let wanted = rows.unwrap_or(0..u64::MAX);
        let mut rest = RowSet::from_range(wanted);
        let mut parts: Vec<(Range<u64>, &'a TableFile)> = Vec::new();
        for file in &self.files {
            let here = RowSet::from_range(file.entry().range());
            parts.extend(rest.intersection(&here).ranges().iter().map(|r| (r.clone(), file)));
            rest = rest.difference(&here);
        }
        parts.sort_unstable_by_key(|(r, _)| r.start);
        let batches = parts.into_iter().flat_map(
            |(range, file)| -> Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + 'a> {
                match file.read(&["row", "tokens", "scored_tokens", "truncated"], &[range]) {
                    Err(e) => Box::new(std::iter::once(Err(e.into()))),
                    Ok(read) => Box::new(read.map(|b| check(b?))),
                }
            },
        );
        // As one type, whose steps are compiled here and not by each that takes batches.
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, ReadError>> + 'a> = Box::new(batches);
        batches
    }
}

/// The counts of a batch.
pub(crate) fn counts_of(batch: &RecordBatch) -> Result<Vec<TokenCount>, ReadError> {
    let [row, tokens, scored, truncated] = batch.columns() else { return Err(others(batch).into()) };
    let (row, tokens) = (row.as_primitive::<UInt64Type>(), tokens.as_primitive::<UInt32Type>());
    let (scored, truncated) = (scored.as_primitive::<UInt32Type>(), truncated.as_boolean());
    let all = row.values().iter().zip(tokens.values()).zip(scored.values()).zip(truncated.values());
    let counts = all.map(|(((row, tokens), scored), truncated)| TokenCount {
        row: *row,
        tokens: *tokens,
        scored: *scored,
        truncated,
    });
    Ok(counts.collect())
}

/// A file written by us has these columns; one that has others is not taken apart any further.
fn check(batch: RecordBatch) -> Result<RecordBatch, ReadError> {
    if batch.schema().fields() == schema().fields() {
        return Ok(batch);
    }
    Err(others(&batch).into())
}

fn others(batch: &RecordBatch) -> Damage {
    let (expected, found) = (format!("{:?}", schema().fields()), format!("{:?}", batch.schema().fields()));
    Damage::new("an encoding", "columns", expected, found)
}
