//! The files of a snapshot.

use crate::error::StorageError;
use crate::layout::{
    Env, artifact_file, deleted_ids_file, encoding_file, sample_file, segment_file, tombstone_file,
};
use crate::manifest::{
    CHUNK, DatasetPart, DeletedIdsEntry, EncodingEntry, FeaturePart, FileEntry, Link, Part, PartLink,
    SegmentEntry, TombstoneEntry,
};
use crate::segment::SegmentFile;
use crate::store::Snapshot;
use crate::table::{Expected, Region, regions};
use crate::tombstones::{ids, lost_with};
use std::collections::BTreeSet;
use std::ops::Range;

/// Everything that a copy of a snapshot needs, but its root.
pub(super) struct Files<'a> {
    pub data: Vec<DataFile<'a>>,
    /// The folders of the data files.
    pub folders: BTreeSet<String>,
    pub manifests: Vec<Link>,
}

pub(crate) struct DataFile<'a> {
    /// Its name relative to the store.
    pub name: String,
    pub len: u64,
    of: FileOwner<'a>,
}

/// What the file is of.
enum FileOwner<'a> {
    Samples(&'a DatasetPart, &'a FileEntry),
    Tombstones(&'a DatasetPart, &'a TombstoneEntry),
    DeletedIds(&'a DatasetPart, &'a DeletedIdsEntry),
    Encoding(&'a DatasetPart, &'a EncodingEntry, &'a FileEntry),
    Segment(&'a FeaturePart, &'a SegmentEntry),
    Artifact(&'a PartLink, &'a Link),
}

pub(super) fn of(snapshot: &Snapshot) -> Files<'_> {
    let (datasets, features, root) = (snapshot.datasets(), snapshot.features(), snapshot.root());
    let parts = (datasets.iter().map(|part| &**part), features.iter().map(|part| &**part));
    let data = data_files(parts.0, parts.1, &root.artifacts);
    let pages = datasets.iter().flat_map(|part| part.pages());
    let pages = pages.chain(features.iter().flat_map(|part| part.pages()));
    let manifests = pages.chain(root.parts().map(|l| &l.link)).cloned().collect();
    let folder = |f: &DataFile<'_>| f.name.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    Files { folders: data.iter().filter_map(folder).collect(), data, manifests }
}

/// The data files of some parts. One that several of them list is there as often.
pub(crate) fn data_files<'a>(
    datasets: impl Iterator<Item = &'a DatasetPart>,
    features: impl Iterator<Item = &'a FeaturePart>,
    artifacts: &'a [PartLink],
) -> Vec<DataFile<'a>> {
    let mut data = Vec::new();
    let mut add = |name: String, len: u64, of| data.push(DataFile { name, len, of });
    for part in datasets {
        for f in &part.files {
            add(sample_file(part.number, f.uuid), f.len, FileOwner::Samples(part, f));
        }
        for t in &part.tombstones {
            add(tombstone_file(part.number, t.uuid), t.len, FileOwner::Tombstones(part, t));
        }
        if let Some(list) = &part.deleted_ids {
            add(deleted_ids_file(part.number, list.uuid), list.len, FileOwner::DeletedIds(part, list));
        }
        for e in &part.encodings {
            for f in &e.files {
                add(encoding_file(e.number, f.uuid), f.len, FileOwner::Encoding(part, e, f));
            }
        }
    }
    for part in features {
        for s in &part.segments {
            add(segment_file(part.number, s.uuid), s.len, FileOwner::Segment(part, s));
        }
    }
    for part in artifacts {
        for file in &part.files {
            add(artifact_file(&file.file), file.len, FileOwner::Artifact(part, file));
        }
    }
    data
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
    /// A span of its bytes by which it is told from other files, and the digest of that. `None` for kinds
    /// that have few files.
    pub(crate) fn mark(&self) -> Option<(Range<u64>, Expected)> {
        match self.of {
            FileOwner::Samples(_, file) | FileOwner::Encoding(_, _, file) => {
                file.chunks.first().map(|chunk| (0..file.len.min(CHUNK), Expected::Chunk(*chunk)))
            }
            FileOwner::Tombstones(_, t) => Some((0..t.len, Expected::Digest(t.digest))),
            FileOwner::Segment(_, s) => {
                Some((s.len.saturating_sub(s.tail_len)..s.len, Expected::Digest(s.footer_digest)))
            }
            FileOwner::DeletedIds(..) | FileOwner::Artifact(..) => None,
        }
    }

    /// All its bytes, with their digests. Those of a segment, and of a list of deleted ids, are in its tail,
    /// which is read from the file `at`: its own name, or another that may have the content.
    pub(crate) fn regions(&self, env: &Env, at: &str) -> Result<Vec<Region>, StorageError> {
        Ok(match self.of {
            FileOwner::Samples(part, file) => regions(file, &format!("dataset {}", part.name)),
            FileOwner::Encoding(part, e, file) => {
                regions(file, &format!("encoding {} of dataset {}", e.label, part.name))
            }
            FileOwner::Tombstones(part, t) => {
                let (digest, lost) = (Expected::Digest(t.digest), lost_with(t, &part.name));
                vec![Region { len: t.len, digest, lost }]
            }
            FileOwner::DeletedIds(part, list) => ids::regions(env, &part.name, list, at)?,
            FileOwner::Segment(part, entry) => {
                SegmentFile::open_at(env.file(at), part, entry)?.regions(entry)
            }
            FileOwner::Artifact(part, file) => {
                let lost = format!("a file of artifact {} cannot be read", part.name);
                vec![Region { len: file.len, digest: Expected::Digest(file.digest), lost }]
            }
        })
    }
}
