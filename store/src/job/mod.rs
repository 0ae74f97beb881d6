//! A job: features being computed, with sealed files as its progress.
//!
//! Invariants
//! - the folder `tmp/<id>/` belongs to the process that holds its lock; the id follows from the identity of what is computed,
//!   so the same command finds its own job again
//! - a file whose name ends in `.part` is unfinished and worth nothing; any other data file is complete and flushed
//! - `publish.json` exists from before the first file leaves the folder until after `CURRENT` names all of them; whoever
//!   takes the job over moves the files back, unless they were published
//! - two live jobs never have a feature in common

mod folder;
mod plan;
mod publish;
mod resume;
mod run;

pub(crate) use folder::{
    JobFolder, PREFIX, PUBLISH, START_LOCK, held_jobs, is_held, jobs, lock_start, read_json,
};
pub(crate) use plan::{Intents, JobFile};
pub use plan::{JobFeature, JobPlan};
pub use run::Job;
