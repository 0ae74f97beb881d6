//! Repair of dataset parts and token counts, from older versions and from self-describing files.

use super::dead::DeadRows;
use super::parts::{Inventory, best_dataset, is_gone, list};
use super::report::{Loss, LostKind};
use super::{Repair, feature};
use crate::encodings::EncodingReader;
use crate::error::{StorageError, VerifyError};
use crate::layout::{Env, encoding_file, names, sample_file, sample_folder};
use crate::manifest::{ColumnDef, DatasetPart, EncodingEntry, FeaturePart, FileEntry};
use crate::table::{DescribedFile, TableFile, describe};
use crate::verify::data_uuid;
use gstore_core::{Remedy, RowSet};
use std::collections::BTreeMap;

/// A dataset part without its manifest. `rest`: what could be read of it. `None` if not
/// even its name is known.
pub(super) fn rebuild(
    work: &mut Repair<'_>,
    inventory: &Inventory,
    number: u32,
    name: Option<&str>,
    rest: Option<&DatasetPart>,
) -> Result<Option<DatasetPart>, VerifyError> {
    let named = |part: &DatasetPart| name.is_none_or(|n| part.name == n);
    let older = best_dataset(work.env, inventory.dataset(number).filter(|v| named(&v.part)));
    let from = match (rest, older) {
        (Some(_), _) => "what is left of its manifest".to_owned(),
        (None, Some(v)) => format!("manifests/{}", v.link.file),
        (None, None) => "nothing but its number".to_owned(),
    };
    let version = rest.or(older.map(|v| &v.part));
    let found = samples(work.env, number)?;
    let said = found.iter().filter_map(|d| d.dataset.as_ref()).find(|d| d.number == number);
    let known = version.map(|v| v.name.as_str()).or(name).or(said.map(|d| d.name.as_str()));
    let Some(known) = known.map(str::to_owned) else {
        let note =
            format!("{} belongs to no dataset that is known; it was left as it is", sample_folder(number));
        work.report.notes.push(note);
        return Ok(None);
    };
    let mut part = version.map_or_else(|| DatasetPart::new(&known, number), DatasetPart::clone);
    // Its pages may be what is lost.
    (part.files_pages, part.sources_pages) = (Default::default(), Default::default());
    part.encodings.iter_mut().for_each(|e| e.files_pages = Default::default());
    let listed = std::mem::take(&mut part.files);
    let before = listed.len();
    let described = found.into_iter().filter(|d| d.dataset.as_ref().is_some_and(|d| d.name == known));
    let (files, columns) = choose(work.env, number, listed, described.collect());
    part.files = files;
    for column in columns {
        merge_column(&mut part.columns, column);
    }
    encodings(work, &mut part)?;
    let end = part.files.iter().map(|f| f.end_row).max().unwrap_or(0);
    part.next_row = part.next_row.max(end);
    part.set_tombstones(part.tombstones.clone());
    let from = format!("{from}, {before} sample files that it lists and {} there are", part.files.len());
    work.report.rebuilt(format!("dataset {known}"), from);
    Ok(Some(part))
}

/// Takes up what was added to a dataset after an older part of it was published: sample files above its rows
/// that say that they are its own. Its next row is raised above all that is known to have had a number.
/// Returns whether something changed.
pub(super) fn take_added(
    work: &mut Repair<'_>,
    inventory: &Inventory,
    part: &mut DatasetPart,
    features: &[u32],
) -> Result<bool, VerifyError> {
    let before = (part.next_row, part.files.len());
    let found = samples(work.env, part.number)?;
    let ours = |d: &DescribedFile| d.dataset.as_ref().is_some_and(|s| s.name == part.name);
    let described: Vec<DescribedFile> = found.into_iter().filter(ours).collect();
    let versions = inventory.dataset(part.number).filter(|v| v.part.name == part.name);
    let ends = described.iter().map(|d| d.entry.end_row).chain(versions.map(|v| v.part.next_row));
    let end = ends.max().unwrap_or(0).max(feature::end_row(work, inventory, &part.name, features)?);
    let above = described.into_iter().filter(|d| d.entry.first_row >= part.next_row).collect();
    let (files, columns) = choose(work.env, part.number, std::mem::take(&mut part.files), above);
    part.files = files;
    if part.files.len() > before.1 {
        for column in columns {
            merge_column(&mut part.columns, column);
        }
        let rows = RowSet::from_ranges(part.files.iter().map(FileEntry::range));
        let rows = rows.difference(&RowSet::from_range(0..before.0));
        let what = format!("{rows} of dataset {}", part.name);
        work.report.rebuilt(what, "sample files that no part lists");
    }
    part.next_row = part.next_row.max(end);
    part.set_tombstones(part.tombstones.clone());
    Ok(before != (part.next_row, part.files.len()))
}

