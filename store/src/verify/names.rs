//! Names in a store's folders: unreferenced files, and foreign ones.

use super::catalog::Catalog;
use super::report::Tally;
use crate::layout::names::{self, ARTIFACTS, INDEXES, NUMBERED, TopLevelName};
use crate::store::Store;
use crate::vfs::is_missing;
use std::collections::HashSet;
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
        Err(e) if is_missing(&e) => Vec::new(),
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
    let mut place = |name: String, is_ours: bool, is_needed: bool| match is_ours {
        true if known && !is_needed => tally.unreferenced.push(name),
        true => {}
        false => tally.strangers.push(name),
    };
    for file in list("manifests") {
        let is_ours = names::manifest(names::finished(&file).0).is_some();
        place(format!("manifests/{file}"), is_ours, catalog.manifests.contains(&file));
    }
    let data = catalog.data_files();
    for (top, _, ending) in NUMBERED {
        for folder in list(top) {
            if names::number(&folder).is_none() {
                place(format!("{top}/{folder}"), false, false);
                continue;
            }
            for file in list(&format!("{top}/{folder}")) {
                let name = format!("{top}/{folder}/{file}");
                let is_needed = data.contains_key(&name);
                place(name, data_uuid(names::finished(&file).0, ending).is_some(), is_needed);
            }
        }
    }
    let own = |stem: &str| names::uuid(stem.split_once('.')?.0);
    for file in list(ARTIFACTS) {
        let name = format!("{ARTIFACTS}/{file}");
        let is_needed = data.contains_key(&name);
        place(name, own(names::finished(&file).0).is_some(), is_needed);
    }
    let entries = catalog.features.iter().flat_map(|f| &f.part.segments);
    let segments: HashSet<Uuid> = entries.map(|s| s.uuid).collect();
    for file in list(INDEXES) {
        let (stem, unfinished) = names::finished(&file);
        let segment = own(stem);
        let is_needed = !unfinished && segment.is_some_and(|segment| segments.contains(&segment));
        place(format!("{INDEXES}/{file}"), segment.is_some(), is_needed);
    }
    tally.notes.extend(refused);
}
