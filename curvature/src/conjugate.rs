//! Conjugate gradients with a preconditioner, for several right-hand sides that share the products with the
//! matrix.
//!
//! Each right-hand side has its own recurrence, from zero: the first step goes along the preconditioner's own
//! answer `P b`, with the optimal length, so that each iteration is one product, and none is spent on a
//! start. A solution does not depend on what is solved alongside. Sources: Hestenes and Stiefel 1952; for
//! curvature of networks Martens 2010 (Hessian-free optimisation).

use crate::error::CurvatureError;
use crate::matrix::dot;

/// `A v`, or why it cannot be computed for that vector.
pub type ProductResult = Result<Vec<f64>, String>;

/// A symmetric positive definite matrix A, and P, also positive definite, which approximates its inverse.
pub trait LinearSystem {
    /// Why nothing can be solved.
    type Error;

    /// `A v` of each vector.
    ///
    /// # Errors
    /// Products that cannot be computed for any vector.
    fn products(&mut self, vectors: &[&[f64]]) -> Result<Vec<ProductResult>, Self::Error>;

    /// `P v` of each vector.
    ///
    /// # Errors
    /// A preconditioner that cannot be applied.
    fn preconditioned(&mut self, vectors: &[&[f64]]) -> Result<Vec<Vec<f64>>, Self::Error>;
}

/// When iterations end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SolveLimits {
    /// Largest residual, relative to the right-hand side's length.
    pub tolerance: f64,
    /// Limit on products with the matrix.
    pub iterations: usize,
}

/// The solution for a right-hand side.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The solution itself; zeros if the recurrence broke down.
    pub x: Vec<f64>,
    /// Number of products.
    pub iterations: usize,
    /// `|b - A x| / |b|`, from the recurrence; its last value if that broke down.
    pub residual: f64,
    /// `|b - A P b| / |b|`: the residual of the preconditioner alone.
    pub start: f64,
    /// Why the recurrence broke down, with the name of the right-hand side; none if it did not.
    pub broken: Option<String>,
}

/// A right-hand side in progress.
struct RightHandSide<'a> {
    name: &'a str,
    /// Length of the right-hand side.
    length: f64,
    r: Vec<f64>,
    p: Vec<f64>,
    /// `r' P r`.
    energy: f64,
    found: Solution,
}

impl RightHandSide<'_> {
    fn is_open(&self, limits: SolveLimits) -> bool {
        let Solution { broken, residual, iterations, .. } = &self.found;
        broken.is_none() && *residual > limits.tolerance && *iterations < limits.iterations
    }

    /// Ends the recurrence if it broke down.
    fn note(&mut self, done: Result<(), CurvatureError>) {
        if let Err(error) = done {
            self.found.broken = Some(error.to_string());
        }
    }

    fn failed(&self, what: &'static str, value: f64) -> CurvatureError {
        let (query, iteration) = (self.name.to_owned(), self.found.iterations);
        CurvatureError::Breakdown { query, iteration, what, value }
    }

    /// A number that must be positive.
    fn positive(&self, what: &'static str, value: f64) -> Result<f64, CurvatureError> {
        if value.is_finite() && value > 0.0 { Ok(value) } else { Err(self.failed(what, value)) }
    }

    /// A step along `p`, where `product` is the product of `p`.
    fn step(&mut self, product: ProductResult) -> Result<(), CurvatureError> {
        let (query, iteration) = (self.name, self.found.iterations);
        let product =
            product.map_err(|why| CurvatureError::Product { query: query.to_owned(), iteration, why })?;
        let bend = self.positive("the curvature along a direction", dot(&self.p, &product))?;
        if self.found.iterations == 0 {
            let rest = self.r.iter().zip(&product).map(|(b, q)| (b - q) * (b - q)).sum::<f64>();
            self.found.start = rest.sqrt() / self.length;
        }
        let length = self.energy / bend;
        self.found.x.iter_mut().zip(&self.p).for_each(|(x, p)| *x += length * p);
        self.r.iter_mut().zip(&product).for_each(|(r, q)| *r -= length * q);
        self.found.iterations += 1;
        let residual = dot(&self.r, &self.r).sqrt() / self.length;
        if !residual.is_finite() {
            return Err(self.failed("the residual", residual));
        }
        self.found.residual = residual;
        Ok(())
    }

    /// The next direction, from the preconditioned residual.
    fn turn(&mut self, z: &[f64]) -> Result<(), CurvatureError> {
        let energy = self.positive("the preconditioned residual's energy", dot(&self.r, z))?;
        let share = if self.found.iterations == 0 { 0.0 } else { energy / self.energy };
        self.p.iter_mut().zip(z).for_each(|(p, z)| *p = z + share * *p);
        self.energy = energy;
        Ok(())
    }
}

