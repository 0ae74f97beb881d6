//! The files of a snapshot.

use crate::error::StorageError;
use crate::layout::{
    Env, artifact_file, deleted_ids_file, encoding_file, sample_file, segment_file, tombstone_file,
};
use crate::manifest::{
    DatasetPart, EncodingEntry, FeaturePart, FileEntry, Link, Part, PartLink, SegmentEntry, TombstoneEntry,
};
use crate::segment::SegmentFile;
use crate::store::Snapshot;
use crate::table::{Expected, Region, regions};
use crate::tombstones::{ids, lost_with};
use std::collections::BTreeSet;

/// Everything that a copy of a snapshot needs, but its root.
pub(super) struct Files<'a> {
    pub data: Vec<DataFile<'a>>,
    /// The folders of the data files.
    pub folders: BTreeSet<String>,
    pub manifests: Vec<Link>,
}

pub(super) struct DataFile<'a> {
    /// Its name relative to the store.
    pub name: String,
    pub len: u64,
    of: FileOwner<'a>,
}

/// What the file is of.
enum FileOwner<'a> {
    Samples(&'a DatasetPart, &'a FileEntry),
    Tombstones(&'a DatasetPart, &'a TombstoneEntry),
    DeletedIds(&'a DatasetPart),
    Encoding(&'a DatasetPart, &'a EncodingEntry, &'a FileEntry),
    Segment(&'a FeaturePart, &'a SegmentEntry),
    Artifact(&'a PartLink, &'a Link),
}

pub(super) fn of(snapshot: &Snapshot) -> Files<'_> {
    let mut data = Vec::new();
    let mut add = |name: String, len: u64, of| data.push(DataFile { name, len, of });
    let mut manifests: Vec<Link> = Vec::new();
    for part in snapshot.datasets() {
        for f in &part.files {
            add(sample_file(part.number, f.uuid), f.len, FileOwner::Samples(part, f));
        }
        for t in &part.tombstones {
            add(tombstone_file(part.number, t.uuid), t.len, FileOwner::Tombstones(part, t));
        }
        if let Some(list) = &part.deleted_ids {
            add(deleted_ids_file(part.number, list.uuid), list.len, FileOwner::DeletedIds(part));
        }
        for e in &part.encodings {
            for f in &e.files {
                add(encoding_file(e.number, f.uuid), f.len, FileOwner::Encoding(part, e, f));
            }
        }
        manifests.extend(part.pages().into_iter().cloned());
    }
    for part in snapshot.features() {
        for s in &part.segments {
            add(segment_file(part.number, s.uuid), s.len, FileOwner::Segment(part, s));
        }
        manifests.extend(part.pages().into_iter().cloned());
    }
    let root = snapshot.root();
    for part in &root.artifacts {
        for file in &part.files {
            add(artifact_file(&file.file), file.len, FileOwner::Artifact(part, file));
        }
    }
    manifests.extend(root.parts().map(|l| l.link.clone()));
    let folder = |f: &DataFile<'_>| f.name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    Files { folders: data.iter().filter_map(folder).collect(), data, manifests }
}

/// Names of the data files of a snapshot that are not there, or are of another length.
pub(crate) fn missing_files(env: &Env, snapshot: &Snapshot) -> Result<Vec<String>, StorageError> {
    let mut missing = Vec::new();
    for file in of(snapshot).data {
        let found = match env.exists(&file.name)? {
            true => Some(env.len_of(&file.name).map_err(|e| StorageError::of_file(&file.name, file.len, e))?),
            false => None,
        };
        if found != Some(file.len) {
            missing.push(file.name);
        }
    }
    Ok(missing)
}

impl DataFile<'_> {
    /// All its bytes, with their digests. Of a segment the tail is read, which has those of the blocks.
    pub(super) fn regions(&self, env: &Env) -> Result<Vec<Region>, StorageError> {
        Ok(match self.of {
            FileOwner::Samples(part, file) => regions(file, &format!("dataset {}", part.name)),
            FileOwner::Encoding(part, e, file) => {
                regions(file, &format!("encoding {} of dataset {}", e.label, part.name))
            }
            FileOwner::Tombstones(part, t) => {
                let (digest, lost) = (Expected::Digest(t.digest), lost_with(t, &part.name));
                vec![Region { len: t.len, digest, lost }]
            }
            FileOwner::DeletedIds(part) => ids::regions(env, part)?,
            FileOwner::Segment(part, entry) => SegmentFile::open_of(env, part, entry)?.regions(entry),
            FileOwner::Artifact(part, file) => {
                let lost = format!("a file of artifact {} cannot be read", part.name);
                vec![Region { len: file.len, digest: Expected::Digest(file.digest), lost }]
            }
        })
    }
}
