//! Deleted rows and ids of a dataset, from every bitmap and list that can be read.
//!
//! A repair never undoes a delete by itself.

use super::Repair;
use super::dead::DeadRows;
use super::parts::list;
use super::report::{Loss, LostKind};
use crate::error::{StorageError, VerifyError, if_sound, is_medium};
use crate::layout::{
    Env, deleted_ids_file, deleted_ids_folder, sample_file, tombstone_file, tombstone_folder,
};
use crate::manifest::{DatasetPart, DeletedIdsEntry, FileEntry, TombstoneEntry};
use crate::table::{TableFile, row_ids};
use crate::tombstones::{DeletedIds, parse_bitmap, read_bitmap};
use crate::verify::data_uuid;
use gstore_core::{Digest, Remedy, RowSet, many_of};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// How sure it is that the part lists every delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is what was published last.
    All,
    /// Later deletes may have got lost.
    Listed,
    /// Samples were added to it as well.
    Rebuilt,
}

/// Reads the bitmaps of a dataset, and those that it does not list if it may lack some, but for the `undone`
/// ones.
pub(super) fn collect(
    work: &mut Repair<'_>,
    part: &mut DatasetPart,
    trust: Trust,
    undone: &HashSet<Uuid>,
) -> Result<DeadRows, VerifyError> {
    let mut dead = DeadRows::default();
    let mut damaged = Vec::new();
    for entry in &part.tombstones {
        match read_bitmap(work.env, part, entry) {
            Ok(rows) => {
                dead.add(entry, &rows);
                // Sound in itself: it shares rows with another one.
                dead.changed |= work.is_bad(&tombstone_file(part.number, entry.uuid));
            }
            Err(StorageError::Damaged(_)) => match sound_bytes(work, part, entry) {
                // Some of its rows may be in no file any more.
                Some(rows) => {
                    let stored = rows.intersection(&part.stored_rows());
                    dead.changed |= stored != rows;
                    dead.add(entry, &stored);
                }
                None => damaged.push(entry.clone()),
            },
            Err(StorageError::Io { source, .. }) if is_medium(&source) => damaged.push(entry.clone()),
            Err(e) => return Err(e.into()),
        }
    }
    dead.deleted = dead.deleted.difference(&dead.purged);
    let mut trust = trust;
    let lost: HashSet<Uuid> = damaged.iter().map(|t| t.uuid).collect();
    for entry in damaged {
        let name = tombstone_file(part.number, entry.uuid);
        let shells = if entry.purged { Some(shells(work, part)?) } else { None };
        let whole = shells.and_then(|(rows, is_whole)| is_whole.then_some(rows));
        let found = whole.map(|s| s.difference(&dead.purged)).filter(|s| s.len() == entry.rows);
        if let Some(rows) = found {
            work.report.rebuilt(&name, "the purged rows of the sample files");
            dead.purged = dead.purged.union(&rows);
            dead.changed = true;
        } else if work.options.forget_deletes {
            let of = format!("deletes of dataset {}", part.name);
            let mut loss = Loss::new(LostKind::Deletes, &of, &RowSet::new(), "delete the rows again");
            loss.rows.count = entry.rows;
            loss.dataset = Some(part.name.clone());
            work.report.lost.push(loss);
            part.tombstones.retain(|t| t.uuid != entry.uuid);
            (dead.changed, dead.forgotten) = (true, true);
            trust = if trust == Trust::All { Trust::Listed } else { trust };
        } else {
            dead.unknown = true;
            work.report.unrepaired.push(format!(
                "{name} is lost: which {} rows of dataset {} are deleted cannot be said, so the dataset stays unreadable\n  \
                 restore a backup; or go back to a snapshot from before these deletes, if the history still has one; or let the rows come back with {} and delete them again",
                entry.rows,
                part.name,
                Remedy::Option("forget_deletes", "")
            ));
        }
    }
    if !dead.unknown && trust != Trust::All {
        // A lost bitmap may have replaced others, so then all count.
        let without = if lost.is_empty() { undone } else { &lost };
        unlisted(work, part, without, &mut dead)?;
        if trust == Trust::Rebuilt {
            let purged = dead.purged.union(&shells(work, part)?.0);
            dead.changed |= purged != dead.purged;
            dead.purged = purged;
            dead.deleted = dead.deleted.difference(&dead.purged);
        }
        if work.options.forget_deletes {
            bury_older_twins(work, part, &mut dead)?;
        }
    }
    Ok(dead)
}

