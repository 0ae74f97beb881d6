//! One segment file, open for reading.
//!
//! Invariants
//! - nothing is taken from a block before the block's digest, or the row's check, agreed
//! - the file is opened for each first read and mapped once; a reader of many segments holds no descriptors

use super::BlockBuffer;
use super::block::{Block, RowBytes};
use super::footer::{BlockInfo, Footer, Place, RowSpan, TRAILER, check_schema, footer_len};
use super::layout::{BlockLayout, Problem, Shape};
use crate::error::{Damage, StorageError};
use crate::ident::{FeatureAttrs, FeatureDesc, RowSet, xxh3_hex};
use crate::manifest::{Extra, SegmentEntry};
use crate::map::FileMap;
use crate::vfs::{Vfs, VfsRead};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// No tail is longer: 100 bytes for each block of a segment, with room to spare.
const TAIL_LIMIT: u64 = 1 << 28;

#[derive(Debug)]
pub(crate) struct SegmentFile {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    /// The file, relative to the store.
    name: String,
    /// The feature, for messages.
    label: String,
    shape: Shape,
    len: u64,
    pub(crate) blocks: Vec<BlockInfo>,
    head_len: u64,
    head_digest: String,
    /// Set once the block's digest agreed.
    verified: Vec<OnceLock<BlockLayout>>,
    map: OnceLock<FileMap>,
}

/// What a segment says of itself.
pub(crate) struct Opened {
    pub file: SegmentFile,
    pub entry: SegmentEntry,
    pub desc: FeatureDesc,
    pub attrs: FeatureAttrs,
}

/// How a file's place is named.
pub(crate) struct FileId<'a> {
    pub path: &'a Path,
    pub name: String,
}

