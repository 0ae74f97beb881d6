//! Garbage collection: old snapshots leave the history, and files that nothing needs any more are removed.
//!
//! Invariants
//! - the root with the shorter history is published before the first file goes, and leases are listed after
//!   that: a reader either sees that its snapshot is gone, or its lease is seen
//! - what is kept is known completely before anything changes: a kept snapshot with an unreadable
//!   manifest stops everything
//! - only names are compared, never times of files; a file without a name of ours is foreign and stays

mod collect;
mod history;
mod needed;
mod options;
mod report;
mod sweep;
mod work;

pub use collect::{GcReport, KeptBecause, KeptSnapshot};
pub use options::GcOptions;
pub use report::{JobNote, RemovedFiles, Swept};

pub(crate) use needed::NeededFiles;
pub(crate) use sweep::sweep;
