//! Every pool row with every target sample, in tiles.
//!
//! Invariants
//! - the score of a row and a sample has the bits that a question about this sample alone gives
//! - how the rows are cut into tiles depends on the store and the number of samples, not on threads

use std::ops::Range;

use gstore_core::Cancel;

use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::rank::check_missing;
use crate::influence::result::ExcludedCounts;
use crate::influence::scan::Worker;
use crate::influence::scan::windows::{Window, windows};
use crate::size::runs;

/// Scores of a tile at most: enough for the kernel, and few enough that a thread can hold several.
const MOST_SCORES: u64 = 1 << 21;

/// The pools against the samples of the target, ready to be scored.
pub struct Tiles<'a> {
    prepared: &'a Prepared,
    operands: &'a Operands,
    windows: Vec<Window>,
    /// Windows of each tile, which are of one pool.
    tiles: Vec<Range<usize>>,
}

/// Scores of consecutive rows of one pool with all samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tile {
    /// Index into the pools of the plan.
    pub pool: u32,
    /// Rows that have scores, ascending.
    pub rows: Vec<u64>,
    /// `rows x samples`. Not finite where the product of finite vectors is not.
    pub scores: Vec<f32>,
    /// Rows without scores.
    pub excluded: ExcludedCounts,
}

/// A thread's memory.
#[derive(Default)]
pub struct TileWorker(Worker);

impl Prepared {
    /// Loads the target's samples, to score pool rows with each of them by itself: without `within`, `across`
    /// and `fold`. A tile has at most `most` scores, or those of the rows of one block.
    ///
    /// Memory: [`Prepared::sample_bytes`] for each sample.
    ///
    /// # Errors
    /// Also where tokens are scored, and where rows lack a checkpoint and `missing` is `error`.
    pub fn tiles(&self, most: u64, cancel: &Cancel) -> Result<Tiles<'_>, QueryError> {
        if self.spec().per_token {
            return Err(QueryError::Spec(
                "a matrix has the scores of samples; ask for those of tokens with `influence()`".into(),
            ));
        }
        let operands = self.operands_by_sample(cancel)?;
        check_missing(self, operands, None)?;
        let windows = windows(&operands.pools, operands.queries());
        let most = MOST_SCORES.min(most) / operands.queries().max(1) as u64;
        let of_one_pool = |w: usize| w > 0 && windows[w - 1].pool == windows[w].pool;
        let tiles = runs(windows.iter().map(row_count), most, of_one_pool);
        Ok(Tiles { prepared: self, operands, windows, tiles })
    }
}

fn row_count(window: &Window) -> u64 {
    window.rows.end - window.rows.start
}

impl Tiles<'_> {
    /// Number of tiles. They are in the order of pool and row.
    pub fn len(&self) -> usize {
        self.tiles.len()
    }

    /// True without tiles.
    pub fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// The samples, in the order of the scores.
    pub fn samples(&self) -> &[TargetRow] {
        &self.operands.target.rows
    }

    /// Rows of a tile at most: those that have scores, and others.
    pub(crate) fn most_rows(&self, tile: usize) -> u64 {
        self.windows[self.tiles[tile].clone()].iter().map(row_count).sum()
    }

    /// Scores the rows of a tile.
    pub fn score(&self, tile: usize, worker: &mut TileWorker, cancel: &Cancel) -> Result<Tile, QueryError> {
        let scan = self.operands.scan(self.prepared.spec(), None, cancel);
        let windows = &self.windows[self.tiles[tile].clone()];
        let mut found = Tile { pool: windows.first().map_or(0, |window| window.pool), ..Tile::default() };
        let rows = usize::try_from(self.most_rows(tile)).unwrap_or(0);
        found.rows.reserve_exact(rows);
        found.scores.reserve_exact(rows.saturating_mul(self.samples().len()));
        for window in windows {
            scan.raw(window, &mut worker.0, |row, values| match values {
                Ok(values) => {
                    found.rows.push(row);
                    found.scores.extend_from_slice(values);
                }
                Err(reason) => found.excluded.add(reason),
            })?;
        }
        Ok(found)
    }
}
