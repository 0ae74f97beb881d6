//! Reading the catalog of one or all snapshots, as far as it can be read.

use super::report::{AffectedRows, Tally, VerifyOptions};
use crate::error::{OpenError, StorageError};
use crate::ident::RowSet;
use crate::manifest::{Current, DatasetPart, FeaturePart, Link, LostPage, Part, PartLink, Root, RunPart};
use crate::store::{Store, encoding_file, sample_file, segment_file};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What was read of the catalog. Parts that could not be read are problems in the tally.
pub(super) struct Catalog {
    /// The current root.
    pub current: Root,
    pub snapshots: u64,
    /// Dataset parts of all snapshots looked at; those of the current one first.
    pub datasets: Vec<DatasetPart>,
    /// How many of them are of the current snapshot.
    pub current_datasets: usize,
    pub features: Vec<FeaturePart>,
    pub current_features: usize,
    /// Manifest files that were referred to.
    manifests: BTreeSet<String>,
    /// Whether some part could not be read: then it is not known what is unreferenced.
    incomplete: bool,
}

impl Catalog {
    /// The lengths of all data files, each once.
    pub(super) fn lengths(&self) -> Vec<u64> {
        self.data_files().into_values().collect()
    }

    /// Names and lengths of all data files.
    fn data_files(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        for d in &self.datasets {
            files.extend(d.files.iter().map(|f| (sample_file(d.number, f.uuid), f.len)));
            for e in &d.encodings {
                files.extend(e.files.iter().map(|f| (encoding_file(e.number, f.uuid), f.len)));
            }
        }
        for f in &self.features {
            files.extend(f.segments.iter().map(|s| (segment_file(f.number, s), s.len)));
        }
        files
    }
}

struct Reader<'a, 't> {
    store: &'a Store,
    seen: HashSet<Link>,
    catalog: Catalog,
    tally: &'a mut Tally<'t>,
}

pub(super) fn read(
    store: &Store,
    options: &VerifyOptions,
    tally: &mut Tally<'_>,
) -> Result<Catalog, OpenError> {
    let bytes = Current::read_bytes(store.env().vfs(), store.path())?;
    let current = Current::parse(&bytes)?;
    let root: Root = store.env().manifests().read(&current.root)?;
    let catalog = Catalog {
        current: root.clone(),
        snapshots: 0,
        datasets: Vec::new(),
        current_datasets: 0,
        features: Vec::new(),
        current_features: 0,
        manifests: BTreeSet::from([current.root.file.clone()]),
        incomplete: false,
    };
    let mut reader = Reader { store, seen: HashSet::new(), catalog, tally };
    reader.root(&root);
    reader.catalog.current_datasets = reader.catalog.datasets.len();
    reader.catalog.current_features = reader.catalog.features.len();
    if options.all_snapshots {
        reader.chain(root);
    }
    Ok(reader.catalog)
}

impl Reader<'_, '_> {
    fn chain(&mut self, from: Root) {
        let mut root = from;
        while let Some(link) = root.parent.take() {
            self.catalog.manifests.insert(link.file.clone());
            match self.store.env().manifests().read::<Root>(&link) {
                Ok(older) if older.snapshot < root.snapshot => root = older,
                Ok(older) => {
                    let found = format!("{} after {}", older.snapshot, root.snapshot);
                    let d = crate::error::Damage::new(
                        format!("manifests/{}", link.file),
                        "number of the snapshot",
                        "a smaller one",
                        found,
                    );
                    return self.failed(&link, &d.into(), None);
                }
                Err(e) => return self.failed(&link, &e, None),
            }
            self.root(&root);
        }
    }

    fn failed(&mut self, link: &Link, e: &StorageError, rows: Option<AffectedRows>) {
        self.catalog.incomplete = true;
        self.tally.problem(&format!("manifests/{}", link.file), e, rows);
    }

    fn root(&mut self, root: &Root) {
        self.catalog.snapshots += 1;
        for link in &root.datasets {
            if let Some(part) = self.part::<DatasetPart>("dataset", link) {
                self.catalog.datasets.push(part);
            }
        }
        for link in &root.features {
            if let Some(part) = self.part::<FeaturePart>("feature", link) {
                self.catalog.features.push(part);
            }
        }
        for link in &root.runs {
            self.part::<RunPart>("run", link);
        }
    }

    /// A part that was not seen before.
    fn part<T: Part>(&mut self, kind: &str, link: &PartLink) -> Option<T> {
        self.catalog.manifests.insert(link.link.file.clone());
        if !self.seen.insert(link.link.clone()) {
            return None;
        }
        let (part, lost): (T, _) = match self.store.env().manifests().read_rest(&link.link, None) {
            Ok(read) => read,
            Err(e) => {
                let rows = AffectedRows::new(format!("all of {kind} {}", link.name), &RowSet::new());
                self.failed(&link.link, &e, Some(rows));
                return None;
            }
        };
        self.catalog.manifests.extend(part.pages().into_iter().map(|l| l.file.clone()));
        for LostPage { page, of, error } in lost {
            let rows = RowSet::from_range(page.first_row..page.end_row);
            self.failed(&page.link, &error, Some(AffectedRows::new(of, &rows)));
        }
        Some(part)
    }
}

/// Lists files that no snapshot refers to. They take room and do no harm.
pub(super) fn unreferenced(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    if catalog.incomplete {
        tally.notes.push(
            "parts of the catalog are damaged, so files without a reference were not looked for".into(),
        );
        return;
    }
    let data = catalog.data_files();
    let list = |folder: &str| store.env().vfs().list(&store.env().at(folder)).unwrap_or_default();
    for file in list("manifests") {
        if !catalog.manifests.contains(&file) {
            tally.unreferenced.push(format!("manifests/{file}"));
        }
    }
    for top in ["samples", "encodings", "segments"] {
        for folder in list(top) {
            let folder = format!("{top}/{folder}");
            for file in list(&folder) {
                let name = format!("{folder}/{file}");
                if !data.contains_key(&name) {
                    tally.unreferenced.push(name);
                }
            }
        }
    }
}
