//! Mixture of the curvature of training rows and of queries.

use crate::eigen::Eigen;
use crate::error::CurvatureError;
use crate::gram::Gram;

/// A mixture of the curvature of training rows and of queries.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvatureMixture {
    /// The part of the queries.
    pub lambda: f64,
    /// For each block `lambda H_query + (1 - lambda) H_train`, of the means.
    pub blocks: Vec<Gram>,
}

/// TrackStar's mixture (arXiv 2410.17413): `lambda` balances both sides' eigenvalue number
/// `target_components`, of all blocks together and the largest first. `blocks`: name, training rows, queries.
///
/// # Errors
/// Sizes that differ, values that are not finite, a decomposition that fails its check, and a number of
/// components where neither side has an eigenvalue.
pub fn mixed(
    blocks: &[(&str, &Gram, &Gram)],
    target_components: usize,
) -> Result<CurvatureMixture, CurvatureError> {
    check(blocks)?;
    let (mut train, mut query) = (Vec::new(), Vec::new());
    for (name, of_train, of_query) in blocks {
        train.extend(Eigen::of(&of_train.mean(), of_train.size, name, "Gram matrix")?.values);
        query.extend(Eigen::of(&of_query.mean(), of_query.size, name, "queries' Gram matrix")?.values);
    }
    let at = |values: &mut Vec<f64>| {
        values.sort_by(|a, b| b.total_cmp(a));
        target_components.checked_sub(1).and_then(|at| values.get(at)).copied().unwrap_or(0.0)
    };
    let (of_train, of_query) = (at(&mut train), at(&mut query));
    let lambda = of_train / (of_query + of_train);
    if !lambda.is_finite() {
        return Err(CurvatureError::Components { asked: target_components, all: train.len() });
    }
    mixture(blocks, lambda)
}

/// The mixture with a given part of the queries, from 0 to 1. `blocks`: name, training rows, queries.
///
/// # Errors
/// Sizes that differ.
pub fn mixture(blocks: &[(&str, &Gram, &Gram)], lambda: f64) -> Result<CurvatureMixture, CurvatureError> {
    check(blocks)?;
    let mix = |(_, train, query): &(&str, &Gram, &Gram)| {
        let means = query.mean().into_iter().zip(train.mean());
        let sums = means.map(|(query, train)| lambda * query + (1.0 - lambda) * train).collect();
        Gram { size: train.size, sums, count: 1 }
    };
    Ok(CurvatureMixture { lambda, blocks: blocks.iter().map(mix).collect() })
}

/// Refuses blocks whose sides have different sizes.
fn check(blocks: &[(&str, &Gram, &Gram)]) -> Result<(), CurvatureError> {
    let other = blocks.iter().find(|(_, of_train, of_query)| of_train.size != of_query.size);
    let Some((name, of_train, of_query)) = other else { return Ok(()) };
    Err(CurvatureError::Size {
        module: (*name).to_owned(),
        what: "the queries' Gram matrix",
        found: of_query.sums.len(),
        expected: of_train.sums.len(),
    })
}
