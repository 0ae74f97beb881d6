//! Repair of sample files: readable rows are saved into a new file, the others become purged rows.

use super::Repair;
use super::dead::DeadRows;
use super::parts::{Inventory, list};
use super::report::{Loss, LostKind};
use crate::error::{StorageError, VerifyError, WriteError, if_sound};
use crate::layout::names::LEDGER;
use crate::layout::{sample_file, sample_folder};
use crate::ledger::Ledger;
use crate::manifest::{DatasetPart, FileEntry};
use crate::samples::{sample_properties, shell_batch, table};
use crate::table::{TableFile, TableMetadata, TableWriter, describe, row_ids};
use crate::tombstones::{ids, new_files};
use crate::verify::data_uuid;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use gstore_core::{Remedy, RowSet, many};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Rows that are tried at once.
const WINDOW: u64 = 8192;
/// Rows of a page.
const PAGE: u64 = 128;

/// Replaces the damaged sample files of a dataset. `dead` gains the rows that are lost inside a file, and the
/// list of deleted ids those of deleted rows.
pub(super) fn repair(
    work: &mut Repair<'_>,
    part: &mut DatasetPart,
    dead: &mut DeadRows,
) -> Result<(), VerifyError> {
    let live = dead.live(part);
    let deleted = dead.deleted.difference(&dead.superseded);
    let mut lost = RowSet::new();
    let mut deleted_ids = Vec::new();
    let mut files = Vec::with_capacity(part.files.len());
    for entry in &part.files {
        let name = sample_file(part.number, entry.uuid);
        if !work.is_bad(&name) {
            files.push(entry.clone());
            continue;
        }
        let file = table(work.env, part, entry);
        let saved = readable(&file, None, &RowSet::from_range(entry.range()))?;
        if saved.covers(entry.range()) {
            // Not the bytes are wrong but what they say; nothing here can know better.
            files.push(entry.clone());
            continue;
        }
        work.handled.insert(name.clone());
        let gone = RowSet::from_range(entry.range()).difference(&saved);
        lost = lost.union(&gone);
        deleted_ids.extend(readable_ids(&file, &gone.intersection(&deleted))?);
        // Deleted rows too: they remember their ids.
        let keep = saved.difference(&dead.purged);
        let from = || format!("{} that can still be read", many(saved.len(), "row"));
        work.report.saved(format!("{name} of dataset {}", part.name), (!keep.is_empty()).then(from));
        let (Some(first), Some(last)) = (saved.ranges().first(), saved.ranges().last()) else { continue };
        if keep.is_empty() {
            continue;
        }
        let span = first.start..last.end;
        files.push(if work.options.dry_run {
            let rows = span.end - span.start;
            FileEntry { first_row: span.start, end_row: span.end, rows, ..entry.clone() }
        } else {
            rewrite(work, part, &file, span.clone(), &saved)?
        });
        let holes = gone.intersection(&RowSet::from_range(span));
        dead.deleted = dead.deleted.difference(&holes);
        dead.purged = dead.purged.union(&holes);
    }
    if files.len() == part.files.len() && lost.is_empty() {
        return Ok(());
    }
    let remedy = format!(
        "add the samples again (they get new rows), then run {} with the original command",
        Remedy::Ingest
    );
    report(work, part, &lost.intersection(&live), &remedy);
    remember(work, part, &lost.intersection(&deleted), deleted_ids)?;
    part.files = files;
    dead.changed = true;
    Ok(())
}

/// Rows that no file has, `from` the first one of which it is not known what they were.
pub(super) fn report_gaps(work: &mut Repair<'_>, part: &DatasetPart, from: u64) {
    let mut gaps = RowSet::from_range(from.min(part.next_row)..part.next_row).difference(&part.stored_rows());
    let of = format!("dataset {}", part.name);
    for loss in work.report.lost.iter().filter(|l| l.kind == LostKind::Samples && l.rows.of == of) {
        gaps = gaps.difference(&RowSet::from_pairs(&loss.rows.ranges));
    }
    let remedy = format!("unless they were purged before, add the samples again and run {}", Remedy::Ingest);
    report(work, part, &gaps, &remedy);
}

