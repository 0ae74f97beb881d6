//! Rankings as the rows of a leaf of a plan, pass by pass.

use arrow_schema::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};

use super::{EachOptions, EachRows};
use crate::blocking::Demand;
use crate::candidates::Candidates;
use crate::error::SqlError;
use crate::influence::question::{hold_inverses, question_text};
use crate::leaf::{self, ReadRequest, RowReader};

/// Most bytes that rankings take where the engine has no limit.
const MEMORY: usize = 1 << 30;

impl RowReader for EachRows {
    fn describe(&self) -> (&'static str, String) {
        let EachOptions { each, order, k } = self.options;
        let asked = question_text(&self.plan, &self.plan.spec().target_names().join(", "));
        let name = if self.plan.plan().models().is_some() { "DaunceEachExec" } else { "InfluenceEachExec" };
        (
            name,
            format!(
                "each={each}, order={order}, k={k}, {asked}{}",
                Candidates::shown(self.candidates.as_ref())
            ),
        )
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn has_records(&self) -> bool {
        true
    }

    fn candidates(&self) -> Option<&Candidates> {
        self.candidates.as_ref()
    }

    fn read(&self, want: &ReadRequest, each: leaf::BatchConsumer<'_>) -> Result<(), SqlError> {
        if self.options.k == 0 {
            return Ok(());
        }
        let reserved = want.memory.as_ref().map(|pool| MemoryConsumer::new("influence").register(pool));
        let limited = reserved.as_ref().filter(|_| want.served);
        hold_inverses(&self.plan, limited, want.threads, &want.cancelled)?;
        let limit = want.memory.as_ref().map(|pool| (pool.memory_limit(), pool.reserved()));
        let memory = match limit {
            Some((MemoryLimit::Finite(limit), used)) => limit.saturating_sub(used).min(2 * MEMORY) / 2,
            _ => MEMORY,
        };
        reserved.iter().try_for_each(|reserved| reserved.try_grow(memory))?;
        let samples = self.plan.target_samples(&want.cancelled)?;
        let (mut seen, mut done) = (None, 0);
        let passes = self.passes(&samples, want.threads, memory);
        for rows in &passes {
            done += 1;
            // What may be missed is shared by the passes.
            let plan = self.plan.of_samples(rows, &want.cancelled)?.with_share(passes.len());
            if self.pass(plan, &samples, (want, memory), &mut seen, each)? == Demand::Enough {
                break;
            }
        }
        self.note(want, seen, done);
        Ok(())
    }
}
