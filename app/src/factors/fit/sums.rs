//! Sums of a fit's partitions, and of the factors that it goes on from.

use gstore_curvature::{Covariance, Module, Squares};

use super::FitJob;
use crate::factors::begun::find_module;
use crate::factors::error::FactorJobError;
use crate::factors::folder::{FactorParts, FactorReader};
use crate::factors::passes::Covariances;
use crate::factors::stored::StoredFactors;
use crate::work::JobContext;

impl FitJob<'_> {
    /// The sums of all partitions, added in their order; none where one is missing.
    pub(super) fn merged_covariances(
        &self,
        modules: &[Module],
    ) -> Result<Option<Vec<Covariances>>, FactorJobError> {
        let mut all: Vec<Covariances> = modules.iter().map(|module| self.plan.no_sums(module)).collect();
        for data in 0..self.plan.new.len() {
            for (group, places) in self.plan.groups.iter().enumerate() {
                let number = self.plan.number(data, group);
                let found = self.folder.read_covariances(number)?;
                let Some(found) = found else { return Ok(None) };
                for place in places {
                    let part =
                        find_module(found.iter().map(|(name, a, g)| (name, (a, g))), &modules[*place])?;
                    all[*place].0.merge(part.0);
                    all[*place].1.merge(part.1);
                }
            }
        }
        Ok(Some(all))
    }

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

    /// Squares of gradients of all partitions, added in their order; none where one is missing.
    pub(super) fn merged_squares(&self, modules: &[Module]) -> Result<Option<Vec<Squares>>, FactorJobError> {
        let mut all: Vec<Squares> = modules.iter().map(|module| Squares::new(module.len())).collect();
        for data in 0..self.plan.new.len() {
            for (group, places) in self.plan.groups.iter().enumerate() {
                let number = self.plan.number(data, group);
                let found = self.folder.read_lambda(number)?;
                let Some(found) = found else { return Ok(None) };
                for place in places {
                    let part = find_module(found.iter().map(|(name, sums)| (name, sums)), &modules[*place])?;
                    all[*place].merge(part);
                }
            }
        }
        Ok(Some(all))
    }

    /// Puts the squares of the factors that are extended before those of later rows.
    pub(super) fn add_earlier_squares(
        &self,
        modules: &[Module],
        sums: &mut [Squares],
    ) -> Result<(), FactorJobError> {
        let Some(name) = &self.request.extend else { return Ok(()) };
        let earlier = self.earlier(name)?;
        for (module, sum) in modules.iter().zip(sums) {
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
