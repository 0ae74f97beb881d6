//! Leases: files that keep a reader's snapshot from being collected.
//!
//! Invariants
//! - a lease is a file `leases/<uuid>.json` that names a snapshot and whose exclusive lock the reader holds;
//!   the system frees the lock when the reader ends, whatever way it ends
//! - under its final name a lease is complete and locked from the first instant on: it is written and locked
//!   under a temporary name
//! - a lease counts once `CURRENT` was read again after it was made, and still had the
//!   snapshot in its history
//! - where nothing can be written or locked there is no lease: then a reader finds out that its snapshot was
//!   collected, and says so

mod file;
mod watch;

pub use file::Lease;
pub(crate) use file::{LeasedSnapshot, held, is_lease};
pub(crate) use watch::watched;

use crate::layout::Env;
use crate::manifest::{Link, Root};

/// Whether a snapshot is part of the history of `root`, or tagged there. `is_there`: whether the file of its
/// root is; a store that was restored in its folder has other snapshots under the numbers of later ones.
pub(crate) fn has(
    root: &Root,
    own: &Link,
    snapshot: u64,
    link: &Link,
    is_there: impl FnOnce() -> bool,
) -> bool {
    let in_history = match snapshot.cmp(&root.snapshot) {
        std::cmp::Ordering::Less => snapshot >= root.oldest && is_there(),
        std::cmp::Ordering::Equal => own == link,
        std::cmp::Ordering::Greater => false,
    };
    in_history || root.tags.iter().any(|t| t.root == *link)
}

/// Whether the file of a root is in the folder, as far as can be told.
pub(crate) fn is_there(env: &Env, link: &Link) -> bool {
    env.exists(&format!("manifests/{}", link.file)).unwrap_or(true)
}
