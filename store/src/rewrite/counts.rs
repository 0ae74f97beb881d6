//! Files of token counts: the counts of live rows in new files, zeros where rows are not live.

use super::{Watch, stretches};
use crate::encodings::{EncodingReader, EncodingWriter, TokenCount, counts_of};
use crate::error::{ReadError, RewriteError, WriteError};
use crate::layout::{Env, HeldFolder};
use crate::manifest::{EncodingEntry, FileEntry};
use gstore_core::RowSet;
use uuid::Uuid;

fn reader(env: &Env, encoding: &EncodingEntry, files: &[FileEntry]) -> EncodingReader {
    EncodingReader::open(env, EncodingEntry { files: files.to_vec(), ..encoding.clone() })
}

/// Whether a file still says something of these rows.
pub(crate) fn has_counts(
    env: &Env,
    encoding: &EncodingEntry,
    file: &FileEntry,
    rows: &RowSet,
) -> Result<bool, ReadError> {
    let reader = reader(env, encoding, std::slice::from_ref(file));
    reader.has(file.range(), |c| !c.is_nothing() && rows.contains(c.row))
}

/// Writes the counts of the live rows of some files of an encoding to files in the folder.
pub(crate) fn merge_counts(
    folder: &HeldFolder,
    dataset: &str,
    encoding: &EncodingEntry,
    inputs: &[FileEntry],
    live: &RowSet,
    watch: &mut Watch<'_>,
) -> Result<Vec<FileEntry>, RewriteError> {
    let own = RowSet::from_ranges(inputs.iter().map(FileEntry::range));
    let of = format!("encoding {} of dataset {dataset}", encoding.label);
    let mut done: Vec<FileEntry> = Vec::new();
    for stretch in stretches(live, &own) {
        let uuid = Uuid::new_v4();
        let name = format!("{uuid}.parquet");
        let copied = copy(folder, dataset, encoding, inputs, &stretch, uuid, watch);
        match copied {
            Ok(file) => done.push(file),
            Err(e) => {
                folder.discard(&name);
                done.iter().for_each(|f| folder.discard(&format!("{}.parquet", f.uuid)));
                return Err(e.affecting(&own, &of));
            }
        }
    }
    let read = inputs.iter().map(|f| f.len).sum();
    watch.advance(read)?;
    Ok(done)
}

fn copy(
    folder: &HeldFolder,
    dataset: &str,
    encoding: &EncodingEntry,
    inputs: &[FileEntry],
    live: &RowSet,
    uuid: Uuid,
    watch: &mut Watch<'_>,
) -> Result<FileEntry, RewriteError> {
    let env = &folder.env;
    let path = folder.path_of(&format!("{uuid}.parquet"));
    let (spec, label) = (encoding.spec.clone(), encoding.label.clone());
    let mut writer = EncodingWriter::new(env.shared_vfs(), path, uuid, dataset.to_owned(), spec, label);
    let reader = reader(env, encoding, inputs);
    let (Some(first), Some(last)) = (live.ranges().first(), live.ranges().last()) else {
        return Err(RewriteError::Target(WriteError::Empty));
    };
    for batch in reader.scan(Some(first.start..last.end)) {
        for count in batch.and_then(|batch| counts_of(&batch)).map_err(RewriteError::source)? {
            // Always true: a stretch has no other gaps. If a file lacks rows that it should have, the push fails.
            writer.fill_to(count.row, live)?;
            writer.push(if live.contains(count.row) { count } else { TokenCount::nothing(count.row) })?;
        }
        watch.advance(0)?;
    }
    Ok(writer.finish()?)
}
