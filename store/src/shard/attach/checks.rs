//! Comparison of rows that both a snapshot and a shard have, by their stored checks.

use super::read::Shard;
use crate::error::{AttachError, StorageError};
use crate::job::JobFeature;
use crate::layout::NamedFile;
use crate::manifest::SegmentEntry;
use crate::segment::{BlockBuffer, FeatureReader, SegmentFile, SegmentShape};
use crate::shard::ReceiptFile;
use crate::store::{Snapshot, Store};
use crate::vfs::Vfs;
use gstore_core::RowSet;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// The checks of a feature in a snapshot.
#[derive(Debug)]
pub(super) struct Checks {
    vfs: Arc<dyn Vfs>,
    /// Opened when it is first needed.
    reader: OnceCell<FeatureReader>,
}

impl Checks {
    pub fn new(store: &Store) -> Self {
        Checks { vfs: store.env().shared_vfs(), reader: OnceCell::new() }
    }

    /// Those of some rows, which both have, that are not the same in both.
    pub fn differing(
        &self,
        snapshot: &Snapshot,
        shard: &Shard,
        of: (&JobFeature, &SegmentEntry),
        file: &ReceiptFile,
        rows: &RowSet,
    ) -> Result<RowSet, AttachError> {
        let Some(part) = snapshot.feature_by_key(&of.0.desc.key()).filter(|_| !rows.is_empty()) else {
            return Ok(RowSet::new());
        };
        let reader = match self.reader.get() {
            Some(reader) => reader,
            None => {
                let reader = snapshot.open_feature(part)?;
                self.reader.get_or_init(|| reader)
            }
        };
        let known = file_digests(&self.vfs, shard, of, file, rows)?;
        let mut others = Vec::new();
        let mut scratch = BlockBuffer::new();
        for block in reader.blocks().iter().filter(|b| rows.within(b.range()).next().is_some()) {
            let block = reader.read_block(*block, &mut scratch)?;
            for (row, digest) in block.row_digests() {
                // Rows that are not asked for are not known.
                if known.get(&row).is_some_and(|known| *known != digest) {
                    others.push(row);
                }
            }
        }
        Ok(RowSet::from_rows(others))
    }
}

/// Opens a segment of a shard, or its copy.
pub(super) fn open(
    vfs: Arc<dyn Vfs>,
    path: &Path,
    entry: &SegmentEntry,
    feature: &JobFeature,
) -> Result<SegmentFile, StorageError> {
    let shape = SegmentShape::new(&feature.desc, &feature.attrs);
    let file = NamedFile::outside(vfs, path);
    SegmentFile::open(file, entry, &feature.name(), shape, &feature.desc.key())
}

/// A digest for each of some rows of a shard's file.
fn file_digests(
    vfs: &Arc<dyn Vfs>,
    shard: &Shard,
    (feature, entry): (&JobFeature, &SegmentEntry),
    file: &ReceiptFile,
    rows: &RowSet,
) -> Result<HashMap<u64, u64>, AttachError> {
    let bad = |e: StorageError| match e {
        StorageError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            "there is no such file".into()
        }
        other => other.to_string(),
    };
    let path = shard.folder.join(file.name());
    let read = || -> Result<HashMap<u64, u64>, StorageError> {
        let file = open(Arc::clone(vfs), &path, entry, feature)?;
        let mut checks = HashMap::new();
        let mut scratch = BlockBuffer::new();
        for block in &file.blocks {
            let block = file.read_block(block, &mut scratch)?;
            checks.extend(block.row_digests().into_iter().filter(|(row, _)| rows.contains(*row)));
        }
        Ok(checks)
    };
    read().map_err(|e| AttachError::BadFile {
        folder: shard.shown.clone(),
        file: file.name().to_owned(),
        detail: bad(e),
    })
}
