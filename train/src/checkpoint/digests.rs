//! Digests of what a training goes on from: a weight or a moment with a changed bit is still a number, and
//! nothing else would notice.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_core::Digest;
use gstore_model::weights::{BaseDigest, DamagedFile, GstoreState, ModelFolder};
use serde_json::{Map, Value, json};

use super::is_adapter;
use super::json::{read_gstore_state, recovery_hint};
use crate::error::TrainError;

/// The files, as far as a checkpoint has them.
const FILES: [&str; 4] =
    ["adapter_model.safetensors", "model.safetensors", GstoreState::ADAPTER, "optimizer.pt"];

/// The digests of a checkpoint that was just written, by the names of the files.
pub(super) fn digests(folder: &Path) -> Result<BTreeMap<&'static str, Digest>, TrainError> {
    let there = FILES.into_iter().filter(|name| folder.join(name).is_file());
    there.map(|name| Ok((name, GstoreState::digest(folder, name)?))).collect()
}

/// An error if a file of a checkpoint is not the one that was written. One of another program says no digests
/// and is taken as it is.
pub(crate) fn check_files(folder: &Path) -> Result<(), TrainError> {
    let Some(own) = read_gstore_state(folder)? else { return Ok(()) };
    refuse_damaged(folder, GstoreState::new(folder, own).damaged(&FILES)?)
}

fn refuse_damaged(folder: &Path, file: Option<DamagedFile>) -> Result<(), TrainError> {
    let Some(file) = file else { return Ok(()) };
    let what = format!("{file}\n  {}{}", file.edited(), recovery_hint(folder));
    Err(TrainError::checkpoint(folder, what))
}

/// Files that say with the weights how a training goes on from a checkpoint, as far as it has them.
const STATE: [&str; 3] = ["optimizer.pt", "optimizer.bin", "trainer_state.json"];

/// Digests of all that a training goes on with from a checkpoint, our own or another trainer's. The weights
/// of an adapter are not among them: they are part of the digest of its model.
pub(crate) fn start_digests(folder: &Path) -> Result<Value, TrainError> {
    let (mut digests, own) = (Map::new(), read_gstore_state(folder)?);
    let pending = own.as_ref().and_then(|own| own.get("losses_to_log").cloned());
    let own = own.map(|own| GstoreState::new(folder, own));
    if let Some(own) = &own {
        // The digests of the others are taken below.
        let weights: Vec<&str> = FILES.into_iter().filter(|name| !STATE.contains(name)).collect();
        refuse_damaged(folder, own.damaged(&weights)?)?;
    }
    if !is_adapter(folder) {
        let weights = BaseDigest::new(&ModelFolder::open(folder)?)?.checkpoint(None)?.to_string();
        digests.insert("weights".to_owned(), json!(weights));
    }
    for (name, path) in STATE.into_iter().map(|name| (name, folder.join(name))) {
        if path.is_file() {
            let digest = Digest::of_read(fs_err::File::open(path)?)?;
            refuse_damaged(folder, own.as_ref().and_then(|own| own.differs(name, digest)))?;
            digests.insert(name.to_owned(), json!(digest));
        }
    }
    digests.insert("losses to log".to_owned(), json!(pending));
    Ok(Value::Object(digests))
}
