//! Registration of trained copies as members of an ensemble of the store.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use gstore::stored_folder;
use gstore_store::vfs::resolve;
use gstore_store::{EnsembleBase, EnsembleUpdate, Member, MemberSettings, MemberWeights, Store, SubsetNote};
use gstore_train::daunce::{self, MemberOutcome, StartRecord, read_members};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::refuse;

/// Registers the complete ones of some copies, in their order; those that are there already stay.
pub fn register(
    context: &Context,
    store: &Store,
    name: &str,
    start: &StartRecord,
    copies: &[MemberOutcome],
) -> Result<u64> {
    let complete = copies.iter().filter_map(MemberOutcome::complete);
    let members: Vec<Member> = complete.map(|member| as_member(member, start)).collect();
    let count = members.len() as u64;
    if count == 0 {
        return Ok(0);
    }
    let base = EnsembleBase {
        id: start.checkpoint.clone(),
        name: Some(start.model.clone()),
        adapter: start.adapter.clone(),
    };
    store.update_ensemble(&EnsembleUpdate { name: name.to_owned(), base, members }, &context.command)?;
    Ok(count)
}

/// Id of copy `model` in its ensemble.
pub fn id(model: u64) -> String {
    format!("copy-{model:05}")
}

fn as_member(copy: &daunce::Member, start: &StartRecord) -> Member {
    let asked = |key: &str| copy.asked.get(key);
    let number = |key: &str| asked(key).and_then(Value::as_f64);
    let mut provenance = Map::new();
    provenance.insert("number".to_owned(), json!(copy.model));
    provenance.insert("noise".to_owned(), json!(copy.noise_digest));
    provenance.insert("objective".to_owned(), json!(copy.objective.last()));
    provenance.insert("weights kept".to_owned(), json!(copy.folder.is_some()));
    Member {
        seed: Some(copy.seed),
        variant: asked("variant").and_then(Value::as_str).map(str::to_owned),
        settings: MemberSettings {
            rho: number("rho"),
            gamma: number("gamma"),
            lr: number("learning rate"),
            steps: asked("steps").and_then(Value::as_u64),
        },
        subset: Some(SubsetNote { size: copy.rows, digest: copy.rows_digest.clone() }),
        weights: Some(MemberWeights {
            checkpoint: copy.checkpoint.clone(),
            folder: copy.folder.as_deref().map(stored_folder),
        }),
        provenance,
        ..Member::new(id(copy.model), start.checkpoint.clone())
    }
}

/// Refuses, before hours of work, to replace an ensemble of the store whose copies are in other folders.
pub fn check(store: &Store, name: &str, output: &Path) -> Result<()> {
    let snapshot = store.snapshot()?;
    let Ok(part) = snapshot.ensemble(name) else { return Ok(()) };
    let output = resolve(output);
    let is_own = |member: &Member| {
        let folder = member.weights.as_ref().and_then(|weights| weights.folder.as_ref());
        folder.is_none_or(|folder| resolve(Path::new(folder)).starts_with(&output))
    };
    if !part.members.iter().all(is_own) {
        refuse!(
            "ensemble {name} of the store has copies in other folders: give this one another name with --ensemble"
        );
    }
    Ok(())
}

/// Drops an ensemble of the store of whose copies the folder has not all any more: others took their place.
pub fn drop_replaced(
    context: &Context,
    store: &Store,
    name: &str,
    start: &StartRecord,
    output: &Path,
) -> Result<()> {
    let snapshot = store.snapshot()?;
    let Ok(part) = snapshot.ensemble(name) else { return Ok(()) };
    let copies = read_members(output)?;
    let complete = copies.iter().filter_map(MemberOutcome::complete);
    let there: BTreeMap<String, _> = complete.map(|copy| (id(copy.model), &copy.checkpoint)).collect();
    let is_there = |member: &Member| {
        let weights = member.weights.as_ref();
        weights.is_some_and(|weights| there.get(&member.id) == Some(&&weights.checkpoint))
    };
    if part.base.id != start.checkpoint || !part.members.iter().all(is_there) {
        store.drop_ensemble(part, &context.command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gstore_core::CheckpointId;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn copies_are_those_of_their_folder_however_it_is_reached() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (copies, link) = (dir.path().join("copies"), dir.path().join("link"));
        fs_err::create_dir(&copies)?;
        std::os::unix::fs::symlink(&copies, &link)?;
        let store = Store::create(dir.path().join("store"))?;
        let weights = MemberWeights {
            checkpoint: CheckpointId::of_hash(&[7; 32]),
            folder: Some(stored_folder(&link.join("copy-00000"))),
        };
        let member = Member { weights: Some(weights), ..Member::new(id(0), "base") };
        let base = EnsembleBase { id: "base".to_owned(), name: None, adapter: None };
        let update = EnsembleUpdate { name: "e".to_owned(), base, members: vec![member] };
        store.update_ensemble(&update, "gstore daunce train")?;
        for output in [&copies, &link, &copies.join("../link"), &dir.path().join("store/../copies")] {
            check(&store, "e", output)?;
        }
        assert!(check(&store, "e", &dir.path().join("others")).is_err());
        Ok(())
    }
}
