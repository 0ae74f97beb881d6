//! Errors of curvature.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

/// Why a block's curvature cannot be computed or used.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum CurvatureError {
    #[error("module `{module}`: {what} has {found} values where {expected} are due")]
    Size { module: String, what: &'static str, found: usize, expected: usize },
    #[error("module `{module}`: {what} is not finite")]
    NotFinite { module: String, what: &'static str },
    #[error("module `{module}` has no {what}, which {strategy} needs")]
    Missing { module: String, what: &'static str, strategy: &'static str },
    #[error(
        "module `{module}`: the eigendecomposition of the {what} failed: {}",
        residual.map_or_else(|| "it did not converge".to_owned(), |r| format!("its residual is {r:.1e} of the matrix"))
    )]
    Decomposition {
        module: String,
        /// Which matrix.
        what: &'static str,
        /// Largest of the relative residuals; none if there was no result.
        residual: Option<f64>,
    },
    #[error(
        "module `{module}`: with a damping of {}, {zeros} of {all} eigenvalues are 0{} and have no inverse",
        if *damping > 0.0 { format!("{damping:?}") } else { "0".to_owned() },
        if *damping > 0.0 { " up to rounding" } else { "" }
    )]
    Singular { module: String, damping: f64, zeros: usize, all: usize },
    #[error(
        "module `{module}` has no curvature to project by: all {all} eigenvalues are 0, so no row of the fit had a gradient \
         there; fit the factors again without this module, or on rows that change it"
    )]
    NoCurvature { module: String, all: usize },
    #[error(
        "a mixture is balanced at an eigenvalue that is above 0 on both sides, but for rounding, {}",
        match most {
            0 => "and one of them has none".to_owned(),
            most => format!("number 1 to {most} from the largest, not number {asked}"),
        }
    )]
    Components { asked: usize, most: usize },
    #[error(
        "a segment of training has steps and a positive learning rate, with a finite product, not {steps} steps at a rate \
         of {rate}"
    )]
    Segment { steps: u64, rate: f64 },
    #[error("a filter is inverse, identity or source:STEPS*RATE, not `{0}`")]
    Filter(String),
    #[error(
        "query `{query}`: conjugate gradients broke down after {iteration} iterations: {what} is {value}; a larger \
         damping or tolerance, or a finer precision, is needed"
    )]
    Breakdown { query: String, iteration: usize, what: &'static str, value: f64 },
    #[error(
        "query `{query}`: conjugate gradients ended after {iteration} iterations, as a product cannot be had: {why}"
    )]
    Product { query: String, iteration: usize, why: String },
    #[error("a damping is a number that is not negative, or auto, not {0}")]
    Damping(f64),
}
