//! Noise of the projection in a score.
//!
//! The mathematics is in docs/methods.md, "Standard error and noise floor of a score".
//!
//! The coordinates of a projected vector are exchangeable, so each class of them (coordinate modulo 16) gives
//! an estimate of the score, and the spread of the estimates says how far their mean is from the truth.

use gstore_store::{Family, Space};

use super::pattern::Pattern;
use super::rows::{RowVectors, coordinate_weights};
use super::{Prepared, Values};
use crate::eigen::is_space_of;
use crate::influence::spec::Sim;
use crate::values::groups;

/// Classes of coordinates. Their spread is the mean over the 15 balanced ways to split them into halves.
pub(super) const CLASSES: usize = 16;

/// Products are summed in f32 for this many steps of a class, then in f64.
const STEPS: usize = 32;

/// Sums of products by class of coordinates.
pub(super) fn products(a: &[f32], b: &[f32]) -> [f64; CLASSES] {
    let mut sums = [0.0f64; CLASSES];
    let whole = a.len().min(b.len()) / CLASSES * CLASSES;
    let (head, tail) = (a[..whole].chunks(CLASSES * STEPS), &a[whole..]);
    for (a, b) in head.zip(b[..whole].chunks(CLASSES * STEPS)) {
        let mut part = [0.0f32; CLASSES];
        for (a, b) in a.as_chunks::<CLASSES>().0.iter().zip(b.as_chunks::<CLASSES>().0) {
            for class in 0..CLASSES {
                part[class] += a[class] * b[class];
            }
        }
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
    }
    for ((sum, a), b) in sums.iter_mut().zip(tail).zip(&b[whole..]) {
        *sum += f64::from(*a) * f64::from(*b);
    }
    sums
}

/// Sums of squares by class, of a vector that has the weights of its coordinates folded in,
/// each divided out once.
pub(super) fn weighted_squares(vector: &[f32], weights: &[f64]) -> [f64; CLASSES] {
    let mut sums = [0.0; CLASSES];
    for (i, (x, weight)) in vector.iter().zip(weights).enumerate().filter(|(_, (_, weight))| **weight != 0.0)
    {
        sums[i % CLASSES] += f64::from(*x) * f64::from(*x) / weight;
    }
    sums
}

/// Sums of squares by class, each coordinate with its weight.
pub(super) fn squares(vector: &[f32], weights: &[f64]) -> [f64; CLASSES] {
    let mut sums = [0.0; CLASSES];
    for (i, (x, weight)) in vector.iter().zip(weights).enumerate() {
        sums[i % CLASSES] += weight * f64::from(*x) * f64::from(*x);
    }
    sums
}

/// How many of `dim` coordinates are of a class.
pub(super) fn coordinates(dim: usize, class: usize) -> usize {
    (dim + CLASSES - 1 - class) / CLASSES
}

/// Whether the vectors of a checkpoint are projections, whose coordinates are alike.
pub(super) fn is_projected(prepared: &Prepared, c: usize) -> bool {
    // A preconditioner mixes the coordinates.
    if prepared.spec().preconditions() {
        return false;
    }
    let feature = &prepared.pools()[0].features[c];
    let space = &feature.desc.space;
    // Coordinates of an eigenbasis are chosen, not drawn; of vectors from elsewhere nothing is known.
    let is_drawn = space.projection != "none" && !space.projection.starts_with(Space::EXTERNAL);
    space.family == Family::Gradient && is_drawn && !is_space_of(feature)
}

pub(super) struct Noise<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) values: &'a Values,
}

impl Noise<'_> {
    /// The standard error of the row's score, from how far the estimates of the classes are from each other.
    pub(super) fn stderr(
        &self,
        line: &RowVectors,
        i: usize,
        pattern: &Pattern,
        vectors: &[Vec<f64>],
    ) -> Option<f64> {
        let mut estimates = [0.0f64; CLASSES];
        for (c, share) in line.shares() {
            let x = line.vectors[c].as_deref()?;
            if !is_projected(self.prepared, c) || x.len() < 2 * CLASSES {
                return None;
            }
            for (estimate, part) in
                estimates.iter_mut().zip(self.estimates(line, i, (c, x), pattern, &vectors[c]))
            {
                *estimate += share * part;
            }
        }
        let mean = estimates.iter().sum::<f64>() / CLASSES as f64;
        let spread: f64 = estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum();
        Some((spread / (CLASSES * (CLASSES - 1)) as f64).sqrt())
    }

    /// The estimate of each class for a checkpoint's part; of a cosine to first order, with the lengths
    /// estimated by the class as well.
    fn estimates(
        &self,
        line: &RowVectors,
        i: usize,
        (c, x): (usize, &[f32]),
        pattern: &Pattern,
        vector: &[f64],
    ) -> [f64; CLASSES] {
        let mut estimates = [0.0f64; CLASSES];
        for (k, (x, v)) in x.iter().zip(vector).enumerate() {
            estimates[k % CLASSES] += f64::from(*x) * v;
        }
        if self.prepared.spec().sim == Sim::Cosine {
            let sims = self.values.of(line, i, c);
            let own = squares(x, &coordinate_weights(self.prepared, c));
            for (unit, weight) in pattern.units() {
                let half = 0.5 * weight * sims[unit];
                let other = &self.values.squares[c * self.values.units + unit];
                for class in 0..CLASSES {
                    estimates[class] -= half * (own[class] + other[class]);
                }
            }
        }
        let dim = x.len();
        for (class, estimate) in estimates.iter_mut().enumerate() {
            *estimate *= dim as f64 / coordinates(dim, class) as f64;
        }
        estimates
    }

    /// The standard deviation of the score of a row that is as long at each checkpoint, and as much like
    /// itself from one checkpoint to the next, and has nothing in common with the target.
    pub(super) fn floor(&self, line: &RowVectors, vectors: &[Vec<f64>]) -> Option<f64> {
        let features = &self.prepared.pools()[line.pool].features;
        let mut variance = 0.0;
        for (a, of_a) in line.shares() {
            if !is_projected(self.prepared, a) {
                return None;
            }
            for (b, of_b) in
                line.shares().filter(|(b, _)| features[*b].attrs.groups == features[a].attrs.groups)
            {
                let (x, y) = (line.vectors[a].as_deref()?, line.vectors[b].as_deref()?);
                for group in groups(&features[a]) {
                    let both = x[group.clone()].iter().zip(&y[group.clone()]);
                    let own: f64 = both.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                    let both = vectors[a][group.clone()].iter().zip(&vectors[b][group.clone()]);
                    let other: f64 = both.map(|(v, w)| v * w).sum();
                    variance += of_a * of_b * own * other / group.len() as f64;
                }
            }
        }
        // Both sums are Gram matrices, so only rounding can make this negative.
        Some(variance.max(0.0).sqrt())
    }
}
