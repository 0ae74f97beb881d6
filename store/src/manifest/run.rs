//! A run part: the ordered checkpoints of one training.

use super::Extra;
use super::part::{Part, mismatch};
use gstore_core::CheckpointId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A checkpoint as a run knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCheckpoint {
    /// For example `checkpoint-112`.
    pub name: String,
    /// The training step.
    pub step: Option<u64>,
    /// Weight of the checkpoint in sums; for LESS the mean learning rate of the epoch that ends here.
    pub weight: Option<f64>,
    /// The weights.
    pub checkpoint: CheckpointId,
    /// Name of the base model's folder.
    pub base: String,
    /// Where it came from, for people.
    #[serde(default)]
    pub provenance: Map<String, Value>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Checkpoints to add to a run, or to correct in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunUpdate {
    /// The run; made if there is none of this name.
    pub name: String,
    /// The checkpoints. A name that the run has already must mean the same checkpoint, whose provenance this
    /// one replaces, if it has any and does not come from a shard.
    pub checkpoints: Vec<RunCheckpoint>,
    /// Whether the weights of checkpoints that the run has already are replaced; otherwise only
    /// missing ones are filled in.
    pub replace_weights: bool,
}

/// A run in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPart {
    pub(crate) version: u32,
    pub(crate) requires: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its checkpoints: by step, those without one at the end in the order of their arrival.
    pub checkpoints: Vec<RunCheckpoint>,
    /// Unknown fields.
    #[serde(flatten)]
    pub extra: Extra,
}

impl RunPart {
    pub(crate) fn new(name: &str, number: u32) -> Self {
        RunPart {
            version: super::VERSION,
            requires: Vec::new(),
            name: name.to_owned(),
            number,
            checkpoints: Vec::new(),
            extra: Extra::new(),
        }
    }

    /// The checkpoint of a name.
    pub fn checkpoint(&self, name: &str) -> Option<&RunCheckpoint> {
        self.checkpoints.iter().find(|c| c.name == name)
    }

    /// The checkpoint of a name, else of a step.
    pub fn checkpoint_or_step(&self, name: &str) -> Option<&RunCheckpoint> {
        let is_step = |c: &&RunCheckpoint| c.step.is_some_and(|step| step.to_string() == name);
        self.checkpoint(name).or_else(|| self.checkpoints.iter().find(is_step))
    }
}

impl Part for RunPart {
    fn stem(&self) -> String {
        format!("run-{}", self.number)
    }

    fn problem(&self) -> Option<(String, String, String)> {
        for (i, c) in self.checkpoints.iter().enumerate() {
            if self.checkpoints[..i].iter().any(|o| o.name == c.name || o.checkpoint == c.checkpoint) {
                return mismatch(format!("checkpoint {:?}", c.name), "each name and id once", "one twice");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_a_step() {
        let mut run = RunPart::new("r", 1);
        run.checkpoints = [("first", 2), ("2", 4)]
            .map(|(name, step)| RunCheckpoint {
                name: name.into(),
                step: Some(step),
                weight: None,
                checkpoint: CheckpointId::of_hash(&[7; 32]),
                base: "m".into(),
                provenance: Map::new(),
                extra: Extra::new(),
            })
            .into();
        let found = |name: &str| run.checkpoint_or_step(name).map(|c| c.name.as_str());
        assert_eq!(["first", "2", "4", "6"].map(found), [Some("first"), Some("2"), Some("2"), None]);
    }
}
