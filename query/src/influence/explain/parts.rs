//! Scores by parts of the coordinates, whose agreement says how much of a score is projection noise.
//!
//! A part scores as the whole does: it has products and lengths of its own, and the best sample or subtask is
//! the best by these.

use gstore_core::Cancel;

use super::noise::{self, CLASSES};
use super::pattern::units_of;
use super::rows::{RowVectors, coordinate_weights, lines};
use super::{CHUNK_BYTES, each_tile};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::target_rows::TargetRow;
use crate::influence::prepare::target_vectors::TargetLoader;
use crate::influence::result::Scored;
use crate::influence::scan::terms::Terms;
use crate::influence::spec::{Fold, Sim};

/// Ways to divide the classes of coordinates into quarters.
const WAYS: usize = 5;

/// The scores of a row by the four quarters of a way, then by the two halves of each of their three pairings
/// ([`HALVES`]).
type PartScores = [f64; 10];

/// Two masks for each way: the parities of a class under them say in which quarter it is. No two ways have a
/// halving in common, so all 15 balanced ones occur once.
const MASKS: [(usize, usize); WAYS] = [(1, 6), (2, 12), (4, 11), (8, 5), (3, 10)];

/// The quarters of which each half is made.
const HALVES: [(usize, usize); 6] = [(0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2)];

/// In which quarter of a way a class is.
fn quarter(way: usize, class: usize) -> usize {
    let (first, second) = MASKS[way];
    let parity = |mask: usize| (class & mask).count_ones() as usize % 2;
    2 * parity(first) + parity(second)
}

/// Sums over the quarters of a way, then over its halves.
fn by_part(way: usize, classes: &[f64; CLASSES]) -> PartScores {
    let mut sums = [0.0; 10];
    classes.iter().enumerate().for_each(|(class, value)| sums[quarter(way, class)] += value);
    for (half, (a, b)) in HALVES.into_iter().enumerate() {
        sums[4 + half] = sums[a] + sums[b];
    }
    sums
}

impl Prepared {
    /// The scores of some rows of an answer as parts of the coordinates give them, in each way to part these.
    /// None where nothing was projected, or with fewer than 32 coordinates.
    ///
    /// Reads the vectors of these rows and of the target, not the pool. Cost: rows x target samples x
    /// checkpoints x dimension multiplications.
    ///
    /// # Errors
    /// Damage, cancellation, and rows that are not an answer to this question.
    pub fn part_scores(
        &self,
        rows: &[Scored],
        cancel: &Cancel,
    ) -> Result<Option<Vec<[PartScores; WAYS]>>, QueryError> {
        let operands = self.operands(cancel)?;
        let dims: Vec<usize> = self.pools()[0].features.iter().map(|f| f.desc.dim() as usize).collect();
        let is_parted = |(c, dim): (usize, &usize)| noise::is_projected(self, c) && *dim >= 2 * CLASSES;
        if !dims.iter().enumerate().all(is_parted) {
            return Ok(None);
        }
        let (targets, subtasks) = (&operands.target.rows, operands.target.subtasks.len());
        let terms = Terms {
            within: self.spec().within,
            across: self.spec().across,
            subtasks: (0..subtasks).map(|s| units_of(self, targets, s)).collect(),
        };
        let units = terms.subtasks.last().map_or(0, |span| span.end);
        let readers = self.target_sources(cancel)?;
        let loader = self.target_loader(&readers, cancel)?;
        let each =
            dims.iter().sum::<usize>() * size_of::<f32>() + units * dims.len() * size_of::<[f64; CLASSES]>();
        let mut found = Vec::with_capacity(rows.len());
        for chunk in rows.chunks((CHUNK_BYTES / each.max(1)).max(1)) {
            let lines = lines(self, chunk, operands)?;
            let products = Products::of(self, &lines, &loader, targets, (&dims, units, subtasks))?;
            found.extend(lines.iter().enumerate().map(|(i, line)| products.scores(line, i, &terms)));
        }
        Ok(Some(found))
    }
}

/// What the scores of parts are computed from: sums by class of coordinates.
struct Products {
    sim: Sim,
    units: usize,
    /// By checkpoint the numbers of coordinates.
    counts: Vec<[f64; CLASSES]>,
    /// Products of each row at each checkpoint with each unit.
    dots: Vec<[f64; CLASSES]>,
    /// Squares of each row at each checkpoint.
    own: Vec<[f64; CLASSES]>,
    /// Squares of each unit, by checkpoint.
    squares: Vec<[f64; CLASSES]>,
}

