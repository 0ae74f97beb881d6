//! File names of a store, and recognising them.
//!
//! A file with another name is not gstore's, and nothing here touches it.

use gstore_core::named;
use serde::Serialize;
use uuid::Uuid;

/// Names the published root; replaced by rename, which is the commit point.
pub(crate) const CURRENT: &str = "CURRENT";
/// The lock that writers take.
pub(crate) const LOCK: &str = "LOCK";
/// The index for writers.
pub(crate) const LEDGER: &str = "ledger.redb";
/// Digests of the ledger's pages.
pub(crate) const SUMS: &str = "ledger.sums";
/// The folder of leases.
pub(crate) const LEASES: &str = "leases";
/// The folder of what a server keeps: tokens, and the key of its signatures. Backups do not have it.
pub(crate) const SERVER: &str = "server";
/// The folder of the samples that clients send, each file locked as long as it is in use.
pub(crate) const UPLOADS: &str = "server/uploads";
/// The folder of indexes.
pub(crate) const INDEXES: &str = "indexes";
/// The folder of the files of artifacts.
pub(crate) const ARTIFACTS: &str = "artifacts";
/// Taken while a job starts, so that two jobs cannot both find the other not there yet.
pub(crate) const START_LOCK: &str = "tmp/start.lock";
/// Held by the one process that compacts, purges or goes back to an older state, by `gc` while it looks for
/// what they left, and by a repair.
pub(crate) const COMPACT_LOCK: &str = "tmp/compact.lock";
/// Locks of whole operations: files in `tmp/` itself, in the order in which they are taken.
pub(crate) const LOCKS: [&str; 2] = [COMPACT_LOCK, START_LOCK];
/// File in a backup's folder that says that it is one.
pub(crate) const MARKER: &str = "backup.json";
/// File in a folder that is being restored into; gone when that is done.
pub(crate) const RESTORING: &str = "restore.json";
/// Both.
pub(crate) const MARKERS: [&str; 2] = [MARKER, RESTORING];

/// What a file of a store is, by its place and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileKind {
    /// The root of a snapshot.
    Root,
    /// A part of a snapshot, or a page of one.
    Part,
    /// Samples of a dataset.
    Samples,
    /// Token counts.
    Encodings,
    /// Vectors of a feature.
    Segments,
    /// A bitmap of deleted rows.
    Tombstones,
    /// A list of deleted ids.
    DeletedIds,
    /// A file of an artifact.
    Artifacts,
    /// An index.
    Indexes,
    /// A lease whose reader has ended.
    Leases,
    /// What an append, a compaction or a write that was cut short left behind.
    Leftovers,
    /// A file of an interrupted job.
    Jobs,
}

// As messages have it.
named!(FileKind {
    Root = "snapshots",
    Part = "manifests",
    Samples = "samples",
    Encodings = "token counts",
    Segments = "segments",
    Tombstones = "bitmaps of deleted rows",
    DeletedIds = "lists of deleted ids",
    Artifacts = "files of artifacts",
    Indexes = "indexes",
    Leases = "expired leases",
    Leftovers = "leftovers of work that was cut short",
    Jobs = "interrupted jobs",
});

/// A data file: its kind, the number of its folder (0 where that has none) and its name.
pub(crate) type DataKey = (FileKind, u32, Uuid);

/// Folders of numbered folders: name, kind, and how the files end.
pub(crate) const NUMBERED: [(&str, FileKind, &str); 5] = [
    ("samples", FileKind::Samples, "parquet"),
    ("encodings", FileKind::Encodings, "parquet"),
    ("segments", FileKind::Segments, "arrow"),
    ("tombstones", FileKind::Tombstones, "roaring"),
    ("deleted", FileKind::DeletedIds, "ids"),
];

/// Folders of files named by their UUIDs.
pub(crate) const FLAT: [(&str, FileKind); 2] =
    [(ARTIFACTS, FileKind::Artifacts), (INDEXES, FileKind::Indexes)];

/// What a repair found in the place of `CURRENT`. It stays: it is small, and says what happened.
pub(crate) const DAMAGED: &str = "CURRENT.damaged";

/// What else a store has in its own folder.
const OTHERS: [&str; 10] = [CURRENT, DAMAGED, LOCK, LEDGER, SUMS, MARKER, "manifests", LEASES, SERVER, "tmp"];

/// Files of the store's own folder that are written under temporary names.
const REPLACED: [&str; 6] = [CURRENT, DAMAGED, LEDGER, SUMS, MARKER, RESTORING];

/// What a name in the store's own folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopLevelName {
    /// Part of the store.
    Ours,
    /// What a write, or a restore, that was cut short left behind.
    Leftover,
    Foreign,
}

pub(crate) fn top(name: &str) -> TopLevelName {
    let numbered = NUMBERED.iter().map(|(n, ..)| *n);
    let (stem, unfinished) = finished(name);
    if name == RESTORING || (unfinished && REPLACED.contains(&stem)) {
        TopLevelName::Leftover
    } else if numbered.chain(FLAT.map(|(n, _)| n)).chain(OTHERS).any(|n| n == name) {
        TopLevelName::Ours
    } else {
        TopLevelName::Foreign
    }
}

/// Ending of a file that is not complete yet. Its writer holds the writer lock, except in the folder of a
/// job, and of an index that is copied from another disk.
const UNFINISHED: &str = ".new";

/// The name without the ending of an unfinished file, and whether it had that.
pub(crate) fn finished(name: &str) -> (&str, bool) {
    match name.strip_suffix(UNFINISHED) {
        Some(stem) => (stem, true),
        None => (name, false),
    }
}

