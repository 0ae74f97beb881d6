//! Verifying data files: bytes, structure, rows.

use super::catalog::Catalog;
use super::report::{AffectedRows, Tally};
use crate::error::{Damage, StorageError};
use crate::ident::RowSet;
use crate::manifest::{DatasetPart, FeaturePart, FileEntry, SegmentEntry};
use crate::segment::{BlockBuffer, FileId, SegmentFile, Shape};
use crate::store::{Store, encoding_file, sample_file, segment_file};
use crate::table::TableFile;
use crate::tombstones::LiveRows;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Verifies the sample files. Returns the names of datasets of the current snapshot whose files are all sound.
pub(super) fn samples(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) -> HashSet<String> {
    let mut done = HashSet::new();
    let mut sound = HashSet::new();
    for (i, part) in catalog.datasets.iter().enumerate() {
        let of = format!("dataset {}", part.name);
        let before = tally.problems.len();
        // Ids of an older part of the same dataset are those of the newer one: only the newest is held against itself.
        let mut ids: HashMap<u128, u64> = HashMap::new();
        // The id of a deleted row may be used again.
        let live = match LiveRows::read(store.env(), part) {
            Ok(rows) => rows.live,
            Err(e) => {
                tally.problem(&of, &e, Some(AffectedRows::new(&of, &part.stored_rows())));
                Arc::default()
            }
        };
        for entry in &part.files {
            let name = sample_file(part.number, entry.uuid);
            if !done.insert(name.clone()) {
                continue;
            }
            tally.file(&name);
            let file = TableFile::new(store.env().shared_vfs(), store.env().at(&name), name.clone(), entry);
            if bytes(&file, &name, &of, entry, tally) {
                rows(&file, &name, &of, entry, &["row", "id"], tally, |batch, tally| {
                    check_ids(batch, part, &live, &name, &mut ids, tally);
                });
                tally.rows += entry.rows;
            }
            tally.done(entry.len);
        }
        if i < catalog.current_datasets && tally.problems.len() == before {
            sound.insert(part.name.clone());
        }
    }
    sound
}

/// Verifies the files of token counts.
pub(super) fn encodings(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done = HashSet::new();
    for part in &catalog.datasets {
        for encoding in &part.encodings {
            let of = format!("encoding {} of dataset {}", encoding.label, part.name);
            for entry in &encoding.files {
                let name = encoding_file(encoding.number, entry.uuid);
                if !done.insert(name.clone()) {
                    continue;
                }
                tally.file(&name);
                let file =
                    TableFile::new(store.env().shared_vfs(), store.env().at(&name), name.clone(), entry);
                if bytes(&file, &name, &of, entry, tally) {
                    rows(&file, &name, &of, entry, &["row"], tally, |_, _| {});
                }
                tally.done(entry.len);
            }
        }
    }
}

/// Compares every MiB with its digest. A Parquet file with a bad one counts as lost: its index may be in it.
fn bytes(file: &TableFile, name: &str, of: &str, entry: &FileEntry, tally: &mut Tally<'_>) -> bool {
    let mut sound = true;
    file.verify(|e| {
        sound = false;
        tally.problem(name, &e, Some(AffectedRows::new(of, &RowSet::from_range(entry.range()))));
    });
    sound
}

/// Reads some columns of a sound file and compares the rows with what the catalog says.
fn rows(
    file: &TableFile,
    name: &str,
    of: &str,
    entry: &FileEntry,
    columns: &[&str],
    tally: &mut Tally<'_>,
    mut each: impl FnMut(&RecordBatch, &mut Tally<'_>),
) {
    let mut next = entry.first_row;
    let fail = |tally: &mut Tally<'_>, e: StorageError, from: u64| {
        tally.problem(name, &e, Some(AffectedRows::new(of, &RowSet::from_range(from..entry.end_row))));
    };
    let all = [entry.range()];
    let batches = match file.read(columns, &all) {
        Ok(batches) => batches,
        Err(e) => return fail(tally, e, next),
    };
    for batch in batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(e) => return fail(tally, e, next),
        };
        let column = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
        let in_order = column
            .is_some_and(|c| c.null_count() == 0 && c.values().iter().zip(next..).all(|(a, b)| *a == b));
        if !in_order {
            return fail(
                tally,
                Damage::new(name, "column row", format!("rows from {next} without gaps"), "others").into(),
                next,
            );
        }
        each(&batch, tally);
        next += batch.num_rows() as u64;
    }
    if next != entry.end_row {
        fail(tally, Damage::new(name, "rows of the file", entry.end_row, next).into(), next);
    }
}

