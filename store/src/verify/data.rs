//! Verifying the files of datasets: deleted rows, samples, token counts.

use super::catalog::Catalog;
use super::report::{AffectedRows, Tally};
use crate::error::{Damage, StorageError};
use crate::layout::{deleted_ids_file, encoding_file, sample_file, tombstone_file};
use crate::manifest::DatasetPart;
use crate::samples::table;
use crate::store::Store;
use crate::table::{TableFile, row_ids};
use crate::tombstones::{DeletedIds, LiveRows, read_bitmap};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use gstore_core::{Digest, RowSet};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use uuid::Uuid;

/// Verifies the bitmaps of deleted rows. Returns for each dataset part which rows are gone, or nothing
/// if that cannot be read.
pub(super) fn tombstones(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) -> Vec<Option<LiveRows>> {
    let mut done: HashSet<String> = HashSet::new();
    let mut out = Vec::with_capacity(catalog.datasets.len());
    for part in catalog.datasets.iter().map(|d| &d.part) {
        let of = format!("which rows of dataset {} are deleted", part.name);
        let mut rows = Some(LiveRows::none(part));
        for entry in &part.tombstones {
            let name = tombstone_file(part.number, entry.uuid);
            let first = done.insert(name.clone());
            if first && !tally.next_file() {
                return out;
            }
            let read = read_bitmap(store.env(), part, entry);
            if first {
                tally.done(entry.len);
            }
            let lost = || {
                let ranges = Vec::new();
                Some(AffectedRows { of: of.clone(), count: entry.rows, ranges })
            };
            match read {
                Err(e) => {
                    rows = None;
                    if first || !tally.is_bad(&name) {
                        tally.problem(&name, &e, lost());
                    }
                }
                Ok(set) => {
                    // Another bitmap of the dataset cannot be read.
                    let Some(before) = &mut rows else { continue };
                    let twice = set.intersection(&before.deleted.union(&before.purged));
                    if !twice.is_empty() {
                        let e =
                            Damage::new(&name, "rows", "rows that no other bitmap has", twice.to_string());
                        tally.problem(&name, &e.into(), lost());
                    }
                    before.bury(entry, &set);
                }
            }
        }
        out.push(rows);
    }
    out
}

/// Verifies the lists of deleted ids.
pub(super) fn deleted_ids(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done: HashSet<Uuid> = HashSet::new();
    for part in catalog.datasets.iter().map(|d| &d.part) {
        let Some(entry) = part.deleted_ids.as_ref().filter(|e| done.insert(e.uuid)) else { continue };
        let name = deleted_ids_file(part.number, entry.uuid);
        if !tally.next_file() {
            return;
        }
        let opened = DeletedIds::open(store.env(), part);
        if let Err(e) = opened.and_then(|list| list.map_or(Ok(()), |mut list| list.each(|_| Ok(())))) {
            let of = format!("which ids were deleted from dataset {}", part.name);
            tally.problem(&name, &e, Some(AffectedRows { of, count: entry.ids, ranges: Vec::new() }));
        }
        tally.done(entry.len);
    }
}

/// Verifies the sample files. Returns the names of datasets of the current snapshot whose files are all
/// sound.
pub(super) fn samples(
    store: &Store,
    catalog: &Catalog,
    dead: &[Option<LiveRows>],
    tally: &mut Tally<'_>,
) -> HashSet<String> {
    let mut done = HashSet::new();
    let mut sound = HashSet::new();
    for (i, (part, live)) in catalog.datasets.iter().map(|d| &d.part).zip(dead).enumerate() {
        let of = format!("dataset {}", part.name);
        let before = tally.problems.len();
        let live = live.as_ref();
        // Ids of an older part of the same dataset are those of the newer one: only the newest is held
        // against itself.
        let mut ids = Ids { part, live, seen: HashMap::new() };
        for entry in &part.files {
            let name = sample_file(part.number, entry.uuid);
            if !done.insert(name.clone()) {
                continue;
            }
            if !tally.next_file() {
                return sound;
            }
            let file = CheckedFile { file: table(store.env(), part, entry), of: &of };
            if file.bytes(tally) {
                let all = [entry.range()];
                file.rows((&["row", "id"], &all), tally, &mut |batch, tally| ids.check(batch, &name, tally));
                file.shells(live, tally);
                tally.rows += entry.rows;
            }
            tally.done(entry.len);
        }
        if i < catalog.current_datasets && tally.problems.len() == before && live.is_some() {
            sound.insert(part.name.clone());
        }
    }
    sound
}

/// Verifies the files of token counts.
pub(super) fn encodings(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done = HashSet::new();
    for part in catalog.datasets.iter().map(|d| &d.part) {
        for encoding in &part.encodings {
            let of = format!("encoding {} of dataset {}", encoding.label, part.name);
            for entry in &encoding.files {
                let name = encoding_file(encoding.number, entry.uuid);
                if !done.insert(name.clone()) {
                    continue;
                }
                if !tally.next_file() {
                    return;
                }
                let file = CheckedFile { file: TableFile::new(store.env().file(&name), entry), of: &of };
                if file.bytes(tally) {
                    file.rows((&["row"], &[entry.range()]), tally, &mut |_, _| {});
                }
                tally.done(entry.len);
            }
        }
    }
}

