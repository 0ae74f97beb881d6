//! Datasets, their columns and their samples.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use gstore_store::{DatasetPart, EncodingEntry, Snapshot};

use super::batch::{Batch, Null, batch, maybe_text, number, text};
use crate::error::SqlError;
use crate::leaf::RowReader;
use crate::samples::{ColumnSource, PartSource, SampleTable};
use crate::union::{SampleUnion, UnionPart};
use crate::virtuals::NamedVirtuals;

pub(super) fn datasets(datasets: &[Arc<DatasetPart>]) -> Batch {
    let labels =
        |d: &DatasetPart| d.encodings.iter().map(|e| d.encoding_label(e)).collect::<Vec<_>>().join(", ");
    batch([
        ("dataset", text(datasets.iter().map(|d| d.name.as_str())), Null::No),
        ("rows", number(datasets.iter().map(|d| d.rows)), Null::No),
        ("next_row", number(datasets.iter().map(|d| d.next_row)), Null::No),
        ("columns", number(datasets.iter().map(|d| d.columns.len() as u64)), Null::No),
        ("encodings", text(datasets.iter().map(|d| labels(d))), Null::No),
        ("files", number(datasets.iter().map(|d| d.files.len() as u64)), Null::No),
        ("bytes", number(datasets.iter().map(|d| d.files.iter().map(|f| f.len).sum())), Null::No),
    ])
}

/// The columns of every dataset's table, as `SELECT *` lists them.
pub(super) fn columns(snapshot: &Arc<Snapshot>) -> Result<Batch, SqlError> {
    struct Line {
        dataset: String,
        position: u64,
        name: String,
        ty: String,
        key: Option<String>,
    }
    let mut lines = Vec::new();
    for dataset in snapshot.datasets() {
        let table =
            SampleTable::of_dataset(Arc::clone(snapshot), Arc::clone(dataset), NamedVirtuals::default());
        for (i, (cell, field)) in table.cells().iter().zip(table.schema().fields()).enumerate() {
            let key = match cell {
                ColumnSource::Metadata(name) => {
                    dataset.columns.iter().find(|c| c.name == *name).map(|c| c.key.clone())
                }
                _ => None,
            };
            lines.push(Line {
                dataset: dataset.name.clone(),
                position: i as u64 + 1,
                name: field.name().clone(),
                ty: type_name(field.data_type()),
                key,
            });
        }
    }
    Ok(batch([
        ("dataset", text(lines.iter().map(|l| l.dataset.as_str())), Null::No),
        ("position", number(lines.iter().map(|l| l.position)), Null::No),
        ("name", text(lines.iter().map(|l| l.name.as_str())), Null::No),
        ("type", text(lines.iter().map(|l| l.ty.as_str())), Null::No),
        ("key", maybe_text(lines.iter().map(|l| l.key.as_deref())), Null::Yes),
    ]))
}

fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Utf8 => "text".into(),
        DataType::Boolean => "bool".into(),
        DataType::Int64 => "int".into(),
        DataType::UInt32 | DataType::UInt64 => "unsigned".into(),
        DataType::Float64 => "float".into(),
        other => other.to_string(),
    }
}

/// `gstore.samples`: the samples of every dataset, once for each encoding that has counted them.
pub(super) fn all_samples(snapshot: &Arc<Snapshot>) -> SampleUnion {
    let schema = Schema::new(vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("dataset", DataType::Utf8, false),
        Field::new("encoding", DataType::Utf8, true),
        Field::new("tokens", DataType::UInt32, true),
        Field::new("scored_tokens", DataType::UInt32, true),
        Field::new("truncated", DataType::Boolean, true),
    ]);
    let part = |dataset: &Arc<DatasetPart>, encoding: Option<&EncodingEntry>| {
        let key = encoding.map(|e| e.key.as_str());
        let samples =
            SampleTable::new(Arc::clone(snapshot), Arc::clone(dataset), key, NamedVirtuals::default(), None);
        let sources = vec![
            samples.source(&ColumnSource::Row),
            samples.source(&ColumnSource::Id),
            PartSource::Constant(Some(dataset.name.clone())),
            PartSource::Constant(encoding.map(|e| dataset.encoding_label(e))),
            samples.source(&ColumnSource::Tokens),
            samples.source(&ColumnSource::ScoredTokens),
            samples.source(&ColumnSource::Truncated),
        ];
        UnionPart { samples, sources }
    };
    let mut parts = Vec::new();
    for dataset in snapshot.datasets() {
        match dataset.encodings.is_empty() {
            true => parts.push(part(dataset, None)),
            false => parts.extend(dataset.encodings.iter().map(|e| part(dataset, Some(e)))),
        }
    }
    SampleUnion { schema: Arc::new(schema), parts }
}
