//! Lengths of rows under a preconditioner, `sqrt(t' H^-1 t)`: what a cosine under it divides by.
//!
//! They are not stored, so they are taken from the stored values, in f64. A length has the same bits however
//! blocks are cut and whichever rows are wanted: vectors go through H^-1 in panels of one shape, in which the
//! key of a vector is its place.

use std::ops::Range;

use gstore_curvature::Preconditioner;
use gstore_store::{Block, FeaturePart};

use crate::values::{MIN_NORM, groups};

/// Vectors of a panel: enough for a matrix to be read once for many.
const PANEL: u64 = 16;

/// What the length of a row is taken by: the weights of its module groups, and the preconditioner where the
/// stored lengths do not count.
pub(crate) type Measure<'a> = (&'a [f64], Option<&'a Preconditioner>);

/// Hands out the vectors `run` of a block with their lengths, in order. Memory: 16 vectors in f64.
pub(crate) fn lengths(
    block: &Block<'_>,
    run: Range<usize>,
    part: &FeaturePart,
    (modules, metric): (&[f64], &Preconditioner),
    mut take: impl FnMut(usize, f64),
) {
    let (dim, groups) = (part.desc.dim() as usize, groups(part));
    let (mut one, mut panel) = (vec![0.0f32; dim], vec![0.0f64; PANEL as usize * dim]);
    let mut at = run.start;
    while at < run.end {
        let (first, (of_panel, _)) = (at, place(block, at));
        panel.fill(0.0);
        while at < run.end && place(block, at).0 == of_panel {
            block.vector(at, &groups, &mut one);
            let slot = &mut panel[place(block, at).1 * dim..][..dim];
            slot.iter_mut().zip(&one).for_each(|(slot, x)| *slot = f64::from(*x));
            at += 1;
        }
        let energies = metric.energies(&panel, PANEL as usize, modules);
        for i in first..at {
            // Rounding may leave a little less than 0.
            take(i, energies[place(block, i).1].max(0.0).sqrt().max(MIN_NORM));
        }
    }
}

/// The panel of a vector, and its place there. Both ascend.
fn place(block: &Block<'_>, i: usize) -> ((u64, u64), usize) {
    let row = block.rows[i];
    match block.pos.get(i).map(|pos| u64::from(*pos)) {
        None => ((row / PANEL, 0), (row % PANEL) as usize),
        Some(pos) => ((row, pos / PANEL), (pos % PANEL) as usize),
    }
}

/// The length of one vector by which a cosine is divided, where `stored` is what the store says of it.
pub(crate) fn length(vector: &[f32], stored: f64, (modules, metric): Measure<'_>) -> f64 {
    let length = match metric {
        None => stored,
        Some(metric) => {
            let vector: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
            metric.length(&vector, modules)
        }
    };
    length.max(MIN_NORM)
}