/// Reports samples of files that cannot be read and that nothing lists: neither the part nor an older version
/// of it. They came with the part that is lost, unless they were merged away; the ledger may have their ids,
/// `from` the first row of which nothing is reported yet.
pub(super) fn report_unlisted(
    work: &mut Repair<'_>,
    inventory: &Inventory,
    part: &DatasetPart,
    from: u64,
) -> Result<(), VerifyError> {
    let folder = sample_folder(part.number);
    let versions = inventory.dataset(part.number).flat_map(|v| &v.part.files);
    let listed: HashSet<Uuid> = part.files.iter().chain(versions).map(|f| f.uuid).collect();
    let mut unread = Vec::new();
    for file in list(work.env, &folder)? {
        let name = format!("{folder}/{file}");
        let unlisted = data_uuid(&file, "parquet").filter(|uuid| !listed.contains(uuid));
        if let Some(uuid) = unlisted
            && !work.handled.contains(&name)
            && if_sound(describe(work.env.file(name.clone()), uuid))?.is_none()
        {
            unread.push(name);
        }
    }
    if unread.is_empty() {
        return Ok(());
    }
    let of = format!("samples of dataset {} in {}", part.name, unread.join(", "));
    let remedy = format!(
        "add the samples again (those that are there stay as they are), then run {} with the original command",
        Remedy::Ingest
    );
    let mut loss = Loss::new(LostKind::Samples, &of, &RowSet::new(), &remedy);
    loss.dataset = Some(part.name.clone());
    if !work.options.dry_run {
        let later = RowSet::from_range(from..u64::MAX);
        loss.ids = ledger_ids(work, part, &later, Loss::IDS).into_iter().map(|(_, id)| id).collect();
    }
    work.report.lost.push(loss);
    Ok(())
}

fn report(work: &mut Repair<'_>, part: &DatasetPart, lost: &RowSet, remedy: &str) {
    if lost.is_empty() {
        return;
    }
    let mut loss = Loss::new(LostKind::Samples, &format!("dataset {}", part.name), lost, remedy);
    loss.dataset = Some(part.name.clone());
    if !work.options.dry_run {
        loss.ids = ledger_ids(work, part, lost, Loss::IDS).into_iter().map(|(_, id)| id).collect();
    }
    work.report.lost.push(loss);
}

/// Puts the ids of lost rows that were deleted on the list of deleted ids: the samples are added again, and
/// these must stay out. `found`: those that the files still have; the ledger may know the others.
fn remember(
    work: &mut Repair<'_>,
    part: &mut DatasetPart,
    rows: &RowSet,
    mut found: Vec<(u64, String)>,
) -> Result<(), VerifyError> {
    let rows_of = |found: &[(u64, String)]| RowSet::from_rows(found.iter().map(|(row, _)| *row));
    let unread = rows.difference(&rows_of(&found));
    found.extend(ledger_ids(work, part, &unread, usize::MAX));
    let forgotten = unread.difference(&rows_of(&found));
    if !forgotten.is_empty() {
        work.report.notes.push(format!(
            "dataset {}: the ids of deleted {forgotten} are lost with their samples; {} takes them for new ones",
            part.name,
            Remedy::Add
        ));
    }
    if work.options.dry_run {
        return Ok(());
    }
    let (before, salt) = (part.clone(), ids::salt_of(part));
    let digests = found.iter().map(|(_, id)| ids::digest(salt, id)).collect();
    ids::rewrite(work.env, part, salt, digests, Vec::new())?;
    work.files.placed(new_files(&before, part));
    Ok(())
}

/// Entries of lost rows in the ledger; at most `limit`. Derived data, but all that is left.
fn ledger_ids(work: &Repair<'_>, part: &DatasetPart, lost: &RowSet, limit: usize) -> Vec<(u64, String)> {
    if lost.is_empty() || work.ledger_bad || !work.env.exists(LEDGER).unwrap_or(false) {
        return Vec::new();
    }
    let ledger = Ledger::inspect(&work.env.shared_vfs(), work.env.path(), work.store_id).ok();
    ledger.and_then(|l| l.ids_of(part.number, lost, limit).ok()).unwrap_or_default()
}

/// Parts of some rows that are tried at once.
fn windows(rows: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    rows.clone().step_by(WINDOW as usize).map(move |start| start..rows.end.min(start.saturating_add(WINDOW)))
}

