//! Sums of a fit, added to those of the factors that it extends.

use gstore_curvature::{Covariance, Module, Squares};

use super::FitJob;
use crate::factors::error::FactorJobError;
use crate::factors::folder::{FactorParts, FactorReader};
use crate::factors::passes::Covariances;
use crate::factors::stored::StoredFactors;
use crate::work::JobContext;

impl FitJob<'_> {
    /// With the sums of the factors that are extended before them.
    pub(super) fn with_earlier(
        &self,
        mut sums: Vec<Covariances>,
        work: &JobContext<'_>,
    ) -> Result<Vec<Covariances>, FactorJobError> {
        let Some(name) = &self.request.extend else { return Ok(sums) };
        let earlier = self.earlier(name)?;
        for (module, sum) in self.plan.engine.modules().iter().zip(&mut sums) {
            work.cancel.check()?;
            let (_, before) = earlier.module(&module.name)?;
            // Those of a folder that was exported are whole.
            let in_blocks = |before: Option<Covariance>, now: &Covariance| before?.cut(now.blocks()?);
            let before = in_blocks(before.activation, &sum.0).zip(in_blocks(before.gradient, &sum.1));
            let (mut a, mut g) = before.ok_or_else(|| missing_sums(name, module))?;
            a.merge(&sum.0);
            g.merge(&sum.1);
            *sum = (a, g);
        }
        Ok(sums)
    }

    /// The sums of the factors that are extended.
    fn earlier(&self, name: &str) -> Result<FactorReader, FactorJobError> {
        let parts = FactorParts::sums_of(self.request.strategy);
        StoredFactors::open(&self.plan.snapshot, name)?.reader(&self.plan.snapshot, parts)
    }

    /// Puts the squares of the factors that are extended before those of later rows.
    pub(super) fn add_earlier_squares(&self, sums: &mut [Squares]) -> Result<(), FactorJobError> {
        let Some(name) = &self.request.extend else { return Ok(()) };
        let earlier = self.earlier(name)?;
        for (module, sum) in self.plan.engine.modules().iter().zip(sums) {
            let (_, before) = earlier.module(&module.name)?;
            let mut before = before.diagonal.ok_or_else(|| missing_sums(name, module))?;
            before.merge(sum);
            *sum = before;
        }
        Ok(())
    }
}

fn missing_sums(name: &str, module: &Module) -> FactorJobError {
    FactorJobError::Refused(format!("factors `{name}` have no sums of module `{}`", module.name))
}
