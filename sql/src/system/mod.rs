//! System tables: the catalog of the store in the schema `gstore`.
//!
//! Most are made of the manifests that a snapshot has in memory. Files are read for rows alone, never for
//! columns: the manifests of artifacts for `artifacts`, the roots of older snapshots for `snapshots`, and for
//! `features` the bitmaps of deleted rows, blocks of features with gaps where rows were deleted, and footers
//! of features of tokens. `samples` reads the files of the datasets.

mod batch;
mod datasets;
mod features;
mod history;
mod models;

use std::fmt::Debug;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::logical_expr::{Expr, TableType};
use gstore_store::Snapshot;

use self::batch::Batch;
use self::datasets::{all_samples, columns, datasets};
use self::features::{covered, features, segments};
use self::history::{artifacts, read_artifacts, snapshots, tags, views};
use self::models::{checkpoints, members};
use super::at_once::{self, PlanResult};
use super::error::SqlError;
use super::scan::RowsTable;

/// A table of a snapshot; without the names of folders where clients ask.
type TableOf = fn(&Arc<Snapshot>, bool) -> Result<Arc<dyn TableProvider>, SqlError>;

/// The system tables by their names.
const TABLES: [(&str, TableOf); 11] = [
    ("artifacts", |snapshot, served| FileTable::of(snapshot, served, read_artifacts, artifacts)),
    ("checkpoints", |snapshot, _| held(checkpoints(snapshot.runs()))),
    ("columns", |snapshot, _| held(columns(snapshot)?)),
    ("datasets", |snapshot, _| held(datasets(snapshot.datasets()))),
    ("features", |snapshot, served| FileTable::of(snapshot, served, covered, features)),
    ("members", |snapshot, served| held(members(snapshot.ensembles(), served))),
    ("samples", |snapshot, _| Ok(Arc::new(RowsTable(Arc::new(all_samples(snapshot)))))),
    ("segments", |snapshot, _| held(segments(snapshot.features()))),
    ("snapshots", |snapshot, served| {
        FileTable::of(snapshot, served, |snapshot| snapshot.history().map_err(SqlError::open), snapshots)
    }),
    ("tags", |snapshot, _| held(tags(snapshot))),
    ("views", |snapshot, _| held(views(snapshot))),
];

fn held(batch: Batch) -> Result<Arc<dyn TableProvider>, SqlError> {
    let batch = batch?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// A table whose files are read when a statement wants its rows. Its columns are known without them: one
/// damaged file keeps no client from the list of tables.
#[derive(Debug)]
struct FileTable<T> {
    snapshot: Arc<Snapshot>,
    served: bool,
    schema: SchemaRef,
    read: fn(&Snapshot) -> Result<Vec<T>, SqlError>,
    batch: fn(&Snapshot, bool, &[T]) -> Batch,
}

impl<T: Debug + 'static> FileTable<T> {
    fn of(
        snapshot: &Arc<Snapshot>,
        served: bool,
        read: fn(&Snapshot) -> Result<Vec<T>, SqlError>,
        batch: fn(&Snapshot, bool, &[T]) -> Batch,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        let schema = batch(snapshot, served, &[])?.schema();
        Ok(Arc::new(Self { snapshot: Arc::clone(snapshot), served, schema, read, batch }))
    }

    fn planned(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> PlanResult {
        let rows = (self.read)(&self.snapshot)?;
        let batch = (self.batch)(&self.snapshot, self.served, &rows)?;
        let schema = Arc::clone(&self.schema);
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?)
    }
}

impl<T: Debug + 'static> TableProvider for FileTable<T> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    at_once::scan!();
}

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
