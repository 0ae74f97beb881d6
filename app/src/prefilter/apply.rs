//! Predictions of a prefilter for the rows of a dataset: the lines of those that are kept, a table of all.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_core::{Unit, many};
use gstore_learn::{Prediction, Prefilter};
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_store::Snapshot;

use crate::answer::{AnswerError, written_record};
use crate::select::{write_records, write_saved};
use crate::work::JobContext;

/// What was predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Rows.
    pub rows: u64,
    /// Rows that are kept, those without a prediction and labelled ones of the true top among them.
    pub kept: u64,
    /// Rows without a prediction: a feature of theirs is missing or not finite.
    pub unpredicted: u64,
}

/// Where the rows that are kept go, in the order of their rows.
pub enum KeptRows<'a> {
    /// As their original lines.
    Lines(&'a mut dyn Write),
    /// As a table that can be added again.
    Table(PredictionTable<'a>),
    /// As a saved dataset, into a folder that is there and empty.
    Dataset(&'a Path),
}

/// A table: where it goes, and in which format.
pub struct PredictionTable<'a> {
    /// Receives it.
    pub out: Box<dyn Write + Send + 'a>,
    /// Its format.
    pub format: Format,
}

/// Predicts every row of a dataset, cell by cell. Writes the rows that are kept, and `id, row, score, target,
/// kept` of all.
///
/// A row without a prediction is kept: nothing speaks against it. So is a labelled row of the true top in the
/// pool that the prefilter was fitted for, whatever is predicted of it.
///
/// # Errors
/// Features that the dataset lacks, a kept row that was stored without its line or that has no place in a
/// table, outputs that fail, damage, being told to stop.
pub fn apply_prefilter(
    snapshot: &Snapshot,
    prefilter: &Prefilter,
    dataset: &str,
    mut kept: Option<KeptRows<'_>>,
    table: Option<PredictionTable<'_>>,
    work: &mut JobContext<'_>,
) -> Result<ApplyReport, AnswerError> {
    let features = prefilter.open(snapshot, dataset)?;
    let mut applied = ApplyReport::default();
    let style = TableStyle { width: None, column: None };
    let writer = table.map(|table| ResultWriter::new(table.format, &schema(), table.out, style));
    let mut writer = writer.transpose()?;
    // What has to be known before the first is written.
    let mut later: Vec<u64> = Vec::new();
    work.progress.start("predict", features.samples().rows().len(), Unit::Rows);
    for rows in features.samples().rows().by_cell() {
        work.cancel.check()?;
        let predictions = prefilter.predict_rows(&features, &rows)?;
        let is_kept = |prediction: &Option<Prediction>| prediction.as_ref().is_none_or(|p| p.kept);
        applied.rows += rows.len() as u64;
        applied.unpredicted += predictions.iter().filter(|p| p.is_none()).count() as u64;
        applied.kept += predictions.iter().filter(|p| is_kept(p)).count() as u64;
        let wanted = rows.iter().zip(&predictions).filter(|(_, p)| is_kept(p)).map(|(row, _)| *row);
        match &mut kept {
            Some(KeptRows::Lines(out)) => write_lines(&features, &wanted.collect::<Vec<_>>(), &mut **out)?,
            Some(_) => later.extend(wanted),
            None => {}
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch(&features, &rows, &predictions, &prefilter.targets)?)?;
        }
        work.progress.advance(rows.len() as u64);
    }
    work.progress.finish();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    match kept {
        Some(KeptRows::Table(PredictionTable { out, format })) => {
            write_records(snapshot, (dataset, &later), (out, format), work)?;
        }
        Some(KeptRows::Dataset(folder)) => write_saved(snapshot, (dataset, &later), folder, work)?,
        Some(KeptRows::Lines(_)) | None => {}
    }
    if applied.unpredicted > 0 {
        work.progress.note(&format!(
            "{} without a prediction, because a feature is missing or not finite: kept",
            many(applied.unpredicted, "row")
        ));
    }
    Ok(applied)
}

fn write_lines(
    features: &gstore_learn::OpenFeatures,
    rows: &[u64],
    out: &mut dyn Write,
) -> Result<(), AnswerError> {
    let batch = features.samples().get(rows, &["record"])?;
    for (i, row) in rows.iter().enumerate() {
        let stored: ArrayRef = batch.column(0).slice(i, 1);
        out.write_all(written_record(&stored, *row)?)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn batch(
    features: &gstore_learn::OpenFeatures,
    rows: &[u64],
    predictions: &[Option<Prediction>],
    targets: &[String],
) -> Result<RecordBatch, AnswerError> {
    let score = |p: &Option<Prediction>| p.as_ref().map(|p| p.score);
    let target = |p: &Option<Prediction>| p.as_ref().and_then(|p| Some(targets.get(p.target)?.as_str()));
    let is_kept = |p: &Option<Prediction>| Some(p.as_ref().is_none_or(|p| p.kept));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(features.samples().ids(rows)?)),
        Arc::new(UInt64Array::from_iter_values(rows.iter().copied())),
        Arc::new(predictions.iter().map(score).collect::<Float64Array>()),
        Arc::new(predictions.iter().map(target).collect::<StringArray>()),
        Arc::new(predictions.iter().map(is_kept).collect::<BooleanArray>()),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("score", DataType::Float64, true),
        Field::new("target", DataType::Utf8, true),
        Field::new("kept", DataType::Boolean, false),
    ]))
}
