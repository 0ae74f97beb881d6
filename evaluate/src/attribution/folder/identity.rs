//! Identity of a file of outputs, in the file's metadata.
//!
//! A file that was moved in the place of another one, or that is of models trained in another way,
//! is found by it.

use std::collections::HashMap;
use std::path::Path;

use gstore_core::{canonical_json, xxh3_hex};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::TruthFolder;
use super::lines::digest;
use crate::error::EvaluateError;

/// Key of the metadata.
const KEY: &str = "gstore.run";

/// The run of a file of outputs, and digests of what its model was made of and asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    run: usize,
    seed: Option<u64>,
    pool: String,
    queries: String,
    subset: String,
    recipe: String,
}

impl Identity {
    /// The entry of the metadata.
    pub(super) fn entry(&self) -> KeyValue {
        KeyValue::new(KEY.to_owned(), json!(self).to_string())
    }

    /// What a file says; nothing where an older version wrote it.
    pub(super) fn of_file(path: &Path) -> Result<Option<Identity>, EvaluateError> {
        let bad = |what: String| EvaluateError::File { path: path.to_owned(), what };
        let failed = |error: ParquetError| bad(error.to_string());
        let reader = SerializedFileReader::new(fs_err::File::open(path)?.into_parts().0).map_err(failed)?;
        let entries = reader.metadata().file_metadata().key_value_metadata();
        let entry = entries.into_iter().flatten().find(|entry| entry.key == KEY);
        let Some(text) = entry.and_then(|entry| entry.value.as_deref()) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| bad(format!("its `{KEY}`: {error}")))
    }

    /// What is wrong with a file that says this in the place of another one.
    pub(super) fn unlike(&self, wanted: &Identity) -> Option<String> {
        if self.run != wanted.run {
            return Some(format!(
                "it has the outputs of run {}, but is in the place of those of run {}",
                self.run, wanted.run
            ));
        }
        let told = [
            (self.pool != wanted.pool, "it is of a ground truth of other rows than `pool.jsonl` has"),
            (self.queries != wanted.queries, "it is of other queries than `queries.jsonl` has"),
            (
                self.subset != wanted.subset,
                "its model was trained on another subset than `subsets.jsonl` has",
            ),
            (
                self.recipe != wanted.recipe,
                "its model was trained otherwise than `recipe.json` says: if that was changed, put it back",
            ),
            (self.seed != wanted.seed, "its model was trained with another seed"),
        ];
        told.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what.to_owned())
    }
}

impl TruthFolder {
    /// What the outputs of a run are of, by the recipe of the folder.
    pub(super) fn identity(&self, run: usize, recipe: &Value) -> Identity {
        Identity {
            run,
            seed: self.seed(run, recipe),
            pool: self.manifest.pool.digest.clone(),
            queries: self.manifest.queries.digest.clone(),
            subset: digest(self.rows_of(run), &self.pool),
            recipe: xxh3_hex(canonical_json(recipe).as_bytes()),
        }
    }

    /// The seed of a run: those of a subset count up.
    pub(super) fn seed(&self, run: usize, recipe: &Value) -> Option<u64> {
        let repeat = (run % self.manifest.repeats) as u64;
        recipe["seed"].as_u64().map(|seed| seed.wrapping_add(repeat))
    }

    /// The rows that a run trains on, by their places in the pool.
    pub(super) fn rows_of(&self, run: usize) -> &[u32] {
        self.subsets.get(run / self.manifest.repeats).map_or(&[][..], |subset| subset.rows.as_slice())
    }

    /// Refuses files of which nothing says what they are of, and that are copies of other ones: runs of other
    /// rows or seeds do not end in the same bits.
    pub(super) fn check_unsaid(
        &self,
        runs: &[usize],
        (outputs, said): (&[Vec<f64>], &[bool]),
    ) -> Result<(), EvaluateError> {
        if said.iter().all(|said| *said) {
            return Ok(());
        }
        // Of one seed and the same rows are two removals whose methods rank the same rows highest.
        let repeats = self.manifest.repeats;
        let is_other = |run: usize, other: usize| {
            run % repeats != other % repeats || self.rows_of(run) != self.rows_of(other)
        };
        let mut known: HashMap<Vec<u64>, Vec<(usize, bool)>> = HashMap::with_capacity(runs.len());
        for ((run, outputs), said) in runs.iter().zip(outputs).zip(said) {
            let bits = outputs.iter().map(|output| output.to_bits()).collect();
            let same = known.entry(bits).or_default();
            let copy =
                same.iter().find(|(other, other_said)| !(*said && *other_said) && is_other(*run, *other));
            if let Some((other, _)) = copy {
                return Err(EvaluateError::File {
                    path: self.output_file(*run),
                    what: format!(
                        "it has the outputs of run {other} to the last bit, and files of older versions do not say which run \
                         they are of: one is a copy of the other; remove both, and the command that filled the folder does \
                         their runs again"
                    ),
                });
            }
            same.push((*run, *said));
        }
        Ok(())
    }
}
