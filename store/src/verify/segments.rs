//! Verifying segments: bytes, structure, rows.

use super::catalog::Catalog;
use super::report::{AffectedRows, Tally};
use crate::error::Damage;
use crate::layout::segment_file;
use crate::manifest::{FeaturePart, SegmentEntry};
use crate::segment::{BlockBuffer, SegmentFile};
use crate::store::Store;
use gstore_core::RowSet;
use std::collections::HashMap;

/// Verifies the segments, and that no row is in two of them.
pub(super) fn segments(store: &Store, catalog: &Catalog, tally: &mut Tally<'_>) {
    let mut done: HashMap<String, RowSet> = HashMap::new();
    let mut scratch = BlockBuffer::new();
    for (i, part) in catalog.features.iter().map(|f| &f.part).enumerate() {
        let of = format!("feature {}", part.display_name());
        let mut all = RowSet::new();
        for entry in &part.segments {
            let name = segment_file(part.number, entry.uuid);
            let rows = match done.get(&name) {
                Some(rows) => rows.clone(),
                None => {
                    if !tally.next_file() {
                        return;
                    }
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
    let lost = |rows: &RowSet| Some(AffectedRows::new(of, rows));
    let envelope = RowSet::from_range(entry.range());
    let file = match SegmentFile::open_of(store.env(), part, entry) {
        Ok(file) => file,
        Err(e) => {
            tally.problem(name, &e, lost(&envelope));
            return RowSet::new();
        }
    };
    // The catalog could be rebuilt from the file: it describes itself as the catalog describes it.
    match SegmentFile::open_unlisted(store.env().file(name), entry.uuid) {
        Err(e) => tally.problem(name, &e, lost(&envelope)),
        Ok(own) if own.desc != part.desc || own.attrs.groups != part.attrs.groups => {
            let e =
                Damage::new(name, "description in the footer", "that of the catalog", "another one").into();
            tally.problem(name, &e, lost(&envelope));
        }
        Ok(_) => {}
    }
    let mut bad = RowSet::new();
    let mut problems = Vec::new();
    file.verify(scratch, |bytes| tally.read(bytes), |e, rows| problems.push((e, rows)));
    for (e, rows) in problems {
        let rows = RowSet::from_range(rows);
        bad = bad.union(&rows);
        tally.problem(name, &e, lost(&rows));
    }
    let mut rows = RowSet::new();
    for block in &file.blocks {
        match file.block_rows(block, scratch) {
            Ok(set) => rows = rows.union(&set),
            // Reported above.
            Err(_) => bad.insert(block.first..block.end),
        }
    }
    tally.rows += rows.difference(&bad).len();
    rows
}

fn beyond_dataset(catalog: &Catalog, part: &FeaturePart, of: &str, rows: &RowSet, tally: &mut Tally<'_>) {
    let mut current = catalog.datasets.iter().take(catalog.current_datasets).map(|d| &d.part);
    let Some(dataset) = current.find(|d| d.name == part.desc.dataset) else { return };
    let extra = rows.difference(&RowSet::from_range(0..dataset.next_row));
    if !extra.is_empty() {
        let file = format!("the manifest of {of}");
        let e =
            Damage::new(&file, "rows", format!("rows of dataset {}", dataset.name), extra.to_string()).into();
        tally.problem(&file, &e, Some(AffectedRows::new(of, &extra)));
    }
}
