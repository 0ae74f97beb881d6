//! Appends: samples that are added to a dataset in one commit.
//!
//! Invariants
//! - rows are allotted in ascending order, and an id is unique among the live rows of a dataset
//! - everything is published at once or not at all; the writer lock is held from the first
//!   sample to the commit
//! - what decides whether a sample changed is the digest of its record, or of its metadata
//!   where it has no record

mod difference;
mod known;
mod session;

pub use session::{AppendOptions, AppendOutcome, AppendReport, IfChanged, IfDeleted, SampleAppend};

use crate::error::AppendError;
use crate::samples::ColumnSpec;
use crate::store::{Store, WriterLock};
use gstore_core::{Cancel, DatasetName, Progress};

impl Store {
    /// Starts adding samples to a dataset, which is made if there is none of this name.
    ///
    /// Waits for the writer lock and holds it until the append is finished or dropped.
    pub fn append(
        &self,
        dataset: &DatasetName,
        columns: Vec<ColumnSpec>,
        options: AppendOptions,
    ) -> Result<SampleAppend, AppendError> {
        SampleAppend::start(self.clone(), dataset, columns, options)
    }

    /// Finishes the index of ids of a dataset, where the last append was killed or told to stop before it did.
    /// The next append would, and shows no progress. Told to stop itself, it leaves that to the next one.
    pub fn index_ids(
        &self,
        dataset: &DatasetName,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), AppendError> {
        let _lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        let part = base.datasets().iter().find(|part| part.name == **dataset);
        part.map_or(Ok(()), |part| known::open_ledger(self, &base, part, progress, cancel).map(drop))
    }
}
