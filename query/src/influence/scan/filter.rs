//! Row filter: bitmaps by cell, applied before anything is read.

use std::collections::BTreeMap;
use std::ops::Range;

const CELL: u64 = 4096;
const WORDS: usize = (CELL / 64) as usize;

/// A set of rows of one dataset: one bit per row in the cells that hold any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowMask {
    cells: BTreeMap<u64, Box<[u64; WORDS]>>,
    len: u64,
}

impl RowMask {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row; rows may come in any order and repeatedly.
    pub fn insert(&mut self, row: u64) {
        let words = self.cells.entry(row / CELL).or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = ((row % CELL / 64) as usize, 1u64 << (row % 64));
        self.len += u64::from(words[word] & bit == 0);
        words[word] |= bit;
    }

    /// True when the set holds `row`.
    pub fn contains(&self, row: u64) -> bool {
        self.cells
            .get(&(row / CELL))
            .is_some_and(|words| words[(row % CELL / 64) as usize] >> (row % 64) & 1 == 1)
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows in `range`, ascending.
    pub(crate) fn rows_in(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        let cells = range.start / CELL..range.end.div_ceil(CELL);
        let cells = if range.is_empty() { 0..0 } else { cells };
        self.cells
            .range(cells)
            .flat_map(|(cell, words)| {
                let base = cell * CELL;
                words
                    .iter()
                    .enumerate()
                    .flat_map(move |(i, &word)| bits(word).map(move |b| base + i as u64 * 64 + b))
            })
            .filter(move |row| range.contains(row))
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows_in(0..u64::MAX)
    }
}

/// Positions of the set bits, ascending.
fn bits(mut word: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            u64::from(bit)
        })
    })
}

impl FromIterator<u64> for RowMask {
    fn from_iter<I: IntoIterator<Item = u64>>(rows: I) -> Self {
        let mut set = Self::new();
        set.extend(rows);
        set
    }
}

impl Extend<u64> for RowMask {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.insert(row));
    }
}

/// The rows of each pool that may be scored; a pool without a set is scored whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowFilter {
    pools: Vec<Option<RowMask>>,
}

impl RowFilter {
    /// Lets every row through.
    pub fn new() -> Self {
        Self::default()
    }

    /// A filter for a question with one pool.
    pub fn single(rows: RowMask) -> Self {
        Self::new().with(0, rows)
    }

    /// Restricts the pool of this index to `rows`.
    pub fn with(mut self, pool: usize, rows: RowMask) -> Self {
        if self.pools.len() <= pool {
            self.pools.resize(pool + 1, None);
        }
        self.pools[pool] = Some(rows);
        self
    }

    /// The set of a pool, if it is restricted.
    pub fn pool(&self, pool: usize) -> Option<&RowMask> {
        self.pools.get(pool).and_then(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_mask_counts_each_row_once_and_iterates_in_order() {
        let set: RowMask = [9000u64, 3, 4096, 3, 4095, 64, 63].into_iter().collect();
        assert_eq!(set.len(), 6);
        assert_eq!(set.iter().collect::<Vec<_>>(), [3, 63, 64, 4095, 4096, 9000]);
        assert_eq!(set.rows_in(64..4096).collect::<Vec<_>>(), [64, 4095]);
        assert_eq!(set.rows_in(5..5).count(), 0);
        assert!(set.contains(4096) && !set.contains(4097));
    }

    #[test]
    fn an_unrestricted_pool_has_no_set() {
        let filter = RowFilter::new().with(1, RowMask::new());
        assert!(
            filter.pool(0).is_none()
                && filter.pool(1).is_some_and(RowMask::is_empty)
                && filter.pool(2).is_none()
        );
    }
}
