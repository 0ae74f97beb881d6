//! Check of eigenvectors that other programs wrote.

use gstore_curvature::ModuleFactors;

use super::FactorReader;
use crate::factors::folder::error::FactorError;

/// How far eigenvectors may be from orthogonal ones, whatever type they are stored in.
const ORTHOGONAL: f64 = 1e-4;

impl FactorReader {
    /// Refuses eigenvectors of a module that are not orthogonal and of length 1, as far as the type that they
    /// are stored in lets them be.
    ///
    /// # Errors
    /// Those, with how far they are off.
    pub fn check_bases(&self, name: &str, factors: &ModuleFactors) -> Result<(), FactorError> {
        let Some(files) = &self.eigen else { return Ok(()) };
        for (file, eigen) in files.first.iter().zip([&factors.activation_eigen, &factors.gradient_eigen]) {
            let Some(eigen) = eigen else { continue };
            let (found, most) = (eigen.departure(), ORTHOGONAL.max(8.0 * file.rounding(name)?));
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
