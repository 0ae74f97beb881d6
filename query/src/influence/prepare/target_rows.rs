//! Target rows of a question, and the subtask of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, types::UInt64Type};
use arrow_schema::DataType;
use gstore_store::{DatasetPart, Snapshot};
use serde::Serialize;

use super::Prepared;
use crate::error::QueryError;
use crate::influence::plan::side::PlanSide;
use crate::influence::result::{ExcludedCounts, Reason};
use crate::influence::spec::SubtaskBy;

const COLUMN: &str = "subtask";

/// A row of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TargetRow {
    /// Index into the target datasets of the plan.
    pub target: u32,
    /// Row of that dataset.
    pub row: u64,
    /// Index into the subtasks of the plan.
    pub subtask: u32,
}

impl TargetRow {
    /// Where the rows of a subtask are among rows that are sorted by it.
    pub(crate) fn of_subtask(rows: &[TargetRow], subtask: u32) -> Range<usize> {
        let end = rows.partition_point(|row| row.subtask <= subtask);
        rows.partition_point(|row| row.subtask < subtask)..end
    }
}

/// The rows of all targets, by target and row, and their subtasks.
pub(crate) struct TargetRows {
    pub(super) rows: Vec<TargetRow>,
    /// Names of the subtasks; each is there once.
    pub(super) subtasks: Vec<String>,
    /// How a question names each of them: `dataset:subtask`, or the dataset for its rows without a subtask.
    pub(super) asked: Vec<String>,
    /// The targets as they are named: datasets, and subtasks of those of which not all rows are asked about.
    pub(super) named: Vec<String>,
    /// Of each row which of these it is of.
    pub(super) named_of: Vec<u32>,
}

impl TargetRows {
    /// The rows that are part of a question about `names`: any of them may be all that can be compared.
    pub(super) fn part(mut self, names: &[String], is_in: impl Fn(&TargetRow) -> bool) -> Self {
        self.rows.retain(is_in);
        Self { named: vec![names.join(", ")], named_of: vec![0; self.rows.len()], ..self }
    }

    /// The rows that nothing keeps from being compared, by subtask, then target and row, with the names of
    /// their subtasks. `left_out` has for each row why it cannot be.
    ///
    /// # Errors
    /// A target of which none can; `why` words what its rows lack.
    pub(super) fn compared(
        self,
        left_out: &[Option<Reason>],
        why: impl Fn(&ExcludedCounts) -> String,
    ) -> Result<(Vec<TargetRow>, Vec<String>, ExcludedCounts), QueryError> {
        let mut rows = Vec::with_capacity(self.rows.len());
        let mut has_row = vec![false; self.named.len()];
        let mut excluded = vec![ExcludedCounts::default(); self.named.len()];
        for ((row, reason), named) in self.rows.iter().zip(left_out).zip(&self.named_of) {
            match reason {
                Some(reason) => excluded[*named as usize].add(*reason),
                None => {
                    has_row[*named as usize] = true;
                    rows.push(*row);
                }
            }
        }
        if let Some(empty) = has_row.iter().position(|has_row| !has_row) {
            let excluded = &excluded[empty];
            return Err(QueryError::empty_target(&self.named[empty], excluded.total(), &why(excluded)));
        }
        let (rows, subtasks) = group(rows, self.subtasks);
        let mut all = ExcludedCounts::default();
        excluded.iter().for_each(|excluded| all.merge(excluded));
        Ok((rows, subtasks, all))
    }
}

/// Sorts rows by subtask and drops subtasks that have none.
fn group(mut rows: Vec<TargetRow>, names: Vec<String>) -> (Vec<TargetRow>, Vec<String>) {
    rows.sort_unstable_by_key(|r| (r.subtask, r.target, r.row));
    let mut kept: Vec<String> = Vec::new();
    let mut last = None;
    for row in &mut rows {
        if last != Some(row.subtask) {
            last = Some(row.subtask);
            kept.extend(names.get(row.subtask as usize).cloned());
        }
        row.subtask = kept.len().saturating_sub(1) as u32;
    }
    (rows, kept)
}

/// A target and a subtask of it, or its rows without one.
type Owner<'a> = (u32, Option<&'a str>);

