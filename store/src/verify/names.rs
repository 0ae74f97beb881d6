//! Names in a store's folders: unreferenced files, and foreign ones.

use super::catalog::Catalog;
use super::report::Tally;
use crate::layout::names::{self, ARTIFACTS, INDEXES, NUMBERED, TopLevelName};
use crate::store::Store;
use std::collections::HashSet;
use std::io::ErrorKind;
use uuid::Uuid;

/// The UUID of a data file: `<uuid>.<ending>`.
pub(crate) fn data_uuid(name: &str, ending: &str) -> Option<Uuid> {
    names::uuid(name.strip_suffix(ending)?.strip_suffix('.')?)
}

/// Lists files that no snapshot refers to, and those that no gstore made. Both take room and do no harm.
pub(super) fn unreferenced(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut refused = Vec::new();
    let mut list = |folder: &str| match store.env().vfs().list(&store.env().at(folder)) {
        Ok(names) => names,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Vec::new(),
        Err(e) => {
            refused.push(format!("files without a reference were not looked for in {folder:?}: {e}"));
            Vec::new()
        }
    };
    for name in list("") {
        match names::top(&name) {
            TopLevelName::Ours => {}
            TopLevelName::Leftover => tally.unreferenced.push(name),
            TopLevelName::Foreign => tally.strangers.push(name),
        }
    }
    let known = !catalog.incomplete;
    if !known {
        tally.notes.push(
            "parts of the catalog are damaged, so files without a reference were not looked for".into(),
        );
    }
    for file in list("manifests") {
        if names::manifest(names::finished(&file).0).is_none() {
            tally.strangers.push(format!("manifests/{file}"));
        } else if known && !catalog.manifests.contains(&file) {
            tally.unreferenced.push(format!("manifests/{file}"));
        }
    }
    let data = catalog.data_files();
    for (top, _, ending) in NUMBERED {
        for folder in list(top) {
            if names::number(&folder).is_none() {
                tally.strangers.push(format!("{top}/{folder}"));
                continue;
            }
            for file in list(&format!("{top}/{folder}")) {
                let name = format!("{top}/{folder}/{file}");
                if data_uuid(names::finished(&file).0, ending).is_none() {
                    tally.strangers.push(name);
                } else if known && !data.contains_key(&name) {
                    tally.unreferenced.push(name);
                }
            }
        }
    }
    for file in list(ARTIFACTS) {
        let name = format!("{ARTIFACTS}/{file}");
        if names::finished(&file).0.split_once('.').and_then(|(u, _)| names::uuid(u)).is_none() {
            tally.strangers.push(name);
        } else if known && !data.contains_key(&name) {
            tally.unreferenced.push(name);
        }
    }
    let entries = catalog.features.iter().flat_map(|f| &f.part.segments);
    let segments: HashSet<Uuid> = entries.map(|s| s.uuid).collect();
    for file in list(INDEXES) {
        let (stem, unfinished) = names::finished(&file);
        let name = format!("{}/{file}", INDEXES);
        match stem.split_once('.').and_then(|(u, _)| names::uuid(u)) {
            None => tally.strangers.push(name),
            Some(segment) if known && (unfinished || !segments.contains(&segment)) => {
                tally.unreferenced.push(name);
            }
            Some(_) => {}
        }
    }
    tally.notes.extend(refused);
}
