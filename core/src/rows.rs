//! Rows: cells, flags and sets of rows.

use serde::Serialize;
use std::ops::Range;

/// Rows of a cell: the aligned unit in which features are scanned in step. No block crosses a multiple of it.
pub const CELL_ROWS: u64 = 4096;

/// Properties of a row other than its values; a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct RowFlags(u8);

impl RowFlags {
    /// No token of the sample counts for the loss.
    pub const NO_SCORED: RowFlags = RowFlags(1);
    /// A value was infinite or not a number; the stored values are zeros.
    pub const NON_FINITE: RowFlags = RowFlags(2);
    /// The sample was cut to the maximum length.
    pub const TRUNCATED: RowFlags = RowFlags(4);
    /// Some values are missing (ensembles).
    pub const MISSING: RowFlags = RowFlags(8);
    /// Those with which a vector has no score.
    pub const UNSCORED: RowFlags = Self::NO_SCORED.union(Self::NON_FINITE).union(Self::MISSING);

    /// No flag.
    pub const fn empty() -> Self {
        RowFlags(0)
    }

    /// The flags with these bits; bits without a meaning are kept.
    pub const fn from_bits(bits: u8) -> Self {
        RowFlags(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every flag of `other` is set here.
    pub const fn contains(self, other: RowFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some flag of `other` is set here.
    pub const fn intersects(self, other: RowFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets the flags of `other`.
    pub fn insert(&mut self, other: RowFlags) {
        self.0 |= other.0;
    }

    /// Both sets of flags.
    pub const fn union(self, other: RowFlags) -> RowFlags {
        RowFlags(self.0 | other.0)
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A set of rows, kept as ascending ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RowSet {
    ranges: Vec<Range<u64>>,
}

impl RowSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of the rows of a range.
    pub fn from_range(rows: Range<u64>) -> Self {
        let mut set = RowSet::new();
        set.insert(rows);
        set
    }

    /// The set of the rows of some ranges, in any order.
    pub fn from_ranges(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|r| r.start < r.end).collect();
        ranges.sort_by_key(|r| r.start);
        let mut set = RowSet::new();
        for r in ranges {
            set.push_sorted(r);
        }
        set
    }

    /// The set of the rows of ranges that are written as pairs: the first, and one past the last.
    pub fn from_pairs(pairs: &[[u64; 2]]) -> Self {
        Self::from_ranges(pairs.iter().map(|[start, end]| *start..*end))
    }

    /// The set of some rows, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = u64>) -> Self {
        Self::from_ranges(rows.into_iter().filter(|r| *r < u64::MAX).map(|r| r..r + 1))
    }

    /// The set of some rows, ascending.
    pub fn from_rows_sorted(rows: impl IntoIterator<Item = u64>) -> Self {
        let mut set = RowSet::new();
        for row in rows {
            set.push_sorted(row..row + 1);
        }
        set
    }

    /// Adds a range that starts at or after the start of the last one.
    fn push_sorted(&mut self, r: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if r.start <= last.end => last.end = last.end.max(r.end),
            _ => self.ranges.push(r),
        }
    }

    /// Adds a range of rows.
    pub fn insert(&mut self, rows: Range<u64>) {
        if rows.start >= rows.end {
            return;
        }
        if self.ranges.last().is_none_or(|last| last.start <= rows.start) {
            self.push_sorted(rows);
        } else {
            // In place of those that it overlaps or touches.
            let from = self.ranges.partition_point(|r| r.end < rows.start);
            let to = self.ranges.partition_point(|r| r.start <= rows.end);
            let start = self.ranges.get(from).map_or(rows.start, |r| r.start.min(rows.start));
            let end = self.ranges.get(..to).and_then(<[_]>::last).map_or(rows.end, |r| r.end.max(rows.end));
            self.ranges.splice(from..to, std::iter::once(start..end));
        }
    }

    /// The ranges, ascending; none is empty and none touches the next.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// The ranges as pairs: the first row, and one past the last.
    pub fn pairs(&self) -> Vec<[u64; 2]> {
        self.ranges.iter().map(|range| [range.start, range.end]).collect()
    }

    /// How many rows the set has.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether the set has no row.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the row is in the set.
    pub fn contains(&self, row: u64) -> bool {
        let i = self.ranges.partition_point(|r| r.end <= row);
        self.ranges.get(i).is_some_and(|r| r.contains(&row))
    }

    /// Whether every row of the range is in the set.
    pub fn covers(&self, rows: Range<u64>) -> bool {
        if rows.start >= rows.end {
            return true;
        }
        let i = self.ranges.partition_point(|r| r.end <= rows.start);
        self.ranges.get(i).is_some_and(|r| r.start <= rows.start && rows.end <= r.end)
    }

    /// The ranges of the set that lie in a range of rows, cut to it; none of an empty one. Costs what it gives, and a
    /// binary search.
    pub fn within(&self, rows: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.ranges.partition_point(|r| r.end <= rows.start || rows.is_empty());
        let rest = self.ranges.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |r| r.start < rows.end)
            .map(move |r| r.start.max(rows.start)..r.end.min(rows.end))
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|r| r.clone())
    }

