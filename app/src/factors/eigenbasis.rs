//! Factors of a store as a projection of gradients to their eigenbasis, and the eigenvalues of its coordinates.

use std::sync::Arc;

use gstore_curvature::{Module, Strategy};
use gstore_ingest::projection::{EigenBasis, EigenBlock, ProjectionSpec};
use gstore_query::QueryError;
use gstore_query::eigen::{self, EigenSpace, EigenSpaceBlock, FACTORS};
use gstore_store::{ArtifactError, ArtifactPart, Snapshot, Store};
use serde::Deserialize;
use serde_json::json;

use super::folder::FactorFolder;
use crate::answer::AnswerError;

/// What a projection needs to know of an artifact of factors.
#[derive(Deserialize)]
struct Fitted {
    strategy: String,
    checkpoint: String,
    modules: Vec<Module>,
}

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
}

impl EigenProjection {
    /// Reads factors. A module keeps at most `module_dim` coordinates; gradients of other checkpoints than
    /// that of the factors are refused unless `stale`.
    ///
    /// Memory: the directions that are kept, and the factors of one module, in f64.
    ///
    /// # Errors
    /// There are none of this name, they have no eigenbasis, damage.
    pub fn of(snapshot: &Snapshot, factors: &str, module_dim: u32, stale: bool) -> Result<Self, AnswerError> {
        let refuse = |why: String| AnswerError::Refused(format!("factors `{factors}`: {why}"));
        let part = snapshot.artifact(factors)?;
        if part.kind != FACTORS {
            return Err(refuse(format!("the artifact is a {}, not factors of curvature", part.kind)));
        }
        let fitted = serde_json::from_value(part.content.clone());
        let Fitted { strategy, checkpoint, modules } = fitted.map_err(|error| refuse(error.to_string()))?;
        let strategy = Strategy::parse(&strategy).filter(|strategy| strategy.rotates()).ok_or_else(|| {
            refuse(format!("the strategy {strategy} has no eigenbasis; kfac and ekfac have"))
        })?;
        // Its files are read by path.
        let place = tempfile::tempdir()?;
        for file in part.files.iter().filter(|file| !file.name.contains("covariance")) {
            let map = snapshot.artifact_file(&part, &file.name)?;
            fs_err::write(place.path().join(&file.name), map.as_bytes())?;
        }
        let folder = FactorFolder::open(place.path()).map_err(|error| refuse(error.to_string()))?;
        let names: Vec<String> = modules.iter().map(|module| module.name.clone()).collect();
        let mut blocks = Vec::with_capacity(names.len());
        folder
            .each_factors(Some(&names), &mut |module, factors| {
                let bias = modules.iter().any(|known| known.name == module.name && known.bias);
                let module = Module { bias, ..module };
                blocks.push(EigenBlock::new(&module, &factors, strategy, module_dim)?);
                Ok(())
            })
            .map_err(|error| refuse(error.to_string()))?;
        let basis = EigenBasis::new(blocks, checkpoint, stale);
        Ok(Self {
            spec: ProjectionSpec::of_basis(Arc::new(basis), module_dim),
            factors: factors.to_owned(),
            number: part.number,
            datasets: part.datasets,
        })
    }

    /// Publishes the eigenvalues of the coordinates, with which rows can be asked with any damping, unless the
    /// store has them: 8 bytes a coordinate.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn publish(&self, store: &Store, command: &str) -> Result<(), AnswerError> {
        let projection = self.spec.fingerprint();
        let name = EigenSpace::artifact(&projection);
        let snapshot = store.snapshot().map_err(QueryError::from)?;
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
        let space = EigenSpace { projection, factors: self.factors.clone(), number: self.number, blocks };
        let content =
            serde_json::to_value(&space).map_err(|error| AnswerError::Refused(error.to_string()))?;
        let known = |dataset: &&String| snapshot.dataset(dataset).is_ok();
        let datasets = self.datasets.iter().filter(known).cloned().collect();
        let mut part = ArtifactPart::new(&name, eigen::KIND, datasets, content);
        part.provenance.insert("factors".to_owned(), json!(self.factors));
        part.provenance.insert("command".to_owned(), json!(command));
        let mut files = store.artifact_files()?;
        let lambdas = basis.blocks().iter().map(EigenBlock::lambda);
        files.write(eigen::FILE, |out| eigen::write(out, lambdas))?;
        match store.put_artifact_with(part, files, false, command) {
            // Another job of the same projection was first.
            Ok(_) | Err(ArtifactError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