/// Solves `A x = b` for named right-hand sides, until each is within the tolerance or has used all
/// iterations. One whose recurrence breaks down (a right-hand side that is not finite, curvature along a
/// direction that is not positive, values that are not finite) ends alone, and says why.
///
/// Memory: three vectors for each right-hand side, and what the system keeps for unfinished ones.
///
/// # Errors
/// Those of the system.
pub fn conjugate_gradients<S: LinearSystem>(
    system: &mut S,
    sides: Vec<(&str, Vec<f64>)>,
    limits: SolveLimits,
) -> Result<Vec<Solution>, S::Error> {
    let mut runs = Vec::with_capacity(sides.len());
    for (name, b) in sides {
        let (length, x) = (dot(&b, &b).sqrt(), vec![0.0; b.len()]);
        let residual = if length == 0.0 { 0.0 } else { 1.0 };
        let (p, start) = (x.clone(), residual);
        let found = Solution { x, iterations: 0, residual, start, broken: None };
        let mut run = RightHandSide { name, length, r: b, p, energy: 0.0, found };
        if !length.is_finite() {
            run.note(Err(run.failed("the gradient's length", length)));
        }
        runs.push(run);
    }
    loop {
        let mut open: Vec<&mut RightHandSide<'_>> =
            runs.iter_mut().filter(|run| run.is_open(limits)).collect();
        if open.is_empty() {
            break;
        }
        let residuals: Vec<&[f64]> = open.iter().map(|run| run.r.as_slice()).collect();
        let turned = system.preconditioned(&residuals)?;
        for (run, z) in open.iter_mut().zip(turned) {
            let turned = run.turn(&z);
            run.note(turned);
        }
        open.retain(|run| run.found.broken.is_none());
        let directions: Vec<&[f64]> = open.iter().map(|run| run.p.as_slice()).collect();
        if directions.is_empty() {
            continue;
        }
        let products = system.products(&directions)?;
        for (run, product) in open.iter_mut().zip(products) {
            let stepped = run.step(product);
            run.note(stepped);
        }
    }
    let solution = |RightHandSide { mut found, .. }: RightHandSide<'_>| {
        if found.broken.is_some() {
            found.x.fill(0.0);
        }
        found
    };
    Ok(runs.into_iter().map(solution).collect())
}

#[cfg(test)]
mod tests {
    use faer::prelude::Solve;
    use faer::{Mat, Side};

    use super::*;
    use crate::matrix::{product, transposed};

    /// The vector that has no product.
    const REFUSED: f64 = 777.0;

    /// A matrix, and the diagonal of P.
    struct Dense {
        matrix: Vec<f64>,
        scale: Vec<f64>,
        /// Number of vectors in each call for products.
        calls: Vec<usize>,
    }

    impl LinearSystem for Dense {
        type Error = CurvatureError;

        fn products(&mut self, vectors: &[&[f64]]) -> Result<Vec<ProductResult>, CurvatureError> {
            self.calls.push(vectors.len());
            let n = self.scale.len();
            let of = |v: &&[f64]| match v.contains(&REFUSED) {
                true => Err("rows 3 to 5: no".to_owned()),
                false => Ok(product(&self.matrix, v, (n, n, 1))),
            };
            Ok(vectors.iter().map(of).collect())
        }