/// A new name beside a file of the store: one that counts as unfinished.
pub(crate) fn unfinished(name: &str) -> String {
    let (folder, file) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
    let ending = file.split_once('.').map_or("", |(_, ending)| ending);
    format!("{folder}{}.{ending}{UNFINISHED}", Uuid::new_v4())
}

/// A UUID as we write it.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    text.parse::<Uuid>().ok().filter(|u| u.to_string() == text)
}

/// The number of a folder, as we write it.
pub(crate) fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|n| n.to_string() == text)
}

/// What a file of `manifests/` is: `<kind>-<number>[-<words>]-<digest>.json`.
pub(crate) fn manifest(name: &str) -> Option<FileKind> {
    let (stem, digest) = name.strip_suffix(".json")?.rsplit_once('-')?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digest.len() != 32 || !digest.bytes().all(hex) {
        return None;
    }
    let mut words = stem.split('-');
    let kind = match words.next()? {
        "root" => FileKind::Root,
        "dataset" | "run" | "ensemble" | "feature" | "artifact" => FileKind::Part,
        _ => return None,
    };
    let numbered = words.next().is_some_and(|n| n.parse::<u64>().is_ok_and(|v| v.to_string() == n));
    let plain = words.all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()));
    (numbered && plain).then_some(kind)
}

/// Whether a name in `tmp/` is that of a work folder of a kind: `<kind><uuid>`.
pub(crate) fn is_work(kind: &str, name: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|u| uuid(u).is_some())
}

/// Longest name of an artifact, and of what it calls one of its files, in bytes.
const LONGEST: usize = 64;

/// Whether a text can be the name of an artifact, or what it calls one of its files. Files are copied out
/// under these names: none of them leads out of a folder.
pub(crate) fn is_artifact(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed) && !matches!(text, "." | "..")
}

/// The UUID of a file in `artifacts/`: `<uuid>.<ending>`.
pub(crate) fn artifact(file: &str) -> Option<Uuid> {
    let (stem, ending) = file.split_once('.')?;
    let plain = ending.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    uuid(stem).filter(|_| plain && (1..=16).contains(&ending.len()) && !finished(file).1)
}

/// The data file with this name relative to the store.
pub(crate) fn data_key(name: &str) -> Option<DataKey> {
    if let Some((ARTIFACTS, file)) = name.split_once('/') {
        return Some((FileKind::Artifacts, 0, artifact(file)?));
    }
    let mut parts = name.split('/');
    let (top, folder, file) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, kind, ending) = NUMBERED.iter().find(|(n, ..)| *n == top)?;
    let (stem, found) = file.rsplit_once('.')?;
    (found == *ending && parts.next().is_none()).then_some((*kind, number(folder)?, uuid(stem)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_ours() {
        let d = "0123456789abcdef0123456789abcdef";
        assert_eq!(manifest(&format!("root-12-{d}.json")), Some(FileKind::Root));
        assert_eq!(manifest(&format!("feature-3-{d}.json")), Some(FileKind::Part));
        assert_eq!(manifest(&format!("artifact-3-{d}.json")), Some(FileKind::Part));
        assert_eq!(manifest(&format!("dataset-3-page-{d}.json")), Some(FileKind::Part));
        for strange in [
            format!("root-012-{d}.json"),
            format!("root-{d}.json"),
            format!("notes-1-{d}.json"),
            format!("root-1-{}.json", &d[1..]),
            format!("root-1-{}.json", d.to_uppercase()),
            format!("root-1-{d}.json.bak"),
            format!("root-1-Old-{d}.json"),
            format!("root-1--{d}.json"),
        ] {
            assert_eq!(manifest(&strange), None, "{strange}");
        }
        for ours in [
            "CURRENT",
            "CURRENT.damaged",
            "ledger.redb",
            "ledger.sums",
            "tmp",
            "segments",
            "indexes",
            "server",
        ] {
            assert_eq!(top(ours), TopLevelName::Ours, "{ours}");
        }
        for left in
            ["CURRENT.new", "CURRENT.damaged.new", "ledger.sums.new", "backup.json.new", "restore.json"]
        {
            assert_eq!(top(left), TopLevelName::Leftover, "{left}");
        }
        for strange in ["CURRENT.bak", "LOCK.new", "tmp.new", "notes", ".new", ""] {
            assert_eq!(top(strange), TopLevelName::Foreign, "{strange}");
        }
        let u = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(matches!(data_key(&format!("segments/3/{u}.arrow")), Some((FileKind::Segments, 3, _))));
        let file = format!("artifacts/{u}.safetensors");
        assert!(matches!(data_key(&file), Some((FileKind::Artifacts, 0, _))));
        for strange in [
            format!("artifacts/{u}"),
            format!("artifacts/{u}."),
            format!("artifacts/{u}.new"),
            format!("artifacts/{u}.bin.new"),
            format!("artifacts/{u}.BIN"),
            format!("artifacts/x/{u}.bin"),
            format!("segments/03/{u}.arrow"),
            format!("segments/3/{u}.parquet"),
            format!("segments/3/{}.arrow", u.to_uppercase()),
            format!("segments/3/x/{u}.arrow"),
            format!("segments/{u}.arrow"),
            format!("other/3/{u}.arrow"),
        ] {
            assert_eq!(data_key(&strange), None, "{strange}");
        }
        assert!(["gram", "lambda_matrix.safetensors", "...", &"a".repeat(64)].into_iter().all(is_artifact));
        for strange in ["", ".", "..", "../a", "/a", "a/b", "a b", &"a".repeat(65)] {
            assert!(!is_artifact(strange), "{strange}");
        }
    }
}
