//! The prefilters of a store, each in short.

use std::collections::BTreeMap;

use gstore_learn::{KIND, LearnError, Prefilter};
use gstore_store::{OpenError, Snapshot};
use serde_json::Value;

use crate::answer::AnswerError;

/// A prefilter in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefilterNote {
    /// Its name.
    pub name: String,
    /// The dataset that it was fitted for, if that was noted.
    pub dataset: Option<String>,
    /// What it predicts scores for: datasets, or `dataset:subtask`.
    pub targets: Vec<String>,
    /// What predicts, such as `ridge`.
    pub learner: String,
    /// What it reads of each row, as it was named.
    pub features: Vec<String>,
    /// Labelled rows that it has learned from, if they were noted.
    pub rows: Option<u64>,
    /// The snapshot that it came with.
    pub snapshot: u64,
    /// When that was published, in milliseconds since 1970, as long as the history has it.
    pub created: Option<u64>,
}

/// The prefilters of a snapshot, by name.
///
/// # Errors
/// Damage, and prefilters that a newer program wrote.
pub fn list_prefilters(snapshot: &Snapshot) -> Result<Vec<PrefilterNote>, AnswerError> {
    let mut names = snapshot.artifacts()?;
    names.sort();
    let mut notes = Vec::new();
    for name in names {
        let part = snapshot.artifact(&name)?;
        if part.kind != KIND {
            continue;
        }
        let noted = part.provenance;
        let prefilter = Prefilter::from_value(part.content).map_err(|error| match error {
            LearnError::Invalid(why) => AnswerError::Refused(format!("artifact `{name}`: {why}")),
            error => error.into(),
        })?;
        notes.push(PrefilterNote {
            name,
            dataset: noted.get("pool").and_then(Value::as_str).map(str::to_owned),
            features: prefilter.features.names().into_iter().map(str::to_owned).collect(),
            learner: prefilter.learner.name().to_owned(),
            rows: noted.get("rows").and_then(Value::as_u64),
            targets: prefilter.targets,
            snapshot: u64::from(part.number),
            created: None,
        });
    }
    if notes.is_empty() {
        return Ok(notes);
    }
    let history = snapshot.history().map_err(|error| match error {
        OpenError::Storage(error) => AnswerError::Read(error.into()),
        error => AnswerError::Refused(error.to_string()),
    })?;
    let times: BTreeMap<u64, u64> = history.iter().map(|one| (one.number, one.created)).collect();
    for note in &mut notes {
        note.created = times.get(&note.snapshot).copied();
    }
    Ok(notes)
}