        fn preconditioned(&mut self, vectors: &[&[f64]]) -> Result<Vec<Vec<f64>>, CurvatureError> {
            let of = |v: &&[f64]| v.iter().zip(&self.scale).map(|(v, scale)| v * scale).collect();
            Ok(vectors.iter().map(of).collect())
        }
    }

    fn noise(seed: usize, count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * i + 7 * i + 31 * seed) as f64 * 0.77).sin()).collect()
    }

    /// `B B' + damping I`, of rank 12 out of 40 without the damping.
    fn dense(damping: f64) -> Dense {
        let (n, rank) = (40, 12);
        let b = noise(1, n * rank);
        let mut matrix = product(&b, &transposed(&b, n, rank), (n, rank, n));
        (0..n).for_each(|i| matrix[i * n + i] += damping);
        Dense { matrix, scale: vec![1.0; n], calls: Vec::new() }
    }

    fn solve(system: &mut Dense, sides: &[(&str, &[f64])], limits: SolveLimits) -> Vec<Solution> {
        let sides = sides.iter().map(|(name, b)| (*name, b.to_vec())).collect();
        conjugate_gradients(system, sides, limits).unwrap()
    }

    const EXACT: SolveLimits = SolveLimits { tolerance: 1e-11, iterations: 100 };

    #[test]
    fn solutions_are_those_of_a_factorisation() {
        let mut system = dense(0.1);
        let n = system.scale.len();
        let (a, b) = (noise(2, n), noise(3, n));
        let matrix = Mat::from_fn(n, n, |row, col| system.matrix[row * n + col]);
        let factor = matrix.llt(Side::Lower).unwrap();
        for scale in [vec![1.0; n], (0..n).map(|i| 1.0 / system.matrix[i * n + i]).collect()] {
            system.scale = scale;
            let found = solve(&mut system, &[("a", &a), ("b", &b), ("zero", &vec![0.0; n])], EXACT);
            for (side, found) in [&a, &b].into_iter().zip(&found) {
                let expected = factor.solve(Mat::from_fn(n, 1, |row, _| side[row]));
                let largest = (0..n).fold(0.0_f64, |most, i| most.max(expected[(i, 0)].abs()));
                for (i, x) in found.x.iter().enumerate() {
                    assert!((x - expected[(i, 0)]).abs() < 1e-9 * largest, "{x} {}", expected[(i, 0)]);
                }
                let mapped = product(&system.matrix, &found.x, (n, n, 1));
                let rest: f64 = side.iter().zip(&mapped).map(|(b, q)| (b - q) * (b - q)).sum();
                assert!(rest.sqrt() < 1e-9 * dot(side, side).sqrt() && found.residual <= 1e-11);
            }
            let zero = Solution { x: vec![0.0; n], iterations: 0, residual: 0.0, start: 0.0, broken: None };
            assert_eq!(found[2], zero);
            // Finished ones take no more products, and each alone has the same bits.
            let [first, second] = [found[0].iterations, found[1].iterations];
            assert_eq!(system.calls.iter().sum::<usize>(), first + second);
            assert_eq!(system.calls.len(), first.max(second));
            assert_eq!(solve(&mut system, &[("b", &b)], EXACT)[0], found[1]);
            system.calls.clear();
        }
    }

    /// With 12 eigenvalues besides the damping, 13 steps are enough (Hestenes and Stiefel).
    #[test]
    fn as_many_iterations_as_there_are_eigenvalues() {
        let mut system = dense(1.0);
        let b = noise(2, 40);
        let found = &solve(&mut system, &[("b", &b)], SolveLimits { tolerance: 1e-9, iterations: 100 })[0];
        assert!(found.iterations <= 14, "{}", found.iterations);
        // Two eigenvalues, two steps; the first one by hand.
        let mut system = Dense { matrix: vec![3.0, 0.0, 0.0, 0.5], scale: vec![1.0; 2], calls: Vec::new() };
        let one = &solve(&mut system, &[("b", &[3.0, 1.0])], SolveLimits { iterations: 1, ..EXACT })[0];
        // b'b / b'Ab = 10 / 27.5, and the start is |b - A b| / |b|.
        let step = 10.0 / 27.5;
        assert!((one.x[0] - 3.0 * step).abs() < 1e-15 && (one.x[1] - step).abs() < 1e-15);
        let rest = (3.0 - 9.0 * step).hypot(1.0 - 0.5 * step) / 10f64.sqrt();
        assert!((one.residual - rest).abs() < 1e-15 && one.iterations == 1);
        assert!((one.start - 6f64.hypot(0.5) / 10f64.sqrt()).abs() < 1e-15);
        let two = &solve(&mut system, &[("b", &[3.0, 1.0])], EXACT)[0];
        assert!(two.iterations == 2 && (two.x[0] - 1.0).abs() < 1e-14 && (two.x[1] - 2.0).abs() < 1e-14);
    }

    #[test]
    fn an_exact_preconditioner_needs_one_iteration() {
        let n = 5;
        let diagonal = [4.0, 1.0, 0.5, 2.0, 1e-6];
        let matrix = (0..n * n).map(|at| if at / n == at % n { diagonal[at % n] } else { 0.0 }).collect();
        let scale = diagonal.iter().map(|value| 1.0 / value).collect();
        let b = [1.0, -2.0, 3.0, 0.0, 1e-6];
        let found = &solve(&mut Dense { matrix, scale, calls: Vec::new() }, &[("b", &b)], EXACT)[0];
        assert_eq!(found.iterations, 1);
        assert!(found.start < 1e-15);
        for (x, expected) in found.x.iter().zip([0.25, -2.0, 6.0, 0.0, 1.0]) {
            assert!((x - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn what_breaks_down_is_named_and_ends_alone() {
        let of = |matrix: Vec<f64>, scale: [f64; 2], b: [f64; 2]| {
            let mut system = Dense { matrix, scale: scale.to_vec(), calls: Vec::new() };
            let alone = &solve(&mut system, &[("good", &[2.0, 0.0])], EXACT)[0];
            let found = solve(&mut system, &[("bad one", &b), ("good", &[2.0, 0.0])], EXACT);
            assert_eq!(found[1], *alone);
            assert!(alone.broken.is_none() && alone.x[0] > 0.0 && alone.residual <= 1e-11, "{alone:?}");
            // Nothing of it is used, and its residual is finite.
            assert!(found[0].x == [0.0; 2] && found[0].residual.is_finite() && found[0].iterations < 2);
            found[0].broken.clone().unwrap()
        };
        let says = |error: String, parts: &[&str]| {
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        let negative = of(vec![1.0, 0.0, 0.0, -1.0], [1.0; 2], [0.0, 2.0]);
        says(negative, &["query `bad one`", "curvature along a direction is -4"]);
        says(
            of(vec![1.0, 0.0, 0.0, f64::MAX], [1.0; 2], [0.0, 2e10]),
            &["curvature along a direction is inf"],
        );
        says(of(vec![1.0, 0.0, 0.0, 1.0], [1.0, -1.0], [0.0, 2.0]), &["`bad one`", "energy is -4"]);
        says(of(vec![1.0, 0.0, 0.0, 1.0], [1.0; 2], [f64::INFINITY, 0.0]), &["`bad one`", "length is inf"]);
        let refused = of(vec![1.0, 0.0, 0.0, 1.0], [1.0; 2], [0.0, REFUSED]);
        says(refused, &["`bad one`", "after 0 iterations", "rows 3 to 5: no"]);
        // If nothing else is unfinished, no product is requested.
        let mut system = Dense { matrix: vec![1.0; 4], scale: vec![1.0, -1.0], calls: Vec::new() };
        assert!(solve(&mut system, &[("bad one", &[0.0, 2.0])], EXACT)[0].broken.is_some());
        assert!(system.calls.is_empty());
    }
}
