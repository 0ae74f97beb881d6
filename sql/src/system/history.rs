//! Snapshots, and what has a name in them: tags, views, artifacts.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{BooleanArray, UInt64Array};
use gstore_store::{ArtifactPart, Snapshot, SnapshotInfo};
use serde_json::Value;

use super::batch::{Batch, Null, batch, maybe_text, number, text, time};
use crate::error::{SqlError, SqlErrorKind};

pub(super) fn snapshots(snapshot: &Snapshot, _: bool, all: &[SnapshotInfo]) -> Batch {
    batch([
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
    ])
}

/// The tags of a snapshot, as one text.
fn names(snapshot: &Snapshot, number: u64) -> Option<String> {
    let names: Vec<String> =
        snapshot.tags().into_iter().filter(|t| t.snapshot == number).map(|t| t.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

pub(super) fn tags(snapshot: &Snapshot) -> Batch {
    let tags = snapshot.tags();
    batch([
        ("tag", text(tags.iter().map(|t| t.name.as_str())), Null::No),
        ("snapshot", number(tags.iter().map(|t| t.snapshot)), Null::No),
        ("created", time(tags.iter().map(|t| t.created)), Null::No),
    ])
}

pub(super) fn views(snapshot: &Snapshot) -> Batch {
    let views = snapshot.views();
    batch([
        ("name", text(views.iter().map(|v| v.name.as_str())), Null::No),
        ("statement", text(views.iter().map(|v| v.sql.as_str())), Null::No),
        ("created", time(views.iter().map(|v| v.created)), Null::No),
    ])
}

/// The artifacts, each of which is read.
pub(super) fn read_artifacts(snapshot: &Snapshot) -> Result<Vec<ArtifactPart>, SqlError> {
    let failed = |error: gstore_store::ArtifactError| match error.is_damage() {
        true => SqlError::new(SqlErrorKind::Damaged, error.to_string()),
        false => SqlError::new(SqlErrorKind::Failed, error.to_string()),
    };
    let names = snapshot.artifacts()?;
    names.iter().map(|name| snapshot.artifact(name).map_err(failed)).collect()
}

pub(super) fn artifacts(snapshot: &Snapshot, served: bool, all: &[ArtifactPart]) -> Batch {
    let provenance = |a: &ArtifactPart| {
        let mut told = a.provenance.clone();
        if served {
            told.remove("folder");
            told.values_mut().for_each(without_folders);
        }
        serde_json::to_string(&told).unwrap_or_default()
    };
    batch([
        ("name", text(all.iter().map(|a| a.name.as_str())), Null::No),
        ("kind", text(all.iter().map(|a| a.kind.as_str())), Null::No),
        ("snapshot", number(all.iter().map(|a| u64::from(a.number))), Null::No),
        ("datasets", text(all.iter().map(|a| a.datasets.join(", "))), Null::No),
        ("bytes", number(all.iter().map(|a| snapshot.artifact_bytes(&a.name))), Null::No),
        ("provenance", text(all.iter().map(provenance)), Null::No),
    ])
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
