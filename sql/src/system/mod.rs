//! System tables: the catalog of the store in the schema `gstore`.
//!
//! All but `samples` are read from the manifests that a snapshot has in memory, and of features of tokens the
//! footers of their files.

mod batch;
mod datasets;
mod features;
mod history;
mod models;

use std::sync::Arc;

use datafusion::catalog::{MemTable, TableProvider};
use gstore_store::Snapshot;

use self::batch::Batch;
use self::datasets::{all_samples, columns, datasets};
use self::features::{features, segments};
use self::history::{artifacts, snapshots, tags, views};
use self::models::{checkpoints, members};
use super::error::SqlError;
use super::scan::RowsTable;

/// A table of a snapshot; without the names of folders where clients ask.
type TableOf = fn(&Arc<Snapshot>, bool) -> Result<Arc<dyn TableProvider>, SqlError>;

/// The system tables by their names.
const TABLES: [(&str, TableOf); 11] = [
    ("artifacts", |snapshot, served| held(artifacts(snapshot, served)?)),
    ("checkpoints", |snapshot, _| held(checkpoints(snapshot.runs()))),
    ("columns", |snapshot, _| held(columns(snapshot)?)),
    ("datasets", |snapshot, _| held(datasets(snapshot.datasets()))),
    ("features", |snapshot, _| held(features(snapshot)?)),
    ("members", |snapshot, served| held(members(snapshot.ensembles(), served))),
    ("samples", |snapshot, _| Ok(Arc::new(RowsTable(Arc::new(all_samples(snapshot)))))),
    ("segments", |snapshot, _| held(segments(snapshot.features()))),
    ("snapshots", |snapshot, _| held(snapshots(snapshot)?)),
    ("tags", |snapshot, _| held(tags(snapshot))),
    ("views", |snapshot, _| held(views(snapshot))),
];

/// A table that is in memory.
fn held(batch: Batch) -> Result<Arc<dyn TableProvider>, SqlError> {
    let batch = batch?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// Names of the system tables.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.into_iter().map(|(name, _)| name)
}

/// The system table of a name; without the names of folders where clients ask (`served`).
pub(crate) fn table(
    snapshot: &Arc<Snapshot>,
    name: &str,
    served: bool,
) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
    let found = TABLES.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, table)| table(snapshot, served)).transpose()
}
