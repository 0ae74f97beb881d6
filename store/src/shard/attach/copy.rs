//! Copying the files of shards into a job, and verifying every byte of the copies.
//!
//! The copy is what is verified, because it is what is published. Only if it is wrong is the original looked
//! at again, to say which of the two is damaged.

use super::checks;
use super::choose::Choice;
use super::read::Shard;
use super::report::AttachProgress;
use crate::error::{AttachError, StorageError};
use crate::job::{
    Job, JobFeature, JobFolder, SealedEncoding, encoding_name, note_name, sound_rows, unfinished,
};
use crate::layout::{Env, NamedFile};
use crate::manifest::{FileEntry, SegmentEntry};
use crate::segment::SealedSegment;
use crate::shard::ReceiptFile;
use crate::shard::receipt::FileContent;
use crate::table::TableFile;
use crate::vfs::{SpanFailure, hash_span, if_there};
use std::io::ErrorKind;
use std::path::Path;
use uuid::Uuid;

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
        for (file, of) in shard.receipt.contents().filter(|(f, _)| choice.has(f)) {
            if !is_there(job, file.uuid()) {
                take(job, shard, (file, of), choice)?;
            }
            done.bytes_done += file.bytes();
            progress(done);
        }
    }
    Ok(())
}

fn is_there(job: &Job, uuid: Uuid) -> bool {
    job.work.iter().flat_map(|work| &work.sealed).any(|s| s.uuid() == uuid)
        || job.encodings.iter().any(|e| e.file.uuid == uuid)
}

/// Drops sealed files that are not the chosen ones as they are: those that were written again
/// without some of their rows.
fn keep_chosen(job: &mut Job, choice: &Choice) -> Result<(), AttachError> {
    for work in &mut job.work {
        let others = work.sealed.extract_if(.., |s| choice.rows_in(s.uuid()) != Some(&s.rows));
        for uuid in others.map(|s| s.uuid()).collect::<Vec<_>>() {
            job.folder.remove(&work.name_of(uuid))?;
        }
    }
    for other in job.encodings.extract_if(.., |e| choice.rows_in(e.file.uuid).is_none()) {
        job.folder.remove(&note_name(other.file.uuid))?;
        job.folder.remove(&encoding_name(other.file.uuid))?;
    }
    Ok(())
}

fn take(
    job: &mut Job,
    shard: &Shard,
    (file, of): (&ReceiptFile, FileContent<'_>),
    choice: &Choice,
) -> Result<(), AttachError> {
    let from = shard.folder.join(file.name());
    let bad = |detail: String| AttachError::BadFile {
        folder: shard.shown.clone(),
        file: file.name().to_owned(),
        detail,
    };
    match of {
        FileContent::Feature(f, entry) => {
            let work = job.work.iter_mut().find(|work| work.feature.desc == f.desc);
            let Some(work) = work else { return Err(bad("its feature is not one of the job".into())) };
            let part = unfinished(&work.name_of(entry.uuid));
            copy_bytes(&job.folder, &from, &part, entry.len, &bad)?;
            let (path, rows) = (job.folder.path_of(&part), file.row_set());
            let check = |path: &Path| check_segment(&job.folder.env, path, entry, f, &rows);
            verified(&path, &from, check, bad)?;
            if let Some(keep) = choice.rows_in(entry.uuid).filter(|keep| **keep != rows) {
                work.keep_rows(&job.folder, &part, entry.uuid, keep)?;
                return Ok(job.folder.remove(&part)?);
            }
            Ok(work.adopt(&job.folder, SealedSegment { path, entry: entry.clone(), rows })?)
        }
        FileContent::Encoding(e, entry) => {
            let part = unfinished(&encoding_name(entry.uuid));
            copy_bytes(&job.folder, &from, &part, entry.len, &bad)?;
            let check = |path: &Path| check_table(&job.folder.env, path, entry);
            verified(&job.folder.path_of(&part), &from, check, bad)?;
            let filled = file.row_set().difference(&shard.receipt.row_set());
            let (dataset, file) = (shard.receipt.note.dataset.clone(), entry.clone());
            let (spec, label) = (e.spec.clone(), e.label.clone());
            Ok(job.adopt_encoding(SealedEncoding { dataset, spec, label, file, filled })?)
        }
    }
}

/// Copies a file and flushes the copy.
fn copy_bytes(
    folder: &JobFolder,
    from: &Path,
    to: &str,
    len: u64,
    bad: &dyn Fn(String) -> AttachError,
) -> Result<(), AttachError> {
    let vfs = folder.env.vfs();
    let shown = from.display().to_string();
    let source = if_there(vfs.open(from)).map_err(Env::io("open", &shown))?;
    let source = source.ok_or_else(|| bad("there is no such file".into()))?;
    let found = source.len().map_err(Env::io("read", &shown))?;
    if found != len {
        return Err(bad(format!("it has {found} bytes, its receipt says {len}")));
    }
    let name = folder.name_of(to);
    folder.remove(to)?;
    let mut target = vfs.create(&folder.path_of(to)).map_err(Env::io("create", &name))?;
    match hash_span(&*source, 0..len, &mut Vec::new(), |bytes| target.write_all(bytes)) {
        Ok(_) => {}
        Err(SpanFailure::Read(e)) if e.kind() == ErrorKind::UnexpectedEof => {
            return Err(bad("it became shorter while it was copied".into()));
        }
        Err(SpanFailure::Read(e)) => return Err(Env::io("read", &shown)(e).into()),
        Err(SpanFailure::Sink(e)) => return Err(Env::io("write", &name)(e).into()),
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
    env: &Env,
    path: &Path,
    entry: &SegmentEntry,
    feature: &JobFeature,
    rows: &gstore_core::RowSet,
) -> Result<(), StorageError> {
    let found = sound_rows(&checks::open(env.shared_vfs(), path, entry, feature)?)?;
    if found == *rows {
        return Ok(());
    }
    Err(crate::error::Damage::new(path.display().to_string(), "rows", rows, found).into())
}

/// Every byte of a file of token counts.
fn check_table(env: &Env, path: &Path, entry: &FileEntry) -> Result<(), StorageError> {
    let file = TableFile::new(NamedFile::outside(env.shared_vfs(), path), entry);
    let mut problem = None;
    file.verify(
        |_| {},
        |e| {
            problem.get_or_insert(e);
        },
    );
    problem.map_or(Ok(()), Err)
}
