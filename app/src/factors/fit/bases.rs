//! Eigenbases of a fit: decomposed, and given to the engine.

use std::ops::ControlFlow;

use gstore_core::{Unit, parallel};
use gstore_curvature::{Covariance, Eigen, Module, ModuleFactors};

use super::Fit;
use crate::factors::begun::named;
use crate::factors::error::FactorJobError;
use crate::work::Work;

/// Why factors of nothing are refused.
pub(super) const NOTHING_SCORED: &str = "no token of these rows is scored, so the loss has no curvature: look at the template, and at the length after which rows are cut";

impl Fit<'_> {
    /// Eigenbases of all covariances, one matrix a thread.
    pub(super) fn eigen(&mut self, work: &mut Work<'_>) -> Result<(), FactorJobError> {
        if self.folder.read_eigen().map_err(FactorJobError::other)?.is_some() {
            return Ok(());
        }
        let modules = self.plan.engine.modules();
        let found = self.folder.read_covariances(None).map_err(FactorJobError::other)?.unwrap_or_default();
        let sums = modules
            .iter()
            .map(|module| named(found.iter().map(|(name, a, g)| (name, (a, g))), module))
            .collect::<Result<Vec<(&Covariance, &Covariance)>, _>>()?;
        if sums.iter().all(|(_, g)| g.sums.iter().all(|value| *value == 0.0)) {
            return Err(FactorJobError::Refused(NOTHING_SCORED.to_owned()));
        }
        let decompose = |_: &mut (), at: usize| -> Result<Eigen, FactorJobError> {
            let (module, (a, g)) = (&modules[at / 2], sums[at / 2]);
            let (sum, what) =
                if at.is_multiple_of(2) { (a, "activation covariance") } else { (g, "gradient covariance") };
            Ok(Eigen::of(&sum.mean(), sum.size, &module.name, what)?)
        };
        work.progress.start("eigendecomposition", 2 * modules.len() as u64, Unit::Matrices);
        let mut all = Vec::with_capacity(2 * modules.len());
        let progress = &mut *work.progress;
        let take = |eigen: Eigen| -> Result<ControlFlow<()>, FactorJobError> {
            all.push(eigen);
            progress.advance(1);
            Ok(ControlFlow::Continue(()))
        };
        let threads = self.plan.forecast.threads;
        let ended = parallel::ordered(2 * modules.len(), threads, work.cancel, || (), decompose, take);
        work.progress.finish();
        ended?;
        let mut all = all.into_iter();
        let pairs: Vec<(Eigen, Eigen)> = std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect();
        self.folder.write_eigen(modules, &pairs).map_err(FactorJobError::other)
    }

    /// Gives the engine the eigenbases.
    pub(super) fn set_bases(&mut self) -> Result<(), FactorJobError> {
        let found = self.folder.read_eigen().map_err(FactorJobError::other)?.unwrap_or_default();
        let of = |module: &Module| {
            let (a, g) = named(found.iter().map(|(name, a, g)| (name, (a, g))), module)?;
            Ok(ModuleFactors {
                activation_eigen: Some(a.clone()),
                gradient_eigen: Some(g.clone()),
                ..ModuleFactors::default()
            })
        };
        let factors =
            self.plan.engine.modules().iter().map(of).collect::<Result<Vec<_>, FactorJobError>>()?;
        drop(found);
        self.plan.engine.set_bases(&factors).map_err(FactorJobError::other)
    }
}
