//! Gram matrices of the pools: sums of outer products of their rows, for each checkpoint and module group.
//!
//! Rows are summed in windows that begin at multiples of their height, in f64, so that bits depend neither on
//! threads nor on how blocks and segments are cut. Rows without a finite vector or a scored token are left
//! out.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use gstore_core::{Cancel, Progress, Unit, locked, parallel};
use gstore_curvature::{Gram, MatrixStrip};
use gstore_store::{BlockBuffer, CELL_ROWS, FeaturePart, FeatureReader, RowFlags, RowSet};

use crate::error::QueryError;
use crate::gram::{CheckpointGrams, GramCheckpoint, GramRows};
use crate::influence::prepare::Prepared;
use crate::values::groups;

/// Coordinates of a block at most: its matrix has 512 MiB, and its decomposition takes five times that.
const MOST_COORDINATES: u32 = 8192;

/// Values of a window of rows at most; it has 16 rows at least.
const WINDOW_VALUES: u64 = 1 << 22;

/// A window of rows, and what reading it takes.
struct WindowBuffers {
    /// `[height, dim]`; zeros where a row is left out.
    rows: Vec<f64>,
    vector: Vec<f32>,
    scratch: BlockBuffer,
}

#[derive(Default)]
struct WindowRows {
    /// Rows up to the last that counts.
    height: usize,
    /// Rows that count.
    rows: Vec<u64>,
}

impl Prepared {
    /// Sums of the outer products of the pools' vectors, by checkpoint and module group, times the scale of
    /// their dot products. `known`: for each checkpoint and pool the rows that are left out; none where it
    /// has no entry.
    ///
    /// Memory: for each block of k coordinates and each checkpoint 8 k^2 bytes, and a window of rows of 32
    /// MiB or 16 rows. Time: for each row and block k^2 multiplications.
    ///
    /// # Errors
    /// Blocks of more than 8,192 coordinates, tokens, damage, and being told to stop.
    pub fn grams(
        &self,
        known: &[Vec<RowSet>],
        threads: usize,
        cancel: &Cancel,
        progress: &mut dyn Progress,
    ) -> Result<Vec<CheckpointGrams>, QueryError> {
        self.check_vectors()?;
        if self.spec().per_token {
            return Err(QueryError::Spec("Gram matrices are of samples; ask without `per_token`".into()));
        }
        let live = self.candidates(cancel)?;
        let taken = |c: usize| -> Vec<RowSet> {
            let left_out = |pool: usize| known.get(c).and_then(|pools| pools.get(pool));
            let of = |(pool, live): (usize, &Arc<RowSet>)| match left_out(pool) {
                Some(known) => live.difference(known),
                None => RowSet::clone(live),
            };
            live.iter().enumerate().map(of).collect()
        };
        let rows: Vec<Vec<RowSet>> = (0..self.checkpoints().len()).map(taken).collect();
        let parts = (0..rows.len()).filter_map(|c| self.pools().first()?.features.get(c));
        let bytes: u64 =
            parts.flat_map(|part| groups(part)).map(|group| 8 * (group.len() as u64).pow(2)).sum();
        progress.note(&format!(
            "the Gram matrices take {} MiB of memory and of the store",
            bytes.div_ceil(1 << 20)
        ));
        progress.start("Gram matrices", rows.iter().flatten().map(RowSet::len).sum(), Unit::Rows);
        let found = rows
            .iter()
            .enumerate()
            .map(|(c, rows)| self.grams_at(c, rows, threads, cancel, &mut *progress))
            .collect::<Result<Vec<_>, _>>();
        progress.finish();
        found
    }

