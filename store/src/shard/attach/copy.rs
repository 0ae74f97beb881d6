//! Copying the files of shards into a job, and verifying every byte of the copies.
//!
//! The copy is what is verified, because it is what is published. Only if it is wrong is the original looked at again, to say which
//! of the two is damaged.

use super::choose::Choice;
use super::read::Shard;
use super::report::AttachProgress;
use crate::error::{AttachError, StorageError};
use crate::job::{Job, JobFeature, encoding_name, segment_name, sound_rows, unfinished};
use crate::layout::Env;
use crate::manifest::{EncodingEntry, FileEntry, SegmentEntry};
use crate::segment::{FileId, SealedSegment, SegmentFile, Shape};
use crate::shard::{Receipt, ReceiptFile};

use crate::table::TableFile;
use std::io::ErrorKind;
use std::path::Path;
use uuid::Uuid;

/// Bytes read at a time.
const PIECE: usize = 4 << 20;

/// Copies the chosen files into a job. What the job has already, from an attach that was killed, stays.
pub(super) fn copy(
    job: &mut Job,
    shards: &[Shard],
    choice: &Choice,
    progress: &mut dyn FnMut(AttachProgress),
) -> Result<(), AttachError> {
    keep_chosen(job, choice)?;
    let chosen = || shards.iter().flat_map(|s| s.receipt.files.iter().filter(|f| choice.has(f)));
    let mut done = AttachProgress { bytes_done: 0, bytes_total: chosen().map(ReceiptFile::bytes).sum() };
    progress(done);
    for shard in shards {
        for file in shard.receipt.files.iter().filter(|f| choice.has(f)) {
            if !is_there(job, file.uuid()) {
                take(job, shard, file, choice)?;
            }
            done.bytes_done += file.bytes();
            progress(done);
        }
    }
    Ok(())
}

fn is_there(job: &Job, uuid: Uuid) -> bool {
    job.sealed.iter().flatten().any(|s| s.uuid() == uuid)
        || job.encodings.iter().filter_map(|e| e.file()).any(|f| f.uuid == uuid)
}

/// Drops sealed files that are not the chosen ones as they are: those that were written again without some of their rows.
fn keep_chosen(job: &mut Job, choice: &Choice) -> Result<(), AttachError> {
    let wanted = |uuid: Uuid| choice.rows_in(uuid).is_some();
    for (i, sealed) in job.sealed.iter_mut().enumerate() {
        for s in sealed.extract_if(.., |s| choice.rows_in(s.uuid()) != Some(&s.rows)) {
            job.folder.remove(&segment_name(i, s.uuid()))?;
        }
    }
    for uuid in job.encodings.iter().filter_map(|e| e.file()).map(|f| f.uuid).filter(|u| !wanted(*u)) {
        job.folder.remove(&crate::job::note_name(uuid))?;
        job.folder.remove(&encoding_name(uuid))?;
    }
    job.encodings.retain(|e| e.file().is_some_and(|f| wanted(f.uuid)));
    Ok(())
}

fn take(job: &mut Job, shard: &Shard, file: &ReceiptFile, choice: &Choice) -> Result<(), AttachError> {
    let from = shard.folder.join(file.name());
    let bad = |detail: String| AttachError::BadFile {
        folder: shard.shown.clone(),
        file: file.name().to_owned(),
        detail,
    };
    match file {
        ReceiptFile::Segment { feature, entry, .. } => {
            let Some(f) = shard.receipt.features.get(*feature) else { return Ok(()) };
            let Some(i) = job.plan.features.iter().position(|known| known.desc == f.desc) else {
                return Ok(());
            };
            let part = unfinished(&segment_name(i, entry.uuid));
            copy_bytes(job, &from, &part, entry.len, &bad)?;
            let rows = file.row_set();
            let check = |path: &Path| check_segment(job, path, entry, f, &rows);
            verified(&job.folder.path_of(&part), &from, check, bad)?;
            let path = job.folder.path_of(&part);
            if let Some(keep) = choice.rows_in(entry.uuid).filter(|keep| **keep != rows) {
                job.keep_rows(i, FileId { path: &path, name: job.folder.name_of(&part) }, entry.uuid, keep)?;
                return Ok(job.folder.remove(&part)?);
            }
            Ok(job.adopt(i, SealedSegment { path, entry: entry.clone(), rows })?)
        }
        ReceiptFile::Encoding { encoding, entry, .. } => {
            let part = unfinished(&encoding_name(entry.uuid));
            copy_bytes(job, &from, &part, entry.len, &bad)?;
            let check = |path: &Path| check_table(job, path, entry);
            verified(&job.folder.path_of(&part), &from, check, bad)?;
            match encoding_entry(&shard.receipt, *encoding, entry) {
                Some(e) => Ok(job.adopt_encoding(shard.receipt.note.dataset.clone(), e)?),
                None => Ok(()),
            }
        }
    }
}

