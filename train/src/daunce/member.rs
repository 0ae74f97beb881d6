//! Records of trained models: one file of JSON for each, next to the folder of its weights.
//!
//! `members/00007/` has the weights, `members/00007.json` what made them. The record is written last, so a
//! model without one is trained again, to the same bits.
//!
//! Invariant: where there are locks, who makes, changes or removes a model has its, `members/.00007.lock`.

use std::path::{Path, PathBuf};

use gstore_core::{CheckpointId, if_there};
use gstore_store::vfs::FileLock;
use serde_json::{Value, json};

use crate::checkpoint::{self, make_json};
use crate::difference::difference;
use crate::error::TrainError;

/// What the options of copies are called otherwise than those of a training, or what it does not have.
const OPTIONS: [(&str, &str); 8] = [
    ("samples of a micro-batch", "batch_size"),
    ("epochs", "epochs"),
    ("steps", "steps"),
    ("rows of a model", "subset"),
    ("variant", "variant"),
    ("rho", "rho"),
    ("gamma", "gamma"),
    ("tokens that losses are divided by", "normalizer"),
];

/// A model of an ensemble.
#[derive(Debug, Clone, PartialEq)]
pub enum MemberOutcome {
    /// One that is complete.
    Complete(Member),
    /// One that is none: it diverged.
    Refused(RefusedMember),
}

/// A complete model.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its number.
    pub model: u64,
    /// Seed of whatever is random in it.
    pub seed: u64,
    /// Identity of its weights.
    pub checkpoint: CheckpointId,
    /// Folder of its weights; none: they were not kept.
    pub folder: Option<PathBuf>,
    /// Number of rows that it was trained on.
    pub rows: u64,
    /// SHA-256 of the numbers of these rows, in the order of its steps.
    pub rows_digest: String,
    /// SHA-256 of their noise.
    pub noise_digest: String,
    /// Objective before each step.
    pub objective: Vec<f64>,
    /// Steps, rate, variant and scales: what was asked for.
    pub asked: Value,
}

/// A model that diverged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMember {
    /// Its number.
    pub model: u64,
    /// What happened.
    pub reason: String,
}

impl MemberOutcome {
    /// Its number.
    pub fn model(&self) -> u64 {
        match self {
            MemberOutcome::Complete(member) => member.model,
            MemberOutcome::Refused(refused) => refused.model,
        }
    }

    /// The model, if it is complete.
    pub fn complete(&self) -> Option<&Member> {
        match self {
            MemberOutcome::Complete(member) => Some(member),
            MemberOutcome::Refused(_) => None,
        }
    }

    /// The model, if it diverged.
    pub fn refused(&self) -> Option<&RefusedMember> {
        match self {
            MemberOutcome::Complete(_) => None,
            MemberOutcome::Refused(refused) => Some(refused),
        }
    }

    /// Writes the record; weights have to be there already.
    pub(super) fn write(&self, members: &Path, asked: &Value) -> Result<(), TrainError> {
        let record = match self {
            MemberOutcome::Refused(RefusedMember { model, reason }) => {
                json!({ "version": 1, "model": model, "refused": reason, "asked": asked })
            }
            MemberOutcome::Complete(member) => json!({
                "version": 1,
                "model": member.model,
                "seed": member.seed,
                "checkpoint": member.checkpoint.to_string(),
                "weights": member.folder.is_some(),
                "rows": member.rows,
                "rows_digest": member.rows_digest,
                "noise_digest": member.noise_digest,
                "objective": member.objective,
                "asked": asked,
            }),
        };
        make_json(members, &format!("{}.json", name(self.model())), &record)
    }

    /// The model `model` of a folder, if it is complete and was asked for in the same way.
    pub(super) fn read(
        members: &Path,
        model: u64,
        asked: Option<&Value>,
    ) -> Result<Option<MemberOutcome>, TrainError> {
        let path = members.join(format!("{}.json", name(model)));
        // Another process may be replacing the folder's models.
        let Some(bytes) = if_there(fs_err::read(&path))? else { return Ok(None) };
        let bad = |what: String| TrainError::checkpoint(&path, what);
        let record: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let of = &record["asked"];
        if let Some(what) = asked.and_then(|asked| difference(of, asked, &OPTIONS)) {
            return Err(TrainError::OtherTraining { folder: path, what });
        }
        if let Some(reason) = record["refused"].as_str() {
            return Ok(Some(MemberOutcome::Refused(RefusedMember { model, reason: reason.to_owned() })));
        }
        let member = complete(members, model, &record);
        let member = member.ok_or_else(|| bad("this is not a record of a trained model".to_owned()))?;
        let gone = member.folder.as_ref().is_some_and(|folder| !folder.is_dir());
        Ok(if gone { None } else { Some(MemberOutcome::Complete(member)) })
    }
}

