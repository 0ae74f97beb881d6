//! Inverses of a preconditioner's matrices or eigenvalues, made at the first answer that needs them.

use std::sync::Arc;

use gstore_core::{Cancel, parallel};
use gstore_curvature::{Inversion, Preconditioner, Solver};
use gstore_store::{ArtifactPart, FeaturePart, Snapshot};

use super::Prepared;
use crate::eigen::{self, EigenSpace};
use crate::error::QueryError;
use crate::gram::{FILE, GramCheckpoint, GramContent, GramFile};
use crate::influence::plan::precondition::PlanPrecondition;
use crate::influence::spec::InfluenceSpec;
use crate::influence::spec::modules::counts;

impl Prepared {
    /// For each checkpoint what the target's vectors go through; none without a preconditioner.
    ///
    /// Made on all cores, where [`Prepared::make_inverses`] was not called before.
    pub(crate) fn inverses(&self, cancel: &Cancel) -> Result<Option<&[Preconditioner]>, QueryError> {
        self.inverses_on(0, cancel)
    }

    /// Makes the inverses of a preconditioner on `threads` (0: one per core), unless they are there.
    ///
    /// Memory: [`Prepared::inverse_making_bytes`].
    ///
    /// # Errors
    /// An artifact that cannot be read, a matrix without an inverse, and being told to stop.
    pub fn make_inverses(&self, threads: usize, cancel: &Cancel) -> Result<(), QueryError> {
        self.inverses_on(threads, cancel)?;
        Ok(())
    }

    fn inverses_on(&self, threads: usize, cancel: &Cancel) -> Result<Option<&[Preconditioner]>, QueryError> {
        let Some(plan) = self.plan.precondition() else { return Ok(None) };
        let load = || {
            let part = self.snapshot().artifact(&plan.artifact)?;
            match (part.kind == eigen::KIND, self.pools().first()) {
                (true, Some(pool)) => rescaling(self.snapshot(), self.spec(), &part, &pool.features),
                _ => load(self.snapshot(), self.spec(), (plan, &part), (threads, cancel)),
            }
        };
        Ok(Some(self.inputs.inverses.get_or_try_init(load)?.as_slice()))
    }

    /// What a user should know where the question's damping outweighs the curvature of all modules, once the
    /// inverses are made.
    pub(crate) fn damping_note(&self) -> Option<String> {
        let damping = self.spec().damping?;
        let outweighs = self.inputs.inverses.get()?.iter().all(Preconditioner::is_outweighed);
        outweighs.then(|| match self.spec().inversion {
            Inversion::Pseudoinverse | Inversion::Tikhonov => {
                format!("a damping of {damping:e} leaves nothing of the inverses, so every score is 0")
            }
            Inversion::Damped | Inversion::Absolute => format!(
                "a damping of {damping:e} outweighs the eigenvalues of all modules: what a module adds to a score is its \
                 product without curvature, divided by one number"
            ),
        })
    }

    /// Bytes that the inverses take once they are made; 0 without a preconditioner.
    ///
    /// # Errors
    /// An artifact that cannot be read.
    pub fn inverse_bytes(&self) -> Result<u64, QueryError> {
        Ok(bytes(&self.inverse_values()?.0))
    }

    /// Most bytes that the inverses take until they are made on `threads` (0: one per core), those that are
    /// made among them: on each thread two more matrices, or five where it takes an eigendecomposition.
    ///
    /// # Errors
    /// Those of [`Prepared::inverse_bytes`].
    pub fn inverse_making_bytes(&self, threads: usize) -> Result<u64, QueryError> {
        let (mut values, beside) = self.inverse_values()?;
        let made = bytes(&values);
        if self.inputs.inverses.get().is_some() {
            return Ok(made);
        }
        values.sort_unstable();
        values.reverse();
        values.truncate(parallel::threads_for(threads, values.len()));
        Ok(made.saturating_add(bytes(&values).saturating_mul(beside)))
    }

