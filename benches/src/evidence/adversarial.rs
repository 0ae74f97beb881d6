//! Adversarial pools for bounds of scores.

use half::f16;

use super::numbers::Numbers;

/// What makes a pool difficult.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing: normal rows.
    Normal,
    /// All rows are equal: ties decide the order.
    Equal,
    /// Rows of positive and negative zeros among others.
    Zero,
    /// One row is 1e30 times as long as the others, some 1e8 times.
    HugeNorm,
    /// Copies of a target, their negations, and rows that differ by 1e-6.
    Duplicates,
    /// Rows of subnormal numbers.
    Denormals,
    /// Signs alternate against constant targets, so that sums cancel.
    Alternating,
    /// One coordinate holds nearly all of the length.
    Dominant,
    /// Lengths are lognormal with sigma 2.
    Lognormal,
    /// Rows differ in the last bit of a few f16 values.
    LastBit,
    /// All rows lie in a three-dimensional subspace.
    LowRank,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::Equal,
        Self::Zero,
        Self::HugeNorm,
        Self::Duplicates,
        Self::Denormals,
        Self::Alternating,
        Self::Dominant,
        Self::Lognormal,
        Self::LastBit,
        Self::LowRank,
    ];

    /// Targets for the pool; the last is zero.
    pub fn targets(self, numbers: &mut Numbers, count: usize, dim: usize) -> Vec<Vec<f32>> {
        let mut targets: Vec<Vec<f32>> = (0..count).map(|_| numbers.gaussian(dim)).collect();
        match self {
            Self::Alternating => {
                for (i, target) in targets.iter_mut().enumerate() {
                    target.iter_mut().for_each(|x| *x = 1.0 + 1e-3 * i as f32 * *x);
                }
            }
            Self::Denormals => targets.iter_mut().flatten().for_each(|x| *x *= 1e-4),
            Self::Dominant => targets.iter_mut().step_by(2).for_each(|target| target[0] = 50.0),
            Self::LastBit | Self::Equal => {
                // Near the rows, where scores are close to their maximum.
                let base = self.base(dim);
                for target in targets.iter_mut().step_by(2) {
                    target.iter_mut().zip(&base).for_each(|(x, b)| *x = b + 0.01 * *x);
                }
            }
            _ => {}
        }
        if let Some(last) = targets.last_mut() {
            last.fill(0.0);
        }
        targets
    }

    /// The rows of such a pool.
    pub fn rows(
        self,
        numbers: &mut Numbers,
        count: usize,
        dim: usize,
        targets: &[Vec<f32>],
    ) -> Vec<Vec<f32>> {
        let base = self.base(dim);
        let basis: Vec<Vec<f32>> = (0..3).map(|_| numbers.gaussian(dim)).collect();
        (0..count)
            .map(|i| {
                let mut row = numbers.gaussian(dim);
                self.change(numbers, i, &mut row, &base, &basis, targets);
                row
            })
            .collect()
    }

    /// The same in every call: f16 numbers around 1.
    fn base(self, dim: usize) -> Vec<f32> {
        let mut numbers = Numbers(99);
        (0..dim).map(|_| f16::from_f64(1.0 + 0.3 * numbers.normal()).to_f32()).collect()
    }

    fn change(
        self,
        numbers: &mut Numbers,
        i: usize,
        row: &mut [f32],
        base: &[f32],
        basis: &[Vec<f32>],
        targets: &[Vec<f32>],
    ) {
        let scale = |row: &mut [f32], by: f64| row.iter_mut().for_each(|x| *x = (f64::from(*x) * by) as f32);
        match (self, i % 4) {
            (Self::Equal, _) => row.copy_from_slice(base),
            (Self::Zero, 0) => row.fill(0.0),
            (Self::Zero, 1) => row.fill(-0.0),
            (Self::HugeNorm, 0) if i == 40 => scale(row, 1e30),
            (Self::HugeNorm, 1) if i % 12 == 1 => scale(row, 1e8),
            (Self::Duplicates, 0) => row.copy_from_slice(&targets[i / 4 % targets.len()]),
            (Self::Duplicates, 1) => row.iter_mut().zip(&targets[0]).for_each(|(x, t)| *x = t + 1e-6 * *x),
            (Self::Duplicates, 2) => row.iter_mut().zip(&targets[0]).for_each(|(x, t)| *x = -t),
            (Self::Denormals, 0) => scale(row, 1e-40),
            (Self::Denormals, 1) => scale(row, 1e-30),
            (Self::Denormals, 2) => row.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 7)),
            (Self::Alternating, _) => {
                row.iter_mut().enumerate().for_each(|(k, x)| *x = (1.0 + 1e-3 * *x) * sign(k));
            }
            (Self::Dominant, _) => {
                row[1..].iter_mut().for_each(|x| *x *= 1e-5);
                row[0] *= 1.0 + 1e-4 * numbers.normal() as f32;
            }
            (Self::Lognormal, _) => scale(row, (2.0 * numbers.normal()).exp()),
            (Self::LastBit, _) => {
                row.copy_from_slice(base);
                for _ in 0..1 + i % 3 {
                    let at = numbers.below(row.len());
                    row[at] = f16::from_bits(f16::from_f32(row[at]).to_bits() ^ 1).to_f32();
                }
            }
            (Self::LowRank, _) => {
                row.fill(0.0);
                for b in basis {
                    let by = numbers.normal() as f32;
                    row.iter_mut().zip(b).for_each(|(x, b)| *x += by * b);
                }
            }
            _ => {}
        }
    }
}

