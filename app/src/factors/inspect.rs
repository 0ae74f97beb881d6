//! Spectra of factors: figures of each module.
//!
//! The eigenvalues of a module's curvature are the entries of its matrix `[out, input]`: the curvature is
//! diagonal in the eigenbasis, and that matrix is its diagonal.

mod pictures;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use gstore_curvature::{CurvatureError, Damping, Module, ModuleFactors, Spectrum, Strategy};

pub use pictures::spectrum_files;

use crate::answer::nullable_table;

/// Shares of the sum for which the needed eigenvalues are counted.
const SHARES: [f64; 3] = [0.9, 0.95, 0.99];

/// A module's eigenvalues.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleSpectrum {
    /// The module.
    pub module: Module,
    /// Eigenvalues of its curvature, `[out, input]`.
    pub matrix: Vec<f64>,
    /// Their figures, at the damping that was asked for.
    pub spectrum: Spectrum,
    axes: MatrixAxes,
}

/// What the rows and columns of a matrix of eigenvalues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MatrixAxes {
    /// Outputs and inputs of the module.
    Weights,
    /// Eigenvectors of both covariances, by eigenvalue.
    ByEigenvalue,
    /// The same, by eigenvalue only within each block of a covariance.
    InBlocks,
}

impl MatrixAxes {
    fn new(factors: &ModuleFactors, strategy: Strategy) -> Self {
        if !strategy.rotates() {
            return Self::Weights;
        }
        // Told by the values: bases that were exported and imported are whole, in the order of their blocks.
        let mut bases = [&factors.activation_eigen, &factors.gradient_eigen].into_iter().flatten();
        if bases.all(|eigen| eigen.values.is_sorted()) { Self::ByEigenvalue } else { Self::InBlocks }
    }
}

impl ModuleSpectrum {
    pub(super) fn new(
        (module, factors): (Module, ModuleFactors),
        strategy: Strategy,
        damping: Damping,
    ) -> Result<Self, CurvatureError> {
        let matrix = factors.eigenvalues(&module, strategy)?;
        let spectrum = Spectrum::new(matrix.clone(), damping.of(&matrix));
        let axes = MatrixAxes::new(&factors, strategy);
        Ok(Self { module, matrix, spectrum, axes })
    }
}

/// How far the factors of a module are from others, such as those of another seed. Differences are relative.
#[derive(Debug, Clone, PartialEq)]
pub struct SpectrumDifference {
    /// Name of the others.
    pub against: String,
    /// Of the eigenvalues of its curvature by rank, as [`Spectrum::difference`] has it.
    pub lambda: f64,
    /// The same of the covariance of inputs, where it is used.
    pub activation: Option<f64>,
    /// Of the covariance of gradients of outputs.
    pub gradient: Option<f64>,
    /// Of the effective dimension.
    pub dimension: f64,
}

/// Figures of the spectra, a row for each module: `module, out, inputs, eigenvalues, max, min, mean, median,
/// damping, effective_dimension, needed_90, needed_95, needed_99` (how many of the largest have that share of
/// the sum) and `condition`.
///
/// # Errors
/// Columns that make no table.
pub fn spectrum_table(spectra: &[ModuleSpectrum]) -> Result<RecordBatch, ArrowError> {
    nullable_table(columns(&spectra.iter().collect::<Vec<_>>()))
}

/// The same with a row for each of the factors that they are compared with and module, and the columns
/// `against, lambda_difference, activation_difference, gradient_difference, dimension_difference`.
/// `differences`: for each of the factors those of all spectra.
///
/// # Errors
/// Columns that make no table.
pub fn difference_table(
    spectra: &[ModuleSpectrum],
    differences: &[SpectrumDifference],
) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: &dyn Fn(&SpectrumDifference) -> Option<f64>| -> ArrayRef {
        Arc::new(differences.iter().map(of).collect::<Float64Array>())
    };
    let others = differences.iter().map(|one| Some(one.against.as_str())).collect::<StringArray>();
    let repeated: Vec<&ModuleSpectrum> = spectra.iter().cycle().take(differences.len()).collect();
    let mut all = columns(&repeated);
    all.extend([
        ("against", Arc::new(others) as ArrayRef),
        ("lambda_difference", numbers(&|one| Some(one.lambda))),
        ("activation_difference", numbers(&|one| one.activation)),
        ("gradient_difference", numbers(&|one| one.gradient)),
        ("dimension_difference", numbers(&|one| Some(one.dimension))),
    ]);
    nullable_table(all)
}

fn columns(spectra: &[&ModuleSpectrum]) -> Vec<(&'static str, ArrayRef)> {
    let numbers = |of: &dyn Fn(&Spectrum) -> f64| -> ArrayRef {
        Arc::new(spectra.iter().map(|one| Some(of(&one.spectrum))).collect::<Float64Array>())
    };
    let counts = |of: &dyn Fn(&ModuleSpectrum) -> usize| -> ArrayRef {
        Arc::new(spectra.iter().map(|one| Some(of(one) as u64)).collect::<UInt64Array>())
    };
    let names: ArrayRef =
        Arc::new(spectra.iter().map(|one| Some(one.module.name.as_str())).collect::<StringArray>());
    let needed = |at: usize| counts(&move |one| one.spectrum.needed_for(SHARES[at]));
    vec![
        ("module", names),
        ("out", counts(&|one| one.module.out)),
        ("inputs", counts(&|one| one.module.input)),
        ("eigenvalues", counts(&|one| one.matrix.len())),
        ("max", numbers(&largest)),
        ("min", numbers(&smallest)),
        ("mean", numbers(&Spectrum::mean)),
        ("median", numbers(&Spectrum::median)),
        ("damping", numbers(&|spectrum| spectrum.damping)),
        ("effective_dimension", numbers(&Spectrum::effective_dimension)),
        ("needed_90", needed(0)),
        ("needed_95", needed(1)),
        ("needed_99", needed(2)),
        ("condition", numbers(&Spectrum::condition)),
    ]
}

fn largest(spectrum: &Spectrum) -> f64 {
    spectrum.values.first().copied().unwrap_or(0.0)
}

fn smallest(spectrum: &Spectrum) -> f64 {
    spectrum.values.last().copied().unwrap_or(0.0)
}
