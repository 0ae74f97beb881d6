//! Coverage: the share of its dataset that a feature has in a snapshot.
//!
//! The state in a feature's part is that of the job that published it. Rows that are added to the dataset
//! later do not change the part, so what is shown is worked out from both.

use crate::manifest::FeatureState;
use serde::Serialize;

/// Live rows of a dataset that a feature has, and those that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Live rows that it has.
    pub rows: u64,
    /// Live rows that it lacks.
    pub missing: u64,
    /// What that makes of it.
    pub state: CoverageState,
}

/// Whether a feature has every live row of its dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CoverageState {
    /// Rows are missing that were asked for: its ingest was limited or stopped, or a repair lost some.
    /// Queries take it only if they are told to.
    Building,
    /// It had every row, and rows were added to the dataset since. The ingest that made it, given
    /// again, computes just these.
    Behind,
    /// It has every live row.
    Complete,
}

gstore_core::named!(CoverageState { Building = "building", Behind = "behind", Complete = "complete" });

impl Coverage {
    pub(super) fn new(state: FeatureState, rows: u64, live: u64) -> Self {
        let missing = live.saturating_sub(rows);
        let state = match (state, missing) {
            (FeatureState::Building, _) => CoverageState::Building,
            (FeatureState::Complete, 0) => CoverageState::Complete,
            (FeatureState::Complete, _) => CoverageState::Behind,
        };
        Coverage { rows, missing, state }
    }
}
