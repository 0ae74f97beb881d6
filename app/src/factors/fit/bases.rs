//! Eigenbases of a fit: decomposed, and given to the engine.

use std::ops::{ControlFlow, Range};

use gstore_core::{Unit, parallel};
use gstore_curvature::{Blocks, Covariance, Eigen, Module, ModuleFactors};

use super::{FitJob, covariances_in, of_files, of_module};
use crate::factors::error::FactorJobError;
use crate::factors::folder::FactorParts;
use crate::factors::passes::Covariances;
use crate::work::JobContext;

struct DecomposedBlock<'a> {
    module: &'a str,
    sum: &'a Covariance,
    what: &'static str,
    rows: Range<usize>,
}

/// The blocks of a module's covariances, of inputs and of gradients.
fn blocks<'a>(module: &'a Module, sums: [&'a Covariance; 2]) -> impl Iterator<Item = DecomposedBlock<'a>> {
    let named = sums.into_iter().zip(["activation covariance", "gradient covariance"]);
    named.flat_map(move |(sum, what)| {
        let ranges = sum.blocks().unwrap_or_else(|| Blocks::whole(sum.size)).ranges();
        ranges.map(move |rows| DecomposedBlock { module: &module.name, sum, what, rows })
    })
}

impl FitJob<'_> {
    /// Eigenbases of all covariances, one block a thread.
    pub(super) fn eigen(&mut self, work: &mut JobContext<'_>) -> Result<(), FactorJobError> {
        if self.are_there(FactorParts::EIGEN, None)? {
            return Ok(());
        }
        let modules = self.plan.engine.modules();
        let files = self.folder.reader_of(FactorParts::COVARIANCES, None).map_err(of_files)?;
        let sums = modules.iter().map(|module| of_module(&files, module, covariances_in));
        let sums = sums.collect::<Result<Vec<Covariances>, FactorJobError>>()?;
        if sums.iter().all(|(_, g)| g.sums.iter().all(|value| *value == 0.0)) {
            return Err(FactorJobError::NothingScored);
        }
        let blocks: Vec<DecomposedBlock<'_>> =
            modules.iter().zip(&sums).flat_map(|(module, (a, g))| blocks(module, [a, g])).collect();
        let decompose = |_: &mut (), at: usize| -> Result<Eigen, FactorJobError> {
            let block = &blocks[at];
            let mean = block.sum.block_mean(&block.rows);
            Ok(Eigen::of(&mean, block.rows.len(), block.module, block.what)?)
        };
        work.progress.start("eigendecomposition", blocks.len() as u64, Unit::Matrices);
        let mut all = Vec::with_capacity(blocks.len());
        let progress = &mut *work.progress;
        let take = |eigen: Eigen| -> Result<ControlFlow<()>, FactorJobError> {
            all.push(eigen);
            progress.advance(1);
            Ok(ControlFlow::Continue(()))
        };
        let threads = self.plan.forecast.threads;
        let ended = parallel::ordered(blocks.len(), threads, work.cancel, || (), decompose, take);
        work.progress.finish();
        ended?;
        let mut parts = all.into_iter();
        let mut joined = |sum: &Covariance| -> Eigen {
            let cut = sum.blocks().unwrap_or_else(|| Blocks::whole(sum.size));
            Eigen::joined(cut, parts.by_ref().take(cut.ranges().count()).collect())
        };
        let pairs: Vec<(Eigen, Eigen)> = sums.iter().map(|(a, g)| (joined(a), joined(g))).collect();
        Ok(self.folder.write_eigen(modules, &pairs)?)
    }

    pub(super) fn set_bases(&mut self) -> Result<(), FactorJobError> {
        let files = self.folder.reader_of(FactorParts::EIGEN, None).map_err(of_files)?;
        let modules = self.plan.engine.modules().iter();
        let factors = modules
            .map(|module| of_module(&files, module, Some))
            .collect::<Result<Vec<ModuleFactors>, FactorJobError>>()?;
        self.plan.engine.set_bases(&factors).map_err(FactorJobError::other)?;
        self.plan.has_bases = true;
        Ok(())
    }
}
