//! A ground truth in a store: its subsets as an artifact, and the losses of its models for an import.
//!
//! ```text
//! artifact retraining-<digest>   kind `retraining`: what the models have in common
//!   pool.jsonl, queries.jsonl    their ids; the texts stay in the datasets
//!   subsets.jsonl                as in the folder
//! member <digest>.<run>          its provenance has the artifact as `retraining`, and its `run`
//! ```
//!
//! Invariants
//! - the artifact is named by the digest of what it says: it is never replaced, and comes before its members
//! - all members of an ensemble are of one pool, one recipe and the same queries

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use gstore_core::Cancel;
use gstore_data::TextSample;
use gstore_store::{ArtifactError, ArtifactPart, Snapshot, Store};
use serde_json::json;

use super::TruthFolder;
use super::artifact::{Content, RETRAINING, RUN, name_of};
use super::lines::{digest, sample_json, subset_lines};
use super::members::Retrained;
use crate::attribution::ids::Ids;
use crate::error::EvaluateError;

impl TruthFolder {
    /// Fails unless all queries are among the samples of a dataset, as they are asked.
    ///
    /// # Errors
    /// The first query that is not, or that has another text there.
    pub fn check_queries(&self, dataset: &str, samples: &[TextSample]) -> Result<(), EvaluateError> {
        let lines: HashMap<&str, String> =
            samples.iter().map(|sample| (sample.id.as_str(), sample_json(sample))).collect();
        let asked = fs_err::read_to_string(self.queries_file())?;
        for (id, asked) in self.queries.iter().zip(asked.lines()) {
            let what = match lines.get(id) {
                None => "is not there",
                Some(line) if line != asked => "has another text there than the models were asked",
                Some(_) => continue,
            };
            return Err(EvaluateError::Truth(format!(
                "query {id:?} should be in dataset {dataset:?}, and {what}"
            )));
        }
        Ok(())
    }

    /// Fails unless an ensemble, if there is one of the name, can have models of this ground truth whose
    /// queries are samples of `dataset`. The artifact of this ground truth may be missing: an export
    /// publishes it again.
    ///
    /// # Errors
    /// An ensemble that was not made by retraining, or by another one, or lacks the artifact of another one;
    /// being told to stop.
    pub fn check_ensemble(
        &self,
        snapshot: &Snapshot,
        (ensemble, dataset): (&str, &str),
        cancel: &Cancel,
    ) -> Result<(), EvaluateError> {
        let Some(part) = snapshot.ensembles().iter().find(|part| part.name == ensemble) else {
            return Ok(());
        };
        let content = self.content(dataset)?;
        let found = Retrained::of(snapshot, part, Some(&name_of(&content.key())), cancel)?;
        match found.artifacts.first() {
            Some(first) => first.check_same(ensemble, &content, &self.pool),
            // All of its models are of this ground truth, whose artifact was dropped.
            None => Ok(()),
        }
    }

    /// Publishes the subsets, and writes into a folder what an import of losses takes in: those of the runs
    /// that are done. Returns the path of its manifest.
    ///
    /// # Errors
    /// No run that is done, files that cannot be read or written, a store that cannot be written.
    pub fn export(
        &self,
        (store, command): (&Store, &str),
        (ensemble, dataset): (&str, &str),
        folder: &Path,
        cancel: &Cancel,
    ) -> Result<PathBuf, EvaluateError> {
        let done: Vec<usize> = (0..self.runs()).filter(|run| self.output_file(*run).exists()).collect();
        if done.is_empty() {
            return Err(EvaluateError::Truth(format!("no run of {} is done", self.folder.display())));
        }
        let content = self.content(dataset)?;
        let recipe = &content.recipe;
        let key = self.publish((store, command), &content, cancel)?;
        let (mut models, mut losses) = (Vec::with_capacity(done.len()), Vec::new());
        for (run, outputs) in done.iter().copied().zip(self.outputs_of(&done, cancel)?) {
            losses.extend(outputs.iter().flat_map(|output| (-output).to_le_bytes()));
            let rows = self.rows_of(run);
            models.push(json!({
                "id": format!("{key}.{run:05}"), "seed": self.seed(run, recipe), "variant": "subset",
                "subset_size": rows.len(), "subset_digest": digest(rows, &self.pool),
                RETRAINING: name_of(&key), RUN: run,
            }));
        }
        fs_err::write(folder.join("losses.bin"), losses)?;
        let manifest = json!({
            "ensemble": ensemble, "base": recipe["model"], "models": models,
            "dataset": dataset, "rows": self.queries.iter().collect::<Vec<&str>>(),
            "losses": "losses.bin", "orientation": "model_major", "dtype": "f64",
        });
        let path = folder.join("manifest.json");
        fs_err::write(&path, manifest.to_string())?;
        Ok(path)
    }

    fn content(&self, dataset: &str) -> Result<Content, EvaluateError> {
        let (dataset, manifest) = (dataset.to_owned(), self.manifest.clone());
        Ok(Content { dataset, manifest, recipe: self.recipe()? })
    }

    /// Publishes the artifact unless it is there, and gives its digest.
    fn publish(
        &self,
        (store, command): (&Store, &str),
        content: &Content,
        cancel: &Cancel,
    ) -> Result<String, EvaluateError> {
        let key = content.key();
        let name = name_of(&key);
        let snapshot = store.snapshot().map_err(ArtifactError::from)?;
        if snapshot.artifacts()?.contains(&name) {
            return Ok(key);
        }
        let of_ids =
            |ids: &Ids| ids.iter().map(|id| format!("{}\n", json!({ "id": id }))).collect::<String>();
        let mut files = store.artifact_files()?;
        for (file, text) in [
            ("pool.jsonl", of_ids(&self.pool)),
            ("queries.jsonl", of_ids(&self.queries)),
            ("subsets.jsonl", subset_lines(&self.subsets, &self.pool, cancel)?),
        ] {
            files.write(file, |out: &mut dyn Write| out.write_all(text.as_bytes()))?;
        }
        // It names rows of the pool, whatever dataset these are of: it is for those who see all of the store.
        let part = ArtifactPart::new(&name, RETRAINING, Vec::new(), json!(content));
        match store.put_artifact(part, Some(files), None, command) {
            // Another process of the same ground truth was first.
            Ok(_) | Err(ArtifactError::Exists(_)) => Ok(key),
            Err(error) => Err(error.into()),
        }
    }
}