/// The files of a folder that say what they are.
fn described(env: &Env, folder: &str) -> Result<Vec<DescribedFile>, VerifyError> {
    let mut out = Vec::new();
    for file in list(env, folder)? {
        let Some(uuid) = data_uuid(&file, "parquet") else { continue };
        let name = format!("{folder}/{file}");
        match describe(env.file(name), uuid) {
            Ok(d) => out.push(d),
            Err(e @ StorageError::Newer { .. }) => return Err(e.into()),
            Err(_) => {}
        }
    }
    Ok(out)
}

fn samples(env: &Env, number: u32) -> Result<Vec<DescribedFile>, VerifyError> {
    described(env, &sample_folder(number))
}

/// Which files a dataset has: of those with the same rows the newest, and a listed one that is gone only
/// if nothing replaced it.
fn choose(
    env: &Env,
    number: u32,
    listed: Vec<FileEntry>,
    found: Vec<DescribedFile>,
) -> (Vec<FileEntry>, Vec<ColumnDef>) {
    let there = |f: &FileEntry| !is_gone(env, &sample_file(number, f.uuid));
    let created = |f: &FileEntry| found.iter().find(|d| d.entry.uuid == f.uuid).map_or(0, |d| d.created);
    // (is there, time, entry); digests of the catalog count more than those computed now.
    let mut all: Vec<(bool, u64, FileEntry)> =
        listed.iter().map(|f| (there(f), created(f), f.clone())).collect();
    let new = found.iter().filter(|d| listed.iter().all(|f| f.uuid != d.entry.uuid));
    all.extend(new.map(|d| (true, d.created, d.entry.clone())));
    all.sort_by_key(|(there, created, _)| std::cmp::Reverse((*there, *created)));
    let mut taken = RowSet::new();
    let mut files = Vec::new();
    for (_, _, entry) in all {
        let rows = RowSet::from_range(entry.range());
        if taken.intersection(&rows).is_empty() {
            taken = taken.union(&rows);
            files.push(entry);
        }
    }
    files.sort_by_key(|f| f.first_row);
    let chosen = files.iter().filter_map(|f| found.iter().find(|d| d.entry.uuid == f.uuid));
    let columns = chosen.flat_map(|d| d.columns.iter().cloned()).collect();
    (files, columns)
}

/// Columns keep their names; a type that differs becomes the wider one, as an append would make it.
fn merge_column(columns: &mut Vec<ColumnDef>, new: ColumnDef) {
    match columns.iter_mut().find(|c| c.name == new.name) {
        None => columns.push(new),
        Some(old) => old.ty = old.ty.joined(new.ty),
    }
}

/// Takes up files of token counts that say that they belong to the dataset.
fn encodings(work: &mut Repair<'_>, part: &mut DatasetPart) -> Result<(), VerifyError> {
    let mut unreadable = false;
    for folder in list(work.env, "encodings")? {
        let Some(number) = names::number(&folder) else { continue };
        let found = described(work.env, &format!("encodings/{folder}"))?;
        for name in list(work.env, &format!("encodings/{folder}"))? {
            let Some(uuid) = data_uuid(&name, "parquet") else { continue };
            let mut listed = part.encodings.iter().flat_map(|e| &e.files).map(|f| f.uuid);
            let known = listed.any(|u| u == uuid) || found.iter().any(|d| d.entry.uuid == uuid);
            unreadable |= !known && !work.claimed.contains(&encoding_file(number, uuid));
        }
        for d in found {
            if work.claimed.contains(&encoding_file(number, d.entry.uuid)) {
                continue;
            }
            let Some(about) = d.encoding.filter(|e| e.dataset == part.name) else { continue };
            let known = part.encodings.iter_mut().find(|e| e.number == number || e.key == about.key);
            match known {
                Some(e) if e.number == number && e.key == about.key => {
                    let new = e.files.iter().all(|f| f.uuid != d.entry.uuid);
                    if new && !e.rows().covers(d.entry.range()) {
                        e.files.push(d.entry);
                    }
                }
                Some(_) => {}
                None => {
                    let entry = EncodingEntry::of_file(about.spec, about.label, d.entry);
                    part.encodings.push(EncodingEntry { number, ..entry });
                }
            }
        }
    }
    part.encodings.sort_unstable_by_key(|e| e.number);
    if unreadable {
        report_uncounted(work, part);
    }
    Ok(())
}