/// The list of deleted ids of a dataset: what the part names, if that is sound and surely the last one, else
/// the longest sound one of its folder. Lists only get shorter where ids are added again. An `undone` one
/// counts only if another one is lost.
pub(super) fn ids(
    work: &mut Repair<'_>,
    part: &mut DatasetPart,
    trust: Trust,
    undone: &HashSet<Uuid>,
) -> Result<(), VerifyError> {
    let name = part.deleted_ids.as_ref().map(|l| deleted_ids_file(part.number, l.uuid));
    let damaged = name.filter(|name| work.is_bad(name));
    if trust == Trust::All && damaged.is_none() {
        return Ok(());
    }
    let ids_in = |list: &Option<DeletedIdsEntry>| list.as_ref().map_or(0, |l| l.ids);
    let listed = ids_in(&part.deleted_ids);
    let mut best = part.deleted_ids.take().filter(|_| damaged.is_none());
    let mut taken = None;
    for file in list(work.env, &deleted_ids_folder(part.number))? {
        let Some(uuid) = data_uuid(&file, "ids") else { continue };
        if damaged.is_none() && undone.contains(&uuid) {
            continue;
        }
        match DeletedIds::inspect(work.env, part.number, uuid) {
            Ok(found) if ids_in(&found) > ids_in(&best) => {
                best = found;
                taken = Some(deleted_ids_file(part.number, uuid));
            }
            Ok(_) => {}
            Err(StorageError::Io { source, .. }) if is_medium(&source) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let found = ids_in(&best);
    part.deleted_ids = best;
    let of = format!("list of deleted ids of dataset {}", part.name);
    match (taken, &damaged) {
        (Some(file), Some(_)) => work.report.rebuilt(&of, file),
        (Some(file), None) => work.report.notes.push(format!(
            "dataset {}: {} deleted by {file}, which the catalog did not list",
            part.name,
            many_of(found - listed, "id is", "ids are")
        )),
        (None, _) => {}
    }
    if damaged.is_some() && found < listed {
        let remedy =
            format!("{} takes them for new ones: delete the rows again if it adds some", Remedy::Add);
        let mut loss = Loss::new(LostKind::Deletes, &of, &RowSet::new(), &remedy);
        loss.rows.count = listed - found;
        loss.dataset = Some(part.name.clone());
        work.report.lost.push(loss);
    }
    work.handled.extend(damaged);
    Ok(())
}

/// The rows of a bitmap whose bytes are what the part says.
fn sound_bytes(work: &Repair<'_>, part: &DatasetPart, entry: &TombstoneEntry) -> Option<RowSet> {
    let name = tombstone_file(part.number, entry.uuid);
    let bytes = work.env.vfs().read(&work.env.at(work.place_of(&name)), entry.len).ok()?;
    let rows = (Digest::of(&bytes) == entry.digest).then(|| parse_bitmap(&bytes).ok()).flatten()?;
    (rows.len() == entry.rows).then_some(rows)
}

/// Adds the rows of bitmaps that no part lists: deletes that were published, or were about to be.
///
/// `without`: those that are undone, or lost: what such a file says now is not what it said.
fn unlisted(
    work: &mut Repair<'_>,
    part: &DatasetPart,
    without: &HashSet<Uuid>,
    dead: &mut DeadRows,
) -> Result<(), VerifyError> {
    let folder = tombstone_folder(part.number);
    for name in list(work.env, &folder)? {
        let Some(uuid) = data_uuid(&name, "roaring") else { continue };
        if without.contains(&uuid) || part.tombstones.iter().any(|t| t.uuid == uuid) {
            continue;
        }
        let name = format!("{folder}/{name}");
        // One that another name is for: it would be put back.
        if work.places.values().any(|place| *place == name) {
            continue;
        }
        let bytes = match work.env.vfs().read(&work.env.at(&name), 1 << 30) {
            Ok(bytes) => bytes,
            Err(e) if is_medium(&e) => continue,
            Err(e) => return Err(Env::io("read", &name)(e).into()),
        };
        // A damaged one that nothing lists says nothing.
        let Ok(rows) = parse_bitmap(&bytes) else { continue };
        let rows = rows.intersection(&part.stored_rows()).difference(&dead.deleted).difference(&dead.purged);
        if !rows.is_empty() {
            work.report.notes.push(format!(
                "dataset {}: {} deleted by {name}, which the catalog did not list: {rows}",
                part.name,
                many_of(rows.len(), "row is", "rows are")
            ));
            dead.deleted = dead.deleted.union(&rows);
            dead.changed = true;
        }
    }
    Ok(())
}

/// Purged rows by the sample files: their ids are empty. With whether all files could be read; others are
/// salvaged later.
fn shells(work: &Repair<'_>, part: &DatasetPart) -> Result<(RowSet, bool), VerifyError> {
    let (mut all, mut is_whole) = (RowSet::new(), true);
    for entry in &part.files {
        match if_sound(empty_ids(work, part, entry))? {
            Some(rows) => all = all.union(&rows),
            None => is_whole = false,
        }
    }
    Ok((all, is_whole))
}

fn empty_ids(work: &Repair<'_>, part: &DatasetPart, entry: &FileEntry) -> Result<RowSet, StorageError> {
    let mut rows = RowSet::new();
    each_id(work, part, entry, |row, id| {
        if id.is_empty() {
            rows.insert(row..row + 1);
        }
    })?;
    Ok(rows)
}

fn each_id(
    work: &Repair<'_>,
    part: &DatasetPart,
    entry: &FileEntry,
    mut each: impl FnMut(u64, &str),
) -> Result<(), StorageError> {
    let name = sample_file(part.number, entry.uuid);
    let file = TableFile::new(work.env.file(work.place_of(&name)), entry);
    for batch in file.read(&["row", "id"], &[entry.range()])? {
        row_ids(&batch?, &name)?.for_each(|(row, id)| each(row, id));
    }
    Ok(())
}

/// An id may have been used again after its row was deleted: of two live rows with the same id the
/// older one stays deleted.
fn bury_older_twins(
    work: &mut Repair<'_>,
    part: &DatasetPart,
    dead: &mut DeadRows,
) -> Result<(), VerifyError> {
    let live = dead.live(part);
    let mut seen: HashMap<Digest, u64> = HashMap::new();
    let mut older = RowSet::new();
    for entry in &part.files {
        // A file that cannot be read is salvaged later.
        if_sound(each_id(work, part, entry, |row, id| {
            if live.contains(row)
                && let Some(before) = seen.insert(Digest::of(id.as_bytes()), row)
            {
                older.insert(before..before + 1);
            }
        }))?;
    }
    if !older.is_empty() {
        work.report
            .notes
            .push(format!("dataset {}: {older} stay deleted, because newer rows have their ids", part.name));
        dead.deleted = dead.deleted.union(&older);
        dead.superseded = dead.superseded.union(&older);
        dead.changed = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::files::Files;
    use super::super::report::{RepairOptions, RepairReport};
    use super::*;
    use crate::append::AppendOptions;
    use crate::map::FileMap;
    use crate::samples::NewSample;
    use crate::store::Store;
    use crate::vfs::{OsVfs, Vfs, VfsRead};
    use gstore_core::DatasetName;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    /// No sample file can be opened: as many files are open as the process may have.
    #[derive(Debug)]
    struct FewFiles;

    impl Vfs for FewFiles {
        fn open(&self, path: &Path) -> io::Result<Box<dyn VfsRead>> {
            match path.extension().is_some_and(|ending| ending == "parquet") {
                true => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                false => OsVfs.open(path),
            }
        }
        fn map(&self, path: &Path, len: u64) -> io::Result<FileMap> {
            OsVfs.map(path, len)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<String>> {
            OsVfs.list(path)
        }
        fn exists(&self, path: &Path) -> io::Result<bool> {
            OsVfs.exists(path)
        }
    }

    #[test]
    fn an_error_that_is_not_the_mediums_ends_the_search_for_deletes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        let name = DatasetName::try_from("pool").unwrap();
        let mut append = store.append(&name, vec![], AppendOptions::default()).unwrap();
        append.push(NewSample { id: "a", record: Some(b"1"), metadata: vec![] }).unwrap();
        append.finish().unwrap();
        let part = DatasetPart::clone(store.snapshot().unwrap().dataset("pool").unwrap());
        let env = Arc::new(Env::new(Arc::new(FewFiles), store.path()));
        for (trust, forget_deletes, ends) in
            [(Trust::Rebuilt, false, true), (Trust::Listed, true, true), (Trust::Listed, false, false)]
        {
            let options = RepairOptions { dry_run: true, forget_deletes, ..RepairOptions::default() };
            let mut work = Repair {
                env: &env,
                options: &options,
                store_id: Uuid::nil(),
                ledger_bad: false,
                report: RepairReport::default(),
                files: Files::new(&env),
                bad: HashSet::new(),
                places: HashMap::new(),
                handled: HashSet::new(),
                claimed: HashSet::new(),
            };
            let found = collect(&mut work, &mut part.clone(), trust, &HashSet::new());
            assert_eq!(found.is_err(), ends, "{trust:?} {forget_deletes}");
        }
    }
}
