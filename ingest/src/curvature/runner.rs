//! Operations of a curvature engine, without the type of its backend.

use gstore_curvature::ModuleFactors;
use gstore_model::Backend;

use super::bases::Bases;
use super::batch::Batch;
use super::covariances::{CovarianceSums, Pair};
use super::directions::{PackedDirections, Products};
use super::error::PassError;
use super::gradients::{EachGradients, GradientRows};
use super::pass::BatchRunner;
use super::tokens::{EachFactors, TokenFactors};

/// An engine without the type of its backend.
pub(super) trait Runner: Send + Sync {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError>;
    fn covariances(&self, batch: &Batch<'_>, out: &mut [Pair]) -> Result<Vec<f32>, PassError>;
    fn gradients(
        &self,
        batch: &Batch<'_>,
        rotated: bool,
        each: EachGradients<'_>,
    ) -> Result<Vec<f32>, PassError>;
    fn factors(
        &self,
        batch: &Batch<'_>,
        every_row: bool,
        each: EachFactors<'_>,
    ) -> Result<Vec<f32>, PassError>;
    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Products + 'a>, PassError>;
}

impl<B: Backend> Runner for BatchRunner<B> {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError> {
        self.bases = Bases::new(self.model.backend(), &self.modules.list, factors)?;
        Ok(())
    }

    fn covariances(&self, batch: &Batch<'_>, out: &mut [Pair]) -> Result<Vec<f32>, PassError> {
        self.run(batch, CovarianceSums { out })
    }

    fn gradients(
        &self,
        batch: &Batch<'_>,
        rotated: bool,
        each: EachGradients<'_>,
    ) -> Result<Vec<f32>, PassError> {
        let modules = self.modules.list.iter().enumerate().zip(&batch.wanted);
        for ((index, module), _) in modules.filter(|(_, wanted)| rotated && **wanted) {
            self.bases.of(module, index)?;
        }
        self.run(batch, GradientRows::new(batch.samples.len(), rotated.then_some(&self.bases), each))
    }

    fn factors(
        &self,
        batch: &Batch<'_>,
        every_row: bool,
        each: EachFactors<'_>,
    ) -> Result<Vec<f32>, PassError> {
        self.run(batch, TokenFactors { every_row, each })
    }

    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Products + 'a>, PassError> {
        Ok(Box::new(PackedDirections::new(self, values)?))
    }
}
