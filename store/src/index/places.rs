//! Paths and names of index files.

use crate::error::StorageError;
use crate::layout::Env;
use crate::layout::names::INDEXES;
use crate::layout::names::uuid;
use crate::manifest::SegmentEntry;
use crate::vfs::is_missing;

use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use uuid::Uuid;

/// An index that is there. What is in it was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexNote {
    /// Its segment.
    pub segment: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its length.
    pub bytes: u64,
}

/// The name of an index, relative to the store.
pub(crate) fn index_file(segment: Uuid, kind: &str) -> String {
    format!("{INDEXES}/{segment}.{kind}")
}

/// Whether indexes can be of this kind: 1 to 32 of `a-z` and `0-9`.
pub(super) fn is_kind(kind: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=32).contains(&kind.len()) && kind.bytes().all(plain)
}

/// Segment and kind by the name of a file in the folder, as we write it.
pub(crate) fn split_name(file: &str) -> Option<(Uuid, &str)> {
    let (stem, kind) = file.split_once('.')?;
    Some((uuid(stem)?, kind)).filter(|_| is_kind(kind))
}

/// The indexes of some segments, by segment and kind.
pub(crate) fn notes(env: &Env, segments: &[SegmentEntry]) -> Result<Vec<IndexNote>, StorageError> {
    let wanted: HashSet<Uuid> = segments.iter().map(|s| s.uuid).collect();
    let mut notes = Vec::new();
    for file in list(env)? {
        let Some((segment, kind)) = split_name(&file).filter(|(s, _)| wanted.contains(s)) else { continue };
        let name = format!("{INDEXES}/{file}");
        match env.len_of(&name) {
            Ok(bytes) => notes.push(IndexNote { segment, kind: kind.to_owned(), bytes }),
            // Removed since the folder was listed.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Env::io("open", &name)(e)),
        }
    }
    Ok(notes)
}

/// The kinds of the indexes in the folder.
pub(crate) fn kinds(env: &Env) -> Result<BTreeSet<String>, StorageError> {
    Ok(list(env)?.iter().filter_map(|file| Some(split_name(file)?.1.to_owned())).collect())
}

/// Names of the files in the folder that are called like indexes, sorted; none where there is no folder.
pub(crate) fn list(env: &Env) -> Result<Vec<String>, StorageError> {
    match env.vfs().list(&env.at(INDEXES)) {
        Ok(names) => Ok(names.into_iter().filter(|n| split_name(n).is_some()).collect()),
        Err(e) if is_missing(&e) => Ok(Vec::new()),
        Err(e) => Err(Env::io("list", INDEXES)(e)),
    }
}
