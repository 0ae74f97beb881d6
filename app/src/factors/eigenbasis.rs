//! Factors of a store as a projection of gradients to their eigenbasis, and eigenvalues of its coordinates.

use std::sync::Arc;

use gstore_curvature::{Module, Strategy};
use gstore_ingest::projection::{EigenBasis, EigenBlock, ProjectionSpec};
use gstore_query::eigen::{self, EigenSpace, EigenSpaceBlock};
use gstore_store::{ArtifactError, ArtifactPart, Snapshot, Store};
use serde_json::json;

use super::error::FactorJobError;
use super::folder::FactorParts;
use super::stored::StoredFactors;

/// A projection to the eigenbasis of factors of a store.
#[derive(Debug, Clone)]
pub struct EigenProjection {
    /// The projection.
    pub spec: ProjectionSpec,
    /// Name of the factors.
    factors: String,
    /// Their number.
    number: u32,
    /// The datasets that they say something of.
    datasets: Vec<String>,
    /// The dataset that they were fitted on, where it is known.
    dataset: Option<String>,
    /// Id of the checkpoint that they are of.
    checkpoint: String,
}

impl EigenProjection {
    /// Reads factors. A module keeps at most `module_dim` coordinates; gradients of other checkpoints than
    /// that of the factors are refused unless `stale`.
    ///
    /// Memory: the directions that are kept, and the factors of one module, in f64.
    ///
    /// # Errors
    /// There are none of this name, they have no eigenbasis, damage.
    pub fn of(
        snapshot: &Snapshot,
        factors: &str,
        module_dim: u32,
        stale: bool,
    ) -> Result<Self, FactorJobError> {
        let found = StoredFactors::open(snapshot, factors)?;
        let stamp = &found.content.stamp;
        let strategy = Strategy::parse(&stamp.strategy).filter(|strategy| strategy.rotates());
        let strategy = strategy.ok_or_else(|| {
            let why = format!("factors `{factors}` are {}, which has no eigenbasis", stamp.strategy);
            FactorJobError::Refused(format!("{why}: kfac and ekfac have"))
        })?;
        let names: Vec<String> = stamp.modules.iter().map(|module| module.name.clone()).collect();
        let mut blocks = Vec::with_capacity(names.len());
        let reader = found.reader(snapshot, FactorParts::of(strategy))?;
        for name in reader.chosen(Some(&names)).map_err(FactorJobError::other)? {
            let (module, factors) = reader.module(&name).map_err(FactorJobError::other)?;
            let bias = stamp.modules.iter().any(|known| known.name == module.name && known.bias);
            let module = Module { bias, ..module };
            blocks.push(EigenBlock::new(&module, &factors, strategy, module_dim)?);
        }
        let basis = EigenBasis::new(blocks, stamp.checkpoint.clone(), stale);
        Ok(Self {
            dataset: stamp.dataset.clone(),
            checkpoint: stamp.checkpoint.clone(),
            spec: ProjectionSpec::of_basis(Arc::new(basis), module_dim),
            factors: factors.to_owned(),
            number: found.part.number,
            datasets: found.part.datasets,
        })
    }

    /// What the coordinates that are kept have of the squared lengths of rows, as a part: of all modules, and of the
    /// module with the least, by its name. The rest counts nothing in scores. Parts are of the sums of
    /// [`EigenBlock::lengths`].
    pub fn kept(&self) -> Option<(f64, (&str, f64))> {
        let blocks = self.spec.basis.as_ref()?.blocks();
        let part = |[kept, whole]: [f64; 2]| kept / whole;
        let sum = blocks.iter().map(EigenBlock::lengths).fold([0.0; 2], |[a, b], [x, y]| [a + x, b + y]);
        let parts = blocks.iter().map(|block| (block.module().name.as_str(), part(block.lengths())));
        Some((part(sum), parts.min_by(|a, b| a.1.total_cmp(&b.1))?))
    }

    /// Publishes the eigenvalues of the coordinates, with which rows can be asked with any damping, unless the
    /// store has them: 8 bytes a coordinate.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn publish(&self, store: &Store, command: &str) -> Result<(), FactorJobError> {
        let projection = self.spec.fingerprint();
        let name = EigenSpace::artifact(&projection);
        let snapshot = store.snapshot()?;
        let Some(basis) = self.spec.basis.as_ref() else { return Ok(()) };
        if snapshot.artifacts()?.contains(&name) {
            return Ok(());
        }
        let described = |block: &EigenBlock| EigenSpaceBlock {
            module: block.module().name.clone(),
            len: block.lambda().len() as u64,
            damping: block.damping(),
        };
        let blocks = basis.blocks().iter().map(described).collect();
        let space = EigenSpace {
            projection,
            factors: self.factors.clone(),
            number: self.number,
            dataset: self.dataset.clone(),
            checkpoint: Some(self.checkpoint.clone()),
            blocks,
        };
        let content = serde_json::to_value(&space).map_err(std::io::Error::other)?;
        let known = |dataset: &&String| snapshot.dataset(dataset).is_ok();
        let datasets = self.datasets.iter().filter(known).cloned().collect();
        let mut part = ArtifactPart::new(&name, eigen::KIND, datasets, content);
        part.provenance.insert("factors".to_owned(), json!(self.factors));
        part.provenance.insert("command".to_owned(), json!(command));
        let mut files = store.artifact_files()?;
        let lambdas = basis.blocks().iter().map(EigenBlock::lambda);
        files.write(eigen::FILE, |out| eigen::write(out, lambdas))?;
        match store.put_artifact_with(part, files, None, command) {
            // Another job of the same projection was first.
            Ok(_) | Err(ArtifactError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
