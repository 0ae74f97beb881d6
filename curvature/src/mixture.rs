//! Mixture of the curvature of training rows and of queries.

use crate::eigen::Eigen;
use crate::error::CurvatureError;
use crate::gram::Gram;
use crate::inversion::rounding_error;

/// Eigenvalues of both sides of a mixture, of all blocks together in descending order; those that may be
/// rounding are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct MixtureBalance {
    train: Vec<f64>,
    query: Vec<f64>,
}

impl MixtureBalance {
    /// `blocks`: name, training rows, queries.
    ///
    /// # Errors
    /// Sizes that differ, values that are not finite, and a decomposition that fails its check.
    pub fn new(blocks: &[(&str, &Gram, &Gram)]) -> Result<Self, CurvatureError> {
        check(blocks)?;
        let (mut train, mut query) = (Vec::new(), Vec::new());
        for (name, of_train, of_query) in blocks {
            train.extend(eigenvalues(of_train, name, "Gram matrix")?);
            query.extend(eigenvalues(of_query, name, "queries' Gram matrix")?);
        }
        [&mut train, &mut query].into_iter().for_each(|values| values.sort_by(|a, b| b.total_cmp(a)));
        Ok(Self { train, query })
    }

    /// The number of eigenvalues that are above 0 on both sides.
    pub fn components(&self) -> usize {
        self.train.iter().zip(&self.query).take_while(|(a, b)| **a > 0.0 && **b > 0.0).count()
    }

    /// TrackStar's share of the queries (arXiv 2410.17413), from 0 to 1: it makes both sides contribute
    /// equally to the eigenvalue with this number, counted from 1. If it is above 0 on one side only, the
    /// mixture is the other side: beyond [`MixtureBalance::components`] nothing is balanced.
    ///
    /// # Errors
    /// A number for which no side has an eigenvalue above 0.
    pub fn share(&self, components: usize) -> Result<f64, CurvatureError> {
        let at = components.checked_sub(1);
        let pair = at.and_then(|at| Some((*self.train.get(at)?, *self.query.get(at)?)));
        match pair.filter(|(train, query)| train + query > 0.0) {
            Some((train, query)) => Ok(train / (query + train)),
            None => Err(CurvatureError::Components { asked: components, most: self.components() }),
        }
    }
}

/// The eigenvalues of a mean matrix; 0 if they may be rounding, on which a balance would be random.
fn eigenvalues(gram: &Gram, name: &str, what: &'static str) -> Result<Vec<f64>, CurvatureError> {
    let Eigen { mut values, .. } = Eigen::of(&gram.mean(), gram.size, name, what)?;
    let least = rounding_error(values.iter().copied());
    values.iter_mut().filter(|value| **value <= least).for_each(|value| *value = 0.0);
    Ok(values)
}

/// For each block `share H_query + (1 - share) H_train`, of the means, with a share from 0 to 1. `blocks`:
/// name, training rows, queries.
///
/// # Errors
/// Sizes that differ.
pub fn mixture(blocks: &[(&str, &Gram, &Gram)], share: f64) -> Result<Vec<Gram>, CurvatureError> {
    check(blocks)?;
    let mix = |(_, train, query): &(&str, &Gram, &Gram)| {
        let means = query.mean().into_iter().zip(train.mean());
        let sums = means.map(|(query, train)| share * query + (1.0 - share) * train).collect();
        Gram { size: train.size, sums, count: 1 }
    };
    Ok(blocks.iter().map(mix).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::noise;

    #[test]
    fn sides_are_balanced_where_both_have_an_eigenvalue() {
        let size = 6;
        let of = |rows: usize| {
            let mut gram = Gram::new(size);
            gram.add_rows(&noise(rows * size));
            gram
        };
        // Of 4 queries the last two eigenvalues are 0 up to rounding, and of 2 in a second block the last
        // four.
        let sides = [(of(20), of(4)), (of(30), of(2))];
        let blocks: Vec<(&str, &Gram, &Gram)> =
            sides.iter().map(|(train, query)| ("b", train, query)).collect();
        let balance = MixtureBalance::new(&blocks).unwrap();
        assert_eq!(balance.components(), 6);
        for components in 1..=6 {
            let share = balance.share(components).unwrap();
            assert!(share > 0.0 && share < 1.0, "{components}: {share}");
        }
        assert_eq!(balance.share(7), Ok(1.0), "beyond that, the queries alone");
        for asked in [0, 13] {
            let refused = balance.share(asked).unwrap_err();
            assert_eq!(refused, CurvatureError::Components { asked, most: 6 });
            let says = format!("number 1 to 6 from the largest, not number {asked}");
            assert!(refused.to_string().ends_with(&says), "{refused}");
        }
        let none = Gram::new(size);
        let flat = MixtureBalance::new(&[("b", &none, &none)]).unwrap();
        assert!(flat.share(1).unwrap_err().to_string().ends_with("and one of them has none"));
    }
}
