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
}
