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
use crate::store::Store;
use gstore_core::{Cancel, DatasetName, Progress, Silent};

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
        let append = self.append_until(dataset, columns, options, &mut Silent, &Cancel::new())?;
        append.ok_or_else(|| known::missing_ledger().into())
    }

    /// The same, and shows how far it is with what takes long: the index of ids, which the last append may
    /// have left to this one, and columns of integers that become floats. `None`: it was told to stop there.
    pub fn append_until(
        &self,
        dataset: &DatasetName,
        columns: Vec<ColumnSpec>,
        options: AppendOptions,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<Option<SampleAppend>, AppendError> {
        SampleAppend::start(self.clone(), dataset, columns, options, progress, cancel)
    }
}
