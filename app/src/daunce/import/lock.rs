//! Lock of the tables that an import writes.

use std::collections::BTreeSet;

use gstore_store::{Job, JobError, JobPlan, Store};
use serde_json::{Value, json};

use super::source::LossSource;
use crate::daunce::DaunceError;

/// Keeps other imports from some tables of an ensemble until it is dropped: of two at once, one is refused
/// before it writes anything. Each table has a job that writes no feature.
pub(super) struct ImportLock(Vec<Job>);

impl ImportLock {
    pub fn take(
        store: &Store,
        ensemble: &str,
        sources: &[LossSource],
        command: &str,
    ) -> Result<Self, DaunceError> {
        let datasets: BTreeSet<&str> = sources.iter().map(|source| source.dataset.as_str()).collect();
        let mut lock = Self(Vec::new());
        for dataset in datasets {
            let plan = JobPlan {
                command: command.to_owned(),
                identity: json!({ "what": "import of losses", "ensemble": ensemble, "dataset": dataset }),
                features: Vec::new(),
                detail: Value::Null,
            };
            let job = store.start_job(plan).map_err(|error| match error {
                JobError::Busy { pid, .. } => {
                    DaunceError::Importing { ensemble: ensemble.to_owned(), dataset: dataset.to_owned(), pid }
                }
                error => error.into(),
            });
            lock.0.push(job?);
        }
        Ok(lock)
    }
}

impl Drop for ImportLock {
    fn drop(&mut self) {
        for job in self.0.drain(..) {
            // A folder that cannot be removed is taken over by the next import.
            let _ = job.abandon();
        }
    }
}
