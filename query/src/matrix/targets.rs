//! The target samples of a matrix, in the order of the scores.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use serde::Serialize;

use super::encode::properties;
use super::error::MatrixError;
use super::files::json;
use super::place::TARGETS;
use super::question::MatrixQuestion;
use super::work::WorkFolder;
use crate::error::QueryError;
use crate::influence::{TargetNames, TargetSamples};

/// Samples whose ids are read at once.
const CHUNK: usize = 4096;

/// Writes `targets.parquet`: `target` counts from 0, `scores` and `position` say in which list a
/// sample's scores are and where.
pub(super) fn write(
    work: &WorkFolder<'_>,
    samples: &TargetSamples,
    names: &TargetNames<'_>,
    question: &MatrixQuestion,
) -> Result<(), MatrixError> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("target", DataType::UInt64, false),
        Field::new("scores", DataType::Utf8, false),
        Field::new("position", DataType::UInt64, false),
        Field::new("dataset", DataType::Utf8, false),
        Field::new("row", DataType::UInt64, false),
        Field::new("id", DataType::Utf8, true),
        Field::new("subtask", DataType::Utf8, true),
    ]));
    let place = work.file(TARGETS);
    let failed = |error| MatrixError::parquet(&place.temporary, error);
    let file = BufWriter::new(fs_err::File::create(&place.temporary)?);
    let mut out = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties())).map_err(failed)?;
    let mut next = 0u64;
    for rows in samples.rows.chunks(CHUNK) {
        let numbers: Vec<u64> = (next..next + rows.len() as u64).collect();
        next += rows.len() as u64;
        let group =
            |number: &u64| question.groups.iter().find(|g| (g.first..g.first + g.samples).contains(number));
        let folder = |number| group(number).map_or("", |g| g.folder.as_str());
        let position = |number: &u64| number - group(number).map_or(0, |g| g.first);
        let subtask = |row: &crate::influence::TargetRow| {
            samples.subtasks.get(row.subtask as usize).map(String::as_str)
        };
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(UInt64Array::from(numbers.clone())),
                Arc::new(StringArray::from_iter_values(numbers.iter().map(folder))),
                Arc::new(UInt64Array::from_iter_values(numbers.iter().map(position))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| names.dataset_of(row)))),
                Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.row))),
                Arc::new(names.ids_of(rows)?.into_iter().collect::<StringArray>()),
                Arc::new(rows.iter().map(subtask).collect::<StringArray>()),
            ],
        );
        out.write(&batch.map_err(QueryError::from)?).map_err(failed)?;
    }
    let mut file = out.into_inner().map_err(failed)?;
    file.flush()?;
    place.publish(file.get_ref())
}

#[derive(Serialize)]
struct TargetEntry<'a> {
    dataset: &'a str,
    row: u64,
    id: Option<String>,
    subtask: Option<&'a str>,
}

/// The same as a list in JSON.
pub(super) fn as_json(samples: &TargetSamples, names: &TargetNames<'_>) -> Result<String, MatrixError> {
    let mut all = Vec::new();
    for rows in samples.rows.chunks(CHUNK) {
        for (row, id) in rows.iter().zip(names.ids_of(rows)?) {
            let subtask = samples.subtasks.get(row.subtask as usize).map(String::as_str);
            all.push(TargetEntry { dataset: names.dataset_of(row), row: row.row, id, subtask });
        }
    }
    json(&all)
}
