//! Job and run of a plan, as recorded in the store.

use std::path::{Path, PathBuf};

use gstore_core::{Remedy, first_of, many};
use gstore_store::{CheckpointId, JobFeature, JobPlan, RunCheckpoint, RunPart, RunUpdate, Snapshot};
use serde_json::{Map, Value, json};

use super::super::IngestError;
use super::super::label::label;
use super::super::request::CheckpointWeights;
use super::{CheckpointPlan, IngestPlan, PlannedFeature};

/// Checkpoints that a note names.
const NAMED: usize = 4;

/// An error if a run that is to be made cannot have its name. One that is there keeps it, whatever it is.
pub(in super::super) fn check_run_name(snapshot: &Snapshot, run: &str) -> Result<(), IngestError> {
    match snapshot.run(run) {
        Ok(_) => Ok(()),
        Err(_) => Ok(RunPart::check_name(run)?),
    }
}

impl IngestPlan {
    /// The job as the store plans it.
    pub fn job(&self) -> JobPlan {
        let features: Vec<JobFeature> = self
            .features()
            .map(|feature| JobFeature { desc: feature.desc.clone(), attrs: feature.attrs.clone() })
            .collect();
        let keys: Vec<String> = features.iter().map(|feature| feature.desc.key()).collect();
        let ids: Vec<&CheckpointId> = self.checkpoints.iter().map(|checkpoint| &checkpoint.id).collect();
        JobPlan {
            command: self.request.command.clone(),
            // Threads, batches and memory change no bit, so one job may go on from another that had others.
            identity: match &self.column {
                None => json!({ "features": keys }),
                // After a revert the key of a column may be that of another model's losses, and stand for
                // differences to offsets that are computed again.
                Some(column) => json!({
                    "features": keys,
                    "checkpoints": ids,
                    "offset": column.offset.as_ref().map(|reader| reader.part().number),
                }),
            },
            detail: json!({ "dataset": self.request.dataset, "rows": self.rows.len() }),
            features,
        }
    }

    /// The label of a feature of the plan among those of a snapshot, which other processes may have published
    /// since the plan was made.
    pub(in super::super) fn label_in(&self, snapshot: &Snapshot, feature: &JobFeature) -> String {
        let mut planned = self.checkpoints.iter().flat_map(|checkpoint| {
            checkpoint.features.iter().map(move |planned| (&checkpoint.projection, planned))
        });
        match planned.find(|(_, planned)| planned.desc == feature.desc) {
            Some((projection, PlannedFeature { kind, desc, plain_label, .. })) => {
                label(snapshot, &self.request, *kind, projection, (desc, &self.encoding), plain_label)
            }
            None => feature.attrs.label.clone(),
        }
    }

    /// As [`check_run_name`], of the run of the plan.
    pub(in super::super) fn check_run_name(&self) -> Result<(), IngestError> {
        check_run_name(&self.snapshot, &self.request.run)
    }

    pub(in super::super) fn run_update(&self) -> RunUpdate {
        RunUpdate {
            name: self.request.run.clone(),
            checkpoints: self.run_checkpoints(),
            replace_weights: !self.request.weights.is_empty(),
        }
    }

    /// What people are told where the run names folders that are gone, and the request has their weights
    /// elsewhere.
    pub fn moved(&self) -> Option<String> {
        let planned = self.checkpoints.iter().zip(self.run_checkpoints());
        let moved = planned.filter(|(checkpoint, planned)| {
            self.stored(checkpoint).is_some_and(|stored| stored.provenance != planned.provenance)
        });
        let moved = moved.count() as u64;
        (moved > 0).then(|| {
            format!(
                "run `{}` names folders that are gone; those of {} are registered where they are now",
                self.request.run,
                many(moved, "checkpoint")
            )
        })
    }

    /// What is said of weights that the run gets and the log of its training does not tell.
    pub(super) fn guessed_weights(&self) -> Option<String> {
        let is_guess = |checkpoint: &&CheckpointPlan| {
            let has_none = |stored: &RunCheckpoint| stored.weight.is_none();
            checkpoint.weight_is_guess && self.stored(checkpoint).is_none_or(has_none)
        };
        let guessed = self.checkpoints.iter().filter(is_guess).map(|checkpoint| &checkpoint.arg.name);
        let names = first_of(guessed, NAMED);
        (!names.is_empty()).then(|| {
            format!(
                "run `{}`: the log of its training has too few learning rates to tell the weights of {names}, which may be \
                 off by more than a tenth: give the true ones with {}, or train with more frequent logging",
                self.request.run,
                Remedy::Option("weights", "")
            )
        })
    }

    /// A checkpoint as the run has it already.
    pub(super) fn stored(&self, checkpoint: &CheckpointPlan) -> Option<&RunCheckpoint> {
        let stored = self.snapshot.run(&self.request.run).ok()?.checkpoint(&checkpoint.arg.name)?;
        (stored.checkpoint == checkpoint.id).then_some(stored)
    }

    pub(crate) fn run_checkpoints(&self) -> Vec<RunCheckpoint> {
        let origin = |folder: &PathBuf| self.request.origins.get(folder);
        let base = origin(&self.request.model).cloned();
        let base = base.unwrap_or_else(|| folder_name(&self.request.model));
        // A later search for the weights may start in another folder.
        let place = |folder: &PathBuf| json!(std::path::absolute(folder).unwrap_or_else(|_| folder.clone()));
        self.checkpoints
            .iter()
            .map(|checkpoint| {
                let mut provenance = Map::new();
                provenance.insert("model".to_owned(), place(&self.request.model));
                if let Some(origin) = origin(&self.request.model) {
                    provenance.insert("model_origin".to_owned(), json!(origin));
                }
                if let Some(tokenizer) = &self.request.text.tokenizer {
                    provenance.insert("tokenizer".to_owned(), place(tokenizer));
                }
                match &checkpoint.arg.weights {
                    CheckpointWeights::Base => {}
                    CheckpointWeights::Adapter(folder) => {
                        provenance.insert("adapter".to_owned(), place(folder));
                        if let Some(origin) = origin(folder) {
                            provenance.insert("adapter_origin".to_owned(), json!(origin));
                        }
                    }
                    CheckpointWeights::Model(folder) => {
                        provenance.insert("weights".to_owned(), place(folder));
                    }
                }
                if let Some(stored) = self.stored(checkpoint) {
                    provenance = relocated(&stored.provenance, &provenance);
                }
                RunCheckpoint {
                    name: checkpoint.arg.name.clone(),
                    step: checkpoint.step,
                    weight: checkpoint.weight,
                    checkpoint: checkpoint.id.clone(),
                    base: base.clone(),
                    provenance,
                    extra: Map::new(),
                }
            })
            .collect()
    }
}

/// The provenance of a checkpoint that a run has: what is gone of its folders is where it was found now.
fn relocated(stored: &Map<String, Value>, found: &Map<String, Value>) -> Map<String, Value> {
    let mut places = stored.clone();
    for key in ["model", "adapter", "weights", "tokenizer"] {
        let folder = stored.get(key).and_then(Value::as_str);
        let is_gone = folder.is_some_and(|folder| !Path::new(folder).exists());
        if let (true, Some(place)) = (is_gone, found.get(key)) {
            places.insert(key.to_owned(), place.clone());
            let origin = format!("{key}_origin");
            match found.get(&origin) {
                Some(known) => places.insert(origin, known.clone()),
                None => places.remove(&origin),
            };
        }
    }
    places
}

fn folder_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
