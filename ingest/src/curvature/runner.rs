//! Operations of a curvature engine, without the type of its backend.

use gstore_curvature::ModuleFactors;
use gstore_model::Backend;

use super::bases::ModuleBases;
use super::batch::CurvatureBatch;
use super::covariances::{CovariancePair, CovarianceSums};
use super::directions::{Directions, PackedDirections};
use super::error::PassError;
use super::gradients::{GradientRows, GradientVisitor};
use super::pass::BatchRunner;
use super::tokens::{FactorVisitor, TokenFactors};

/// An engine without the type of its backend.
pub(super) trait Runner: Send + Sync {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError>;
    fn covariances(
        &self,
        batch: &CurvatureBatch<'_>,
        out: &mut [CovariancePair],
    ) -> Result<Vec<f32>, PassError>;
    fn gradients(
        &self,
        batch: &CurvatureBatch<'_>,
        rotated: bool,
        each: GradientVisitor<'_>,
    ) -> Result<Vec<f32>, PassError>;
    fn factors(
        &self,
        batch: &CurvatureBatch<'_>,
        every_row: bool,
        each: FactorVisitor<'_>,
    ) -> Result<Vec<f32>, PassError>;
    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Directions + 'a>, PassError>;
}

impl<B: Backend> Runner for BatchRunner<B> {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError> {
        self.bases = ModuleBases::new(self.model.backend(), &self.modules.list, factors)?;
        Ok(())
    }

    fn covariances(
        &self,
        batch: &CurvatureBatch<'_>,
        out: &mut [CovariancePair],
    ) -> Result<Vec<f32>, PassError> {
        self.run(batch, CovarianceSums { out })
    }

    fn gradients(
        &self,
        batch: &CurvatureBatch<'_>,
        rotated: bool,
        each: GradientVisitor<'_>,
    ) -> Result<Vec<f32>, PassError> {
        let modules = self.modules.list.iter().enumerate().zip(&batch.wanted);
        for ((index, module), _) in modules.filter(|(_, wanted)| rotated && **wanted) {
            self.bases.of(module, index)?;
        }
        self.run(batch, GradientRows::new(batch.samples.len(), rotated.then_some(&self.bases), each))
    }

    fn factors(
        &self,
        batch: &CurvatureBatch<'_>,
        every_row: bool,
        each: FactorVisitor<'_>,
    ) -> Result<Vec<f32>, PassError> {
        self.run(batch, TokenFactors { every_row, each })
    }

    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Directions + 'a>, PassError> {
        Ok(Box::new(PackedDirections::new(self, values)?))
    }
}
