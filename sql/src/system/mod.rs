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

use self::datasets::{all_samples, columns, datasets};
use self::features::{features, segments};
use self::history::{artifacts, snapshots, tags, views};
use self::models::{checkpoints, members};
use super::error::SqlError;
use super::scan::RowsTable;

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
    let batch = batch?;
    Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}