/// Those of some rows of which these columns can be read; `None`: every column.
fn readable(file: &TableFile, columns: Option<&[&str]>, rows: &RowSet) -> Result<RowSet, VerifyError> {
    let mut out = RowSet::new();
    let Some(all) = if_sound(file.columns())? else { return Ok(out) };
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let (columns, base) = (columns.unwrap_or(&all), file.entry().first_row);
    for rows in rows.ranges().iter().cloned().flat_map(windows) {
        probe(file, columns, rows, base, &mut out)?;
    }
    Ok(out)
}

/// Those of some rows whose ids can be read, whatever is damaged of their other columns.
fn readable_ids(file: &TableFile, rows: &RowSet) -> Result<Vec<(u64, String)>, VerifyError> {
    let columns = ["row", "id"];
    let mut out = Vec::new();
    for rows in readable(file, Some(&columns), rows)?.ranges().iter().cloned().flat_map(windows) {
        read(file, &columns, rows, &mut |batch| {
            // Columns of other types have no ids.
            if let Ok(found) = row_ids(batch, file.name()) {
                let found = found.filter(|(_, id)| !id.is_empty());
                out.extend(found.map(|(row, id)| (row, id.to_owned())));
            }
            Ok(())
        })?;
    }
    Ok(out)
}

/// Halves a range until what cannot be read is alone.
fn probe(
    file: &TableFile,
    columns: &[&str],
    rows: Range<u64>,
    base: u64,
    out: &mut RowSet,
) -> Result<(), VerifyError> {
    match read(file, columns, rows.clone(), &mut |_| Ok(())) {
        Ok(()) => out.insert(rows),
        Err(WriteError::Storage(e)) => {
            if_sound(Err::<(), _>(e))?;
            let n = rows.end - rows.start;
            if n > 1 {
                let half = rows.start + n / 2;
                // Pages are what is lost as a whole, so halves end where pages do.
                let page = half - (half - base) % PAGE;
                let middle = if page > rows.start { page } else { half };
                probe(file, columns, rows.start..middle, base, out)?;
                probe(file, columns, middle..rows.end, base, out)?;
            }
        }
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

fn read(
    file: &TableFile,
    columns: &[&str],
    rows: Range<u64>,
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut found = 0;
    for batch in file.read(columns, std::slice::from_ref(&rows))? {
        let batch = batch?;
        found += batch.num_rows() as u64;
        each(&batch)?;
    }
    let expected = rows.end - rows.start;
    if found == expected {
        return Ok(());
    }
    Err(crate::error::Damage::new(file.name(), "rows of the file", expected, found).into())
}

/// Writes a dense file of the rows of `span`; those that were not saved are shells.
fn rewrite(
    work: &mut Repair<'_>,
    part: &DatasetPart,
    file: &TableFile,
    span: Range<u64>,
    saved: &RowSet,
) -> Result<FileEntry, VerifyError> {
    let schema = file.schema()?;
    let uuid = Uuid::new_v4();
    let path = work.files.path(&format!("{uuid}.parquet"))?;
    let vfs = work.env.vfs();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let columns: Vec<_> = part.columns.iter().filter(|c| names.contains(&c.name.as_str())).cloned().collect();
    let (target, about) = (Arc::clone(&schema), TableMetadata::samples(part, &columns));
    let mut writer = TableWriter::create(vfs, &path, uuid, span.start, target, sample_properties(), about)?;
    let mut next = span.start;
    for range in saved.within(span.clone()) {
        shells(&mut writer, &schema, next..range.start)?;
        next = range.end;
        for rows in windows(range) {
            read(file, &names, rows, &mut |batch| writer.write(batch))?;
        }
    }
    let (path, entry) = writer.finish()?;
    work.files.add(path, sample_file(part.number, uuid));
    Ok(entry)
}

/// Rows of which nothing is left but their numbers.
fn shells(writer: &mut TableWriter, schema: &SchemaRef, rows: Range<u64>) -> Result<(), WriteError> {
    for rows in windows(rows) {
        let batch = shell_batch(schema, rows)
            .map_err(|e| StorageError::io("write purged rows", std::io::Error::other(e)))?;
        writer.write(&batch)?;
    }
    Ok(())
}
