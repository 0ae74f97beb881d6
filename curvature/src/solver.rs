//! Preconditioner of vectors: the inverse of each block's matrix, applied by a Cholesky factorisation.
//!
//! If eigenvalues are only shifted, a factorisation takes far less time than an eigendecomposition. The other
//! inversions need the latter, and so does a matrix that cannot be factorised, to say what is wrong with it.

use std::ops::Range;
use std::sync::Arc;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Mat, MatMut, Par};

use crate::error::CurvatureError;
use crate::factors::check_damped;
use crate::filter::{Damping, Filter};
use crate::gram::Gram;
use crate::inversion::{BlockInverse, Inversion, rounding_error};

/// A damping of more than this many times the mean eigenvalue is all that there is of an inverse: even of
/// 8,192 rows with only one eigenvalue above 0 it is off by less than 1 %.
const OUTWEIGHS: f64 = 1e6;

/// `H^-1 v` for the mean matrix H of one block.
#[derive(Debug, Clone)]
pub struct Solver {
    form: SolverForm,
    /// Whether the damping leaves no eigenvalue a part in it.
    outweighed: bool,
}

#[derive(Debug, Clone)]
enum SolverForm {
    /// L with `L L' = H + damping`, in the lower triangle.
    Factor(Mat<f64>),
    Eigen(BlockInverse),
    /// A factor for each value.
    Scale(Vec<f64>),
}

impl Solver {
    /// For the mean matrix of a block, whose name is used in errors. Memory: one matrix, and one more during
    /// construction; five if it takes an eigendecomposition.
    ///
    /// # Errors
    /// Values that are not finite, a decomposition that fails its check, and a matrix that has no inverse.
    pub fn new(
        gram: &Gram,
        name: &str,
        inversion: Inversion,
        damping: Option<f64>,
    ) -> Result<Self, CurvatureError> {
        let size = gram.size;
        if matches!(inversion, Inversion::Damped | Inversion::Absolute) {
            let matrix = gram.mean();
            let trace: f64 = (0..size).map(|i| matrix[i * size + i]).sum();
            let mean = trace / size.max(1) as f64;
            let added = inversion.added(mean, damping)?;
            if let Some(factor) = factor(&matrix, size, added) {
                let outweighed = added > OUTWEIGHS * mean;
                return Ok(Self { form: SolverForm::Factor(factor), outweighed });
            }
        }
        let inverse = BlockInverse::new(gram, name, inversion, damping)?;
        Ok(Self { outweighed: inverse.is_zero(), form: SolverForm::Eigen(inverse) })
    }

    /// Maps every vector of `size` values to 0: the solver of a block that is left out.
    pub fn zero(size: usize) -> Self {
        Self { form: SolverForm::Scale(vec![0.0; size]), outweighed: true }
    }

    /// For vectors in an eigenbasis that were divided by `sqrt(l + fitted)` of the eigenvalues l of their
    /// coordinates: it turns their products into those under the filter of l. The default damping of an
    /// inverse is the fitted one.
    ///
    /// # Errors
    /// An invalid damping, one of 0 with an eigenvalue that is 0 up to rounding, and one so small, or a
    /// segment so long, that a factor is not finite.
    pub fn rescaling(
        eigenvalues: &[f64],
        fitted: f64,
        filter: Filter,
        name: &str,
    ) -> Result<Self, CurvatureError> {
        let damping = match filter.damping() {
            Some(Damping::OfMean) => Some(fitted),
            Some(Damping::Value(damping)) => Some(damping),
            None => None,
        };
        let (scale, outweighed): (Vec<f64>, bool) = match damping {
            None => {
                let scale = eigenvalues.iter().map(|value| filter.of(*value, 0.0) * (value + fitted));
                (scale.collect(), false)
            }
            Some(damping) if !damping.is_finite() || damping < 0.0 => {
                return Err(CurvatureError::Damping(damping));
            }
            Some(damping) => {
                check_damped(eigenvalues, damping, name)?;
                let scale = eigenvalues.iter().map(|value| (value + fitted) / (value + damping));
                let mean = eigenvalues.iter().sum::<f64>() / eigenvalues.len().max(1) as f64;
                (scale.collect(), damping > OUTWEIGHS * mean)
            }
        };
        // Vectors are of 32 bits.
        if scale.iter().any(|scale| !(*scale as f32).is_finite()) {
            let (module, what) = (name.to_owned(), "the curvature through this filter");
            return Err(CurvatureError::NotFinite { module, what });
        }
        Ok(Self { form: SolverForm::Scale(scale), outweighed })
    }

