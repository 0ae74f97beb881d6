//! The sum of what several passes have seen.

use gstore_query::influence::{EXACT, ScanSummary};

/// What is known of the answer so far.
pub(super) struct AnswerStatistics {
    pub(super) summary: Option<ScanSummary>,
    pub(super) passes: usize,
}

impl AnswerStatistics {
    /// Counts a pass: each sees the same rows and other target samples.
    pub(super) fn add(&mut self, summary: ScanSummary) {
        self.passes += 1;
        match &mut self.summary {
            None => self.summary = Some(summary),
            Some(all) => {
                all.bytes_read += summary.bytes_read;
                all.target_rows += summary.target_rows;
                all.rows_scored += summary.rows_scored;
                all.disk.merge(&summary.disk);
                for plane in summary.planes {
                    match all.planes.iter_mut().find(|other| other.plane == plane.plane) {
                        Some(other) => {
                            other.rows += plane.rows;
                            other.excluded += plane.excluded;
                            other.bytes_read += plane.bytes_read;
                        }
                        None => all.planes.push(plane),
                    }
                }
                // What the weakest pass promises.
                if summary.guarantee != EXACT {
                    all.guarantee = summary.guarantee;
                }
                all.notes.extend(summary.notes);
                all.notes.sort_unstable();
                all.notes.dedup();
            }
        }
    }
}