    fn grams_at(
        &self,
        c: usize,
        rows: &[RowSet],
        threads: usize,
        cancel: &Cancel,
        progress: &mut dyn Progress,
    ) -> Result<CheckpointGrams, QueryError> {
        let features = self.pools().iter().filter_map(|pool| Some((&pool.dataset, pool.features.get(c)?)));
        let Some((_, part)) = features.clone().next() else {
            return Err(QueryError::Spec("a question needs at least one pool".into()));
        };
        check(part)?;
        let (dim, groups) = (part.desc.dim() as usize, groups(part));
        let height = height(dim as u64);
        let mut memory = WindowBuffers {
            rows: vec![0.0; height as usize * dim],
            vector: vec![0.0; dim],
            scratch: BlockBuffer::new(),
        };
        let mut grams: Vec<Gram> = groups.iter().map(|group| Gram::new(group.len())).collect();
        let strips: Vec<Mutex<(usize, MatrixStrip<'_>)>> = groups
            .iter()
            .zip(&mut grams)
            .flat_map(|(group, gram)| {
                gram.strips().into_iter().map(move |strip| Mutex::new((group.start, strip)))
            })
            .collect();
        let (mut count, mut of) = (0, Vec::new());
        for ((dataset, feature), rows) in features.zip(rows) {
            let mut taken = RowSet::new();
            let reader = self.snapshot().open_feature_shared(feature)?;
            for window in windows(rows, height) {
                let filled = fill(&reader, &window, rows, &mut memory)?;
                let values = &memory.rows[..filled.height * dim];
                let add = |_: &mut (), at: usize| -> Result<(), QueryError> {
                    let mut strip = locked(&strips[at]);
                    let (start, strip) = &mut *strip;
                    strip.add(values, dim, *start);
                    Ok(())
                };
                parallel::unordered(strips.len(), threads, cancel, || (), add)?;
                count += filled.rows.len() as u64;
                RowSet::from_rows(filled.rows).ranges().iter().for_each(|run| taken.insert(run.clone()));
                progress.advance(rows.within(window).map(|run| run.end - run.start).sum());
            }
            of.push(GramRows::new(dataset, feature.number, &taken));
        }
        drop(strips);
        for gram in &mut grams {
            gram.mirror();
            gram.sums.iter_mut().for_each(|sum| *sum *= part.attrs.dot_scale);
            gram.count = count;
        }
        let at = &self.checkpoints()[c];
        let checkpoint = GramCheckpoint {
            name: at.name.clone(),
            id: at.id.clone(),
            space: part.desc.space.clone(),
            groups: part.attrs.groups.clone(),
            rows: count,
            of,
        };
        Ok(CheckpointGrams { checkpoint, grams })
    }
}

/// Refuses blocks whose matrices would be too large.
fn check(part: &FeaturePart) -> Result<(), QueryError> {
    let Some(group) = part.attrs.groups.iter().find(|group| group.len > MOST_COORDINATES) else {
        return Ok(());
    };
    let which = match group.name.as_str() {
        "all" => "as one vector".to_owned(),
        name => format!("in module group `{name}`"),
    };
    Err(QueryError::Spec(format!(
        "{} has {} coordinates {which}, and Gram matrices are of at most {MOST_COORDINATES}: project to fewer, or \
         keep the modules apart (fact_sjlt, two_sided, fact_mask, mask, ekfac)",
        part.display_name(),
        group.len
    )))
}

/// Rows of a window: a power of two, so that windows lie inside cells.
fn height(dim: u64) -> u64 {
    1 << (WINDOW_VALUES / dim.max(1)).clamp(16, 512).ilog2()
}

/// The windows that have any of the rows, ascending.
fn windows(rows: &RowSet, height: u64) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for run in rows.ranges() {
        for at in run.start / height..run.end.div_ceil(height) {
            let window = at * height..(at + 1) * height;
            if found.last() != Some(&window) {
                found.push(window);
            }
        }
    }
    found
}

/// Reads the rows of a window that count, each at its place.
fn fill(
    reader: &FeatureReader,
    window: &Range<u64>,
    rows: &RowSet,
    memory: &mut WindowBuffers,
) -> Result<WindowRows, QueryError> {
    let part = reader.part();
    let (dim, groups) = (part.desc.dim() as usize, groups(part));
    let WindowBuffers { rows: values, vector: buffer, scratch } = memory;
    values.fill(0.0);
    let mut filled = WindowRows::default();
    for block in reader.blocks_in(window.start / CELL_ROWS) {
        let range = block.range();
        if range.start >= window.end || range.end <= window.start {
            continue;
        }
        let block = reader.read_block(block, scratch)?;
        for (i, row) in block.rows.iter().enumerate() {
            let is_out = RowFlags::from_bits(block.flags[i]).intersects(RowFlags::UNSCORED);
            if is_out || !window.contains(row) || !rows.contains(*row) {
                continue;
            }
            block.vector(i, &groups, buffer);
            let at = (row - window.start) as usize;
            let slot = &mut values[at * dim..(at + 1) * dim];
            slot.iter_mut().zip(buffer.iter()).for_each(|(slot, x)| *slot = f64::from(*x));
            filled.height = filled.height.max(at + 1);
            filled.rows.push(*row);
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_at_multiples_of_their_height() {
        assert_eq!((height(1), height(8192), height(20_000), height(1 << 30)), (512, 512, 128, 16));
        let rows = RowSet::from_ranges([3..4, 30..70, 90..91]);
        assert_eq!(windows(&rows, 32), [0..32, 32..64, 64..96]);
        assert!(windows(&RowSet::new(), 32).is_empty());
    }
}
