//! Yield of a window, and counts that add up over windows.

use crate::influence::result::{ExcludedCounts, ExcludedRow, Scored};

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Yield {
    pub(crate) scored: Vec<Scored>,
    pub(crate) excluded: Vec<ExcludedRow>,
    pub(crate) totals: Totals,
}

/// Counts that add up over windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) scanned: u64,
    pub(crate) eligible: u64,
    /// Those whose vectors were read for it.
    pub(crate) scored: u64,
    pub(crate) excluded: ExcludedCounts,
    pub(crate) whole_rows: u64,
    pub(crate) bytes_read: u64,
    /// Rows that lack losses, where that is an error.
    pub(crate) lacking: u64,
}

impl Totals {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.scanned += other.scanned;
        self.eligible += other.eligible;
        self.scored += other.scored;
        self.excluded.merge(&other.excluded);
        self.whole_rows += other.whole_rows;
        self.bytes_read += other.bytes_read;
        self.lacking += other.lacking;
    }
}