/// Reads the subtasks of the targets. Names are sorted, so that their order does not depend on that of the
/// rows. Rows without a subtask have the name of their dataset; a subtask whose name another one has too is
/// written `dataset:subtask`.
pub(super) fn target_rows(prepared: &Prepared) -> Result<TargetRows, QueryError> {
    let (targets, by) = (prepared.targets(), prepared.spec().by);
    let mut members: Vec<(u32, u64, Option<String>)> = Vec::new();
    let (mut named, mut named_of) = (Vec::new(), Vec::new());
    for (t, (target, asked)) in targets.iter().zip(&prepared.plan().subtasks).enumerate() {
        let own = &target.dataset.name;
        let rows = rows(prepared.snapshot(), &target.dataset)?;
        let mut seen: BTreeSet<&str> = rows.iter().filter_map(|(_, subtask)| subtask.as_deref()).collect();
        // `dataset:dataset` are the rows without a subtask, unless there is a subtask of that name.
        let nameless = !seen.contains(own.as_str());
        if nameless && rows.iter().any(|(_, subtask)| subtask.is_none()) {
            seen.insert(own);
        }
        if let Some(unknown) = asked.iter().flatten().find(|wanted| !seen.contains(wanted.as_str())) {
            return Err(QueryError::unknown("subtask", unknown, seen.iter().copied()));
        }
        let first = named.len();
        let wanted: Option<Vec<&String>> = asked.as_ref().map(|wanted| wanted.iter().collect());
        match &wanted {
            Some(wanted) => named.extend(wanted.iter().map(|subtask| format!("{own}:{subtask}"))),
            None => named.push(own.clone()),
        }
        for (row, subtask) in rows {
            let name = subtask.as_ref().or(nameless.then_some(own));
            let place = match &wanted {
                Some(wanted) => name.and_then(|name| wanted.binary_search(&name).ok()),
                None => Some(0),
            };
            if let Some(place) = place {
                named_of.push((first + place) as u32);
                members.push((t as u32, row, subtask.filter(|_| by == SubtaskBy::Column)));
            }
        }
    }
    let owners: BTreeSet<Owner<'_>> =
        members.iter().map(|(t, _, subtask)| (*t, subtask.as_deref())).collect();
    let names = names(&owners, targets);
    let mut order: Vec<(&String, &Owner<'_>)> = names.iter().map(|(owner, name)| (name, owner)).collect();
    order.sort_unstable();
    let place: BTreeMap<Owner<'_>, u32> =
        order.iter().enumerate().map(|(place, (_, owner))| (**owner, place as u32)).collect();
    let rows = members
        .iter()
        .filter_map(|(target, row, subtask)| {
            let subtask = *place.get(&(*target, subtask.as_deref()))?;
            Some(TargetRow { target: *target, row: *row, subtask })
        })
        .collect();
    let subtasks = order.iter().map(|(name, _)| (*name).clone()).collect();
    let asked = order.iter().map(|(_, owner)| full_name(owner, targets)).collect();
    Ok(TargetRows { rows, subtasks, asked, named, named_of })
}

/// A name for each, no two alike.
fn names<'a>(owners: &BTreeSet<Owner<'a>>, targets: &[PlanSide]) -> BTreeMap<Owner<'a>, String> {
    let mut in_full: BTreeSet<Owner<'a>> = BTreeSet::new();
    loop {
        let mut names = BTreeMap::new();
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for owner in owners {
            let name = match owner.1 {
                Some(subtask) if !in_full.contains(owner) => subtask.to_owned(),
                _ => full_name(owner, targets),
            };
            *count.entry(name.clone()).or_default() += 1;
            names.insert(*owner, name);
        }
        // Names in full differ, as no dataset has a colon in its name.
        let alike =
            |owner: &Owner<'a>| names.get(owner).and_then(|name| count.get(name)).is_some_and(|n| *n > 1);
        let before = in_full.len();
        in_full.extend(owners.iter().filter(|owner| owner.1.is_some() && alike(owner)));
        if in_full.len() == before {
            return names;
        }
    }
}

fn full_name((target, subtask): &Owner<'_>, targets: &[PlanSide]) -> String {
    let dataset = targets.get(*target as usize).map_or("", |target| target.dataset.name.as_str());
    match subtask {
        Some(subtask) => format!("{dataset}:{subtask}"),
        None => dataset.to_owned(),
    }
}

/// Live rows of a dataset with the subtask that the metadata says, ascending.
fn rows(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<Vec<(u64, Option<String>)>, QueryError> {
    if !dataset.columns.iter().any(|column| column.name == COLUMN) {
        return Ok(snapshot.live_rows(dataset)?.iter().map(|row| (row, None)).collect());
    }
    let mut found = Vec::new();
    for batch in snapshot.samples(dataset)?.scan(&["row", COLUMN], None) {
        let batch = batch?;
        let names = arrow_cast::cast(batch.column(1), &DataType::Utf8)?;
        let names = names.as_string::<i32>();
        let rows = batch.column(0).as_primitive::<UInt64Type>();
        for (i, &row) in rows.values().iter().enumerate() {
            found.push((row, names.is_valid(i).then(|| names.value(i).to_owned())));
        }
    }
    found.sort_unstable();
    Ok(found)
}
