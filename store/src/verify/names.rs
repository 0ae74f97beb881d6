//! The names in a store's folders: what nothing refers to, and what is not ours.

use super::catalog::Catalog;
use super::report::Tally;
use crate::store::Store;
use uuid::Uuid;

/// Files and folders that are part of a store, but not listed by a manifest.
const OWN: [&str; 16] = [
    crate::backup::MARKER,
    "CURRENT",
    "CURRENT.damaged",
    "LOCK",
    "ledger.redb",
    "ledger.sums",
    "manifests",
    "samples",
    "encodings",
    "segments",
    "tombstones",
    "tmp",
    "leases",
    "artifacts",
    "indexes",
    "ledger.redb.new",
];

/// Whether a file of `manifests/` has one of our names: `<kind>-<number>-...<32 hex digits>.json`.
pub(crate) fn is_manifest(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    let Some((stem, digest)) = name.strip_suffix(".json").and_then(|n| n.rsplit_once('-')) else {
        return false;
    };
    let hex = digest.len() == 32 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let mut words = stem.split('-');
    let kind = matches!(words.next(), Some("root" | "dataset" | "run" | "feature"));
    kind && hex && words.next().is_some_and(|n| n.parse::<u64>().is_ok())
}

/// Whether a data file has one of our names: `<uuid>.<ending>`.
pub(crate) fn data_uuid(name: &str, ending: &str) -> Option<Uuid> {
    name.strip_suffix(ending)?.strip_suffix('.')?.parse().ok()
}

/// Lists files that no snapshot refers to, and those that no gstore made. Both take room and do no harm.
pub(super) fn unreferenced(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let list = |folder: &str| store.env().vfs().list(&store.env().at(folder)).unwrap_or_default();
    for name in list("") {
        if name == "CURRENT.new" {
            tally.unreferenced.push(name);
        } else if !OWN.contains(&name.as_str()) {
            tally.strangers.push(name);
        }
    }
    let known = !catalog.incomplete;
    if !known {
        tally.notes.push(
            "parts of the catalog are damaged, so files without a reference were not looked for".into(),
        );
    }
    for file in list("manifests") {
        if !is_manifest(&file) {
            tally.strangers.push(format!("manifests/{file}"));
        } else if known && !catalog.manifests.contains(&file) {
            tally.unreferenced.push(format!("manifests/{file}"));
        }
    }
    let data = catalog.data_files();
    let kinds =
        [("samples", "parquet"), ("encodings", "parquet"), ("segments", "arrow"), ("tombstones", "roaring")];
    for (top, ending) in kinds {
        for folder in list(top) {
            if folder.parse::<u32>().is_err() {
                tally.strangers.push(format!("{top}/{folder}"));
                continue;
            }
            for file in list(&format!("{top}/{folder}")) {
                let name = format!("{top}/{folder}/{file}");
                let own = file.strip_suffix(".new").unwrap_or(&file);
                if data_uuid(own, ending).is_none() {
                    tally.strangers.push(name);
                } else if known && !data.contains_key(&name) {
                    tally.unreferenced.push(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_are_told_from_others() {
        let digest = "0123456789abcdef0123456789abcdef";
        for name in ["root-3", "feature-12", "dataset-1-page", "run-1"] {
            assert!(is_manifest(&format!("{name}-{digest}.json")), "{name}");
            assert!(is_manifest(&format!("{name}-{digest}.json.new")), "{name}");
        }
        for name in ["notes.json", "root-3.json", "root-x-0123456789abcdef0123456789abcdef.json", "README"] {
            assert!(!is_manifest(name), "{name}");
        }
        assert!(data_uuid("b34fe6e2-1c2d-4c6c-9d9e-0a4b1c2d3e4f.arrow", "arrow").is_some());
        assert!(data_uuid("notes.arrow", "arrow").is_none());
    }
}
