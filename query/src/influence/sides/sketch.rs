//! The sketches of a question's pools with its queries in their rotations, or why they cannot be used.

use std::sync::Arc;

use gstore_store::{FeaturePart, FeatureReader};

use crate::influence::scan::{ScanPool, has_metrics};
use crate::influence::spec::mode::{Mode, Plane};
use crate::influence::spec::{InfluenceSpec, Sim};
use crate::sketch::{Planes, QUERY_NORMS, Rotation, Sketch, SketchQueries};

/// Factors of dot products for which nothing overflows, and what underflow does is bounded.
const DOT_SCALES: std::ops::RangeInclusive<f64> = 9.6e-7..=1.1e6;

#[derive(Debug)]
pub(crate) struct SketchSide {
    pub(crate) sketch: Arc<Sketch>,
    /// For each rotation of the sketch.
    pub(crate) queries: Vec<SketchQueries>,
    /// What rounding adds to an error at most, in products of lengths: of the exact scan, of the rotation, of
    /// factors.
    pub(crate) slack: f64,
}

/// Every pool's sketches by checkpoint, or the reason for scanning every row.
pub(crate) type PoolSketches = Result<Vec<Vec<SketchSide>>, String>;

pub(crate) fn all_have(sides: &[Vec<SketchSide>], plane: Plane) -> bool {
    let kind = plane.codes();
    sides.iter().flatten().all(|side| side.sketch.planes().is_some_and(|planes| planes.has(kind)))
}

fn needed(spec: &InfluenceSpec) -> &[Plane] {
    match &spec.mode {
        Mode::Sketch(mode) => match &mode.planes {
            Some(planes) => planes,
            None if mode.certified => &[Plane::Certified],
            None => &[],
        },
        Mode::Exact => &[],
    }
}

/// Joins sketches and queries. `find` gives the sketch of a feature, or says what there is instead;
/// `vectors[c]` are the query vectors of a checkpoint.
pub(crate) fn sides(
    spec: &InfluenceSpec,
    pools: &[ScanPool],
    vectors: &[Vec<f32>],
    mut find: impl FnMut(&FeatureReader) -> Result<Arc<Sketch>, String>,
) -> PoolSketches {
    if spec.per_token {
        return Err("tokens are scored, and sketches are of samples".into());
    }
    if spec.modules.is_some() {
        return Err("modules are selected, and a sketch is of whole vectors".into());
    }
    if has_metrics(pools) {
        return Err("cosines under a preconditioner are taken, and a sketch has no lengths under it".into());
    }
    let probable = matches!(&spec.mode, Mode::Sketch(mode) if !mode.certified);
    let certain = needed(spec).contains(&Plane::Certified);
    let mut all = Vec::new();
    let mut kept = Planes::ALL;
    for pool in pools {
        let mut of_pool: Vec<SketchSide> = Vec::new();
        for (reader, vectors) in pool.readers.iter().zip(vectors) {
            let part = reader.part();
            let (name, scale) = (part.display_name(), part.attrs.dot_scale);
            if spec.sim == Sim::Dot && !DOT_SCALES.contains(&scale) {
                return Err(format!(
                    "dot products of {name} are scaled by {scale}, for which rounding is not bounded"
                ));
            }
            let sketch = find(reader)?;
            if !sketch.covers(reader.blocks()) {
                return Err(format!("the sketch of {name} lacks segments"));
            }
            let none = "the sketches of the features have no plane in common";
            let own = sketch.planes().ok_or(none)?;
            kept = own.common(kept).ok_or(none)?;
            if let Some(plane) = needed(spec).iter().find(|plane| !own.has(plane.codes())) {
                return Err(format!(
                    "bounds of the kind `{plane}` are made of the plane {}, and the sketch of {name} keeps {own}",
                    Planes::only(plane.codes())
                ));
            }
            let rotations = sketch.rotations();
            // Variances add up over checkpoints only if their rotations were drawn apart.
            let mut others = of_pool.iter().flat_map(|side| side.sketch.rotations());
            if others.any(|(other, _)| rotations.iter().any(|(seed, _)| seed == other)) {
                return Err(format!("the sketch of {name} has the seed of another checkpoint's"));
            }
            let new = |(seed, rotation): &(u64, Rotation)| {
                SketchQueries::new(rotation, *seed, vectors, (probable.then_some(own), certain))
            };
            let queries: Vec<SketchQueries> = rotations.iter().map(new).collect();
            let mut norms = queries.iter().flat_map(|queries| &queries.each).map(|query| query.norm);
            if let Some(norm) = norms.find(|norm| *norm != 0.0 && !QUERY_NORMS.contains(norm)) {
                return Err(format!(
                    "a target vector has the length {norm:e}, for which the rounding of scores is not bounded"
                ));
            }
            let rotation = rotations.iter().map(|(_, rotation)| rotation.error()).fold(0.0, f64::max);
            let slack = rotation + rounding(part, pool.readers.len());
            of_pool.push(SketchSide { sketch, queries, slack });
        }
        all.push(of_pool);
    }
    Ok(all)
}

/// A bound of what single precision adds to `<x, q>` in the exact scan, in products of lengths. A sum of n
/// products in any order, one rounding each, is off by at most `n 2^-24 sum |x_i q_i|`, and that sum is at
/// most `|x| |q|`; n counts the longest chain that one product goes through: a lane, the tree, the factor and
/// its own rounding, groups and checkpoints. Queries of rotated signs are off by what rotating them rounds.
/// The last term covers underflow (for the lengths and scales that are coded), the rounding of stored lengths
/// and factors to f32, and all double precision.
fn rounding(part: &FeaturePart, checkpoints: usize) -> f64 {
    let groups = &part.attrs.groups;
    let longest = groups.iter().map(|group| group.len as usize).max().unwrap_or_default();
    let chain = longest.div_ceil(16) + 4 + 2 + groups.len() + checkpoints;
    1.01 * chain as f64 * 2f64.powi(-24) + f64::from(part.desc.rotation.rounding()) + 2f64.powi(-18)
}
