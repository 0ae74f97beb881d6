//! Checks of matrices and counts that other programs wrote.

use gstore_core::Remedy;
use gstore_curvature::{Covariance, ModuleFactors, Squares};

use super::FactorReader;
use crate::factors::folder::error::FactorError;
use crate::factors::folder::tensors::Tensors;

/// How far eigenvectors may be from orthogonal ones, and covariances from symmetric ones, whatever type they
/// are stored in.
const OFF: f64 = 1e-4;

/// The same, as far as the type of a tensor lets it be.
fn from_rounding(file: &Tensors, name: &str) -> Result<f64, FactorError> {
    Ok(OFF.max(8.0 * file.rounding(name)?))
}

/// Refuses a covariance of a module that is not symmetric.
pub(super) fn check_symmetric(file: &Tensors, name: &str, sums: &Covariance) -> Result<(), FactorError> {
    let (found, most) = (sums.asymmetry(), from_rounding(file, name)?);
    if found <= most {
        return Ok(());
    }
    let detail = format!(
        "its covariance A is not symmetric: A - A' has {found:.1e} of the length of A, of which {most:.0e} at most may \
         be from rounding. Sums over several checkpoints ({}) once lacked a part of all but one: fit such factors again",
        Remedy::Option("average", "")
    );
    Err(file.wrong(name, &detail))
}

/// Refuses eigenvalues of a module that do not add up to the diagonal of their covariance; up to `most` of
/// their lengths may be from rounding.
fn check_sum(
    file: &Tensors,
    name: &str,
    (values, sums): (&[f64], &Covariance),
    most: f64,
) -> Result<(), FactorError> {
    let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let (sum, trace) = (values.iter().sum::<f64>(), sums.trace());
    let off = most * values.iter().map(|value| value.abs()).sum::<f64>();
    // Where none is below 0, those that were may have been set to 0: a covariance has the squares of all.
    let zeros = match values.iter().any(|value| *value < 0.0) {
        true => 0,
        false => values.iter().filter(|value| **value == 0.0).count(),
    };
    let lost = squares(&sums.sums) / (sums.count.max(1) as f64).powi(2) - squares(values);
    let raised = (zeros as f64 * lost.max(0.0)).sqrt();
    if sum >= trace - off && sum <= trace + off + raised {
        return Ok(());
    }
    let detail = format!(
        "its eigenvalues add up to {sum:.4e}, but the diagonal of the covariance beside them to {trace:.4e}, and \
         {most:.0e} of them at most may be from rounding"
    );
    Err(file.wrong(name, &detail))
}

/// Refuses eigenvalues of a module that are farther below 0 than rounding of a covariance takes them.
fn check_signs(file: &Tensors, name: &str, values: &[f64]) -> Result<(), FactorError> {
    let rounding = OFF.max(8.0 * file.rounding(name)? * values.len() as f64).min(1.0);
    let least = -rounding * values.iter().copied().fold(0.0, f64::max);
    let Some(at) = values.iter().position(|value| *value < least) else { return Ok(()) };
    let (number, all, value) = (at + 1, values.len(), values[at]);
    let detail = format!(
        "eigenvalue {number} of {all} is {value}, and those of a covariance are not below 0 but for rounding, here not \
         below {least:.1e}"
    );
    Err(file.wrong(name, &detail))
}

impl FactorReader {
    /// Refuses sums of a module over nothing.
    pub(crate) fn check_counts(&self, name: &str) -> Result<(), FactorError> {
        let sides = self.covariances.iter().flat_map(|files| &files.second);
        for file in sides.chain(self.lambda.iter().map(|(_, counts)| counts)) {
            if file.count(name)? == 0 {
                return Err(file.wrong(name, "its count is 0, and sums over nothing have no mean"));
            }
        }
        Ok(())
    }

    /// Refuses sums of squares of a module that are below 0.
    pub(crate) fn check_squares(&self, name: &str, factors: &ModuleFactors) -> Result<(), FactorError> {
        let squares = factors.lambda.as_ref().or(factors.diagonal.as_ref());
        let Some(((file, _), Squares { sums: values, .. })) = self.lambda.as_ref().zip(squares) else {
            return Ok(());
        };
        match values.iter().position(|value| *value < 0.0) {
            None => Ok(()),
            Some(at) => {
                let (number, all, value) = (at + 1, values.len(), values[at]);
                let detail =
                    format!("value {number} of {all} is {value}, and sums of squares are not below 0");
                Err(file.wrong(name, &detail))
            }
        }
    }

    /// Refuses eigenvectors of a module that are not orthogonal and of length 1, as far as the type that they
    /// are stored in lets them be.
    pub(crate) fn check_bases(&self, name: &str, factors: &ModuleFactors) -> Result<(), FactorError> {
        let Some(files) = &self.eigen else { return Ok(()) };
        for (file, eigen) in files.first.iter().zip([&factors.activation_eigen, &factors.gradient_eigen]) {
            let Some(eigen) = eigen else { continue };
            let (found, most) = (eigen.departure(), from_rounding(file, name)?);
            if found.is_nan() || found > most {
                let detail = format!(
                    "its eigenvectors Q are not orthogonal: Q'Q - I has values of {found:.1e}, of which {most:.0e} at most may be from rounding"
                );
                return Err(file.wrong(name, &detail));
            }
        }
        Ok(())
    }

    /// Refuses eigenvalues of a module that are not those of its covariances, or, without these, of any.
    pub(crate) fn check_eigenvalues(&self, name: &str, factors: &ModuleFactors) -> Result<(), FactorError> {
        let Some(files) = &self.eigen else { return Ok(()) };
        let sides = files.second.iter().zip([&factors.activation, &factors.gradient]);
        for (side, (file, covariance)) in sides.enumerate() {
            let values = file.finite(name)?;
            let Some((beside, sums)) = self.covariances.as_ref().zip(covariance.as_ref()) else {
                check_signs(file, name, &values)?;
                continue;
            };
            let most = from_rounding(file, name)?.max(from_rounding(&beside.first[side], name)?);
            check_sum(file, name, (&values, sums), most)?;
        }
        Ok(())
    }
}
