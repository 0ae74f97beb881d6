//! Verifying the files of artifacts.

use super::catalog::Catalog;
use super::report::{AffectedRows, Tally};
use crate::artifacts::check_file;
use crate::layout::artifact_file;
use crate::store::Store;
use gstore_core::RowSet;
use std::collections::HashSet;

/// Verifies their bytes. What they mean is for those who made them.
pub(super) fn files(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done = HashSet::new();
    for (artifact, file) in catalog.artifacts.iter().flat_map(|a| a.files.iter().map(move |f| (a, f))) {
        if !done.insert(&file.file) {
            continue;
        }
        let name = artifact_file(&file.file);
        if !tally.next_file() {
            return;
        }
        if let Err(e) = check_file(store.env(), file) {
            let rows = AffectedRows::new(format!("a file of artifact {}", artifact.name), &RowSet::new());
            tally.problem(&name, &e, Some(rows));
        }
        tally.done(file.len);
    }
}