fn complete(members: &Path, model: u64, record: &Value) -> Option<Member> {
    let text = |key: &str| record[key].as_str().map(str::to_owned);
    Some(Member {
        model: record["model"].as_u64().filter(|number| *number == model)?,
        seed: record["seed"].as_u64()?,
        checkpoint: CheckpointId::try_from(record["checkpoint"].as_str()?).ok()?,
        folder: record["weights"].as_bool()?.then(|| members.join(name(model))),
        rows: record["rows"].as_u64()?,
        rows_digest: text("rows_digest")?,
        noise_digest: text("noise_digest")?,
        objective: record["objective"].as_array()?.iter().filter_map(Value::as_f64).collect(),
        asked: record["asked"].clone(),
    })
}

/// Removes a model's weights; what it was stays on record. Of one that is on record without weights, those
/// that a process has left which was killed before it had removed them.
///
/// # Errors
/// A folder that cannot be changed; another process that trains or removes this model.
pub fn forget_weights(output: &Path, member: &Member) -> Result<Member, TrainError> {
    let members = output.join("members");
    let folder = members.join(name(member.model));
    let without = Member { folder: None, ..member.clone() };
    if *member == without && !folder.is_dir() {
        return Ok(without);
    }
    let _lock = lock(&members, member.model)?;
    MemberOutcome::Complete(without.clone()).write(&members, &member.asked)?;
    if_there(fs_err::remove_dir_all(folder))?;
    Ok(without)
}

/// Name of the file that says where the starting point of an ensemble is.
pub(super) const NOTE: &str = "ensemble.json";

/// The starting point of a folder's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRecord {
    /// Identity of its weights.
    pub checkpoint: String,
    /// Folder of the base model, as it was when the models were trained.
    pub model: String,
    /// Folder of its adapter; none: the base model itself.
    pub adapter: Option<String>,
}

/// Where the models of a folder started from.
///
/// # Errors
/// A folder that no ensemble was trained in.
pub fn read_start(output: &Path) -> Result<StartRecord, TrainError> {
    let path = output.join(NOTE);
    let bad = |what: String| TrainError::checkpoint(output, what);
    if !path.is_file() {
        return Err(bad(format!("no models were trained here: there is no {NOTE}")));
    }
    let note: Value =
        serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| bad(error.to_string()))?;
    let text = |key: &str| note[key].as_str().map(str::to_owned);
    let start = text("start").zip(text("model"));
    let (checkpoint, model) = start.ok_or_else(|| bad(format!("{NOTE} names no starting point")))?;
    Ok(StartRecord { checkpoint, model, adapter: text("adapter") })
}

/// The models of a folder by number, which all have to be of one ensemble.
///
/// # Errors
/// A damaged record, models of different ensembles, and a folder without any.
pub fn read_members(output: &Path) -> Result<Vec<MemberOutcome>, TrainError> {
    let members = output.join("members");
    let mut found: Vec<MemberOutcome> = Vec::new();
    let mut asked: Option<Value> = None;
    for model in numbers(&members)? {
        let Some(trained) = MemberOutcome::read(&members, model, asked.as_ref())? else { continue };
        if let MemberOutcome::Complete(member) = &trained {
            asked.get_or_insert_with(|| member.asked.clone());
        }
        found.push(trained);
    }
    if found.is_empty() {
        return Err(TrainError::Option(format!("{} has no trained models", output.display())));
    }
    Ok(found)
}

/// Numbers of the models that a folder has a record of, ascending.
pub(super) fn numbers(members: &Path) -> Result<Vec<u64>, TrainError> {
    let mut numbers = Vec::new();
    if members.is_dir() {
        for entry in fs_err::read_dir(members)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            numbers.extend(name.and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The lock of a model, whose folder is there.
///
/// # Errors
/// Another process has it.
pub(super) fn lock(members: &Path, model: u64) -> Result<FileLock, TrainError> {
    let lock = FileLock::of(&members.join(format!(".{}.lock", name(model))))?;
    lock.ok_or_else(|| TrainError::BusyCopy { folder: members.join(name(model)), model })
}

/// Removes a model of a folder, its weights first: a record without its weights is no model.
pub(super) fn remove(members: &Path, model: u64) -> Result<(), TrainError> {
    let folder = members.join(name(model));
    if folder.is_dir() {
        checkpoint::remove(&folder)?;
    }
    if_there(fs_err::remove_file(members.join(format!("{}.json", name(model)))))?;
    Ok(())
}

/// Name of a model's folder; as many digits as sort alike for a hundred thousand models.
pub(super) fn name(model: u64) -> String {
    format!("{model:05}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_model_and_one_that_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let members = folder.path();
        let refused = RefusedMember { model: 3, reason: "it diverged".into() };
        let outcome = MemberOutcome::Refused(refused);
        outcome.write(members, &json!({})).unwrap();
        let held = lock(members, 3).unwrap();
        assert!(matches!(lock(members, 3), Err(TrainError::BusyCopy { model: 3, .. })));
        let other = lock(members, 4).unwrap();
        assert_eq!(numbers(members).unwrap(), [3]);
        for _ in 0..2 {
            remove(members, 3).unwrap();
            assert_eq!(MemberOutcome::read(members, 3, None).unwrap(), None);
        }
        drop((held, other));
        assert_eq!(fs_err::read_dir(members).unwrap().count(), 0);
    }
}
