//! The stored vectors of the rows that are explained.

use super::{Prepared, Scored};
use crate::error::QueryError;
use crate::influence::prepare::operands::Operands;
use crate::influence::scan::lengths::length;
use crate::influence::spec::modules;
use crate::influence::spec::{Missing, Sim};
use crate::values::norm;

pub(super) struct RowVectors {
    pub(super) pool: usize,
    /// Its vector at each checkpoint that it has, of length 1 for a cosine and times `dot_scale` else.
    pub(super) vectors: Vec<Option<Vec<f32>>>,
    /// The weights of the checkpoints; where some are lacking, normalised over the others.
    shares: Vec<f64>,
}

impl RowVectors {
    /// The checkpoints that the row has, with their weights.
    pub(super) fn shares(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let has = |(c, _): &(usize, f64)| self.vectors[*c].is_some();
        self.shares.iter().copied().enumerate().filter(has)
    }
}

pub(super) fn lines(
    prepared: &Prepared,
    rows: &[Scored],
    operands: &Operands,
) -> Result<Vec<RowVectors>, QueryError> {
    rows.iter().map(|scored| line(prepared, scored, operands)).collect()
}

fn line(prepared: &Prepared, scored: &Scored, operands: &Operands) -> Result<RowVectors, QueryError> {
    let pool = scored.pool as usize;
    let foreign = |what: &str| {
        let pos = scored.pos.map_or_else(String::new, |pos| format!(", position {pos},"));
        QueryError::Spec(format!(
            "row {}{pos} of pool {} is not an answer to this question: {what}",
            scored.row, scored.pool
        ))
    };
    let open = operands.pools.get(pool).ok_or_else(|| foreign("there is no such pool"))?;
    let mut vectors = Vec::with_capacity(open.readers.len());
    for (c, reader) in open.readers.iter().enumerate() {
        let stored = reader.row_vectors(scored.row)?.into_iter().find(|stored| stored.pos == scored.pos);
        vectors.push(stored.map(|stored| {
            let factor = match prepared.spec().sim {
                Sim::Cosine => {
                    1.0 / length(&stored.vector, norm(&stored.norm, &open.modules[c]), open.measure(c))
                }
                Sim::Dot => reader.part().attrs.dot_scale,
            };
            stored.vector.iter().map(|x| (f64::from(*x) * factor) as f32).collect::<Vec<f32>>()
        }));
    }
    let mut shares = operands.weights.clone();
    if vectors.iter().any(Option::is_none) {
        let total: f64 = shares.iter().zip(&vectors).filter(|(_, v)| v.is_some()).map(|(w, _)| w).sum();
        if total <= 0.0 || prepared.spec().missing != Missing::Renormalise {
            return Err(foreign("it lacks a checkpoint"));
        }
        shares.iter_mut().for_each(|w| *w /= total);
    }
    Ok(RowVectors { pool, vectors, shares })
}

/// For each coordinate the weight of its module, at a checkpoint.
pub(super) fn coordinate_weights(prepared: &Prepared, c: usize) -> Vec<f64> {
    let feature = &prepared.pools()[0].features[c];
    let weights = modules::weights(prepared.spec().modules.as_ref(), feature);
    let groups = feature.attrs.groups.iter().zip(weights);
    groups.flat_map(|(group, weight)| std::iter::repeat_n(weight, group.len as usize)).collect()
}