fn check_ids(
    batch: &RecordBatch,
    part: &DatasetPart,
    live: &RowSet,
    name: &str,
    ids: &mut HashMap<u128, u64>,
    tally: &mut Tally<'_>,
) {
    let rows = batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let texts = batch.column_by_name("id").and_then(|c| c.as_string_opt::<i32>());
    let (Some(rows), Some(texts)) = (rows, texts) else {
        let e = Damage::new(name, "column id", "text", "something else").into();
        return tally.problem(name, &e, None);
    };
    for (row, id) in rows.values().iter().zip(texts).filter(|(row, _)| live.contains(**row)) {
        let id = id.unwrap_or_default();
        if let Some(other) = ids.insert(xxh3_128(id.as_bytes()), *row) {
            let e = Damage::new(
                name,
                format!("id {id:?}"),
                "once in the dataset",
                format!("in rows {other} and {row}"),
            )
            .into();
            let of = format!("dataset {}", part.name);
            tally.problem(name, &e, Some(AffectedRows::new(of, &RowSet::from_rows([*row]))));
        }
    }
}

/// Verifies the segments, and that no row is in two of them.
pub(super) fn segments(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done: HashMap<String, RowSet> = HashMap::new();
    let mut scratch = BlockBuffer::new();
    for (i, part) in catalog.features.iter().enumerate() {
        let of = format!("feature {}", part.display_name());
        let mut all = RowSet::new();
        for entry in &part.segments {
            let name = segment_file(part.number, entry);
            let rows = match done.get(&name) {
                Some(rows) => rows.clone(),
                None => {
                    tally.file(&name);
                    let rows = segment(store, part, entry, &name, &of, &mut scratch, tally);
                    tally.done(entry.len);
                    done.insert(name.clone(), rows.clone());
                    rows
                }
            };
            let both = all.intersection(&rows);
            if !both.is_empty() {
                let e =
                    Damage::new(&name, "rows", "rows that no other segment has", format!("{both}")).into();
                tally.problem(&name, &e, Some(AffectedRows::new(&of, &both)));
            }
            all = all.union(&rows);
        }
        if i < catalog.current_features {
            beyond_dataset(catalog, part, &of, &all, tally);
        }
    }
}

/// Verifies one segment; returns its rows as far as they could be read.
fn segment(
    store: &Store,
    part: &FeaturePart,
    entry: &SegmentEntry,
    name: &str,
    of: &str,
    scratch: &mut BlockBuffer,
    tally: &mut Tally<'_>,
) -> RowSet {
    let path = store.env().at(name);
    let id = || FileId { path: &path, name: name.to_owned() };
    let shape = Shape::new(&part.desc, &part.attrs);
    let vfs = store.env().shared_vfs();
    let lost = |rows: &RowSet| Some(AffectedRows::new(of, rows));
    let envelope = RowSet::from_range(entry.range());
    let file = match SegmentFile::open(vfs.clone(), id(), entry, &part.display_name(), shape, &part.key) {
        Ok(file) => file,
        Err(e) => {
            tally.problem(name, &e, lost(&envelope));
            return RowSet::new();
        }
    };
    // The catalog could be rebuilt from the file: it describes itself as the catalog describes it.
    match SegmentFile::open_unlisted(vfs, id(), entry.uuid) {
        Err(e) => tally.problem(name, &e, lost(&envelope)),
        Ok(own) if own.desc != part.desc || own.attrs.groups != part.attrs.groups => {
            let e =
                Damage::new(name, "description in the footer", "that of the catalog", "another one").into();
            tally.problem(name, &e, lost(&envelope));
        }
        Ok(_) => {}
    }
    let mut bad = RowSet::new();
    file.verify(scratch, |e, rows| {
        let rows = RowSet::from_range(rows);
        bad = bad.union(&rows);
        tally.problem(name, &e, lost(&rows));
    });
    let mut rows = RowSet::new();
    for (i, block) in file.blocks.iter().enumerate() {
        match file.block_rows(i, scratch) {
            Ok(set) => rows = rows.union(&set),
            // Reported above.
            Err(_) => bad.insert(block.first..block.end),
        }
    }
    tally.rows += rows.difference(&bad).len();
    rows
}

fn beyond_dataset(catalog: &Catalog, part: &FeaturePart, of: &str, rows: &RowSet, tally: &mut Tally<'_>) {
    let current = catalog.datasets.iter().take(catalog.current_datasets);
    let Some(dataset) = current.clone().find(|d| d.name == part.desc.dataset) else { return };
    let extra = rows.difference(&RowSet::from_range(0..dataset.next_row));
    if !extra.is_empty() {
        let file = format!("the manifest of {of}");
        let e =
            Damage::new(&file, "rows", format!("rows of dataset {}", dataset.name), extra.to_string()).into();
        tally.problem(&file, &e, Some(AffectedRows::new(of, &extra)));
    }
}
