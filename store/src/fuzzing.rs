//! Access to the parsers of this crate for `gstore-fuzz`.
//!
//! Not part of the interface: anything here may change at any time.

use crate::error::StorageError;
use crate::index::{IndexFile, open_whole};
use crate::layout::{Env, NamedFile};
use crate::ledger::codec;
use crate::manifest::{
    ArtifactPart, Current, DatasetPart, EnsemblePart, FeaturePart, Part, Root, RunPart, parse,
};
use crate::segment::{BlockBuffer, Checks, FeatureReader, SegmentFile};
use crate::vfs::Vfs;
use gstore_core::RowSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// A segment by what its own footer says, and how many problems checking every byte of it found.
pub fn segment(
    vfs: Arc<dyn Vfs>,
    path: &Path,
    checks: Checks,
) -> Result<(FeatureReader, usize), StorageError> {
    let file = NamedFile { vfs: Arc::clone(&vfs), path: path.to_owned(), name: "segment".into() };
    let opened = SegmentFile::open_unlisted(file, Uuid::nil())?;
    let mut problems = 0;
    opened.file.verify(&mut BlockBuffer::new(), |_| {}, |_, _| problems += 1);
    let mut part = FeaturePart::new(1, opened.desc, opened.attrs);
    let live = RowSet::from_range(0..opened.entry.end_row);
    part.segments.push(opened.entry);
    let env = Arc::new(Env::new(vfs, path));
    Ok((
        FeatureReader::new(env, Arc::new(part), vec![Arc::new(opened.file)], Arc::new(live), checks),
        problems,
    ))
}

/// An index by its own metadata, and how many problems checking every byte of it found.
pub fn index(vfs: Arc<dyn Vfs>, path: &Path) -> Result<Option<(IndexFile, usize)>, StorageError> {
    let file = NamedFile { vfs, path: path.to_owned(), name: "index".into() };
    let Some(file) = open_whole(file)? else { return Ok(None) };
    let mut problems = 0;
    file.verify(&mut BlockBuffer::new(), |_| problems += 1);
    Ok(Some((file, problems)))
}

/// A kind of catalog file.
#[derive(Debug, Clone, Copy)]
pub enum Catalog {
    /// `CURRENT`
    Current,
    /// A root.
    Root,
    /// A dataset part.
    Dataset,
    /// A run part.
    Run,
    /// A feature part.
    Feature,
    /// An ensemble part.
    Ensemble,
    /// An artifact part.
    Artifact,
}

/// Reads a file of the catalog whose digest agreed, and gives what would be written for it.
pub fn catalog(kind: Catalog, bytes: &[u8]) -> Result<String, String> {
    fn part<T: Part>(bytes: &[u8]) -> Result<String, String> {
        let part: T = parse("manifest", bytes).map_err(|e| e.to_string())?;
        match part.problem() {
            None => text(&part),
            Some((what, expected, found)) => Err(format!("{what}: expected {expected}, found {found}")),
        }
    }
    fn text<T: Serialize>(value: &T) -> Result<String, String> {
        serde_json::to_string(value).map_err(|e| e.to_string())
    }
    match kind {
        Catalog::Current => text(&Current::parse(bytes).map_err(|e| e.to_string())?),
        Catalog::Root => part::<Root>(bytes),
        Catalog::Dataset => part::<DatasetPart>(bytes),
        Catalog::Run => part::<RunPart>(bytes),
        Catalog::Feature => part::<FeaturePart>(bytes),
        Catalog::Ensemble => part::<EnsemblePart>(bytes),
        Catalog::Artifact => part::<ArtifactPart>(bytes),
    }
}

/// What a value of the ledger holds: row and digest of an id, or what is reflected of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LedgerValue {
    a: u64,
    b: u128,
    text: Option<String>,
}

/// Reads a value of the ledger.
pub fn ledger_value(key: &[u8], bytes: &[u8]) -> Result<LedgerValue, String> {
    decode(key, bytes)
}

fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, String> {
    codec::decode(key, bytes).map_err(|e| e.to_string())
}

/// Writes a value of the ledger.
pub fn write_ledger_value(key: &[u8], value: &LedgerValue) -> Result<Vec<u8>, String> {
    codec::encode(key, value).map_err(|e| e.to_string())
}

/// Bytes with the version and digest that make them a value of the ledger.
pub fn forged_ledger_value(key: &[u8], payload: &[u8]) -> Vec<u8> {
    codec::with_head(key, payload)
}

/// The rows of a bitmap of deleted rows.
pub fn bitmap(bytes: &[u8]) -> Result<RowSet, String> {
    crate::tombstones::parse_bitmap(bytes)
}
