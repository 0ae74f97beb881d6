//! Deletion from a store: rows, features, datasets, runs; and going back to an older state.
//!
//! Invariants
//! - what is taken away is what the caller had found, by number, and not what has its name at the
//!   commit (`store::seen`)
//! - a delete or drop changes what the new snapshot shows and no file: older snapshots still have
//!   everything, until `gc`
//! - numbers of rows, datasets, runs and features are never given out again
//! - several locks are taken in this order: `tmp/compact.lock`, the writer lock, `tmp/start.lock`

use gstore_core::Cancel;

mod delete;
mod deletion;
mod drop;
mod purge;
mod revert;

pub use deletion::{DeleteOptions, DeleteReport};
pub use drop::DropReport;
pub use revert::{RevertOptions, RevertReport};

use crate::error::ChangeError;
use crate::job::{JobFile, held_jobs};
use crate::layout::Env;

/// Ends a change that was cancelled.
fn stop_if(cancel: Option<&Cancel>) -> Result<(), ChangeError> {
    Ok(cancel.map_or(Ok(()), Cancel::check)?)
}

/// Refuses what a live job writes. The caller holds the start lock, so that no job appears meanwhile.
fn refuse_live_jobs(env: &Env, what: &str, concerned: &dyn Fn(&JobFile) -> bool) -> Result<(), ChangeError> {
    for (job, file) in held_jobs(env)? {
        // What a live job writes must be known; so one whose note cannot be read counts.
        if file.as_ref().is_none_or(concerned) {
            let pid = file.map_or(0, |f| f.pid);
            return Err(ChangeError::Busy { what: what.to_owned(), job, pid });
        }
    }
    Ok(())
}
