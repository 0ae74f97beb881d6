//! Receipt checks, made before anything in a receipt is used.

use super::{Receipt, ReceiptFile};
use crate::manifest::SegmentEntry;
use crate::segment::check_description;
use gstore_core::{DatasetName, RowSet};
use std::collections::BTreeSet;

/// Says what is wrong, if anything is.
pub(super) fn problem(receipt: &Receipt) -> Option<String> {
    names(receipt)
        .or_else(|| split(receipt))
        .or_else(|| features(receipt))
        .or_else(|| receipt.files.iter().find_map(|file| file_problem(receipt, file)))
        .or_else(|| once(receipt))
}

fn names(receipt: &Receipt) -> Option<String> {
    if let Err(e) = DatasetName::try_from(receipt.note.dataset.as_str()) {
        return Some(e.to_string());
    }
    for e in &receipt.encodings {
        if e.key != e.spec.key() {
            return Some(format!("the key of encoding {} is not that of its description", e.label));
        }
    }
    None
}

fn split(receipt: &Receipt) -> Option<String> {
    let shard = receipt.note.shard;
    if receipt.split.len() != shard.count() as usize {
        return Some(format!("{} parts of the split for {} shards", receipt.split.len(), shard.count()));
    }
    let mut next = 0;
    for [start, end] in &receipt.split {
        if *start < next || end < start {
            return Some(format!("the split has {start}..{end} after {next}; its parts are in order"));
        }
        next = *end;
    }
    if let Some(p) = ranges_problem(&receipt.rows) {
        return Some(format!("rows of the shard: {p}"));
    }
    let own = receipt.split.get(shard.place()).map_or_else(RowSet::new, |r| RowSet::from_pairs(&[*r]));
    let own = own.intersection(&RowSet::from_range(0..receipt.note.next_row));
    let outside = receipt.row_set().difference(&own);
    (!outside.is_empty()).then(|| format!("{outside} are not in the shard's part of the split"))
}

/// Ranges are ascending, none is empty, none touches the next.
fn ranges_problem(ranges: &[[u64; 2]]) -> Option<String> {
    let mut next = None;
    for [start, end] in ranges {
        if end <= start || *end == u64::MAX || next.is_some_and(|n| *start <= n) {
            return Some(format!("{start}..{end} is not a range of rows after {}", next.unwrap_or(0)));
        }
        next = Some(*end);
    }
    None
}

fn features(receipt: &Receipt) -> Option<String> {
    let mut keys = BTreeSet::new();
    for f in &receipt.features {
        let label = &f.attrs.label;
        if let Err(e) = check_description(&f.desc, &f.attrs) {
            return Some(format!("feature {label}: {e}"));
        }
        if f.desc.dataset != receipt.note.dataset {
            return Some(format!("feature {label} is of dataset {:?}", f.desc.dataset));
        }
        if !keys.insert(f.desc.key()) {
            return Some(format!("feature {label} occurs twice"));
        }
    }
    None
}

fn file_problem(receipt: &Receipt, file: &ReceiptFile) -> Option<String> {
    let name = file.name();
    if name != file.expected_name() {
        return Some(format!("file {name:?} should be called {}", file.expected_name()));
    }
    match file {
        ReceiptFile::Segment { feature, rows, entry, .. } => {
            if receipt.features.len() <= *feature {
                return Some(format!("{name} is of feature {feature}, of {}", receipt.features.len()));
            }
            if let Some(p) = ranges_problem(rows) {
                return Some(format!("rows of {name}: {p}"));
            }
            let rows = RowSet::from_pairs(rows);
            segment_problem(entry, &rows).map(|p| format!("{name}: {p}")).or_else(|| {
                let outside = rows.difference(&receipt.row_set());
                (!outside.is_empty()).then(|| format!("{name} has {outside}, which are not the shard's"))
            })
        }
        ReceiptFile::Encoding { encoding, entry, .. } => {
            if receipt.encodings.len() <= *encoding {
                return Some(format!("{name} is of encoding {encoding}, of {}", receipt.encodings.len()));
            }
            entry
                .problem()
                .map(|(what, expected, found)| format!("{what}: expected {expected}, found {found}"))
        }
    }
}

fn segment_problem(entry: &SegmentEntry, rows: &RowSet) -> Option<String> {
    let first = rows.ranges().first().map(|r| r.start);
    let end = rows.ranges().last().map(|r| r.end);
    if (first, end) != (Some(entry.first_row), Some(entry.end_row)) || rows.len() != entry.rows {
        return Some(format!("{} rows {}..{} do not fit {rows}", entry.rows, entry.first_row, entry.end_row));
    }
    (entry.tail_len >= entry.len).then(|| format!("a tail of {} of {} bytes", entry.tail_len, entry.len))
}

/// No file twice, and no row in two files of a feature.
fn once(receipt: &Receipt) -> Option<String> {
    let mut uuids = BTreeSet::new();
    if let Some(twice) = receipt.files.iter().find(|f| !uuids.insert(f.uuid())) {
        return Some(format!("{} occurs twice", twice.name()));
    }
    let mut taken: Vec<(usize, u64, u64)> = Vec::new();
    for file in &receipt.files {
        if let ReceiptFile::Segment { feature, rows, .. } = file {
            taken.extend(rows.iter().map(|[start, end]| (*feature, *start, *end)));
        }
    }
    taken.sort_unstable();
    let clash = taken.windows(2).find_map(|pair| match pair {
        [a, b] if a.0 == b.0 && b.1 < a.2 => Some((b.0, b.1)),
        _ => None,
    });
    clash.map(|(feature, row)| format!("row {row} of feature {feature} is in two files"))
}
