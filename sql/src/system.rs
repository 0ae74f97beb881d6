//! System tables: the catalog of the store in the schema `gstore`.
//!
//! All but `samples` are read from the manifests that a snapshot has in memory, and of features of tokens the
//! footers of their files.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use gstore_store::{
    ArtifactPart, Coverage, DatasetPart, EncodingEntry, EnsemblePart, FeaturePart, Member, RunPart, Snapshot,
};
use serde_json::Value;

use super::error::{SqlError, SqlErrorKind};
use super::leaf::{Rows, RowsTable};
use super::samples::{Cell, SampleTable, arrow};
use super::union::{Part, SampleUnion, Source};
use super::virtuals::Asked;

/// Names of the system tables.
pub(crate) const NAMES: [&str; 11] = [
    "artifacts",
    "checkpoints",
    "columns",
    "datasets",
    "features",
    "members",
    "samples",
    "segments",
    "snapshots",
    "tags",
    "views",
];

/// The system table of a name; without the names of folders where clients ask (`served`).
pub(crate) fn table(
    snapshot: &Arc<Snapshot>,
    name: &str,
    served: bool,
) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
    let batch = match name {
        "artifacts" => artifacts(snapshot, served)?,
        "datasets" => datasets(snapshot.datasets()),
        "columns" => columns(snapshot)?,
        "checkpoints" => checkpoints(snapshot.runs()),
        "features" => features(snapshot)?,
        "members" => members(snapshot.ensembles(), served),
        "segments" => segments(snapshot.features()),
        "snapshots" => snapshots(snapshot)?,
        "tags" => tags(snapshot),
        "views" => views(snapshot),
        "samples" => {
            return Ok(Some(Arc::new(RowsTable(Arc::new(all_samples(snapshot))))));
        }
        _ => return Ok(None),
    };
    let batch = batch.map_err(arrow)?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])
        .map_err(|e| SqlError::from_datafusion(e, &[]))?;
    Ok(Some(Arc::new(table)))
}

type Batch = Result<RecordBatch, arrow_schema::ArrowError>;

fn batch<const N: usize>(columns: [(&str, ArrayRef, Null); N]) -> Batch {
    RecordBatch::try_from_iter_with_nullable(
        columns.map(|(name, values, null)| (name, values, null == Null::Yes)),
    )
}

/// Whether a column may hold null.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Null {
    Yes,
    No,
}

fn text<T: Into<String>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values.into_iter().map(Into::into)))
}

fn maybe_text<T: Into<String>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|v| v.map(Into::into)).collect::<StringArray>())
}