/// A file of a dataset that is verified.
struct CheckedFile<'a> {
    file: TableFile,
    /// What its rows are of.
    of: &'a str,
}

impl CheckedFile<'_> {
    fn problem(&self, tally: &mut Tally<'_>, e: &StorageError, from: u64) {
        let rows = RowSet::from_range(from..self.file.entry().end_row);
        tally.problem(self.file.name(), e, Some(AffectedRows::new(self.of, &rows)));
    }

    /// Compares every MiB with its digest. A Parquet file with a bad one counts as lost: its index may be in
    /// it.
    fn bytes(&self, tally: &mut Tally<'_>) -> bool {
        let mut problems = Vec::new();
        self.file.verify(|bytes| tally.read(bytes), |e| problems.push(e));
        for e in &problems {
            self.problem(tally, e, self.file.entry().first_row);
        }
        problems.is_empty()
    }

    /// Reads some columns of a sound file and compares the rows with what the catalog says.
    fn rows(
        &self,
        (columns, ranges): (&[&str], &[Range<u64>]),
        tally: &mut Tally<'_>,
        each: &mut dyn FnMut(&RecordBatch, &mut Tally<'_>),
    ) {
        let (name, entry) = (self.file.name(), self.file.entry());
        let mut next = ranges.iter().flat_map(Clone::clone);
        let mut at = entry.first_row;
        let batches = match self.file.read(columns, ranges) {
            Ok(batches) => batches,
            Err(e) => return self.problem(tally, &e, at),
        };
        for batch in batches {
            let batch = match batch {
                Ok(batch) => batch,
                Err(e) => return self.problem(tally, &e, at),
            };
            let column = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
            let in_order = column
                .is_some_and(|c| c.null_count() == 0 && c.values().iter().all(|a| next.next() == Some(*a)));
            if !in_order {
                let e = Damage::new(name, "column row", format!("the rows from {at} on"), "others");
                return self.problem(tally, &e.into(), at);
            }
            each(&batch, tally);
            at = column.and_then(|c| c.values().last().copied()).map_or(at, |last| last + 1);
        }
        if let Some(missing) = next.next() {
            let e = Damage::new(name, "rows of the file", entry.end_row, missing);
            self.problem(tally, &e.into(), missing);
        }
    }

    /// Of a purged row only its number is left: its id is empty, and every other column is null.
    fn shells(&self, live: Option<&LiveRows>, tally: &mut Tally<'_>) {
        // Without its bitmaps nothing is known of the dataset's rows.
        let Some(live) = live else { return };
        let purged = live.purged.intersection(&RowSet::from_range(self.file.entry().range()));
        if purged.is_empty() {
            return;
        }
        let name = self.file.name();
        let columns = match self.file.columns() {
            Ok(columns) => columns,
            Err(e) => return tally.problem(name, &e, None),
        };
        let columns: Vec<&str> = columns.iter().map(String::as_str).filter(|c| *c != "id").collect();
        self.rows((&columns, purged.ranges()), tally, &mut |batch, tally| {
            let rest = batch.schema();
            let kept = rest.fields().iter().zip(batch.columns());
            let mut kept = kept.filter(|(f, c)| f.name() != "row" && c.null_count() < c.len());
            if let Some((field, _)) = kept.next() {
                let what = format!("column {} of purged rows", field.name());
                tally.problem(name, &Damage::new(name, what, "nothing", "values").into(), None);
            }
        });
    }
}

/// The ids of a dataset's live rows.
struct Ids<'a> {
    part: &'a DatasetPart,
    /// Unknown if a bitmap of deleted rows cannot be read.
    live: Option<&'a LiveRows>,
    seen: HashMap<Digest, u64>,
}

impl Ids<'_> {
    fn check(&mut self, batch: &RecordBatch, name: &str, tally: &mut Tally<'_>) {
        let rows = match row_ids(batch, name) {
            Ok(rows) => rows,
            Err(e) => return tally.problem(name, &e.into(), None),
        };
        let Some(live) = self.live else { return };
        for (row, id) in rows {
            let purged = live.purged.contains(row);
            let problem = if purged != id.is_empty() {
                let expected = if purged { "nothing, it was purged" } else { "a text that is not empty" };
                Some((format!("id of row {row}"), expected.to_owned(), format!("{id:?}")))
            } else if !live.live.contains(row) {
                None
            } else {
                let other = self.seen.insert(Digest::of(id.as_bytes()), row);
                other.map(|other| {
                    (format!("id {id:?}"), "once in the dataset".into(), format!("in rows {other} and {row}"))
                })
            };
            if let Some((what, expected, found)) = problem {
                let e = Damage::new(name, what, expected, found).into();
                let of = format!("dataset {}", self.part.name);
                tally.problem(name, &e, Some(AffectedRows::new(of, &RowSet::from_rows([row]))));
            }
        }
    }
}