    /// `H^-1 v` in place.
    ///
    /// # Panics
    /// If the vector has another size.
    pub fn apply(&self, vector: &mut [f64]) {
        match &self.form {
            SolverForm::Eigen(inverse) => {
                let applied = inverse.apply(vector);
                vector.copy_from_slice(&applied);
            }
            SolverForm::Scale(scale) => {
                assert_eq!(vector.len(), scale.len(), "values of a vector");
                vector.iter_mut().zip(scale).for_each(|(value, scale)| *value *= scale);
            }
            SolverForm::Factor(factor) => {
                let n = factor.nrows();
                let factor = factor.as_ref();
                let column = MatMut::from_column_major_slice_mut(&mut *vector, n, 1);
                solve_lower_triangular_in_place(factor, column, Par::Seq);
                let column = MatMut::from_column_major_slice_mut(vector, n, 1);
                solve_upper_triangular_in_place(factor.transpose(), column, Par::Seq);
            }
        }
    }

    /// `v' H^-1 v` of vectors `[count, size]`, which are overwritten.
    ///
    /// # Panics
    /// If they are incomplete.
    pub fn energies(&self, vectors: &mut [f64]) -> Vec<f64> {
        match &self.form {
            SolverForm::Eigen(inverse) => inverse.energies(vectors),
            SolverForm::Scale(scale) => {
                let energy = |v: &[f64]| v.iter().zip(scale).map(|(x, scale)| x * x * scale).sum::<f64>();
                vectors.chunks_exact(scale.len().max(1)).map(energy).collect()
            }
            SolverForm::Factor(factor) => {
                // With H = L L' it is the square of the length of L^-1 v.
                let n = factor.nrows();
                let count = vectors.len() / n.max(1);
                let columns = MatMut::from_column_major_slice_mut(&mut *vectors, n, count);
                solve_lower_triangular_in_place(factor.as_ref(), columns, Par::Seq);
                vectors.chunks_exact(n.max(1)).map(|v| v.iter().map(|x| x * x).sum::<f64>()).collect()
            }
        }
    }
}

/// The factor of a matrix with `added` on its diagonal; none if that is not clearly positive definite.
fn factor(matrix: &[f64], size: usize, added: f64) -> Option<Mat<f64>> {
    if !added.is_finite() {
        return None;
    }
    let value = |row: usize, col: usize| matrix[row * size + col] + if row == col { added } else { 0.0 };
    let mut factor = Mat::from_fn(size, size, value);
    let least = rounding_error((0..size).map(|i| value(i, i)));
    let scratch = cholesky_in_place_scratch::<f64>(size, Par::Seq, Default::default());
    cholesky_in_place(
        factor.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    let clear = (0..size).all(|i| factor[(i, i)] * factor[(i, i)] > least);
    clear.then_some(factor)
}

/// The preconditioner of vectors with several blocks; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Preconditioner {
    blocks: Arc<[(Range<usize>, Solver)]>,
}

impl Preconditioner {
    /// For blocks with their coordinates; coordinates outside all blocks stay as they are.
    pub fn new(blocks: Vec<(Range<usize>, Solver)>) -> Self {
        Self { blocks: blocks.into() }
    }

