//! Inverses of a preconditioner's matrices, made at the first answer that needs them.

use gstore_core::{Cancel, parallel};
use gstore_curvature::{Preconditioner, Solver};
use gstore_store::Snapshot;

use super::Prepared;
use crate::error::QueryError;
use crate::gram::{FILE, GramCheckpoint, GramContent, GramFile};
use crate::influence::plan::precondition::PlanPrecondition;
use crate::influence::spec::InfluenceSpec;

impl Prepared {
    /// For each checkpoint what the target's vectors go through; none without a preconditioner.
    ///
    /// Memory: for each block of k coordinates 8 k^2 bytes, and on each thread twice that while it is made, or
    /// five times where it takes an eigendecomposition.
    pub(crate) fn inverses(&self, cancel: &Cancel) -> Result<Option<&[Preconditioner]>, QueryError> {
        let Some(plan) = self.plan.precondition() else { return Ok(None) };
        let load = || load(self.snapshot(), self.spec(), plan, cancel);
        Ok(Some(self.inputs.inverses.get_or_try_init(load)?.as_slice()))
    }
}

fn load(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    plan: &PlanPrecondition,
    cancel: &Cancel,
) -> Result<Vec<Preconditioner>, QueryError> {
    let part = snapshot.artifact(&plan.artifact)?;
    let content = GramContent::of(&part)?;
    let map = snapshot.artifact_file(&part, FILE)?;
    let file = GramFile::new(map.as_bytes())?;
    let used = plan.checkpoints.iter().filter_map(|place| content.checkpoints.get(*place)).enumerate();
    let blocks: Vec<(usize, &GramCheckpoint, usize)> =
        used.flat_map(|(c, at)| (0..at.groups.len()).map(move |group| (c, at, group))).collect();
    let made = parallel::unordered::<_, QueryError>(blocks.len(), 0, cancel, Vec::new, |own, at| {
        let (c, checkpoint, group) = blocks[at];
        let gram = file.gram(checkpoint, group)?;
        let group = &checkpoint.groups[group];
        let name = format!("{} at {}", group.name, checkpoint.name);
        let solver = Solver::new(&gram, &name, spec.inversion, spec.damping)?;
        let start = group.start as usize;
        own.push((at, c, start..start + group.len as usize, solver));
        Ok(())
    })?;
    let mut made: Vec<_> = made.into_iter().flatten().collect();
    made.sort_by_key(|(at, ..)| *at);
    let mut found = vec![Vec::new(); plan.checkpoints.len()];
    for (_, c, range, solver) in made {
        found[c].push((range, solver));
    }
    Ok(found.into_iter().map(Preconditioner::new).collect())
}