impl Products {
    fn of(
        prepared: &Prepared,
        lines: &[RowVectors],
        loader: &TargetLoader<'_>,
        targets: &[TargetRow],
        (dims, units, subtasks): (&[usize], usize, usize),
    ) -> Result<Self, QueryError> {
        let checkpoints = dims.len();
        let count = |dim: &usize| std::array::from_fn(|class| noise::coordinates(*dim, class) as f64);
        let none = [0.0; CLASSES];
        let mut found = Self {
            sim: prepared.spec().sim,
            units,
            counts: dims.iter().map(count).collect(),
            dots: vec![none; lines.len() * checkpoints * units],
            own: vec![none; lines.len() * checkpoints],
            squares: vec![none; checkpoints * units],
        };
        for c in 0..checkpoints {
            let weights = coordinate_weights(prepared, c);
            for (i, line) in lines.iter().enumerate() {
                if let Some(x) = &line.vectors[c] {
                    found.own[i * checkpoints + c] = noise::squares(x, &weights);
                }
            }
        }
        let folded = (prepared.spec().fold != Fold::None).then_some(subtasks);
        each_tile(prepared, loader, targets, folded, |c, weights, tile| {
            for (unit, vector) in tile {
                found.squares[c * units + unit] = noise::weighted_squares(vector, weights);
                for (i, line) in lines.iter().enumerate() {
                    if let Some(x) = &line.vectors[c] {
                        found.dots[(i * checkpoints + c) * units + unit] = noise::products(x, vector);
                    }
                }
            }
        })?;
        Ok(found)
    }

    fn scores(&self, line: &RowVectors, i: usize, terms: &Terms) -> [PartScores; WAYS] {
        std::array::from_fn(|way| {
            let values = self.values(way, line, i);
            values.map(|values| {
                let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
                f64::from(terms.score(&values).0)
            })
        })
    }

    /// For each part of a way the values of the units.
    fn values(&self, way: usize, line: &RowVectors, i: usize) -> [Vec<f64>; 10] {
        let mut values: [Vec<f64>; 10] = std::array::from_fn(|_| vec![0.0; self.units]);
        for (c, share) in line.shares() {
            let at = i * self.counts.len() + c;
            let own = by_part(way, &self.own[at]);
            let counts = by_part(way, &self.counts[c]);
            let all = self.counts[c].iter().sum::<f64>();
            let dots = &self.dots[at * self.units..(at + 1) * self.units];
            let squares = &self.squares[c * self.units..(c + 1) * self.units];
            for (unit, (dots, squares)) in dots.iter().zip(squares).enumerate() {
                let (dots, squares) = (by_part(way, dots), by_part(way, squares));
                for (part, values) in values.iter_mut().enumerate() {
                    let factor = match self.sim {
                        Sim::Dot => all / counts[part],
                        Sim::Cosine => match (own[part] * squares[part]).sqrt() {
                            length if length > 0.0 => 1.0 / length,
                            // A part in which a vector has nothing is like no other.
                            _ => 0.0,
                        },
                    };
                    values[unit] += share * factor * dots[part];
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_balanced_halving_occurs_once() {
        let mut halvings = BTreeSet::new();
        for way in 0..WAYS {
            for class in 0..CLASSES {
                let mut only = [0.0; CLASSES];
                only[class] = 1.0;
                let parts = by_part(way, &only);
                assert_eq!(parts[..4].iter().sum::<f64>(), 1.0);
                assert!(parts[4..].chunks(2).all(|pair| pair[0] + pair[1] == 1.0));
            }
            assert_eq!(by_part(way, &[1.0; CLASSES]), [4.0, 4.0, 4.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]);
            for half in 0..3 {
                // The half that has class 0.
                let of = |class: usize| {
                    let mut only = [0.0; CLASSES];
                    only[class] = 1.0;
                    by_part(way, &only)[4 + 2 * half] == 1.0
                };
                let first = of(0);
                halvings.insert((0..CLASSES).map(|class| of(class) == first).collect::<Vec<bool>>());
            }
        }
        assert_eq!(halvings.len(), CLASSES - 1);
    }
}
