//! `CURRENT`: the commit point. Names the published root and holds its digest.

use super::file::{Link, VERSION, json_text, parse, write_replacing};
use super::root::root_number;
use crate::error::{Damage, OpenError, StorageError};
use crate::layout::Env;
use crate::layout::names::{CURRENT, MARKERS};
use crate::vfs::{Vfs, is_missing};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::Path;

/// No `CURRENT` is longer.
const LIMIT: u64 = 1 << 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Current {
    pub version: u32,
    pub requires: Vec<String>,
    /// Number of the published snapshot.
    pub snapshot: u64,
    pub root: Link,
}

impl Current {
    pub(crate) fn new(snapshot: u64, root: Link) -> Self {
        Current { version: VERSION, requires: Vec::new(), snapshot, root }
    }

    /// The bytes of the file, or what it means that there are none.
    pub(crate) fn read_bytes(vfs: &dyn Vfs, store: &Path) -> Result<Vec<u8>, OpenError> {
        match vfs.read(&store.join(CURRENT), LIMIT) {
            Ok(bytes) => Ok(bytes),
            Err(e) if is_missing(&e) => Err(missing(vfs, store)),
            Err(e) => Err(StorageError::of_lost(CURRENT, "a short JSON text", None, e).into()),
        }
    }

    /// What the file of a store says.
    pub(crate) fn read(env: &Env) -> Result<Current, OpenError> {
        Self::parse(&Self::read_bytes(env.vfs(), env.path())?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Current, OpenError> {
        let current: Current = parse(CURRENT, bytes)?;
        let expected = format!("root-{}-{}.json", current.snapshot, current.root.digest);
        if current.root.file != expected {
            return Err(Damage::new(CURRENT, "name of the root", expected, &current.root.file).into());
        }
        Ok(current)
    }

    /// Replaces the file and gives its bytes. On return the new content is in place, but its
    /// name is not flushed yet.
    pub(crate) fn write(&self, vfs: &dyn Vfs, store: &Path) -> Result<Vec<u8>, StorageError> {
        let text = json_text(CURRENT, self)?;
        write_replacing(vfs, &store.join(CURRENT), CURRENT, text.as_bytes())?;
        Ok(text.into_bytes())
    }
}

/// A folder without `CURRENT`: nothing, something else, or a store that lost it.
fn missing(vfs: &dyn Vfs, store: &Path) -> OpenError {
    let path = store.display().to_string();
    if !vfs.exists(store).unwrap_or(true) {
        return OpenError::NotFound(path);
    }
    if MARKERS.iter().any(|m| vfs.exists(&store.join(m)).unwrap_or(false)) {
        return OpenError::Incomplete(path);
    }
    if vfs.list(store).is_err_and(|error| error.kind() == ErrorKind::NotADirectory) {
        return OpenError::NotAFolder(path);
    }
    let roots = vfs.list(&store.join("manifests")).unwrap_or_default();
    let newest = roots.iter().filter_map(|n| root_number(n).map(|k| (k, n))).max();
    match newest {
        // The root of a new store is written before its first CURRENT: a creation that was cut short.
        None | Some((0, _)) => OpenError::NotAStore(path),
        Some((number, name)) => Damage::new(
            CURRENT,
            "the file",
            "the name of the published root",
            "no such file",
        )
        .affecting(format!(
            "the newest root in manifests/ is that of snapshot {number} ({name}); whether it was published is not known"
        ))
        .into(),
    }
}
