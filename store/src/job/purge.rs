//! Rows that were purged while a job ran: its sealed files are written again without them before they are published.

use super::folder::{encoding_name, note_name, segment_name, unfinished};
use super::plan::SealedEncoding;
use super::rows::purged_rows;
use super::run::Job;
use crate::encodings::{EncodingReader, EncodingWriter, TokenCount};
use crate::error::CommitError;
use crate::manifest::EncodingEntry;
use crate::segment::{BlockBuffer, FileId, SealedSegment, SegmentFile, SegmentWriter};
use crate::store::Snapshot;
use crate::table::TableFile;
use gstore_core::RowSet;
use uuid::Uuid;

impl Job {
    /// Takes rows that `now` has purged out of the sealed files. Segments lose them; token counts, whose files have no gaps, become 0.
    ///
    /// A file is replaced by sealing the new one before the old one is removed; the next start drops whichever comes second.
    pub(super) fn drop_purged(&mut self, now: &Snapshot) -> Result<(), CommitError> {
        for i in 0..self.plan.features.len() {
            let Some(dataset) = self.plan.features.get(i).map(|f| f.desc.dataset.clone()) else { continue };
            let purged = purged_rows(now, now.dataset(&dataset)?)?;
            if purged.is_empty() {
                continue;
            }
            let Some(sealed) = self.sealed.get_mut(i).map(std::mem::take) else { continue };
            for segment in sealed {
                if segment.rows.intersection(&purged).is_empty() {
                    if let Some(kept) = self.sealed.get_mut(i) {
                        kept.push(segment);
                    }
                } else {
                    self.rewrite_segment(i, &segment, &purged)?;
                }
            }
        }
        for note in std::mem::take(&mut self.encodings) {
            let purged = purged_rows(now, now.dataset(&note.dataset)?)?;
            if note.encoding.rows().intersection(&purged).is_empty() {
                self.encodings.push(note);
            } else {
                self.rewrite_counts(note, &purged)?;
            }
        }
        Ok(())
    }

    fn rewrite_segment(
        &mut self,
        feature: usize,
        segment: &SealedSegment,
        purged: &RowSet,
    ) -> Result<(), CommitError> {
        let keep = segment.rows.difference(purged);
        let old = segment_name(feature, segment.uuid());
        let id = FileId { path: &segment.path, name: self.folder.name_of(&old) };
        self.keep_rows(feature, id, segment.uuid(), &keep)?;
        Ok(self.folder.remove(&old)?)
    }

    /// Makes a segment of some rows of a file, bit for bit, part of the job's progress. The file stays.
    pub(crate) fn keep_rows(
        &mut self,
        feature: usize,
        file: FileId<'_>,
        uuid: Uuid,
        keep: &RowSet,
    ) -> Result<(), CommitError> {
        let Some(f) = self.plan.features.get(feature).filter(|_| !keep.is_empty()) else { return Ok(()) };
        let vfs = self.store.env().shared_vfs();
        let new = Uuid::new_v4();
        let path = self.folder.path_of(&unfinished(&segment_name(feature, new)));
        let mut writer = SegmentWriter::create(&*vfs, &path, new, &f.desc, &f.attrs)?;
        let file = SegmentFile::open_unlisted(vfs, file, uuid)?.file;
        let mut scratch = BlockBuffer::new();
        for b in 0..file.blocks.len() {
            let Some(block) = file.read_block(b, &mut scratch)? else { continue };
            for (at, row) in block.rows.iter().enumerate() {
                if keep.contains(*row) {
                    writer.push_stored(&block, at)?;
                }
            }
        }
        Ok(self.adopt(feature, writer.finish()?)?)
    }

    fn rewrite_counts(&mut self, note: SealedEncoding, purged: &RowSet) -> Result<(), CommitError> {
        let Some(entry) = note.file().cloned() else { return Ok(()) };
        let vfs = self.store.env().shared_vfs();
        let old = encoding_name(entry.uuid);
        let file = TableFile::new(vfs.clone(), self.folder.path_of(&old), self.folder.name_of(&old), &entry);
        let reader = EncodingReader::new(note.encoding.clone(), vec![file]);
        let uuid = Uuid::new_v4();
        let path = self.folder.path_of(&unfinished(&encoding_name(uuid)));
        let EncodingEntry { spec, label, .. } = note.encoding.clone();
        let mut writer = EncodingWriter::new(vfs, path, uuid, note.dataset.clone(), spec, label);
        for mut count in reader.counts(entry.range())? {
            if purged.contains(count.row) {
                count = TokenCount { row: count.row, tokens: 0, scored: 0, truncated: false };
            }
            writer.push(count)?;
        }
        let files = vec![writer.finish()?];
        self.adopt_encoding(note.dataset, EncodingEntry { files, ..note.encoding })?;
        self.folder.remove(&note_name(entry.uuid))?;
        Ok(self.folder.remove(&old)?)
    }
}
