//! Operations of a curvature engine, without the type of its backend.

use gstore_curvature::ModuleFactors;
use gstore_model::Backend;

use super::bases::ModuleBases;
use super::batch::CurvatureBatch;
use super::covariances::CovarianceSums;
use super::directions::{Directions, PackedDirections};
use super::error::PassError;
use super::gradients::{GradientRows, GradientVisitor};
use super::pass::BatchRunner;
use super::tokens::TokenFactors;

/// What becomes of the factors of a batch.
pub(super) enum Wanted<'a> {
    Covariances(CovarianceSums<'a>),
    Gradients { rotated: bool, each: GradientVisitor<'a> },
    Factors(TokenFactors<'a>),
}

/// An engine without the type of its backend.
pub(super) trait Runner: Send + Sync {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError>;
    fn pass(&self, batch: &CurvatureBatch<'_>, wanted: Wanted<'_>) -> Result<Vec<f32>, PassError>;
    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Directions + 'a>, PassError>;
}

impl<B: Backend> Runner for BatchRunner<B> {
    fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError> {
        self.bases = ModuleBases::new(self.model.backend(), &self.modules.list, factors)?;
        Ok(())
    }

    fn pass(&self, batch: &CurvatureBatch<'_>, wanted: Wanted<'_>) -> Result<Vec<f32>, PassError> {
        match wanted {
            Wanted::Covariances(sums) => self.run(batch, sums),
            Wanted::Gradients { rotated, each } => {
                let modules = self.modules.list.iter().enumerate().zip(&batch.wanted);
                for ((index, module), _) in modules.filter(|(_, wanted)| rotated && **wanted) {
                    self.bases.of(module, index)?;
                }
                if !batch.has_tokens() {
                    let layers = self.modules.by_layer().concat().into_iter();
                    for module in layers.filter(|module| batch.wanted[*module]) {
                        each(module, &vec![0.0; batch.samples.len() * self.modules.list[module].len()])?;
                    }
                }
                let bases = rotated.then_some(&self.bases);
                self.run(batch, GradientRows::new(batch.samples.len(), bases, each))
            }
            Wanted::Factors(factors) => self.run(batch, factors),
        }
    }

    fn directions<'a>(&'a self, values: &[&[f64]]) -> Result<Box<dyn Directions + 'a>, PassError> {
        Ok(Box::new(PackedDirections::new(self, values)?))
    }
}
