//! Verifying a store: every byte against its digest, and every statement of the catalog against the files.
//!
//! Invariants
//! - every problem is reported with the rows that it takes away; one damaged file never hides the others
//! - what is looked at is what readers can reach: the current snapshot, or the history down to its first one
//!   and the tagged snapshots
//! - a lease keeps the current snapshot. Others may be collected meanwhile: what only those had is no problem
//! - nothing is written but that lease

mod artifacts;
mod catalog;
mod collected;
mod data;
mod index;
mod indexes;
mod names;
mod places;
mod report;
mod segments;

pub use report::{AffectedRows, Problem, VerifyOptions, VerifyProgress, VerifyReport};

pub(crate) use catalog::{
    Catalog, PartFile, artifact_files, dataset_files, feature_files, read as read_catalog,
    walk as walk_catalog,
};
pub(crate) use index::ledger as check_ledger;
pub(crate) use names::data_uuid;
pub(crate) use places::check_places;
pub(crate) use report::Tally;

use crate::error::VerifyError;
use crate::store::Store;
use crate::vfs::OsVfs;
use gstore_core::Cancelled;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

impl Store {
    /// Reads the files of the current snapshot, or of all of them, and lists what is wrong.
    ///
    /// Memory: the catalog of what is looked at: 620 bytes for each data file of the current snapshot, with
    /// `all_snapshots` for each file of each state of a dataset or feature; up to about 110 bytes for each id
    /// of the largest dataset, to find ids that occur twice (40 to 75 in a table, and half as much again while
    /// it doubles); one block of a segment or a row group of samples; the cache of the ledger (64 MiB) and 16
    /// bytes for each 4 KiB of it.
    ///
    /// Runs concurrently with writers, compactions and `gc`. What only snapshots had that were collected
    /// meanwhile is not reported.
    ///
    /// An error means that no snapshot could be found at all, or that it was cancelled; damage of anything
    /// below `CURRENT` and its root is in the report.
    pub fn verify(
        &self,
        options: VerifyOptions,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        let mut tally = Tally::new(progress, options.cancel.clone());
        let _lease = self.lease_current("verify");
        let catalog = catalog::read(self, options.all_snapshots, &mut tally)?;
        let compared = index::bytes(&catalog);
        tally.expect(std::iter::once(compared));
        let samples = check_files(self, &catalog, &mut tally);
        if !tally.stopped() {
            index::ledger(self, &catalog, &samples, &mut tally);
        }
        if options.all_snapshots {
            names::unreferenced(self, &catalog, &mut tally);
        }
        check_places(self, &mut tally);
        if tally.stopped() {
            return Err(Cancelled.into());
        }
        // A dataset may have been left out.
        tally.read(compared);
        collected::forget(self, &catalog, &mut tally);
        let readable = catalog.visited.iter().filter(|v| v.readable).count() as u64;
        Ok(tally.finish(catalog.current.snapshot, readable))
    }

    /// The same for a folder whose store may be too damaged to be opened.
    pub fn verify_folder(
        path: impl AsRef<Path>,
        options: VerifyOptions,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        Store::unopened(Arc::new(OsVfs), path.as_ref()).verify(options, progress)
    }
}

/// Reads all data files of a catalog. Returns the names of datasets of its first snapshot
/// whose samples are sound.
pub(crate) fn check_files(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) -> HashSet<String> {
    let found = indexes::find(store, catalog, tally);
    tally.expect(catalog.data_files().into_values().chain(found.iter().map(|index| index.len)));
    let dead = data::tombstones(store, catalog, tally);
    data::deleted_ids(store, catalog, tally);
    let sound = data::samples(store, catalog, &dead, tally);
    data::encodings(store, catalog, tally);
    segments::segments(store, catalog, tally);
    artifacts::files(store, catalog, tally);
    indexes::indexes(store, &found, tally);
    sound
}