    /// Whether the damping leaves no eigenvalue of a block a part: each inverse is a multiple of the
    /// identity, or 0 where a pseudoinverse leaves all of them out.
    pub fn is_outweighed(&self) -> bool {
        self.blocks.iter().all(|(_, block)| block.outweighed)
    }

    /// `H^-1 v` in place. A vector has the same bits whatever others are preconditioned.
    ///
    /// # Panics
    /// If a block lies outside the vector or has another size than its coordinates.
    pub fn apply(&self, vector: &mut [f64]) {
        self.blocks.iter().for_each(|(range, block)| block.apply(&mut vector[range.clone()]));
    }

    /// `v' H^-1 v` of vectors `[count, size]`, each block's part times its weight; coordinates outside all
    /// blocks do not count. A vector has the same bits at the same index among the same number of vectors,
    /// whatever the others are.
    ///
    /// # Panics
    /// If the vectors are incomplete, or as for [`Preconditioner::apply`].
    pub fn energies(&self, vectors: &[f64], count: usize, weights: &[f64]) -> Vec<f64> {
        let size = (vectors.len() / count.max(1)).max(1);
        let (mut found, mut block) = (vec![0.0; count], Vec::new());
        for ((range, solver), weight) in self.blocks.iter().zip(weights).filter(|(_, weight)| **weight != 0.0)
        {
            block.clear();
            vectors.chunks_exact(size).for_each(|vector| block.extend_from_slice(&vector[range.clone()]));
            let energies = solver.energies(&mut block);
            found.iter_mut().zip(energies).for_each(|(sum, energy)| *sum += weight * energy);
        }
        found
    }