fn number(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

fn datasets(datasets: &[Arc<DatasetPart>]) -> Batch {
    let labels =
        |d: &DatasetPart| d.encodings.iter().map(|e| e.label.as_str()).collect::<Vec<_>>().join(", ");
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
fn columns(snapshot: &Arc<Snapshot>) -> Result<Batch, SqlError> {
    struct Line {
        dataset: String,
        position: u64,
        name: String,
        ty: String,
        key: Option<String>,
    }
    let mut lines = Vec::new();
    for dataset in snapshot.datasets() {
        let table = SampleTable::of_dataset(Arc::clone(snapshot), Arc::clone(dataset), Asked::default());
        for (i, (cell, field)) in table.cells().iter().zip(table.schema().fields()).enumerate() {
            let key = match cell {
                Cell::Metadata(name) => {
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

fn checkpoints(runs: &[Arc<RunPart>]) -> Batch {
    let all: Vec<_> = runs.iter().flat_map(|r| r.checkpoints.iter().map(move |c| (r, c))).collect();
    let share = |run: &RunPart, weight: Option<f64>| {
        let total: f64 = run.checkpoints.iter().map(|c| c.weight).sum::<Option<f64>>()?;
        weight.map(|w| w / total).filter(|w| w.is_finite())
    };
    batch([
        ("run", text(all.iter().map(|(r, _)| r.name.as_str())), Null::No),
        ("name", text(all.iter().map(|(_, c)| c.name.as_str())), Null::No),
        ("step", Arc::new(all.iter().map(|(_, c)| c.step).collect::<UInt64Array>()), Null::Yes),
        ("weight", Arc::new(all.iter().map(|(_, c)| c.weight).collect::<Float64Array>()), Null::Yes),
        (
            "normalised_weight",
            Arc::new(all.iter().map(|(r, c)| share(r, c.weight)).collect::<Float64Array>()),
            Null::Yes,
        ),
        ("checkpoint_id", text(all.iter().map(|(_, c)| c.checkpoint.to_string())), Null::No),
        ("base", text(all.iter().map(|(_, c)| c.base.as_str())), Null::No),
    ])
}

fn features(snapshot: &Snapshot) -> Result<Batch, SqlError> {
    let all = snapshot.features();
    let coverage: Vec<Coverage> =
        all.iter().map(|f| snapshot.coverage(f).map_err(SqlError::read)).collect::<Result<_, _>>()?;
    // A checkpoint may belong to several runs; the first name is as good as any and the id stands next to it.
    let checkpoint = |f: &FeaturePart| {
        let id = f.desc.checkpoint.as_ref()?;
        let known = snapshot.runs().iter().flat_map(|r| &r.checkpoints).find(|c| c.checkpoint == *id);
        known.map(|c| c.name.clone())
    };
    let ensemble = |f: &FeaturePart| {
        let uuid = f.desc.ensemble?;
        snapshot.ensembles().iter().find(|e| e.uuid == uuid).map(|e| e.name.clone())
    };
    let encoding = |f: &FeaturePart| {
        let dataset = snapshot.datasets().iter().find(|d| d.name == f.desc.dataset)?;
        dataset.encoding(&f.desc.encoding).map(|e| e.label.clone())
    };
    Ok(batch([
        ("number", Arc::new(UInt32Array::from_iter_values(all.iter().map(|f| f.number))), Null::No),
        ("label", text(all.iter().map(|f| f.attrs.label.as_str())), Null::No),
        ("dataset", text(all.iter().map(|f| f.desc.dataset.as_str())), Null::No),
        ("kind", text(all.iter().map(|f| f.desc.kind.name.as_str())), Null::No),
        ("granularity", text(all.iter().map(|f| f.desc.granularity.name())), Null::No),
        ("checkpoint", maybe_text(all.iter().map(|f| checkpoint(f))), Null::Yes),
        ("encoding", maybe_text(all.iter().map(|f| encoding(f))), Null::Yes),
        ("dim", Arc::new(UInt32Array::from_iter_values(all.iter().map(|f| f.desc.dim()))), Null::No),
        ("dtype", text(all.iter().map(|f| f.desc.dtype.name())), Null::No),
        ("compute", text(all.iter().map(|f| f.desc.compute.as_str())), Null::No),
        ("loss", maybe_text(all.iter().map(|f| filled(&f.desc.space.loss))), Null::Yes),
        ("reduction", maybe_text(all.iter().map(|f| filled(&f.desc.space.reduction))), Null::Yes),
        ("layer", maybe_text(all.iter().map(|f| f.desc.space.layer.as_deref())), Null::Yes),
        ("modules", maybe_text(all.iter().map(|f| note(f, "modules"))), Null::Yes),
        ("projection", text(all.iter().map(|f| projection(f))), Null::No),
        ("state", text(coverage.iter().map(|c| c.state.name())), Null::No),
        ("rows", number(coverage.iter().map(|c| c.rows)), Null::No),
        ("missing", number(coverage.iter().map(|c| c.missing)), Null::No),
        (
            "vectors",
            Arc::new(all.iter().map(|f| snapshot.stored_vectors(f)).collect::<UInt64Array>()),
            Null::Yes,
        ),
        ("bytes", number(all.iter().map(|f| f.bytes())), Null::No),
        (
            "checkpoint_id",
            maybe_text(all.iter().map(|f| f.desc.checkpoint.as_ref().map(ToString::to_string))),
            Null::Yes,
        ),
        ("projection_id", text(all.iter().map(|f| f.desc.space.projection.as_str())), Null::No),
        ("key", text(all.iter().map(|f| f.key.as_str())), Null::No),
        ("ensemble", maybe_text(all.iter().map(|f| ensemble(f))), Null::Yes),
        ("rotation", text(all.iter().map(|f| f.desc.rotation.name())), Null::No),
    ]))
}

/// The models of all ensembles.
fn members(ensembles: &[Arc<EnsemblePart>], served: bool) -> Batch {
    let all: Vec<_> = ensembles
        .iter()
        .flat_map(|e| e.members.iter().enumerate().map(move |(place, member)| (e, place as u64, member)))
        .collect();
    let float = |of: fn(&Member) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(|(_, _, m)| of(m)).collect::<Float64Array>())
    };
    let count = |of: fn(&Member) -> Option<u64>| -> ArrayRef {
        Arc::new(all.iter().map(|(_, _, m)| of(m)).collect::<UInt64Array>())
    };
    batch([
        ("ensemble", text(all.iter().map(|(e, ..)| e.name.as_str())), Null::No),
        ("place", number(all.iter().map(|(_, place, _)| *place)), Null::No),
        ("id", text(all.iter().map(|(_, _, m)| m.id.as_str())), Null::No),
        ("theta0", text(all.iter().map(|(_, _, m)| m.group.as_str())), Null::No),
        ("seed", count(|m| m.seed), Null::Yes),
        ("variant", maybe_text(all.iter().map(|(_, _, m)| m.variant.as_deref())), Null::Yes),
        ("rho", float(|m| m.settings.rho), Null::Yes),
        ("gamma", float(|m| m.settings.gamma), Null::Yes),
        ("lr", float(|m| m.settings.lr), Null::Yes),
        ("steps", count(|m| m.settings.steps), Null::Yes),
        ("subset", count(|m| m.subset.as_ref().map(|s| s.size)), Null::Yes),
        (
            "checkpoint_id",
            maybe_text(all.iter().map(|(_, _, m)| m.weights.as_ref().map(|w| w.checkpoint.to_string()))),
            Null::Yes,
        ),
        (
            "folder",
            maybe_text(all.iter().map(|(_, _, m)| {
                let weights = m.weights.as_ref().filter(|_| !served);
                weights.and_then(|weights| weights.folder.clone())
            })),
            Null::Yes,
        ),
    ])
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// What a feature's provenance says under a name.
fn note<'a>(feature: &'a FeaturePart, name: &str) -> Option<&'a str> {
    feature.attrs.provenance.get(name)?.as_str()
}

/// A projection in words; its fingerprint where the feature has no description.
fn projection(feature: &FeaturePart) -> &str {
    note(feature, "projection").unwrap_or(&feature.desc.space.projection)
}

fn segments(features: &[Arc<FeaturePart>]) -> Batch {
    let all: Vec<_> = features.iter().flat_map(|f| f.segments.iter().map(move |s| (f, s))).collect();
    let file = |f: &FeaturePart, uuid: String| format!("segments/{}/{uuid}.arrow", f.number);
    batch([
        ("feature", Arc::new(UInt32Array::from_iter_values(all.iter().map(|(f, _)| f.number))), Null::No),
        ("label", text(all.iter().map(|(f, _)| f.attrs.label.as_str())), Null::No),
        ("dataset", text(all.iter().map(|(f, _)| f.desc.dataset.as_str())), Null::No),
        ("file", text(all.iter().map(|(f, s)| file(f, s.uuid.to_string()))), Null::No),
        ("first_row", number(all.iter().map(|(_, s)| s.first_row)), Null::No),
        ("end_row", number(all.iter().map(|(_, s)| s.end_row)), Null::No),
        ("rows", number(all.iter().map(|(_, s)| s.rows)), Null::No),
        ("bytes", number(all.iter().map(|(_, s)| s.len)), Null::No),
        ("digest", text(all.iter().map(|(_, s)| s.footer_digest.to_string())), Null::No),
    ])
}

fn snapshots(snapshot: &Snapshot) -> Result<Batch, SqlError> {
    let all = snapshot.history().map_err(SqlError::open)?;
    Ok(batch([
        ("number", number(all.iter().map(|s| s.number)), Null::No),
        ("created", time(all.iter().map(|s| s.created)), Null::No),
        ("command", text(all.iter().map(|s| s.command.as_str())), Null::No),
        ("changes", text(all.iter().map(|s| s.changes.join("; "))), Null::No),
        ("parent", Arc::new(all.iter().map(|s| s.parent).collect::<UInt64Array>()), Null::Yes),
        ("tags", maybe_text(all.iter().map(|s| names(snapshot, s.number))), Null::Yes),
        (
            "current",
            Arc::new(BooleanArray::from_iter(all.iter().map(|s| Some(s.number == snapshot.number())))),
            Null::No,
        ),
    ]))
}

/// The tags of a snapshot, as one text.
fn names(snapshot: &Snapshot, number: u64) -> Option<String> {
    let names: Vec<String> =
        snapshot.tags().into_iter().filter(|t| t.snapshot == number).map(|t| t.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The artifacts, each of which is read.
fn artifacts(snapshot: &Snapshot, served: bool) -> Result<Batch, SqlError> {
    let failed = |error: gstore_store::ArtifactError| match error.is_damage() {
        true => SqlError::new(SqlErrorKind::Damaged, error.to_string()),
        false => SqlError::new(SqlErrorKind::Failed, error.to_string()),
    };
    let names = snapshot.artifacts().map_err(SqlError::read)?;
    let all: Result<Vec<ArtifactPart>, SqlError> =
        names.iter().map(|name| snapshot.artifact(name).map_err(failed)).collect();
    let all = all?;
    let provenance = |a: &ArtifactPart| {
        let mut told = a.provenance.clone();
        if served {
            told.remove("folder");
            told.values_mut().for_each(without_folders);
        }
        serde_json::to_string(&told).unwrap_or_default()
    };
    Ok(batch([
        ("name", text(all.iter().map(|a| a.name.as_str())), Null::No),
        ("kind", text(all.iter().map(|a| a.kind.as_str())), Null::No),
        ("snapshot", number(all.iter().map(|a| u64::from(a.number))), Null::No),
        ("datasets", text(all.iter().map(|a| a.datasets.join(", "))), Null::No),
        ("bytes", number(all.iter().map(|a| snapshot.artifact_bytes(&a.name))), Null::No),
        ("provenance", text(all.iter().map(provenance)), Null::No),
    ]))
}

/// Of a value of provenance what clients are shown: of paths the last name.
fn without_folders(value: &mut Value) {
    match value {
        Value::String(text) if Path::new(text.as_str()).is_absolute() => {
            let last = Path::new(text.as_str()).file_name().map(|name| name.to_string_lossy().into_owned());
            *text = last.unwrap_or_default();
        }
        Value::Array(values) => values.iter_mut().for_each(without_folders),
        Value::Object(values) => values.values_mut().for_each(without_folders),
        _ => {}
    }
}

fn tags(snapshot: &Snapshot) -> Batch {
    let tags = snapshot.tags();
    batch([
        ("tag", text(tags.iter().map(|t| t.name.as_str())), Null::No),
        ("snapshot", number(tags.iter().map(|t| t.snapshot)), Null::No),
        ("created", time(tags.iter().map(|t| t.created)), Null::No),
    ])
}

fn views(snapshot: &Snapshot) -> Batch {
    let views = snapshot.views();
    batch([
        ("name", text(views.iter().map(|v| v.name.as_str())), Null::No),
        ("statement", text(views.iter().map(|v| v.sql.as_str())), Null::No),
        ("created", time(views.iter().map(|v| v.created)), Null::No),
    ])
}

/// Milliseconds since 1970 as a time.
fn time(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    let values = values.into_iter().map(|t| i64::try_from(t).unwrap_or(i64::MAX));
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("+00:00"))
}

/// `gstore.samples`: the samples of every dataset, once for each encoding that has counted them.
fn all_samples(snapshot: &Arc<Snapshot>) -> SampleUnion {
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
        let samples = SampleTable::new(Arc::clone(snapshot), Arc::clone(dataset), key, Asked::default());
        let sources = vec![
            samples.source(&Cell::Row),
            samples.source(&Cell::Id),
            Source::Constant(Some(dataset.name.clone())),
            Source::Constant(encoding.map(|e| e.label.clone())),
            samples.source(&Cell::Tokens),
            samples.source(&Cell::ScoredTokens),
            samples.source(&Cell::Truncated),
        ];
        Part { samples, sources }
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
