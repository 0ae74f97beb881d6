//! Factors of a store as a projection of gradients to their eigenbasis, and eigenvalues of its coordinates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_core::{Cancel, Remedy};
use gstore_curvature::{Module, Strategy};
use gstore_data::TextOptions;
use gstore_ingest::projection::{EigenBasis, EigenBlock, ProjectionSpec};
use gstore_query::eigen::{self, EigenSpace, EigenSpaceBlock, EigenSpaceRows};
use gstore_store::{ArtifactError, ArtifactPart, EncodingSpec, Snapshot, Store};
use serde_json::json;

use super::error::FactorJobError;
use super::folder::FactorParts;
use super::stamp::FactorStamp;
use super::stored::StoredFactors;

/// A projection to the eigenbasis of factors of a store.
#[derive(Debug, Clone)]
pub struct EigenProjection {
    /// The projection.
    pub spec: ProjectionSpec,
    /// Name of the factors.
    factors: String,
    number: u32,
    /// The datasets that they say something of.
    datasets: Vec<String>,
    stamp: FactorStamp,
    /// The rows that they were fitted on, where they are known.
    rows: Option<EigenSpaceRows>,
    /// Folder of the tokenizer, if it was not the model's own.
    tokenizer: Option<PathBuf>,
    /// Whether factors of something else are accepted.
    stale: bool,
}

impl EigenProjection {
    /// Reads factors. A module keeps at most `module_dim` coordinates; gradients of other checkpoints than
    /// that of the factors, and of texts that become other tokens, are refused unless `stale`, as are factors
    /// whose rows have changed since: all of these are read.
    ///
    /// Memory: the directions that are kept, and the factors of one module, in f64.
    ///
    /// # Errors
    /// There are none of this name, they have no eigenbasis, damage, being told to stop.
    pub fn of(
        snapshot: &Snapshot,
        factors: &str,
        module_dim: u32,
        stale: bool,
        cancel: &Cancel,
    ) -> Result<Self, FactorJobError> {
        let found = StoredFactors::open(snapshot, factors)?;
        let stamp = &found.content.stamp;
        let strategy = Strategy::parse(&stamp.strategy).filter(|strategy| strategy.rotates());
        let strategy = strategy.ok_or_else(|| {
            let why = format!("factors `{factors}` are {}, which has no eigenbasis", stamp.strategy);
            FactorJobError::Refused(format!("{why}: kfac and ekfac have"))
        })?;
        let rows = rows_as_fitted(snapshot, stamp, cancel)?;
        let changed =
            stamp.dataset.as_ref().filter(|_| rows.as_ref().is_some_and(|rows| rows.number.is_none()));
        if let Some(dataset) = changed.filter(|_| !stale) {
            let why = format!("rows of `{dataset}` that they were fitted on have changed");
            return Err(FactorJobError::Stale { name: factors.to_owned(), why });
        }
        let names: Vec<String> = stamp.modules.iter().map(|module| module.name.clone()).collect();
        let mut blocks = Vec::with_capacity(names.len());
        let reader = found.reader(snapshot, FactorParts::of(strategy))?;
        for name in reader.chosen(Some(&names))? {
            cancel.check()?;
            let (module, factors) = reader.module(&name)?;
            let bias = stamp.modules.iter().any(|known| known.name == module.name && known.bias);
            let module = Module { bias, ..module };
            blocks.push(EigenBlock::new(&module, &factors, strategy, module_dim)?);
        }
        let basis = EigenBasis::new(blocks, stamp.checkpoint.clone(), stale);
        Ok(Self {
            stamp: stamp.clone(),
            rows,
            tokenizer: found
                .part
                .provenance
                .get("tokenizer")
                .and_then(|path| path.as_str())
                .map(PathBuf::from),
            stale,
            spec: ProjectionSpec::of_basis(Arc::new(basis), module_dim),
            factors: factors.to_owned(),
            number: found.part.number,
            datasets: found.part.datasets,
        })
    }

    /// Text options of the fit, where they are known and its template is known here.
    pub fn text(&self) -> Option<TextOptions> {
        let text = TextOptions::of_spec(self.stamp.encoding.as_ref()?)?;
        // One that was moved since has to be named, and is compared then.
        Some(TextOptions { tokenizer: self.tokenizer.clone().filter(|folder| folder.is_dir()), ..text })
    }

    /// Refuses text options that make other tokens of a text than the fit's did: rows of these are of another
    /// loss than the curvature. Nothing is compared where it is not known what those were.
    ///
    /// # Errors
    /// Other tokens, unless factors of something else are accepted; a tokenizer that cannot be read.
    pub fn check_text(&self, model: &Path, text: &TextOptions) -> Result<(), FactorJobError> {
        let Some(fitted) = self.stamp.encoding.as_ref().filter(|_| !self.stale) else { return Ok(()) };
        let now = text.encoder(model)?.spec();
        if *fitted == now {
            return Ok(());
        }
        let mut options = fitted.options_unlike(&now);
        if options.is_empty() {
            options.push(format!("{} of the fit", Remedy::Option("tokenizer", "")));
        }
        let why = format!("texts became other tokens then, as {} makes them", options.join(", "));
        Err(FactorJobError::Stale { name: self.factors.clone(), why })
    }

    /// What the coordinates that are kept have of the squared lengths of rows, as a part: of all modules, and
    /// of the module with the least, by its name. The rest counts nothing in scores. Parts are of the sums of
    /// [`EigenBlock::lengths`].
    pub fn kept(&self) -> Option<(f64, (&str, f64))> {
        let blocks = self.spec.basis.as_ref()?.blocks();
        let part = |[kept, whole]: [f64; 2]| kept / whole;
        let sum = blocks.iter().map(EigenBlock::lengths).fold([0.0; 2], |[a, b], [x, y]| [a + x, b + y]);
        let parts = blocks.iter().map(|block| (block.module().name.as_str(), part(block.lengths())));
        Some((part(sum), parts.min_by(|a, b| a.1.total_cmp(&b.1))?))
    }

    /// Publishes the eigenvalues of the coordinates, with which rows can be asked with any damping, unless
    /// the store has them: 8 bytes a coordinate.
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
            dataset: self.stamp.dataset.clone(),
            rows: self.rows.clone(),
            encoding: self.stamp.encoding.as_ref().map(EncodingSpec::key),
            checkpoint: Some(self.stamp.checkpoint.clone()),
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
        match store.put_artifact(part, Some(files), None, command) {
            // Another job of the same projection was first.
            Ok(_) | Err(ArtifactError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The rows of factors, with the number of their dataset if it has them as they were. Nothing is known of a
/// dataset that the store does not have.
fn rows_as_fitted(
    snapshot: &Snapshot,
    stamp: &FactorStamp,
    cancel: &Cancel,
) -> Result<Option<EigenSpaceRows>, FactorJobError> {
    let Some(dataset) = stamp.dataset.as_ref().and_then(|name| snapshot.dataset(name).ok()) else {
        return Ok(None);
    };
    let number = stamp.has_rows(&snapshot.samples(dataset)?, cancel)?.then_some(dataset.number);
    Ok(Some(EigenSpaceRows { number, rows: stamp.rows.clone() }))
}

#[cfg(test)]
mod tests;
