//! Distinction of damage from files that were collected during verification.

use super::catalog::{self, Catalog};
use super::report::Tally;
use crate::index::split_name;
use crate::layout::names::{INDEXES, data_key};
use crate::manifest::Current;
use crate::store::Store;
use std::collections::HashSet;
use uuid::Uuid;

/// Takes back problems of files that no snapshot has any more. Reads the manifests once more, and only if
/// there are problems and something was published meanwhile.
pub(super) fn forget(store: &Store, before: &Catalog, tally: &mut Tally<'_>) {
    const ATTEMPTS: usize = 5;
    if tally.problems.is_empty() {
        return;
    }
    let current = || Current::read_bytes(store.env().vfs(), store.path()).ok();
    for _ in 0..ATTEMPTS {
        let Some(bytes) = current() else { return };
        if Current::parse(&bytes).is_ok_and(|c| c.snapshot == before.current.snapshot) {
            return;
        }
        let mut quiet = |_| {};
        let mut fresh = Tally::new(&mut quiet, None);
        let Ok(now) = catalog::read(store, true, &mut fresh) else { return };
        if current().is_some_and(|again| again == bytes) {
            return keep_what_is_left(before, &now, tally);
        }
    }
}

fn keep_what_is_left(before: &Catalog, now: &Catalog, tally: &mut Tally<'_>) {
    let data = now.data_files();
    let segments: HashSet<Uuid> =
        now.features.iter().flat_map(|f| &f.part.segments).map(|s| s.uuid).collect();
    let is_gone = |file: &str| match file.split_once('/') {
        Some(("manifests", manifest)) => !now.manifests.contains(manifest),
        // Which data files a part has that cannot be read is not known.
        _ if now.incomplete => false,
        Some((INDEXES, file)) => split_name(file).is_some_and(|(segment, _)| !segments.contains(&segment)),
        _ => data_key(file).is_some() && !data.contains_key(file),
    };
    let problems = tally.problems.len();
    tally.problems.retain(|p| !is_gone(&p.file));
    if tally.problems.len() == problems {
        return;
    }
    tally.bad.retain(|file| !is_gone(file));
    let left: HashSet<u64> = now.visited.iter().map(|v| v.number).collect();
    let gone = before.visited.iter().filter(|v| !left.contains(&v.number)).count();
    tally.notes.push(format!(
        "{} collected in the meantime; what only they had is not reported",
        gstore_core::many_of(gone as u64, "snapshot was", "snapshots were")
    ));
}
