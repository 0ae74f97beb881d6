//! Sizes of the parts of rows and queries that are multiplied at a time.

use std::ops::Range;

use super::super::ahead::FETCH_STEPS;
use super::super::packing::Packing;

/// A block of rows and the tiles of queries that pass over it.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Shape {
    /// Rows widened at a time at most: a multiple of the rows of any panel.
    pub(in crate::kernel) rows: usize,
    /// Lines of a cut of these rows at most: a multiple of [`FETCH_STEPS`].
    pub(in crate::kernel) cut: usize,
    /// Tiles that pass over the same widened rows at most: their sums stay in the second-level cache.
    pub(in crate::kernel) tiles: usize,
}

impl Shape {
    /// Rows widened at a time, of `count`: as even as possible, in whole panels.
    pub(super) fn rows_of(&self, count: usize, panel: usize) -> usize {
        let blocks = count.div_ceil(self.rows).max(1);
        count.div_ceil(blocks).next_multiple_of(panel).max(panel)
    }
}

/// Lines `steps` of the part that a row has in a module group.
#[derive(Clone)]
pub(super) struct GroupLines {
    pub(super) group: usize,
    pub(super) steps: Range<usize>,
    /// Whether the group ends with it.
    pub(super) last: bool,
}

/// The cuts of groups, of at most `most` lines and in each group as even as possible.
pub(super) fn cuts(queries: &Packing, groups: &[usize], most: usize) -> Vec<GroupLines> {
    let mut cuts = Vec::new();
    for &group in groups {
        let steps = queries.steps(group);
        // A group of no values has products too: zeros.
        let pieces = steps.div_ceil(most).max(1);
        let length = steps.div_ceil(pieces).next_multiple_of(FETCH_STEPS);
        for start in (0..steps.max(1)).step_by(length.max(1)) {
            let end = (start + length).min(steps);
            cuts.push(GroupLines { group, steps: start..end, last: end == steps });
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_rows_are_even() {
        let shape = Shape { rows: 48, cut: 16, tiles: 8 };
        for (count, panel, rows) in
            [(0, 3, 3), (1, 1, 1), (2, 3, 3), (48, 3, 48), (50, 3, 27), (50, 4, 28), (97, 3, 33)]
        {
            assert_eq!(shape.rows_of(count, panel), rows, "{count} rows in panels of {panel}");
        }
    }

    #[test]
    fn cuts_are_even_and_leave_nothing_out() {
        let groups = [0..7, 7..7, 7..16 * 33 + 7, 600..700];
        let packing = Packing::new(2, 700, &groups, 16, |_, _, _| {});
        let cuts: Vec<_> =
            cuts(&packing, &[2, 0, 1], 16).into_iter().map(|cut| (cut.group, cut.steps, cut.last)).collect();
        assert_eq!(
            cuts,
            [(2, 0..12, false), (2, 12..24, false), (2, 24..33, true), (0, 0..1, true), (1, 0..0, true)]
        );
    }
}