/// Some file of token counts says neither whose it is nor of which rows: whatever is not
/// counted may have been in it.
fn report_uncounted(work: &mut Repair<'_>, part: &DatasetPart) {
    let counted = part.encodings.iter().fold(RowSet::new(), |rows, e| rows.union(&e.rows()));
    let rows = part.stored_rows().difference(&counted);
    if rows.is_empty() {
        return;
    }
    let of = format!("some encoding of dataset {}", part.name);
    let remedy = format!("the next {} counts the tokens again where they are missing", Remedy::Ingest);
    let loss = Loss::new(LostKind::Encoding, &of, &rows, &remedy);
    work.report.lost.push(Loss { dataset: Some(part.name.clone()), ..loss });
}

/// Reports token counts that were in a file of which nothing tells any more: neither the lost
/// part, nor the file, which is gone too. A row with a vector was counted in the encoding of its
/// feature, so the features know; uploaded vectors have none.
pub(super) fn report_lost_counts(
    work: &mut Repair<'_>,
    part: &DatasetPart,
    features: &[&FeaturePart],
    live: &RowSet,
) {
    let mut counted: BTreeMap<&str, RowSet> = BTreeMap::new();
    let own = |f: &&&FeaturePart| f.desc.dataset == part.name && !f.desc.encoding.is_empty();
    for f in features.iter().filter(own) {
        let rows = counted.entry(&f.desc.encoding).or_default();
        *rows = rows.union(&f.row_ranges());
    }
    let known = work
        .report
        .lost
        .iter()
        .filter(|l| l.kind == LostKind::Encoding && l.dataset.as_ref() == Some(&part.name));
    let known =
        RowSet::from_ranges(known.flat_map(|l| l.rows.ranges.iter().map(|[start, end]| *start..*end)));
    for (key, rows) in counted {
        let entry = part.encodings.iter().find(|e| e.key == key);
        let there = entry.map_or_else(RowSet::new, EncodingEntry::rows);
        let lost = rows.intersection(live).difference(&there).difference(&known);
        if lost.is_empty() {
            continue;
        }
        work.report.lost.push(lost_counts(&part.name, key, entry.map(|e| e.label.clone()), &lost));
    }
}

/// Token counts that are gone, of an encoding with this key and, where that is known, label.
fn lost_counts(dataset: &str, key: &str, label: Option<String>, rows: &RowSet) -> Loss {
    let of = format!("encoding {} of dataset {dataset}", label.as_deref().unwrap_or(key));
    let remedy = format!("the next {} with this encoding counts the tokens again", Remedy::Ingest);
    Loss { dataset: Some(dataset.to_owned()), label, ..Loss::new(LostKind::Encoding, &of, rows, &remedy) }
}

/// Drops damaged files of token counts and, if rows came back, those with zeros for a live one: it may not have
/// been live when they were written.
pub(super) fn drop_counts(
    work: &mut Repair<'_>,
    part: &mut DatasetPart,
    dead: &DeadRows,
) -> Result<(), VerifyError> {
    let live = dead.live(part);
    for e in &mut part.encodings {
        let before = e.rows();
        for f in std::mem::take(&mut e.files) {
            let name = encoding_file(e.number, f.uuid);
            if work.is_bad(&name) {
                work.handled.insert(name);
            } else if !dead.forgotten || !has_zeros(work, e, &f, &live)? {
                e.files.push(f);
            }
        }
        let lost = before.difference(&e.rows()).intersection(&live);
        if !lost.is_empty() {
            work.report.lost.push(lost_counts(&part.name, &e.key, Some(e.label.clone()), &lost));
        }
    }
    Ok(())
}

/// Whether a file has zeros as the counts of one of these rows, or other content than it should.
fn has_zeros(
    work: &Repair<'_>,
    encoding: &EncodingEntry,
    file: &FileEntry,
    rows: &RowSet,
) -> Result<bool, VerifyError> {
    let name = encoding_file(encoding.number, file.uuid);
    let table = TableFile::new(work.env.file(work.place_of(&name)), file);
    let reader = EncodingReader::new(encoding.clone(), vec![table]);
    match reader.has(file.range(), |count| count.is_nothing() && rows.contains(count.row)) {
        Err(e) if e.is_damage() => Ok(true),
        found => Ok(found?),
    }
}