    /// `sqrt(v' H^-1 v)` of one vector, with a weight for each block.
    ///
    /// # Panics
    /// As for [`Preconditioner::apply`].
    pub fn length(&self, vector: &[f64], weights: &[f64]) -> f64 {
        // Rounding may leave a little less than 0.
        self.energies(vector, 1, weights).iter().sum::<f64>().max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_vectors_are_asked_with_another_damping() {
        let through = |filter| Solver::rescaling(&[0.0, 1.0, 3.0], 3.0, filter, "b");
        let of = |damping| through(Filter::Inverse(Damping::Value(damping)));
        for (damping, expected) in [(1.0, [3.0, 6.0, 3.0]), (3.0, [1.0, 3.0, 2.0])] {
            let mut vector = [1.0, 3.0, 2.0];
            of(damping).unwrap().apply(&mut vector);
            assert_eq!(vector, expected);
        }
        // 3, 2 and 1.5 times the squares.
        assert_eq!(of(1.0).unwrap().energies(&mut [1.0, 3.0, 2.0, 0.0, 1.0, 0.0]), [27.0, 2.0]);
        let one = |filter| {
            let mut vector = [1.0; 3];
            through(filter).unwrap().apply(&mut vector);
            vector
        };
        assert_eq!(one(Filter::Inverse(Damping::OfMean)), [1.0; 3]);
        assert_eq!(one(Filter::Identity), [3.0, 4.0, 6.0]);
        let flat = one(Filter::Source { steps: 10, rate: 0.2 });
        assert_eq!((flat[0], flat[1]), (2.0 * 3.0, -(-2.0_f64).exp_m1() * 4.0));
        assert!(matches!(of(0.0), Err(CurvatureError::Singular { zeros: 1, all: 3, .. })));
        assert!(matches!(of(-1.0), Err(CurvatureError::Damping(_))));
        // Products with these would be infinite or no numbers.
        for filter in [
            Filter::Inverse(Damping::Value(1e-320)),
            Filter::Inverse(Damping::Value(1e-40)),
            Filter::Source { steps: 1, rate: f64::MAX },
            Filter::Source { steps: 10, rate: f64::MAX },
        ] {
            let refused = through(filter).map(drop);
            assert!(matches!(refused, Err(CurvatureError::NotFinite { .. })), "{filter}: {refused:?}");
        }
    }

    #[test]
    fn a_damping_that_outweighs_all_eigenvalues_is_known() {
        let mut gram = Gram::new(2);
        // Of eigenvalues 16 and 1.
        gram.add_rows(&[4.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0].map(|value: f64| value * 2.0_f64.sqrt()));
        for (inversion, below, above) in [
            (Inversion::Damped, 9e5, 1.1e6),
            (Inversion::Absolute, 8e6, 9e6),
            (Inversion::Pseudoinverse, 1.8, 1.9),
        ] {
            for (damping, expected) in [(below, false), (above, true)] {
                let solver = Solver::new(&gram, "b", inversion, Some(damping)).unwrap();
                assert_eq!(solver.outweighed, expected, "{inversion:?} {damping}");
            }
            assert!(!Solver::new(&gram, "b", inversion, None).unwrap().outweighed);
        }
        let of = |damping| Solver::rescaling(&[16.0, 1.0], 1.0, Filter::Inverse(damping), "b").unwrap();
        let [usual, large] = [Damping::OfMean, Damping::Value(9e6)].map(of);
        assert_eq!([usual.outweighed, large.outweighed], [false, true]);
        let both = |blocks: [&Solver; 2]| {
            let blocks = blocks.into_iter().enumerate();
            Preconditioner::new(blocks.map(|(at, block)| (2 * at..2 * at + 2, block.clone())).collect())
        };
        assert!(both([&large, &large]).is_outweighed() && !both([&large, &usual]).is_outweighed());
    }

    #[test]
    fn a_factor_and_an_eigenbasis_agree() {
        let (size, rows) = (37, 20);
        let mut gram = Gram::new(size);
        let values: Vec<f64> = (0..size * rows).map(|i| ((i * i + i) as f64 * 0.77).sin()).collect();
        gram.add_rows(&values);
        let vector: Vec<f64> = (0..size).map(|i| (i as f64).cos()).collect();
        for (inversion, damping) in
            [(Inversion::Damped, None), (Inversion::Absolute, Some(1e-3)), (Inversion::Tikhonov, None)]
        {
            let solver = Solver::new(&gram, "b", inversion, damping).unwrap();
            assert_eq!(matches!(solver.form, SolverForm::Factor(_)), inversion != Inversion::Tikhonov);
            let mut found = vector.clone();
            solver.apply(&mut found);
            let expected = BlockInverse::new(&gram, "b", inversion, damping).unwrap().apply(&vector);
            found.iter().zip(&expected).for_each(|(x, y)| assert!((x - y).abs() < 1e-8, "{x} is not {y}"));
            // Lengths under it, of two vectors and of one.
            let energy: f64 = vector.iter().zip(&expected).map(|(x, y)| x * y).sum();
            let conditioner = Preconditioner::new(vec![(1..1 + size, solver)]);
            let wide = [&[5.0][..], &vector[..], &[7.0][..], &[1.0][..], &vector[..], &[0.0][..]].concat();
            for found in conditioner.energies(&wide, 2, &[2.0]) {
                assert!((found / energy - 2.0).abs() < 1e-9, "{found} is not twice {energy}");
            }
            let length = conditioner.length(&wide[..size + 2], &[1.0]);
            assert!((length * length / energy - 1.0).abs() < 1e-9);
        }
        // Fewer rows than coordinates have no inverse without damping.
        let error = Solver::new(&gram, "b", Inversion::Damped, Some(0.0)).unwrap_err();
        assert!(matches!(error, CurvatureError::Singular { zeros: 17, all: 37, .. }), "{error}");
        assert!(Solver::new(&gram, "b", Inversion::Damped, Some(-1.0)).is_err());
        gram.sums[1] = f64::NAN;
        assert!(Solver::new(&gram, "b", Inversion::Damped, None).is_err());
    }
}
