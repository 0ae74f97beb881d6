//! The side of scores that is rotated: queries into the eigenbasis and back, or rows into the eigenbasis.
//!
//! Eigenvectors are orthogonal, so `<Q_S F(Q_S' G_q Q_A) Q_A', G_r>` is `<F(Q_S' G_q Q_A), Q_S' G_r Q_A>`.
//! The way back takes `a v_s + s v_a` multiplications for each query and filter; rows take `v_s + v_a` for
//! each token, where bases of `s` outputs and `a` inputs have `v_s` and `v_a` values in their blocks.

use gstore_core::Remedy;
use gstore_curvature::{Filter, ModuleFactors, SampleGradient};
use gstore_ingest::pipeline::IngestRequest;
use gstore_model::ComputePrecision;

use super::plan::{ScorePlan, is_on_cpu};
use super::request::{RotatedSide, ScoreRequest};
use crate::factors::error::FactorJobError;
use crate::work::JobContext;

impl ScorePlan {
    /// What is rotated: what is asked for, else what takes fewer multiplications. On a GPU, and with weights
    /// in bf16, whose precision eigenvectors have there, rows are rotated only if it is asked for.
    pub(super) fn rotated(
        &self,
        request: &ScoreRequest,
        ingest: &IngestRequest,
        work: &JobContext<'_>,
    ) -> Result<Option<RotatedSide>, FactorJobError> {
        let rotates = self.how.strategy.rotates();
        if request.target.is_own() {
            return Ok(rotates.then_some(RotatedSide::Rows));
        }
        match request.rotate {
            Some(RotatedSide::Rows) if rotates && !self.can_rotate_rows() => Err(FactorJobError::Option(
                "rows are rotated for scores of whole rows or modules, with the eigenvectors of one checkpoint and a filter \
                 of their eigenvalues: without a rank or a solver, and not by token"
                    .to_owned(),
            )),
            Some(_) if !rotates => Err(FactorJobError::Option(format!(
                "only kfac and ekfac have eigenvectors to rotate with: leave {} out",
                Remedy::Option("rotate", "")
            ))),
            Some(side) => Ok(Some(side)),
            None if !rotates || (self.scaled_columns() == 0 && self.solve.is_none()) => Ok(None),
            None => {
                let is_fine = is_on_cpu(ingest) && ingest.compute != ComputePrecision::Bf16;
                let rows = is_fine && self.can_rotate_rows() && self.has_few_tokens(work)?;
                Ok(Some(if rows { RotatedSide::Rows } else { RotatedSide::Queries }))
            }
        }
    }

    fn can_rotate_rows(&self) -> bool {
        let [segment] = &self.segments[..] else { return false };
        let is_here = segment.checkpoints.len() == 1 && segment.checkpoints[0].at.is_none();
        let is_whole = !self.how.by_token && self.solve.is_none();
        self.how.strategy.rotates() && is_whole && is_here && self.scaled_columns() > 0
    }

    /// Columns that would be rotated back.
    fn scaled_columns(&self) -> usize {
        let queries = if self.how.sum_queries { 1 } else { self.queries.len() };
        queries * self.how.filters.iter().filter(|filter| **filter != Filter::Identity).count()
    }

    /// Whether the rows have so few tokens that rotating these takes fewer multiplications than rotating the
    /// queries back. That rows are rotated for each group of queries is not counted: groups follow from
    /// memory, and scores would.
    fn has_few_tokens(&self, work: &JobContext<'_>) -> Result<bool, FactorJobError> {
        let max_block = self.largest_block();
        let costs =
            self.engine.modules().iter().map(|module| SampleGradient::rotation_costs(module, max_block));
        let [token, whole] = costs.fold([0, 0], |sums, costs| [sums[0] + costs[0], sums[1] + costs[1]]);
        let most = whole.saturating_mul(self.scaled_columns() as u128) / token.max(1);
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if self.rows.len() > most {
            return Ok(false);
        }
        Ok(self.tokens_up_to(most, work)? < most)
    }

    /// The eigenvectors of some modules, which rows are rotated with.
    pub(super) fn bases(&self, wanted: &[usize]) -> Result<Vec<ModuleFactors>, FactorJobError> {
        let modules = self.engine.modules();
        let mut bases = vec![ModuleFactors::default(); modules.len()];
        for at in wanted {
            let ModuleFactors { activation_eigen, gradient_eigen, .. } = self.factors_of(0, &modules[*at])?;
            bases[*at] = ModuleFactors { activation_eigen, gradient_eigen, ..ModuleFactors::default() };
        }
        Ok(bases)
    }
}