impl SegmentFile {
    /// Opens a segment that the catalog knows.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        id: FileId<'_>,
        entry: &SegmentEntry,
        label: &str,
        shape: Shape,
        key: &str,
    ) -> Result<SegmentFile, StorageError> {
        let lost = |d: Damage| -> StorageError { d.affecting(lost(entry.range(), label)).into() };
        let file = vfs.open(id.path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                lost(Damage::new(&id.name, "the file", format!("{} bytes", entry.len), "no such file"))
            }
            _ => StorageError::io(format!("open {}", id.name), e),
        })?;
        let len = file.len().map_err(|e| StorageError::io(format!("open {}", id.name), e))?;
        if len != entry.len {
            return Err(lost(Damage::new(&id.name, "length", entry.len, len)));
        }
        let tail = read_tail(&*file, &id.name, len, entry.tail_len)?;
        let digest = xxh3_hex(&tail);
        if digest != entry.footer_digest {
            let d = Damage::new(&id.name, "digest of the footer", &entry.footer_digest, digest)
                .at(len - entry.tail_len);
            return Err(lost(d));
        }
        let footer = Footer::parse(&Place { name: &id.name, len }, &tail)?;
        let span = RowSpan { first: entry.first_row, end: entry.end_row, rows: entry.rows };
        if footer.span != span {
            return Err(lost(Damage::new(
                &id.name,
                "rows",
                format!("{span:?}"),
                format!("{:?}", footer.span),
            )));
        }
        if footer.key != key {
            return Err(lost(Damage::new(&id.name, "key of the feature", key, &footer.key)));
        }
        Ok(Self::assemble(vfs, id, label.to_owned(), shape, len, footer))
    }

    /// Opens a segment by what its own footer says: one of a job, or one of a store without a catalog.
    pub(crate) fn open_unlisted(
        vfs: Arc<dyn Vfs>,
        id: FileId<'_>,
        uuid: Uuid,
    ) -> Result<Opened, StorageError> {
        let io = |e| StorageError::io(format!("open {}", id.name), e);
        let file = vfs.open(id.path).map_err(io)?;
        let len = file.len().map_err(io)?;
        let damage = |p: Problem| -> StorageError { Damage::new(&id.name, p.0, p.1, p.2).into() };
        let trailer = read_tail(&*file, &id.name, len, TRAILER as u64)?;
        let n = footer_len(&trailer, len).map_err(damage)? as u64;
        let place = Place { name: &id.name, len };
        // The blocks say where the tail starts, so it is parsed once to learn that and once to check it.
        let guess = read_tail(&*file, &id.name, len, n + TRAILER as u64)?;
        let tail_len = len - last_block_end(&guess).map_err(damage)?.min(len);
        let tail = read_tail(&*file, &id.name, len, tail_len)?;
        let footer = Footer::parse(&place, &tail)?;
        let (desc, attrs) = footer.description().map_err(damage)?;
        let shape = Shape::new(&desc, &attrs);
        check_schema(&tail, &shape).map_err(damage)?;
        let entry = SegmentEntry {
            uuid,
            first_row: footer.span.first,
            end_row: footer.span.end,
            rows: footer.span.rows,
            len,
            tail_len,
            footer_digest: xxh3_hex(&tail),
            extra: Extra::new(),
        };
        let label = format!("{}/{}", desc.dataset, attrs.label);
        Ok(Opened { file: Self::assemble(vfs, id, label, shape, len, footer), entry, desc, attrs })
    }

    fn assemble(
        vfs: Arc<dyn Vfs>,
        id: FileId<'_>,
        label: String,
        shape: Shape,
        len: u64,
        footer: Footer,
    ) -> Self {
        let verified = footer.blocks.iter().map(|_| OnceLock::new()).collect();
        SegmentFile {
            vfs,
            path: id.path.to_owned(),
            name: id.name,
            label,
            shape,
            len,
            blocks: footer.blocks,
            head_len: footer.head_len,
            head_digest: footer.head_digest,
            verified,
            map: OnceLock::new(),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    fn damage(&self, block: &BlockInfo, p: Problem) -> Damage {
        Damage::new(&self.name, p.0, p.1, p.2)
            .at(block.offset)
            .affecting(lost(block.first..block.end, &self.label))
    }

    fn io(&self, e: std::io::Error) -> StorageError {
        let action = format!("read {}", self.name);
        match e.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::NotFound | ErrorKind::InvalidData => {
                Damage::new(&self.name, "the file", format!("{} bytes", self.len), e).into()
            }
            _ => StorageError::io(action, e),
        }
    }

    fn open_file(&self) -> Result<Box<dyn VfsRead>, StorageError> {
        self.vfs.open(&self.path).map_err(|e| self.io(e))
    }

    fn mapped(&self, block: &BlockInfo) -> Result<&[u8], StorageError> {
        let map = match self.map.get() {
            Some(map) => map,
            None => {
                let map = self.vfs.map(&self.path, self.len).map_err(|e| self.io(e))?;
                self.map.get_or_init(|| map)
            }
        };
        let start = block.offset as usize;
        match map.as_bytes().get(start..start + block.len()) {
            Some(bytes) => Ok(bytes),
            None => Err(Damage::new(&self.name, "length of the map", self.len, map.as_bytes().len()).into()),
        }
    }

    /// A block: from the map if its digest agreed before, else read into `scratch` and checked there.
    pub(crate) fn read_block<'a>(
        &'a self,
        i: usize,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Option<Block<'a>>, StorageError> {
        let (Some(block), Some(cell)) = (self.blocks.get(i), self.verified.get(i)) else { return Ok(None) };
        let (bytes, layout) = match cell.get() {
            Some(layout) => (self.mapped(block)?, layout),
            None => {
                let buffer = scratch.resize(block.len());
                self.open_file()?.read_at(buffer, block.offset).map_err(|e| self.io(e))?;
                let layout = self.check_block(block, buffer)?;
                (&*buffer, cell.get_or_init(|| layout))
            }
        };
        self.view(block, bytes, layout).map(Some)
    }

    /// A block from the map, without looking at its digest.
    pub(crate) fn read_unchecked(&self, i: usize) -> Result<Option<Block<'_>>, StorageError> {
        let Some(block) = self.blocks.get(i) else { return Ok(None) };
        let bytes = self.mapped(block)?;
        let layout = self.parse(block, bytes)?;
        let view = self.view(block, bytes, &layout)?;
        self.check_rows(block, view.rows)?;
        Ok(Some(view))
    }

    fn view<'a>(
        &self,
        block: &BlockInfo,
        bytes: &'a [u8],
        layout: &BlockLayout,
    ) -> Result<Block<'a>, StorageError> {
        Block::view(bytes, layout, self.shape.dtype).ok_or_else(|| {
            self.damage(block, ("alignment of the block".into(), "64 bytes".into(), "less".into())).into()
        })
    }

    fn parse(&self, block: &BlockInfo, bytes: &[u8]) -> Result<BlockLayout, StorageError> {
        let header = bytes.get(..block.header_len).unwrap_or_default();
        BlockLayout::parse(header, block.body_len, block.rows, &self.shape)
            .map_err(|p| self.damage(block, p).into())
    }

    fn check_block(&self, block: &BlockInfo, bytes: &[u8]) -> Result<BlockLayout, StorageError> {
        let digest = xxh3_128(bytes);
        if digest != block.digest {
            let (want, found) = (format!("{:032x}", block.digest), format!("{digest:032x}"));
            return Err(self.damage(block, ("digest of a block".into(), want, found)).into());
        }
        let layout = self.parse(block, bytes)?;
        let view = self.view(block, bytes, &layout)?;
        self.check_rows(block, view.rows)?;
        Ok(layout)
    }

    fn check_rows(&self, block: &BlockInfo, rows: &[u64]) -> Result<(), StorageError> {
        let ascending = rows.windows(2).all(|w| matches!(w, [a, b] if a < b));
        let ends = rows.first() == Some(&block.first) && rows.last().map(|r| r + 1) == Some(block.end);
        if ascending && ends {
            return Ok(());
        }
        let expected = format!("ascending rows {}..{}", block.first, block.end);
        Err(self.damage(block, ("rows of the block".into(), expected, "others".into())).into())
    }

    /// The rows of a block without reading its vectors where that can be avoided.
    pub(crate) fn block_rows(&self, i: usize, scratch: &mut BlockBuffer) -> Result<RowSet, StorageError> {
        match self.blocks.get(i) {
            None => Ok(RowSet::new()),
            Some(b) if b.is_dense() => Ok(RowSet::from_range(b.first..b.end)),
            Some(_) => {
                let block = self.read_block(i, scratch)?;
                Ok(RowSet::from_rows(block.iter().flat_map(|b| b.rows.iter().copied())))
            }
        }
    }

    /// One row of a block, verified by its check.
    pub(crate) fn row(
        &self,
        i: usize,
        row: u64,
        scratch: &mut BlockBuffer,
    ) -> Result<Option<RowBytes>, StorageError> {
        let Some(block) = self.blocks.get(i) else { return Ok(None) };
        if row < block.first || row >= block.end {
            return Ok(None);
        }
        let checked = self.verified.get(i).is_some_and(|v| v.get().is_some());
        if !checked && !block.is_dense() {
            // Where rows may be missing, "it is not there" is an answer that only a checked block can give.
            self.read_block(i, scratch)?;
        }
        match self.verified.get(i).and_then(OnceLock::get) {
            Some(layout) => {
                let bytes = self.mapped(block)?;
                let rows = self.view(block, bytes, layout)?.rows;
                let Ok(at) = rows.binary_search(&row) else { return Ok(None) };
                self.row_bytes(block, layout, at, row, |range| {
                    Ok(bytes.get(range).unwrap_or_default().to_vec())
                })
                .map(Some)
            }
            None => {
                let file = self.open_file()?;
                let read = |range: Range<usize>| {
                    let mut bytes = vec![0; range.len()];
                    file.read_at(&mut bytes, block.offset + range.start as u64).map_err(|e| self.io(e))?;
                    Ok(bytes)
                };
                let layout = self.parse(block, &read(0..block.header_len)?)?;
                self.row_bytes(block, &layout, (row - block.first) as usize, row, read).map(Some)
            }
        }
    }

    fn row_bytes(
        &self,
        block: &BlockInfo,
        layout: &BlockLayout,
        at: usize,
        row: u64,
        read: impl Fn(Range<usize>) -> Result<Vec<u8>, StorageError>,
    ) -> Result<RowBytes, StorageError> {
        let part = |column: &Range<usize>| {
            let n = column.len() / layout.rows.max(1);
            read(column.start + at * n..column.start + (at + 1) * n)
        };
        let stored = RowBytes {
            row,
            values: part(&layout.values)?,
            scale: part(&layout.scale)?,
            norm: part(&layout.norm)?,
            flags: part(&layout.flags)?.first().copied().unwrap_or_default(),
        };
        let check = part(&layout.check)?;
        let found = stored.check();
        if check != found.to_le_bytes() {
            let expected = check.try_into().map(u64::from_le_bytes).unwrap_or_default();
            let offset =
                block.offset + (layout.values.start + at * (layout.values.len() / layout.rows.max(1))) as u64;
            let d = Damage::new(
                &self.name,
                format!("check of row {row}"),
                format!("{expected:016x}"),
                format!("{found:016x}"),
            );
            return Err(d.at(offset).affecting(lost(row..row + 1, &self.label)).into());
        }
        Ok(stored)
    }

    /// Reads every byte before the tail and compares all digests and checks. Every problem is passed to `report` with the
    /// rows that are lost by it.
    pub(crate) fn verify(&self, scratch: &mut BlockBuffer, mut report: impl FnMut(StorageError, Range<u64>)) {
        let all = self.blocks.first().map_or(0, |b| b.first)..self.blocks.last().map_or(0, |b| b.end);
        if let Err(e) = self.verify_head() {
            report(e, all);
        }
        let mut hash = Xxh3::new();
        for info in &self.blocks {
            match self.reread_block(info, scratch) {
                Err(e) => report(e, info.first..info.end),
                Ok(block) => {
                    for (at, (row, check)) in block.rows.iter().zip(block.check).enumerate() {
                        let found = block.compute_check(at, &mut hash);
                        if found != Some(*check) {
                            let p = (
                                format!("check of row {row}"),
                                format!("{check:016x}"),
                                format!("{:016x}", found.unwrap_or(0)),
                            );
                            report(self.damage(info, p).into(), *row..row + 1);
                        }
                    }
                }
            }
        }
    }

    /// Reads a block from the file, whatever was read of it before.
    fn reread_block<'a>(
        &self,
        block: &BlockInfo,
        scratch: &'a mut BlockBuffer,
    ) -> Result<Block<'a>, StorageError> {
        let buffer = scratch.resize(block.len());
        self.open_file()?.read_at(buffer, block.offset).map_err(|e| self.io(e))?;
        let layout = self.check_block(block, buffer)?;
        self.view(block, buffer, &layout)
    }

    fn verify_head(&self) -> Result<(), StorageError> {
        let n = usize::try_from(self.head_len).unwrap_or(0).min(1 << 24);
        let mut head = vec![0; n];
        self.open_file()?.read_at(&mut head, 0).map_err(|e| self.io(e))?;
        let found = xxh3_hex(&head);
        if found == self.head_digest {
            return Ok(());
        }
        Err(Damage::new(&self.name, "digest of the bytes before the first block", &self.head_digest, found)
            .at(0)
            .affecting("other Arrow readers may refuse the file; gstore reads its rows all the same")
            .into())
    }
}

