//! Opening a segment: by its entry in the catalog, or by its own metadata.

use super::file::{SegmentBlock, SegmentFile, lost};
use super::footer::{Footer, RowSpan, TAIL_LIMIT, TRAILER, TailSource, check_schema, footer_len};
use super::layout::{Mismatch, SegmentShape};
use crate::error::{Damage, StorageError};
use crate::layout::{Env, NamedFile, segment_file};
use crate::manifest::{Extra, FeaturePart, SegmentEntry};
use crate::vfs::VfsRead;
use gstore_core::{Digest, FeatureAttrs, FeatureDesc};
use std::io::ErrorKind;
use std::sync::OnceLock;
use uuid::Uuid;

/// A segment's own metadata.
pub(crate) struct OpenedSegment {
    pub file: SegmentFile,
    pub entry: SegmentEntry,
    pub desc: FeatureDesc,
    pub attrs: FeatureAttrs,
}

impl SegmentFile {
    /// Opens a published segment of a feature.
    pub(crate) fn open_of(
        env: &Env,
        part: &FeaturePart,
        entry: &SegmentEntry,
    ) -> Result<SegmentFile, StorageError> {
        Self::open_at(env.file(segment_file(part.number, entry.uuid)), part, entry)
    }

    /// The same from the file that is to have it, whatever its name.
    pub(crate) fn open_at(
        own: NamedFile,
        part: &FeaturePart,
        entry: &SegmentEntry,
    ) -> Result<SegmentFile, StorageError> {
        let shape = SegmentShape::new(&part.desc, &part.attrs);
        Self::open(own, entry, &part.display_name(), shape, &part.key)
    }

    /// Opens a segment by what is said of it.
    pub(crate) fn open(
        own: NamedFile,
        entry: &SegmentEntry,
        label: &str,
        shape: SegmentShape,
        key: &str,
    ) -> Result<SegmentFile, StorageError> {
        let affected = || lost(entry.range(), label);
        let lost = |d: Damage| -> StorageError { d.affecting(affected()).into() };
        let file = own.vfs.open(&own.path).map_err(|e| {
            StorageError::of_lost(&own.name, &format!("{} bytes", entry.len), Some(affected()), e)
        })?;
        let len = file.len().map_err(|e| StorageError::io(format!("open {}", own.name), e))?;
        if len != entry.len {
            return Err(lost(Damage::new(&own.name, "length", entry.len, len)));
        }
        let tail = read_tail(&*file, &own.name, len, entry.tail_len)?;
        let digest = Digest::of(&tail);
        if digest != entry.footer_digest {
            let d = Damage::new(&own.name, "digest of the footer", entry.footer_digest, digest)
                .at(len - entry.tail_len);
            return Err(lost(d));
        }
        let footer = Footer::parse(&TailSource { name: &own.name, len }, &tail)?;
        let span = RowSpan { first: entry.first_row, end: entry.end_row, rows: entry.rows };
        if footer.span != span {
            return Err(lost(Damage::new(
                &own.name,
                "rows",
                format!("{span:?}"),
                format!("{:?}", footer.span),
            )));
        }
        if footer.key != key {
            return Err(lost(Damage::new(&own.name, "key of the feature", key, &footer.key)));
        }
        footer.check_bounds(shape.groups.len()).map_err(|p| lost(Damage::new(&own.name, p.0, p.1, p.2)))?;
        Ok(Self::assemble(own, label.to_owned(), shape, len, footer))
    }

    /// Opens a segment by what its own footer says: one of a job, or one of a store without a catalog.
    pub(crate) fn open_unlisted(own: NamedFile, uuid: Uuid) -> Result<OpenedSegment, StorageError> {
        let io = |e| StorageError::io(format!("open {}", own.name), e);
        let file = own.vfs.open(&own.path).map_err(io)?;
        let len = file.len().map_err(io)?;
        let damage = |p: Mismatch| -> StorageError { Damage::new(&own.name, p.0, p.1, p.2).into() };
        let trailer = read_tail(&*file, &own.name, len, TRAILER as u64)?;
        let n = footer_len(&trailer, len).map_err(damage)? as u64;
        let place = TailSource { name: &own.name, len };
        // The blocks say where the tail starts, so it is parsed once to learn that and once to check it.
        let guess = read_tail(&*file, &own.name, len, n + TRAILER as u64)?;
        let tail_len = len - last_block_end(&guess).map_err(damage)?.min(len);
        let tail = read_tail(&*file, &own.name, len, tail_len)?;
        let footer = Footer::parse(&place, &tail)?;
        let (desc, attrs) = footer.description().map_err(damage)?;
        let shape = SegmentShape::new(&desc, &attrs);
        check_schema(&tail, &shape).map_err(damage)?;
        footer.check_bounds(shape.groups.len()).map_err(damage)?;
        let entry = SegmentEntry {
            uuid,
            first_row: footer.span.first,
            end_row: footer.span.end,
            rows: footer.span.rows,
            len,
            tail_len,
            footer_digest: Digest::of(&tail),
            extra: Extra::new(),
        };
        let label = format!("{}/{}", desc.dataset, attrs.label);
        Ok(OpenedSegment { file: Self::assemble(own, label, shape, len, footer), entry, desc, attrs })
    }

    fn assemble(own: NamedFile, label: String, shape: SegmentShape, len: u64, footer: Footer) -> Self {
        let mut bounds = footer.bounds.into_iter().flatten();
        let blocks = footer.blocks.into_iter().map(|info| SegmentBlock::new(info, bounds.next())).collect();
        SegmentFile {
            own,
            label,
            shape,
            len,
            blocks,
            head_len: footer.head_len,
            head_digest: footer.head_digest,
            map: OnceLock::new(),
            transient: false,
        }
    }
}

fn read_tail(file: &dyn VfsRead, name: &str, len: u64, n: u64) -> Result<Vec<u8>, StorageError> {
    let Some(start) = len.checked_sub(n).filter(|_| n <= TAIL_LIMIT && n >= TRAILER as u64) else {
        let most = len.min(TAIL_LIMIT);
        return Err(Damage::new(name, "length of the footer", format!("{TRAILER} to {most}"), n).into());
    };
    let mut tail = vec![0; n as usize];
    match file.read_at(&mut tail, start) {
        Ok(()) => Ok(tail),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(Damage::new(name, "length", len, e).into()),
        Err(e) => Err(StorageError::io(format!("read {name}"), e)),
    }
}

/// Where the last block of a footer ends, before anything else of the footer was checked.
fn last_block_end(tail: &[u8]) -> Result<u64, Mismatch> {
    let footer = arrow_ipc::root_as_footer(tail.split_at(tail.len().saturating_sub(TRAILER)).0)
        .map_err(|e| ("footer".to_owned(), "a valid Arrow footer".to_owned(), e.to_string()))?;
    let last = footer.recordBatches().and_then(|b| b.iter().next_back().copied());
    let parts = last.map(|b| [b.offset(), i64::from(b.metaDataLength()), b.bodyLength()]);
    let end =
        parts.and_then(|p| p.into_iter().try_fold(0u64, |sum, n| sum.checked_add(u64::try_from(n).ok()?)));
    end.ok_or_else(|| ("blocks of the footer".to_owned(), "one or more".to_owned(), format!("{parts:?}")))
}
