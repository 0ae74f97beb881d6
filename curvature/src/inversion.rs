//! Inverses of Gram matrices, which precondition rows: damped, filtered or truncated, block by block.

use crate::eigen::Eigen;
use crate::error::CurvatureError;
use crate::filter::PART_OF_MEAN;
use crate::gram::Gram;
use crate::matrix::{product, product_of_transposed};

/// How eigenvalues l with mean m are inverted, with a damping c.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Inversion {
    /// `1 / (l + c m)`.
    #[default]
    Damped,
    /// `1 / (l + c)`.
    Absolute,
    /// `l / (l^2 + (c m)^2)`.
    Tikhonov,
    /// `1 / l` where `l > c m`, else 0.
    Pseudoinverse,
}

impl Inversion {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Damped, Self::Absolute, Self::Tikhonov, Self::Pseudoinverse];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; 4] = ["damped", "absolute", "tikhonov", "pseudoinverse"];

    /// Name in options and messages.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The inversion with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|inversion| inversion.name() == name)
    }

    /// The number that a damping stands for if this is the mean eigenvalue; by default c is 0.1, and that
    /// part of the mean for [`Inversion::Absolute`] too.
    pub(crate) fn added(self, mean: f64, damping: Option<f64>) -> Result<f64, CurvatureError> {
        match (self, damping) {
            (_, Some(bad)) if !bad.is_finite() || bad < 0.0 => Err(CurvatureError::Damping(bad)),
            (Self::Absolute, Some(damping)) => Ok(damping),
            (_, damping) => Ok(damping.unwrap_or(PART_OF_MEAN) * mean),
        }
    }

    /// The inverted eigenvalues.
    fn of(self, values: &[f64], damping: Option<f64>, name: &str) -> Result<Vec<f64>, CurvatureError> {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let added = self.added(mean, damping)?;
        let least = rounding_error(values.iter().copied());
        let zeros = values.iter().filter(|value| **value + added <= least).count();
        if zeros > 0 && self != Self::Pseudoinverse {
            let (module, damping) = (name.to_owned(), damping.unwrap_or(added));
            return Err(CurvatureError::Singular { module, damping, zeros, all: values.len() });
        }
        let inverted = |value: f64| match self {
            Self::Damped | Self::Absolute => 1.0 / (value + added),
            Self::Tikhonov => value / (value * value + added * added),
            Self::Pseudoinverse if value > added.max(least) => 1.0 / value,
            Self::Pseudoinverse => 0.0,
        };
        Ok(values.iter().map(|value| inverted(*value)).collect())
    }
}

/// Values up to this may be rounding of a decomposition, given eigenvalues or other values of their size.
pub(crate) fn rounding_error(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    8.0 * f64::EPSILON * values.len() as f64 * values.fold(0.0, f64::max)
}

/// The inverse H^-1 of a block's matrix, in its eigenbasis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlockInverse {
    /// `[size, size]`: column j is an eigenvector.
    vectors: Vec<f64>,
    /// The inverted eigenvalues.
    inverted: Vec<f64>,
}

impl BlockInverse {
    /// The inverse of the mean matrix of a block, whose name is used in errors.
    ///
    /// # Errors
    /// Values that are not finite, a decomposition that fails its check, and a matrix that has no inverse.
    pub(crate) fn new(
        gram: &Gram,
        name: &str,
        inversion: Inversion,
        damping: Option<f64>,
    ) -> Result<Self, CurvatureError> {
        let Eigen { values, vectors } = Eigen::of(&gram.mean(), gram.size, name, "Gram matrix")?;
        Ok(Self { inverted: inversion.of(&values, damping, name)?, vectors })
    }

    /// Whether it leaves out all eigenvalues.
    pub(crate) fn is_zero(&self) -> bool {
        self.inverted.iter().all(|value| *value == 0.0)
    }

    /// Length of a vector.
    fn size(&self) -> usize {
        self.inverted.len()
    }

    /// `H^-1 v` of vectors `[count, size]`.
    ///
    /// # Panics
    /// If they are incomplete.
    pub(crate) fn apply(&self, vectors: &[f64]) -> Vec<f64> {
        let n = self.size();
        let mut rotated = self.rotated(vectors);
        for vector in rotated.chunks_exact_mut(n.max(1)) {
            vector.iter_mut().zip(&self.inverted).for_each(|(value, inverted)| *value *= inverted);
        }
        product_of_transposed(&rotated, &self.vectors, (vectors.len() / n.max(1), n, n))
    }

    /// `v' H^-1 v` of vectors `[count, size]`.
    ///
    /// # Panics
    /// If they are incomplete.
    pub(crate) fn energies(&self, vectors: &[f64]) -> Vec<f64> {
        let squares = |rotated: &[f64]| {
            rotated.iter().zip(&self.inverted).map(|(value, inverted)| value * value * inverted).sum::<f64>()
        };
        self.rotated(vectors).chunks_exact(self.size().max(1)).map(squares).collect()
    }

    fn rotated(&self, vectors: &[f64]) -> Vec<f64> {
        let n = self.size();
        product(vectors, &self.vectors, (vectors.len() / n.max(1), n, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{dot, noise};

    #[test]
    fn an_inverse_undoes_the_matrix() {
        let size = 6;
        let mut gram = Gram::new(size);
        gram.add_rows(&noise(30 * size));
        let inverse = BlockInverse::new(&gram, "b", Inversion::Absolute, Some(0.0)).unwrap();
        let v = noise(size);
        let back = product(&inverse.apply(&v), &gram.mean(), (1, size, size));
        v.iter().zip(&back).for_each(|(v, back)| assert!((v - back).abs() < 1e-9));
        assert!((dot(&inverse.apply(&v), &v) - inverse.energies(&v)[0]).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_inverse_is_refused() {
        let mut gram = Gram::new(4);
        gram.add_rows(&noise(8));
        let of = |inversion, damping| BlockInverse::new(&gram, "b", inversion, damping).map(|_| ());
        for inversion in [Inversion::Damped, Inversion::Absolute, Inversion::Tikhonov] {
            assert!(matches!(
                of(inversion, Some(0.0)),
                Err(CurvatureError::Singular { zeros: 2, all: 4, .. })
            ));
            let small = of(inversion, Some(1e-40)).unwrap_err().to_string();
            let says = "module `b`: with a damping of 1e-40, 2 of 4 eigenvalues are 0 up to rounding and have no inverse";
            assert_eq!(small, says);
            assert_eq!(of(inversion, None), Ok(()));
            assert_eq!(of(inversion, Some(-1.0)), Err(CurvatureError::Damping(-1.0)));
        }
        assert_eq!(of(Inversion::Pseudoinverse, Some(0.0)), Ok(()));
        assert!(BlockInverse::new(&Gram::new(3), "b", Inversion::Damped, None).is_err());
        for (inversion, name) in Inversion::ALL.into_iter().zip(Inversion::NAMES) {
            assert_eq!(Inversion::parse(name), Some(inversion));
            assert_eq!(inversion.name(), name);
        }
    }
}