fn encoding_entry(receipt: &Receipt, i: usize, file: &FileEntry) -> Option<EncodingEntry> {
    let e = receipt.encodings.get(i)?;
    Some(EncodingEntry::of_file(e.spec.clone(), e.label.clone(), file.clone()))
}

/// Copies a file and flushes the copy.
fn copy_bytes(
    job: &Job,
    from: &Path,
    to: &str,
    len: u64,
    bad: &dyn Fn(String) -> AttachError,
) -> Result<(), AttachError> {
    let vfs = job.store.env().vfs();
    let shown = from.display().to_string();
    let source = match vfs.open(from) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(bad("there is no such file".into())),
        Err(e) => return Err(Env::io("open", &shown)(e).into()),
    };
    let found = source.len().map_err(Env::io("read", &shown))?;
    if found != len {
        return Err(bad(format!("it has {found} bytes, its receipt says {len}")));
    }
    let name = job.folder.name_of(to);
    job.folder.remove(to)?;
    let mut target = vfs.create(&job.folder.path_of(to)).map_err(Env::io("create", &name))?;
    let mut piece = vec![0; PIECE.min(usize::try_from(len).unwrap_or(PIECE))];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(piece.len() as u64) as usize;
        let part = piece.get_mut(..n).unwrap_or_default();
        match source.read_at(part, at) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(bad(format!("it ends before byte {}", at + n as u64)));
            }
            Err(e) => return Err(Env::io("read", &shown)(e).into()),
        }
        target.write_all(part).map_err(Env::io("write", &name))?;
        at += n as u64;
    }
    target.flush().map_err(Env::io("write", &name))?;
    Ok(target.sync().map_err(Env::io("flush", &name))?)
}

/// Checks a copy; if it is wrong, the original decides which of them is blamed.
fn verified(
    copy: &Path,
    original: &Path,
    check: impl Fn(&Path) -> Result<(), StorageError>,
    bad: impl Fn(String) -> AttachError,
) -> Result<(), AttachError> {
    let Err(in_copy) = check(copy) else { return Ok(()) };
    match check(original) {
        Err(StorageError::Damaged(d)) => {
            let place = d.offset.map_or_else(String::new, |at| format!(" at byte {at}"));
            Err(bad(format!("{}{place}: expected {}, found {}", d.what, d.expected, d.found)))
        }
        Err(StorageError::Newer { detail, .. }) => Err(bad(format!("a newer gstore wrote it: {detail}"))),
        _ => Err(in_copy.into()),
    }
}

/// Every byte of a segment, and that it has exactly these rows.
fn check_segment(
    job: &Job,
    path: &Path,
    entry: &SegmentEntry,
    feature: &JobFeature,
    rows: &gstore_core::RowSet,
) -> Result<(), StorageError> {
    let shape = Shape::new(&feature.desc, &feature.attrs);
    let label = super::fit::label(feature);
    let id = FileId { path, name: path.display().to_string() };
    let key = feature.desc.key();
    let file = SegmentFile::open(job.store.env().shared_vfs(), id, entry, &label, shape, &key)?;
    let found = sound_rows(&file)?;
    if found == *rows {
        return Ok(());
    }
    Err(crate::error::Damage::new(path.display().to_string(), "rows", rows, found).into())
}

/// Every byte of a file of token counts.
fn check_table(job: &Job, path: &Path, entry: &FileEntry) -> Result<(), StorageError> {
    let file =
        TableFile::new(job.store.env().shared_vfs(), path.to_owned(), path.display().to_string(), entry);
    let mut problem = None;
    file.verify(|e| {
        problem.get_or_insert(e);
    });
    problem.map_or(Ok(()), Err)
}
