//! Verifying a store: every byte against its digest, and every statement of the catalog against the files.
//!
//! Invariants
//! - every problem is reported with the rows that it takes away; one damaged file never hides the others
//! - nothing is written, except that a sound ledger is opened (under the writer lock, if that is free)

mod catalog;
mod data;
mod index;
mod report;

pub use report::{AffectedRows, Problem, VerifyOptions, VerifyProgress, VerifyReport};

use crate::error::VerifyError;
use crate::store::Store;
use crate::vfs::OsVfs;
use report::Tally;
use std::path::Path;
use std::sync::Arc;

impl Store {
    /// Reads the files of the current snapshot, or of all of them, and lists what is wrong.
    ///
    /// An error means that no snapshot could be found at all; damage of anything below `CURRENT` and its root is in the report.
    pub fn verify(
        &self,
        options: VerifyOptions,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<VerifyReport, VerifyError> {
        let mut tally = Tally::new(progress);
        let catalog = catalog::read(self, &options, &mut tally).map_err(VerifyError::Open)?;
        tally.expect(&catalog);
        let samples = data::samples(self, &catalog, &mut tally);
        data::encodings(self, &catalog, &mut tally);
        data::segments(self, &catalog, &mut tally);
        index::ledger(self, &catalog, &samples, &mut tally);
        if options.all_snapshots {
            catalog::unreferenced(self, &catalog, &mut tally);
        }
        Ok(tally.finish(&catalog))
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
