//! The files of a snapshot.

use crate::error::{Damage, StorageError};
use crate::layout::{deleted_ids_file, encoding_file, sample_file, segment_file, tombstone_file};
use crate::manifest::{FileEntry, Link, Part, TombstoneEntry};
use crate::segment::{FileId, SegmentFile, Shape};
use crate::store::Snapshot;
use crate::table::{Expected, Region, regions};
use crate::tombstones::{ids, lost_with};
use gstore_core::Digest;
use std::collections::BTreeSet;

/// Everything that a copy of a snapshot needs, but its root.
#[derive(Debug)]
pub(super) struct Files {
    pub data: Vec<DataFile>,
    /// The numbered folders of the data files.
    pub folders: BTreeSet<String>,
    pub manifests: Vec<Link>,
}

/// A data file.
#[derive(Debug)]
pub(super) struct DataFile {
    /// Its name relative to the store.
    pub name: String,
    pub len: u64,
    place: Place,
}

/// Where the snapshot has it.
#[derive(Debug)]
enum Place {
    Samples { dataset: usize, file: usize },
    Tombstones { dataset: usize, file: usize },
    DeletedIds { dataset: usize },
    Encoding { dataset: usize, encoding: usize, file: usize },
    Segment { feature: usize, segment: usize },
}

pub(super) fn of(snapshot: &Snapshot) -> Files {
    let mut data = Vec::new();
    let mut manifests: Vec<Link> = Vec::new();
    for (dataset, part) in snapshot.datasets().iter().enumerate() {
        for (file, f) in part.files.iter().enumerate() {
            let name = sample_file(part.number, f.uuid);
            data.push(DataFile { name, len: f.len, place: Place::Samples { dataset, file } });
        }
        for (file, t) in part.tombstones.iter().enumerate() {
            let name = tombstone_file(part.number, t.uuid);
            data.push(DataFile { name, len: t.len, place: Place::Tombstones { dataset, file } });
        }
        if let Some(list) = &part.deleted_ids {
            let name = deleted_ids_file(part.number, list.uuid);
            data.push(DataFile { name, len: list.len, place: Place::DeletedIds { dataset } });
        }
        for (encoding, e) in part.encodings.iter().enumerate() {
            for (file, f) in e.files.iter().enumerate() {
                let name = encoding_file(e.number, f.uuid);
                data.push(DataFile { name, len: f.len, place: Place::Encoding { dataset, encoding, file } });
            }
        }
        manifests.extend(part.pages().into_iter().cloned());
    }
    for (feature, part) in snapshot.features().iter().enumerate() {
        for (segment, s) in part.segments.iter().enumerate() {
            let name = segment_file(part.number, s.uuid);
            data.push(DataFile { name, len: s.len, place: Place::Segment { feature, segment } });
        }
        manifests.extend(part.pages().into_iter().cloned());
    }
    let root = snapshot.root();
    let links = root.datasets.iter().chain(&root.runs).chain(&root.features);
    manifests.extend(links.map(|l| l.link.clone()));
    let folder = |f: &DataFile| f.name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    Files { folders: data.iter().filter_map(folder).collect(), data, manifests }
}

impl DataFile {
    /// All its bytes, with their digests. Of a segment the tail is read, which has those of the blocks.
    pub(super) fn regions(&self, snapshot: &Snapshot) -> Result<Vec<Region>, StorageError> {
        let dataset = |i: usize| snapshot.datasets().get(i);
        let table = |entry: Option<&FileEntry>, of: String| entry.map_or_else(Vec::new, |e| regions(e, &of));
        Ok(match self.place {
            Place::Samples { dataset: d, file } => {
                dataset(d).map_or_else(Vec::new, |p| table(p.files.get(file), format!("dataset {}", p.name)))
            }
            Place::Encoding { dataset: d, encoding, file } => dataset(d).map_or_else(Vec::new, |p| {
                let e = p.encodings.get(encoding);
                let label = e.map_or("", |e| e.label.as_str());
                table(e.and_then(|e| e.files.get(file)), format!("encoding {label} of dataset {}", p.name))
            }),
            Place::Tombstones { dataset: d, file } => {
                let part = dataset(d);
                let entry = part.and_then(|p| p.tombstones.get(file));
                let name = part.map_or("", |p| p.name.as_str());
                entry.map(|t| bitmap(&self.name, t, name)).into_iter().collect::<Result<_, _>>()?
            }
            Place::DeletedIds { dataset: d } => match dataset(d) {
                Some(part) => ids::regions(snapshot.env(), part)?,
                None => Vec::new(),
            },
            Place::Segment { feature, segment } => {
                let part = snapshot.features().get(feature);
                match part.and_then(|p| Some((p, p.segments.get(segment)?))) {
                    None => Vec::new(),
                    Some((part, entry)) => {
                        let path = snapshot.env().at(&self.name);
                        let id = FileId { path: &path, name: self.name.clone() };
                        let (vfs, label) = (snapshot.env().shared_vfs(), part.display_name());
                        let shape = Shape::new(&part.desc, &part.attrs);
                        SegmentFile::open(vfs, id, entry, &label, shape, &part.key)?.regions(entry)?
                    }
                }
            }
        })
    }
}

fn bitmap(name: &str, entry: &TombstoneEntry, dataset: &str) -> Result<Region, StorageError> {
    let digest: Digest = entry.digest.parse().map_err(|_| {
        Damage::new(name, "digest of the file", "32 hex digits", format!("{:?}", entry.digest))
    })?;
    Ok(Region { len: entry.len, digest: Expected::Digest(digest), lost: lost_with(entry, dataset) })
}
