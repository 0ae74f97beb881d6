//! Explanations of scores: parts of checkpoints, nearest target samples, noise of the projection, and a bound
//! of what it leaves out.
//!
//! Invariants
//! - nothing of the pool is read but the rows that are explained, each verified by its own check
//! - memory is bounded by the rows of a chunk and the number of target samples; target vectors are
//!   read one after another
//! - all sums are taken in one order, so the bits depend on the stored values and the question alone

mod ignored;
pub(super) mod models;
mod names;
mod noise;
pub(super) mod pair;
mod parts;
mod pattern;
mod rows;

use gstore_core::Cancel;
use serde::Serialize;

use self::ignored::Ignored;
pub use self::names::TargetNames;
use self::noise::Noise;
use self::pattern::{Pattern, patterns};
use self::rows::{RowVectors, coordinate_weights, lines};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::prepare::target_vectors::TargetLoader;
use crate::influence::result::Scored;
use crate::influence::spec::Fold;

/// Bytes that the rows of a chunk may take.
const CHUNK_BYTES: usize = 64 << 20;

/// Target vectors that are held at a time, so that the rows of a chunk are passed over once for all of them.
const TILE: usize = 16;

/// What stands behind the score of one row or token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowExplanation {
    /// For each checkpoint of the plan its weighted part of the score: with `across` max and min that of the
    /// subtask that decided, with mean and sum that of all. The parts sum to the score up to rounding. `None`
    /// where the row lacks the checkpoint.
    pub checkpoint_scores: Vec<Option<f32>>,
    /// The target sample that is most like the row: the largest weighted sum of similarities over
    /// the checkpoints, whatever `within`, `across` and `fold` say. The first of equals by
    /// subtask, target and row.
    pub nearest: TargetRow,
    /// That similarity.
    pub nearest_score: f32,
    /// Standard error of the score as an estimate of that of vectors that were not projected, from
    /// split halves of the coordinates (docs/methods.md). `None` where nothing was projected, or with
    /// fewer than 32 coordinates.
    pub stderr: Option<f32>,
    /// Standard deviation of the same score for a row whose true similarity with the target is zero. `None`
    /// where nothing was projected.
    pub noise_floor: Option<f32>,
    /// What blocks of an eigenbasis leave out of the score at most. `None` where rows are not in one, where
    /// scores are cosines, and where it is not stored what is left out of a row or a target sample.
    pub ignored: Option<f32>,
}

/// The vectors that the terms are taken of: those of target samples, or of whole subtasks where they
/// are folded. All by unit.
struct Values {
    units: usize,
    /// For each row and checkpoint the similarity with each unit.
    sims: Vec<f64>,
    /// For each checkpoint and unit the shares of the coordinate classes in its squared length; empty where
    /// lengths do not matter.
    squares: Vec<[f64; noise::CLASSES]>,
}

impl Prepared {
    /// What stands behind the scores of some rows of an answer, in their order.
    ///
    /// Reads the vectors of these rows and of the target, not the pool. Cost: rows x target samples x
    /// checkpoints x dimension multiplications.
    ///
    /// # Errors
    /// Damage, cancellation, and rows that are not an answer to this question.
    pub fn explain_rows(&self, rows: &[Scored], cancel: &Cancel) -> Result<Vec<RowExplanation>, QueryError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let operands = self.operands(cancel)?;
        let targets = &operands.target.rows;
        let readers = self.target_sources(cancel)?;
        let loader = self.target_loader(&readers, cancel)?;
        let ignored = Ignored::open(self)?;
        let dims: usize = self.pools()[0].features.iter().map(|f| f.desc.dim() as usize).sum();
        let each = dims * (size_of::<f32>() + size_of::<f64>())
            + (targets.len() + operands.target.subtasks.len()) * self.checkpoints().len() * size_of::<f64>();
        let mut explained = Vec::with_capacity(rows.len());
        for chunk in rows.chunks((CHUNK_BYTES / each.max(1)).max(1)) {
            let lines = lines(self, chunk, operands)?;
            explained.extend(explain_chunk(
                self,
                chunk,
                &lines,
                &loader,
                targets,
                operands.target.subtasks.len(),
                ignored.as_ref(),
            )?);
        }
        Ok(explained)
    }
}

fn explain_chunk(
    prepared: &Prepared,
    chunk: &[Scored],
    lines: &[RowVectors],
    loader: &TargetLoader<'_>,
    targets: &[TargetRow],
    subtasks: usize,
    ignored: Option<&Ignored>,
) -> Result<Vec<RowExplanation>, QueryError> {
    let pairs = values(prepared, lines, loader, targets, None)?;
    let folded = match prepared.spec().fold {
        Fold::None => None,
        _ => Some(values(prepared, lines, loader, targets, Some(subtasks))?),
    };
    let values = folded.as_ref().unwrap_or(&pairs);
    let (patterns, of_row) = patterns(prepared, chunk, lines, values, targets, subtasks)?;
    let sums = pattern_vectors(prepared, &patterns, loader, targets)?;
    let noise = Noise { prepared, values };
    let left_out = match ignored {
        Some(ignored) => ignored.of_patterns(prepared.spec().fold, &patterns, targets, loader.cancel)?,
        None => None,
    };
    let mut explained = Vec::with_capacity(chunk.len());
    for (i, line) in lines.iter().enumerate() {
        let (pattern, vectors) = (&patterns[of_row[i]], &sums[of_row[i]]);
        let (nearest, nearest_score) = nearest(line, &pairs, i);
        let bound = match ignored.zip(left_out.as_ref()) {
            Some((ignored, sums)) => ignored.bound(&chunk[i], line, &sums[of_row[i]])?,
            None => None,
        };
        explained.push(RowExplanation {
            checkpoint_scores: parts(line, values, i, pattern),
            nearest: targets[nearest],
            nearest_score: nearest_score as f32,
            stderr: noise.stderr(line, i, pattern, vectors).map(|x| x as f32),
            noise_floor: noise.floor(line, vectors).map(|x| x as f32),
            ignored: bound,
        });
    }
    Ok(explained)
}

