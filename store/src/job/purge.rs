//! Purged rows in running jobs: sealed files are written again without them before they are published.

use super::folder::{JobFolder, encoding_name, note_name};
use super::plan::SealedEncoding;
use super::rows::purged_rows;
use super::run::Job;
use super::work::FeatureWork;
use crate::encodings::EncodingReader;
use crate::error::CommitError;
use crate::segment::{BlockBuffer, SegmentFile, SegmentWriter};
use crate::store::Snapshot;
use crate::table::TableFile;
use gstore_core::RowSet;
use uuid::Uuid;

impl Job {
    /// Takes rows that `now` has purged out of the sealed files. Token counts get a file for each stretch
    /// between those that have any: zeros would be taken for counts where a row comes back, which it may if a
    /// compaction took it out.
    ///
    /// A file is replaced by sealing the new one before the old one is removed; the next start drops
    /// whichever comes second.
    pub(super) fn drop_purged(&mut self, now: &Snapshot) -> Result<(), CommitError> {
        for work in &mut self.work {
            let purged = purged_rows(now, now.dataset(&work.feature.desc.dataset)?)?;
            let hit = |rows: &RowSet| !rows.intersection(&purged).is_empty();
            for segment in work.sealed.extract_if(.., |s| hit(&s.rows)).collect::<Vec<_>>() {
                let old = work.name_of(segment.uuid());
                work.keep_rows(&self.folder, &old, segment.uuid(), &segment.rows.difference(&purged))?;
                self.folder.remove(&old)?;
            }
        }
        for sealed in std::mem::take(&mut self.encodings) {
            let purged = purged_rows(now, now.dataset(&sealed.dataset)?)?;
            if purged.within(sealed.file.range()).next().is_none() {
                self.encodings.push(sealed);
            } else {
                self.rewrite_counts(sealed, &purged)?;
            }
        }
        Ok(())
    }

    fn rewrite_counts(&mut self, sealed: SealedEncoding, purged: &RowSet) -> Result<(), CommitError> {
        // Rows that were not live when the others were counted have none, so they need no gap.
        let counted = RowSet::from_range(sealed.file.range()).difference(&sealed.filled);
        let gone = counted.intersection(purged);
        if gone.is_empty() {
            self.encodings.push(sealed);
            return Ok(());
        }
        let old = encoding_name(sealed.file.uuid);
        let table = TableFile::new(self.folder.file(&old), &sealed.file);
        let reader = EncodingReader::new(sealed.entry(), vec![table]);
        let SealedEncoding { dataset, spec, label, file, filled } = sealed;
        for rows in RowSet::from_range(file.range()).difference(&gone).ranges() {
            let mut writer = self.encoding_writer(&dataset, spec.clone(), &label)?;
            for count in reader.counts(rows.clone())? {
                writer.push(count)?;
            }
            writer.filled = filled.intersection(&RowSet::from_range(rows.clone()));
            self.seal_encoding(writer)?;
        }
        self.folder.remove(&note_name(file.uuid))?;
        Ok(self.folder.remove(&old)?)
    }
}

impl FeatureWork {
    /// Makes a segment of some rows of a file, bit for bit, part of the progress. The file stays.
    pub(crate) fn keep_rows(
        &mut self,
        folder: &JobFolder,
        file: &str,
        uuid: Uuid,
        keep: &RowSet,
    ) -> Result<(), CommitError> {
        if keep.is_empty() {
            return Ok(());
        }
        let new = Uuid::new_v4();
        let path = self.unfinished(folder, new);
        let mut writer =
            SegmentWriter::create(folder.env.vfs(), &path, new, &self.feature.desc, &self.feature.attrs)?;
        let file = SegmentFile::open_unlisted(folder.file(file), uuid)?.file;
        let mut scratch = BlockBuffer::new();
        for block in &file.blocks {
            writer.push_rows(&file.read_block(block, &mut scratch)?, keep)?;
        }
        Ok(self.adopt(folder, writer.finish()?)?)
    }
}