    /// For each block how many values its inverse has, and how many times as many there are beside them
    /// while it is made.
    fn inverse_values(&self) -> Result<(Vec<u64>, u64), QueryError> {
        let Some(plan) = self.plan.precondition() else { return Ok((Vec::new(), 0)) };
        let part = self.snapshot().artifact(&plan.artifact)?;
        let modules = self.spec().modules.as_ref();
        if part.kind == eigen::KIND {
            let features = self.pools().first().map(|pool| &pool.features[..]).unwrap_or_default();
            let groups = features.iter().flat_map(|feature| &feature.attrs.groups);
            return Ok((groups.map(|group| u64::from(group.len)).collect(), 1));
        }
        let content = GramContent::of(&part)?;
        let used = plan.checkpoints.iter().filter_map(|place| content.checkpoints.get(*place));
        let groups = used.flat_map(|checkpoint| &checkpoint.groups).filter(|group| counts(modules, group));
        // The sums, their mean, and the inverse, which stays.
        let beside = match self.spec().inversion {
            Inversion::Damped | Inversion::Absolute => 2,
            Inversion::Tikhonov | Inversion::Pseudoinverse => 5,
        };
        Ok((groups.map(|group| u64::from(group.len).pow(2)).collect(), beside))
    }
}

fn bytes(values: &[u64]) -> u64 {
    let sum = values.iter().fold(0u64, |sum, values| sum.saturating_add(*values));
    sum.saturating_mul(size_of::<f64>() as u64)
}

fn load(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (plan, part): (&PlanPrecondition, &ArtifactPart),
    (threads, cancel): (usize, &Cancel),
) -> Result<Vec<Preconditioner>, QueryError> {
    let content = GramContent::of(part)?;
    let map = snapshot.artifact_file(part, FILE)?;
    let file = GramFile::new(map.as_bytes())?;
    let used = plan.checkpoints.iter().filter_map(|place| content.checkpoints.get(*place)).enumerate();
    let blocks: Vec<(usize, &GramCheckpoint, usize)> =
        used.flat_map(|(c, at)| (0..at.groups.len()).map(move |group| (c, at, group))).collect();
    let made = parallel::unordered::<_, QueryError>(blocks.len(), threads, cancel, Vec::new, |own, at| {
        let (c, checkpoint, place) = blocks[at];
        let group = &checkpoint.groups[place];
        let solver = match counts(spec.modules.as_ref(), group) {
            true => {
                let name = format!("{} at {}", group.name, checkpoint.name);
                Solver::new(&file.gram(checkpoint, place)?, &name, spec.inversion, spec.damping)?
            }
            false => Solver::zero(group.len as usize),
        };
        let start = group.start as usize;
        own.push((at, c, start..start + group.len as usize, solver));
        Ok(())
    })?;
    let mut made: Vec<_> = made.into_iter().flatten().collect();
    made.sort_unstable_by_key(|(at, ..)| *at);
    let mut found = vec![Vec::new(); plan.checkpoints.len()];
    for (_, c, range, solver) in made {
        found[c].push((range, solver));
    }
    Ok(found.into_iter().map(Preconditioner::new).collect())
}

/// For the features of each checkpoint what makes of the damped inverse of their rows the filter
/// of the question.
fn rescaling(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    part: &ArtifactPart,
    features: &[Arc<FeaturePart>],
) -> Result<Vec<Preconditioner>, QueryError> {
    let space = EigenSpace::of(part)?;
    let map = snapshot.artifact_file(part, eigen::FILE)?;
    let filter = spec.eigen_filter();
    let of_feature = |feature: &Arc<FeaturePart>| -> Result<Preconditioner, QueryError> {
        let blocks = feature.attrs.groups.iter().map(|group| -> Result<_, QueryError> {
            let solver = match counts(spec.modules.as_ref(), group) {
                true => {
                    let (eigenvalues, fitted) = space.group(map.as_bytes(), group)?;
                    Solver::rescaling(&eigenvalues, fitted, filter, &group.name)?
                }
                false => Solver::zero(group.len as usize),
            };
            let start = group.start as usize;
            Ok((start..start + group.len as usize, solver))
        });
        Ok(Preconditioner::new(blocks.collect::<Result<_, _>>()?))
    };
    features.iter().map(of_feature).collect()
}
