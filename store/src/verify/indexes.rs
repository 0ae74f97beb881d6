//! Verifying indexes: those of the segments that are looked at. Nothing is lost with a damaged one.

use super::catalog::Catalog;
use super::report::Tally;
use crate::error::StorageError;
use crate::index::{IndexKey, IndexState, list, open, split_name};
use crate::layout::names::INDEXES;
use crate::segment::BlockBuffer;
use crate::store::Store;
use gstore_core::{Digest, Remedy};
use std::collections::HashMap;
use uuid::Uuid;

/// An index that is there.
pub(super) struct IndexOnDisk {
    /// Its file, relative to the store.
    name: String,
    segment: Uuid,
    kind: String,
    /// Digest of the segment's footer.
    digest: Digest,
    pub len: u64,
}

/// The indexes of the segments of a catalog. A folder that cannot be listed is a note.
pub(super) fn find(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) -> Vec<IndexOnDisk> {
    let env = store.env();
    let files = match list(env) {
        Ok(files) => files,
        Err(e) => {
            tally.notes.push(format!("indexes were not looked at: {e}"));
            return Vec::new();
        }
    };
    if files.is_empty() {
        return Vec::new();
    }
    let entries = catalog.features.iter().flat_map(|f| &f.part.segments);
    let digests: HashMap<Uuid, Digest> = entries.map(|s| (s.uuid, s.footer_digest)).collect();
    let place = |file: String| {
        let (segment, kind) = split_name(&file).map(|(segment, kind)| (segment, kind.to_owned()))?;
        let digest = *digests.get(&segment)?;
        let name = format!("{INDEXES}/{file}");
        // One that is gone meanwhile has no bytes.
        Some(IndexOnDisk { len: env.len_of(&name).unwrap_or(0), name, segment, kind, digest })
    };
    files.into_iter().filter_map(place).collect()
}

/// Verifies them, every byte.
pub(super) fn indexes(store: &Store, places: &[IndexOnDisk], tally: &mut Tally<'_>) {
    let mut scratch = BlockBuffer::new();
    let before = tally.problems.len();
    for place in places {
        if !tally.next_file() {
            return;
        }
        let wanted = IndexKey { segment: place.segment, digest: place.digest, kind: &place.kind };
        match open(store.env(), wanted) {
            Ok(IndexState::Ready(file)) => {
                file.verify(&mut scratch, |e| tally.problem(&place.name, &e, None));
            }
            // Removed since the folder was listed.
            Ok(IndexState::Missing) => {}
            Ok(IndexState::Stale(why)) => tally.notes.push(why.to_string()),
            // Nothing depends on it, so this is no reason to call the store unreadable.
            Err(e @ StorageError::Newer { .. }) => tally.notes.push(e.to_string()),
            Err(e) => tally.problem(&place.name, &e, None),
        }
        tally.done(place.len);
    }
    if tally.problems.len() > before {
        tally.notes.push(format!(
            "nothing is lost with a damaged index: {} removes it, {} rebuilds it",
            Remedy::Repair,
            Remedy::INDEX
        ));
    }
}