fn lost(rows: Range<u64>, label: &str) -> String {
    format!(
        "rows {}..{} of feature {label} cannot be read; other segments are intact\n  \
         run `gstore ingest` with the original command to recompute the missing rows",
        rows.start, rows.end
    )
}

fn read_tail(file: &dyn VfsRead, name: &str, len: u64, n: u64) -> Result<Vec<u8>, StorageError> {
    let Some(start) = len.checked_sub(n).filter(|_| n <= TAIL_LIMIT && n >= TRAILER as u64) else {
        return Err(Damage::new(name, "length of the footer", format!("{TRAILER} to {len}"), n).into());
    };
    let mut tail = vec![0; n as usize];
    match file.read_at(&mut tail, start) {
        Ok(()) => Ok(tail),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(Damage::new(name, "length", len, e).into()),
        Err(e) => Err(StorageError::io(format!("read {name}"), e)),
    }
}

/// Where the last block of a footer ends, before anything else of the footer was checked.
fn last_block_end(tail: &[u8]) -> Result<u64, Problem> {
    let bytes = tail.get(..tail.len().saturating_sub(TRAILER)).unwrap_or_default();
    let footer = arrow_ipc::root_as_footer(bytes)
        .map_err(|e| ("footer".to_owned(), "a valid Arrow footer".to_owned(), e.to_string()))?;
    let last = footer.recordBatches().and_then(|b| b.iter().next_back().copied());
    let parts = last.map(|b| [b.offset(), i64::from(b.metaDataLength()), b.bodyLength()]);
    let end =
        parts.and_then(|p| p.into_iter().try_fold(0u64, |sum, n| sum.checked_add(u64::try_from(n).ok()?)));
    end.ok_or_else(|| ("blocks of the footer".to_owned(), "one or more".to_owned(), format!("{parts:?}")))
}
