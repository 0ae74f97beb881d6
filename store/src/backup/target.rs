//! The folder that a snapshot is copied into.

use crate::error::{BackupError, OpenError, StorageError};
use crate::layout::Env;
use crate::layout::names::{ARTIFACTS, CURRENT, LOCK, MARKER, RESTORING};
use crate::manifest::{Current, Link, Root, VERSION, json_text, parse, write_replacing};
use crate::store::{FOLDERS, Snapshot, Store, WriterLock};
use crate::vfs::{Vfs, if_there, resolve};
use gstore_core::{Digest, Remedy};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// No marker is longer.
const LIMIT: u64 = 1 << 16;

/// What a copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It may replace an earlier one.
    Backup,
    /// Work goes on in it.
    Restore,
}

impl Purpose {
    fn marker(self) -> &'static str {
        match self {
            Purpose::Backup => MARKER,
            Purpose::Restore => RESTORING,
        }
    }

    /// What to do about a folder whose marker cannot be read.
    fn without_marker(self) -> String {
        match self {
            Purpose::Backup => format!(
                "{} does not need this file, so a finished backup can still be restored; for a new one give another folder",
                Remedy::Restore
            ),
            Purpose::Restore => {
                "this folder has a restore that was not finished: remove it, or give another one".to_owned()
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    version: u32,
    requires: Vec<String>,
    store: Uuid,
    /// Digests of the roots that `CURRENT` may name if no process works in the folder: that of the backup
    /// that is there, and that of the one that replaces it. A backup of an earlier version has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roots: Vec<Digest>,
    /// For people.
    about: String,
}

/// The folder, locked against other writers.
pub(super) struct BackupFolder {
    pub store: Store,
    pub lock: WriterLock,
}

impl BackupFolder {
    /// The folder as a store that is not opened, if it may be written to.
    pub(super) fn checked(
        vfs: Arc<dyn Vfs>,
        snapshot: &Snapshot,
        to: &Path,
        purpose: Purpose,
    ) -> Result<Store, BackupError> {
        let (a, b) = (resolve(snapshot.env().path()), resolve(to));
        if a.starts_with(&b) || b.starts_with(&a) {
            return Err(BackupError::Inside(to.display().to_string()));
        }
        let store = Store::unopened(vfs, to);
        check(store.env(), snapshot.root().store, purpose)?;
        Ok(store)
    }

    /// Makes sure that the folder may be written to, and marks it.
    pub(super) fn prepare(
        vfs: Arc<dyn Vfs>,
        snapshot: &Snapshot,
        to: &Path,
        purpose: Purpose,
    ) -> Result<BackupFolder, BackupError> {
        let store = Self::checked(vfs, snapshot, to, purpose)?;
        let (shown, id) = (to.display().to_string(), snapshot.root().store);
        store.env().vfs().create_dir(to).map_err(Env::io("make the folder", &shown))?;
        let Some(lock) = WriterLock::attempt(&store, false)? else { return Err(BackupError::Busy(shown)) };
        // Another process may have been faster.
        if !check(store.env(), id, purpose)? {
            mark(store.env(), id, purpose, Vec::new())?;
        }
        store.env().sync_above(to)?;
        Ok(BackupFolder { store, lock })
    }

    /// Says that `CURRENT` will name this root. Called before it does.
    pub(super) fn announce(&self, store: Uuid, root: &Link) -> Result<(), StorageError> {
        let env = self.store.env();
        let mut roots: Vec<Digest> = Current::read(env).into_iter().map(|c| c.root.digest).collect();
        roots.retain(|digest| *digest != root.digest);
        roots.push(root.digest);
        mark(env, store, Purpose::Backup, roots)
    }

    /// Takes the mark of a restore away: from now on it is a store like any other.
    pub(super) fn finish(&self) -> Result<(), StorageError> {
        let env = self.store.env();
        env.vfs().remove(&env.at(RESTORING)).map_err(Env::io("remove", RESTORING))?;
        env.sync_folder("")
    }
}

fn mark(env: &Env, store: Uuid, purpose: Purpose, roots: Vec<Digest>) -> Result<(), StorageError> {
    let about = match purpose {
        Purpose::Backup => "a backup of a gstore store; restored, it is a store again",
        Purpose::Restore => "a restore that is not finished; run it again, or remove the folder",
    };
    let marker = Marker { version: VERSION, requires: Vec::new(), store, roots, about: about.into() };
    let name = purpose.marker();
    write_replacing(env.vfs(), &env.at(name), name, json_text(name, &marker)?.as_bytes())?;
    env.sync_folder("")
}

/// Whether the folder has our mark; an error if it must not be written to.
fn check(env: &Env, store: Uuid, purpose: Purpose) -> Result<bool, BackupError> {
    let path = env.path().display().to_string();
    let names = if_there(env.vfs().list(env.path())).map_err(Env::io("list", &path))?;
    let Some(names) = names else { return Ok(false) };
    let has = |name: &str| names.iter().any(|n| n == name);
    if purpose == Purpose::Restore && has(CURRENT) {
        return Err(BackupError::Exists(path));
    }
    let marker = purpose.marker();
    if !has(marker) {
        // What is there before the mark is.
        let beside = format!("{marker}.new");
        return match names.into_iter().find(|n| *n != LOCK && *n != beside) {
            None => Ok(false),
            Some(found) => Err(BackupError::NotEmpty { path, found }),
        };
    }
    let found = read_marker(env, purpose)?;
    if found.store != store {
        return Err(BackupError::OtherStore { path, theirs: found.store, ours: store });
    }
    let ours = |n: &&String| {
        let stem = n.strip_suffix(".new").unwrap_or(n);
        FOLDERS.contains(&stem) || [marker, LOCK, CURRENT, ARTIFACTS, "leases"].contains(&stem)
    };
    if purpose == Purpose::Restore
        && let Some(found) = names.iter().find(|n| !ours(n))
    {
        return Err(BackupError::NotEmpty { path, found: found.clone() });
    }
    if has(CURRENT) {
        check_unchanged(env, &found, path)?;
    }
    Ok(true)
}

/// The marker of a folder. Messages have its path: they are read where another store is at hand.
fn read_marker(env: &Env, purpose: Purpose) -> Result<Marker, StorageError> {
    let path = env.at(purpose.marker());
    let shown = path.display().to_string();
    let bytes = env.vfs().read(&path, LIMIT);
    let bytes = bytes.map_err(|e| StorageError::of_lost(&shown, "a short JSON text", None, e));
    bytes.and_then(|bytes| parse(&shown, &bytes)).map_err(|e| match e {
        StorageError::Damaged(damage) | StorageError::NoFile(damage) => {
            damage.helped_by(purpose.without_marker()).into()
        }
        e => e,
    })
}

/// A backup in which work went on has more than we can write again.
fn check_unchanged(env: &Env, marker: &Marker, path: String) -> Result<(), BackupError> {
    let root = || -> Result<(Link, Root), OpenError> {
        let current = Current::read(env)?;
        let root = env.manifests().read(&current.root)?;
        Ok((current.root, root))
    };
    let ours = |link: &Link| marker.roots.is_empty() || marker.roots.contains(&link.digest);
    match root() {
        Ok((_, root)) if root.store != marker.store => {
            Err(BackupError::OtherStore { path, theirs: root.store, ours: marker.store })
        }
        // One that was purged has no parent either.
        Ok((link, root)) if root.parent.is_some() || !root.tags.is_empty() || !ours(&link) => {
            Err(BackupError::Changed { path, snapshot: root.snapshot })
        }
        Ok(_) => Ok(()),
        // A new backup repairs a damaged one.
        Err(e) if e.is_damage() => Ok(()),
        Err(e) => Err(e.into()),
    }
}
