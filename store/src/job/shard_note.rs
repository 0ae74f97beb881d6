//! Shard note: the shard that a folder is for.
//!
//! It is kept in the folder's `job.json` from the start, so that nothing else is done there.

use super::shard_index::ShardIndex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a shard was started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardNote {
    /// The store.
    pub store: Uuid,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// Digest of its root.
    pub root: String,
    /// The dataset.
    pub dataset: String,
    /// Its number.
    pub dataset_number: u32,
    /// One past the last row that the snapshot had of it. Later rows belong to no shard.
    pub next_row: u64,
    /// Which of how many.
    pub shard: ShardIndex,
    /// How the rows are cut: `rows`, or `cells`, as versions did it that cut between cells only.
    #[serde(default = "cells")]
    pub cut: String,
}

/// Shards with equal numbers of rows.
pub(crate) const EQUAL_ROWS: &str = "rows";

fn cells() -> String {
    "cells".into()
}

impl ShardNote {
    /// The first difference of another note: (what, here, there).
    pub(crate) fn difference(&self, other: &ShardNote) -> Option<(&'static str, String, String)> {
        let parts = |n: &ShardNote| {
            [
                ("store", n.store.to_string()),
                ("dataset", format!("{} (number {})", n.dataset, n.dataset_number)),
                ("shard", n.shard.to_string()),
                ("snapshot", n.snapshot.to_string()),
                ("digest of the snapshot", n.root.clone()),
                ("the way of cutting the rows (versions of gstore differ in it)", n.cut.clone()),
            ]
        };
        parts(self).into_iter().zip(parts(other)).find(|(a, b)| a != b).map(|(a, b)| (a.0, a.1, b.1))
    }
}
