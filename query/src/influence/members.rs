//! Which target rows a question is about, and to which subtask each belongs.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::{Array, types::UInt64Type};
use arrow_schema::DataType;
use gstore_store::Snapshot;
use serde::Serialize;

use super::resolve::Target;
use super::spec::SubtaskBy;
use crate::error::QueryError;

/// The metadata column that names subtasks.
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

/// The rows of all targets, by target and row, and the names of their subtasks.
pub(super) struct Members {
    pub(super) rows: Vec<TargetRow>,
    pub(super) subtasks: Vec<String>,
}

/// Reads the subtasks of the targets. Names are sorted, so that their order does not depend on that of the rows; a name that two
/// datasets use is written `dataset:subtask`.
pub(super) fn members(snapshot: &Snapshot, targets: &[Target], by: SubtaskBy) -> Result<Members, QueryError> {
    let mut named: Vec<(u32, u64, String)> = Vec::new();
    for (t, target) in targets.iter().enumerate() {
        let own = &target.dataset.name;
        let mut seen = BTreeSet::new();
        for (row, subtask) in rows(snapshot, target)? {
            let subtask = subtask.unwrap_or_else(|| own.clone());
            seen.insert(subtask.clone());
            if target.subtasks.as_ref().is_some_and(|wanted| !wanted.contains(&subtask)) {
                continue;
            }
            named.push((t as u32, row, if by == SubtaskBy::Dataset { own.clone() } else { subtask }));
        }
        if let Some(unknown) = target.subtasks.iter().flatten().find(|wanted| !seen.contains(*wanted)) {
            return Err(QueryError::unknown("subtask", unknown, seen.iter().map(String::as_str)));
        }
    }
    let mut owners: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for (target, _, name) in &named {
        owners.entry(name).or_default().insert(*target);
    }
    let full: Vec<String> = named
        .iter()
        .map(|(target, _, name)| match owners.get(name.as_str()) {
            Some(several) if several.len() > 1 => {
                format!("{}:{name}", targets[*target as usize].dataset.name)
            }
            _ => name.clone(),
        })
        .collect();
    let subtasks: Vec<String> = full.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let rows = named
        .iter()
        .zip(&full)
        .map(|(&(target, row, _), name)| {
            let subtask = subtasks.partition_point(|other| other < name) as u32;
            TargetRow { target, row, subtask }
        })
        .collect();
    Ok(Members { rows, subtasks })
}

/// Live rows of a dataset with the subtask that the metadata says, ascending.
fn rows(snapshot: &Snapshot, target: &Target) -> Result<Vec<(u64, Option<String>)>, QueryError> {
    let dataset = &target.dataset;
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