    /// The cells that the rows lie in, ascending.
    pub fn cells(&self) -> Vec<u64> {
        let cells = self.ranges.iter().flat_map(|r| r.start / CELL_ROWS..=(r.end - 1) / CELL_ROWS);
        let mut cells: Vec<u64> = cells.collect();
        cells.dedup();
        cells
    }

    /// The rows, those of a cell at a time.
    pub fn by_cell(&self) -> impl Iterator<Item = Vec<u64>> + '_ {
        let range = |cell: u64| cell * CELL_ROWS..(cell + 1) * CELL_ROWS;
        self.cells().into_iter().map(move |cell| self.within(range(cell)).flatten().collect())
    }

    /// The rows of both sets.
    pub fn union(&self, other: &RowSet) -> RowSet {
        Self::from_ranges(self.ranges.iter().chain(&other.ranges).cloned())
    }

    /// The rows that are in both sets.
    pub fn intersection(&self, other: &RowSet) -> RowSet {
        let (mut i, mut j) = (0, 0);
        let mut out = RowSet::new();
        while let (Some(a), Some(b)) = (self.ranges.get(i), other.ranges.get(j)) {
            let (start, end) = (a.start.max(b.start), a.end.min(b.end));
            if start < end {
                out.push_sorted(start..end);
            }
            if a.end <= b.end {
                i += 1;
            } else {
                j += 1;
            }
        }
        out
    }

    /// The rows of this set that are not in the other.
    pub fn difference(&self, other: &RowSet) -> RowSet {
        let mut out = RowSet::new();
        let mut j = 0;
        for r in &self.ranges {
            let mut start = r.start;
            while other.ranges.get(j).is_some_and(|b| b.end <= start) {
                j += 1;
            }
            let mut k = j;
            while let Some(b) = other.ranges.get(k).filter(|b| b.start < r.end) {
                if start < b.start {
                    out.push_sorted(start..b.start);
                }
                start = start.max(b.end);
                k += 1;
            }
            if start < r.end {
                out.push_sorted(start..r.end);
            }
        }
        out
    }
}

impl std::fmt::Display for RowSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 4;
        if self.ranges.is_empty() {
            return f.write_str("no rows");
        }
        let text: Vec<_> =
            self.ranges.iter().take(SHOWN).map(|r| format!("{}..{}", r.start, r.end)).collect();
        write!(f, "rows {}", text.join(", "))?;
        if self.ranges.len() > SHOWN {
            write!(f, " and {} more ranges", self.ranges.len() - SHOWN)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn rows() -> impl Strategy<Value = BTreeSet<u64>> {
        proptest::collection::btree_set(0u64..60, 0..40)
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(a in rows(), b in rows(), cut in 0u64..60, len in 0u64..20) {
            let (sa, sb) = (RowSet::from_rows(a.iter().copied()), RowSet::from_rows(b.iter().rev().copied()));
            prop_assert_eq!(sa.len(), a.len() as u64);
            prop_assert_eq!(sa.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert_eq!(sa.union(&sb), RowSet::from_rows(a.union(&b).copied()));
            prop_assert_eq!(sa.intersection(&sb), RowSet::from_rows(a.intersection(&b).copied()));
            prop_assert_eq!(sa.difference(&sb), RowSet::from_rows(a.difference(&b).copied()));
            prop_assert_eq!(sa.contains(cut), a.contains(&cut));
            prop_assert_eq!(sa.covers(cut..cut + len), (cut..cut + len).all(|r| a.contains(&r)));
            let mut grown = sa.clone();
            grown.insert(cut..cut + len);
            let expected: BTreeSet<_> = a.iter().copied().chain(cut..cut + len).collect();
            prop_assert_eq!(grown, RowSet::from_rows(expected));
        }
    }

    proptest! {
        #[test]
        fn rows_come_in_any_order(order in proptest::collection::vec((0u64..200, 1u64..4), 0..150)) {
            let (mut set, mut plain) = (RowSet::new(), BTreeSet::new());
            for (row, len) in order {
                set.insert(row..row + len);
                plain.extend(row..row + len);
                prop_assert_eq!(&set, &RowSet::from_rows(plain.iter().copied()));
            }
        }
    }

    #[test]
    fn cells_of_rows() {
        let set = RowSet::from_ranges([5..6, 4000..4097, 4100..8192, 20_480..20_481]);
        assert_eq!(set.cells(), [0, 1, 5]);
        assert!(RowSet::new().cells().is_empty());
        let found: Vec<Vec<u64>> = RowSet::from_ranges([4090..4099, 9000..9001]).by_cell().collect();
        assert_eq!(found, [(4090..4096).collect::<Vec<_>>(), vec![4096, 4097, 4098], vec![9000]]);
    }

    #[test]
    fn ranges_are_written_as_pairs() {
        let set = RowSet::from_pairs(&[[8, 9], [0, 4], [5, 5]]);
        assert_eq!(set, RowSet::from_ranges([0..4, 8..9]));
        assert_eq!(set.pairs(), [[0, 4], [8, 9]]);
        assert_eq!(set.within(2..9).collect::<Vec<_>>(), [2..4, 8..9]);
        assert_eq!(set.within(2..2).next(), None);
    }

    #[test]
    fn display_is_short() {
        assert_eq!(RowSet::from_ranges([0..4, 8..9]).to_string(), "rows 0..4, 8..9");
        assert_eq!(RowSet::new().to_string(), "no rows");
    }
}