fn sign(k: usize) -> f32 {
    if k.is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// Rows at one distance from the origin whose inner products with all `queries` are `level`, up to a spread
/// far below what any plane of a sketch can resolve: any row that a plane excludes wrongly would have ranked.
/// `queries` are orthonormal.
pub fn level(
    numbers: &mut Numbers,
    mut rows: Vec<Vec<f32>>,
    queries: &[Vec<f32>],
    level: f64,
    spread: f64,
) -> Vec<Vec<f32>> {
    for row in &mut rows {
        let mut across: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        for query in queries {
            let along: f64 = across.iter().zip(query).map(|(x, q)| x * f64::from(*q)).sum();
            across.iter_mut().zip(query).for_each(|(x, q)| *x -= along * f64::from(*q));
        }
        let norm = across.iter().map(|x| x * x).sum::<f64>().sqrt();
        let rest = (1.0 - queries.len() as f64 * level * level).sqrt() / norm;
        across.iter_mut().for_each(|x| *x *= rest);
        for query in queries {
            let by = level + spread * (2.0 * numbers.unit() - 1.0);
            across.iter_mut().zip(query).for_each(|(x, q)| *x += by * f64::from(*q));
        }
        row.iter_mut().zip(&across).for_each(|(x, a)| *x = *a as f32);
    }
    rows
}

/// Orthonormal vectors in the directions of `vectors` (Gram-Schmidt).
pub fn orthogonal(vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut done: Vec<Vec<f32>> = Vec::new();
    for vector in vectors {
        let mut v: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
        for _ in 0..2 {
            for other in &done {
                let along: f64 = v.iter().zip(other).map(|(x, o)| x * f64::from(*o)).sum();
                v.iter_mut().zip(other).for_each(|(x, o)| *x -= along * f64::from(*o));
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        done.push(v.iter().map(|x| (x / norm) as f32).collect());
    }
    done
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{dot, length};
    use super::*;

    #[test]
    fn level_rows_have_the_scores_that_they_should() {
        let mut numbers = Numbers(1);
        let directions: Vec<Vec<f32>> = (0..4).map(|_| numbers.heavy(100)).collect();
        let queries = orthogonal(&directions);
        let rows: Vec<Vec<f32>> = (0..20).map(|_| numbers.gaussian(100)).collect();
        for row in level(&mut numbers, rows, &queries, 0.2, 1e-4) {
            assert!((length(&row) - 1.0).abs() < 1e-3);
            assert!(queries.iter().all(|q| (dot(&row, q) - 0.2).abs() < 1.1e-4));
        }
    }
}