/// Similarities of the rows with each target sample, or with the vector of each of so many subtasks.
fn values(
    prepared: &Prepared,
    lines: &[RowVectors],
    loader: &TargetLoader<'_>,
    targets: &[TargetRow],
    folded: Option<usize>,
) -> Result<Values, QueryError> {
    let checkpoints = prepared.checkpoints().len();
    let mut values = Values::new(lines.len(), checkpoints, folded.unwrap_or(targets.len()));
    each_tile(prepared, loader, targets, folded, |c, weights, tile| {
        values.add(checkpoints, lines, (c, weights), tile);
    })?;
    Ok(values)
}

/// Hands out the vectors of target samples, or those of so many subtasks that they are folded to, at each
/// checkpoint some at a time: (checkpoint, weights of its coordinates, units with their vectors).
fn each_tile(
    prepared: &Prepared,
    loader: &TargetLoader<'_>,
    targets: &[TargetRow],
    folded: Option<usize>,
    mut take: impl FnMut(usize, &[f64], &[(usize, Vec<f32>)]),
) -> Result<(), QueryError> {
    for c in 0..prepared.checkpoints().len() {
        let weights = coordinate_weights(prepared, c);
        let mut tile: Vec<(usize, Vec<f32>)> = Vec::with_capacity(TILE);
        if let Some(subtasks) = folded {
            let vectors = loader.folded(targets, c)?;
            let dim = vectors.len() / subtasks.max(1);
            tile.extend(vectors.chunks_exact(dim.max(1)).map(<[f32]>::to_vec).enumerate());
        } else {
            loader.each_pair(targets, c, |at, vector| {
                tile.push((at, vector.to_vec()));
                if tile.len() == TILE {
                    take(c, &weights, &tile);
                    tile.clear();
                }
            })?;
        }
        take(c, &weights, &tile);
    }
    Ok(())
}

/// For each pattern and checkpoint the weighted sum of its units' vectors.
fn pattern_vectors(
    prepared: &Prepared,
    patterns: &[Pattern],
    loader: &TargetLoader<'_>,
    targets: &[TargetRow],
) -> Result<Vec<Vec<Vec<f64>>>, QueryError> {
    let dim = |c: usize| prepared.pools()[0].features[c].desc.dim() as usize;
    let mut sums: Vec<Vec<Vec<f64>>> = patterns
        .iter()
        .map(|_| (0..prepared.checkpoints().len()).map(|c| vec![0.0; dim(c)]).collect())
        .collect();
    for c in 0..prepared.checkpoints().len() {
        let mut add = |unit: usize, vector: &[f32]| {
            for (pattern, sums) in patterns.iter().zip(&mut sums) {
                let weight = pattern.weight(unit);
                if weight != 0.0 {
                    sums[c].iter_mut().zip(vector).for_each(|(s, x)| *s += weight * f64::from(*x));
                }
            }
        };
        if prepared.spec().fold == Fold::None {
            loader.each_pair(targets, c, add)?;
        } else {
            let folded = loader.folded(targets, c)?;
            folded.chunks_exact(dim(c)).enumerate().for_each(|(unit, vector)| add(unit, vector));
        }
    }
    Ok(sums)
}

impl Values {
    fn new(rows: usize, checkpoints: usize, units: usize) -> Self {
        Self {
            units,
            sims: vec![0.0; rows * checkpoints * units],
            squares: vec![[0.0; noise::CLASSES]; checkpoints * units],
        }
    }

    fn add(
        &mut self,
        checkpoints: usize,
        lines: &[RowVectors],
        (c, weights): (usize, &[f64]),
        tile: &[(usize, Vec<f32>)],
    ) {
        for (unit, vector) in tile {
            self.squares[c * self.units + unit] = noise::weighted_squares(vector, weights);
        }
        for (i, line) in lines.iter().enumerate() {
            let Some(x) = &line.vectors[c] else { continue };
            for (unit, vector) in tile {
                self.sims[(i * checkpoints + c) * self.units + unit] =
                    noise::products(x, vector).iter().sum::<f64>();
            }
        }
    }

    /// Similarities of row `i` of the chunk at a checkpoint with each unit.
    fn of(&self, line: &RowVectors, i: usize, c: usize) -> &[f64] {
        let start = (i * line.vectors.len() + c) * self.units;
        &self.sims[start..start + self.units]
    }

    /// The weighted sum over the checkpoints for one unit.
    fn influence(&self, line: &RowVectors, i: usize, unit: usize) -> f64 {
        line.shares().map(|(c, share)| share * self.of(line, i, c)[unit]).sum()
    }
}

fn nearest(line: &RowVectors, pairs: &Values, i: usize) -> (usize, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for unit in 0..pairs.units {
        let value = pairs.influence(line, i, unit);
        if value > best.1 {
            best = (unit, value);
        }
    }
    best
}

fn parts(line: &RowVectors, values: &Values, i: usize, pattern: &Pattern) -> Vec<Option<f32>> {
    let mut parts = vec![None; line.vectors.len()];
    for (c, share) in line.shares() {
        let sims = values.of(line, i, c);
        let part: f64 = pattern.units().map(|(unit, weight)| weight * sims[unit]).sum();
        parts[c] = Some((share * part) as f32);
    }
    parts
}
