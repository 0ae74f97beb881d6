//! Errors of curvature.

/// Why a block's curvature cannot be had or used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum CurvatureError {
    /// Sums of another size.
    #[error("module `{module}`: {what} has {found} values where {expected} are due")]
    Size {
        /// The module.
        module: String,
        /// What has them.
        what: &'static str,
        /// Values that it has.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// A value that is no number.
    #[error("module `{module}`: {what} is not finite")]
    NotFinite {
        /// The module.
        module: String,
        /// What has it.
        what: &'static str,
    },
    /// Something that a strategy needs and that was not fitted.
    #[error("module `{module}` has no {what}, which {strategy} needs")]
    Missing {
        /// The module.
        module: String,
        /// What is missing.
        what: &'static str,
        /// The strategy.
        strategy: &'static str,
    },
    /// An eigendecomposition that does not give the matrix back.
    #[error(
        "module `{module}`: the eigendecomposition of the {what} failed: {}",
        residual.map_or_else(|| "it did not converge".to_owned(), |r| format!("its residual is {r:.1e} of the matrix"))
    )]
    Decomposition {
        /// The module.
        module: String,
        /// Which matrix.
        what: &'static str,
        /// Largest of the residuals, relative; none where there was no result.
        residual: Option<f64>,
    },
    /// Eigenvalues that cannot be inverted.
    #[error("module `{module}`: with a damping of 0, {zeros} of {all} eigenvalues are 0 and have no inverse")]
    Singular {
        /// The module.
        module: String,
        /// Eigenvalues of 0.
        zeros: usize,
        /// All of them.
        all: usize,
    },
    /// A mixture that nothing balances.
    #[error(
        "a mixture is balanced at an eigenvalue that is above 0 on both sides, but for rounding, {}",
        match most {
            0 => "and one of them has none".to_owned(),
            most => format!("number 1 to {most} from the largest, not number {asked}"),
        }
    )]
    Components {
        /// The number that was asked for.
        asked: usize,
        /// The largest number at which both sides have one.
        most: usize,
    },
    /// A segment of training that is none.
    #[error(
        "a segment of training has steps and a positive learning rate, not {steps} steps at a rate of {rate}"
    )]
    Segment {
        /// Its steps.
        steps: u64,
        /// Its learning rate.
        rate: f64,
    },
    /// A filter that is none.
    #[error("a filter is inverse, identity or source:STEPS*RATE, not `{0}`")]
    Filter(String),
    /// Conjugate gradients that cannot go on.
    #[error(
        "query `{query}`: conjugate gradients broke down after {iteration} iterations: {what} is {value}; a larger \
         damping or tolerance, or a finer precision, is needed"
    )]
    Breakdown {
        /// What is solved for.
        query: String,
        /// Iterations that were done.
        iteration: usize,
        /// What has a value that it must not have.
        what: &'static str,
        /// The value.
        value: f64,
    },
    /// A product that conjugate gradients need and that cannot be had.
    #[error(
        "query `{query}`: conjugate gradients ended after {iteration} iterations, as a product cannot be had: {why}"
    )]
    Product {
        /// What is solved for.
        query: String,
        /// Iterations that were done.
        iteration: usize,
        /// Why.
        why: String,
    },
    /// A damping that is none.
    #[error("a damping is a number that is not negative, or auto, not {0}")]
    Damping(f64),
}
