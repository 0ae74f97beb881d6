//! Inverses of a preconditioner's matrices or eigenvalues, made at the first answer that needs them.

use std::sync::Arc;

use gstore_core::{Cancel, parallel};
use gstore_curvature::{Preconditioner, Solver};
use gstore_store::{ArtifactPart, FeaturePart, Snapshot};

use super::Prepared;
use crate::eigen::{self, EigenSpace};
use crate::error::QueryError;
use crate::gram::{FILE, GramCheckpoint, GramContent, GramFile};
use crate::influence::plan::precondition::PlanPrecondition;
use crate::influence::spec::InfluenceSpec;

impl Prepared {
    /// For each checkpoint what the target's vectors go through; none without a preconditioner.
    ///
    /// Memory: for each block of k coordinates 8 k^2 bytes, and on each thread twice that while it is made,
    /// or five times where it takes an eigendecomposition; 8 k of eigenvalues.
    pub(crate) fn inverses(&self, cancel: &Cancel) -> Result<Option<&[Preconditioner]>, QueryError> {
        let Some(plan) = self.plan.precondition() else { return Ok(None) };
        let load = || {
            let part = self.snapshot().artifact(&plan.artifact)?;
            match (part.kind == eigen::KIND, self.pools().first()) {
                (true, Some(pool)) => rescaling(self.snapshot(), self.spec(), &part, &pool.features),
                _ => load(self.snapshot(), self.spec(), (plan, &part), cancel),
            }
        };
        Ok(Some(self.inputs.inverses.get_or_try_init(load)?.as_slice()))
    }

    /// Bytes that the inverses take once they are made; 0 without a preconditioner.
    ///
    /// # Errors
    /// An artifact that cannot be read.
    pub fn inverse_bytes(&self) -> Result<u64, QueryError> {
        let Some(plan) = self.plan.precondition() else { return Ok(0) };
        let part = self.snapshot().artifact(&plan.artifact)?;
        let values: u64 = if part.kind == eigen::KIND {
            let features = self.pools().first().map(|pool| &pool.features[..]).unwrap_or_default();
            features.iter().flat_map(|feature| &feature.attrs.groups).map(|group| u64::from(group.len)).sum()
        } else {
            let content = GramContent::of(&part)?;
            let used = plan.checkpoints.iter().filter_map(|place| content.checkpoints.get(*place));
            let sizes = used.flat_map(|checkpoint| &checkpoint.groups).map(|group| u64::from(group.len));
            sizes.fold(0, |sum, size| sum.saturating_add(size.saturating_mul(size)))
        };
        Ok(values.saturating_mul(size_of::<f64>() as u64))
    }
}

fn load(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (plan, part): (&PlanPrecondition, &ArtifactPart),
    cancel: &Cancel,
) -> Result<Vec<Preconditioner>, QueryError> {
    let content = GramContent::of(part)?;
    let map = snapshot.artifact_file(part, FILE)?;
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

/// For the features of each checkpoint what makes of the damping of their rows that of the question.
fn rescaling(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    part: &ArtifactPart,
    features: &[Arc<FeaturePart>],
) -> Result<Vec<Preconditioner>, QueryError> {
    let space = EigenSpace::of(part)?;
    let map = snapshot.artifact_file(part, eigen::FILE)?;
    let of_feature = |feature: &Arc<FeaturePart>| -> Result<Preconditioner, QueryError> {
        let blocks = feature.attrs.groups.iter().map(|group| -> Result<_, QueryError> {
            let (eigenvalues, fitted) = space.group(map.as_bytes(), group)?;
            let damping = spec.damping.unwrap_or(fitted);
            let start = group.start as usize;
            let solver = Solver::rescaling(&eigenvalues, fitted, damping, &group.name)?;
            Ok((start..start + group.len as usize, solver))
        });
        Ok(Preconditioner::new(blocks.collect::<Result<_, _>>()?))
    };
    features.iter().map(of_feature).collect()
}
