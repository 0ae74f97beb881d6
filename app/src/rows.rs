//! Rows of a dataset, named by their ids or by a condition.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use gstore_core::{Cancel, many};
use gstore_sql::{SqlError, SqlOptions, SqlRunner};
use gstore_store::{DatasetName, DatasetPart, NameError, ReadError, RowSet, Snapshot};

/// Which rows are meant: those with an id of the set, and those for which the condition is true.
#[derive(Debug, Clone, Default)]
pub struct RowNames {
    /// Ids.
    pub ids: HashSet<String>,
    /// An SQL condition over the dataset's columns.
    pub condition: Option<String>,
}

/// The live rows that were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRows {
    /// The rows.
    pub rows: RowSet,
    /// Ids that no live row has.
    pub missing: Vec<String>,
}

/// Why rows could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The name of the dataset is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its samples could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The condition is not one.
    #[error("the condition {0}")]
    Form(&'static str),
    /// It is true for no row, and some are wanted.
    #[error("the condition is true for none of {}", many(*rows, "row"))]
    NoRow {
        /// Rows that there are.
        rows: u64,
    },
    /// The condition could not be evaluated.
    #[error(transparent)]
    Condition(#[from] SqlError),
}

/// The live rows of a dataset that ids and a condition name.
///
/// # Errors
/// An invalid condition, damage, and cancellation.
pub fn find_rows(
    snapshot: &Arc<Snapshot>,
    dataset: &DatasetPart,
    names: &RowNames,
    threads: usize,
    cancel: &Cancel,
) -> Result<NamedRows, FindError> {
    let mut missing: HashSet<&str> = names.ids.iter().map(String::as_str).collect();
    let mut rows = RowSet::new();
    if !missing.is_empty() {
        let mut hits = Vec::new();
        for batch in snapshot.samples(dataset)?.scan(&["row", "id"], None) {
            let batch = batch?;
            let numbers = batch.column(0).as_primitive::<UInt64Type>().values();
            let ids = numbers.iter().zip(batch.column(1).as_string::<i32>());
            hits.extend(ids.filter(|(_, id)| id.is_some_and(|id| missing.remove(id))).map(|(row, _)| *row));
        }
        rows = RowSet::from_rows(hits);
    }
    if let Some(condition) = &names.condition {
        rows = rows.union(&matching(snapshot, &dataset.name, condition, threads, cancel)?);
    }
    let mut missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    missing.sort_unstable();
    Ok(NamedRows { rows, missing })
}

/// Live rows for which a condition is true.
pub(crate) fn matching(
    snapshot: &Arc<Snapshot>,
    dataset: &str,
    condition: &str,
    threads: usize,
    cancel: &Cancel,
) -> Result<RowSet, FindError> {
    check_form(condition).map_err(FindError::Form)?;
    let name = DatasetName::try_from(dataset)?;
    gstore_sql::check_condition(condition)?;
    let runner = SqlRunner::new(Arc::clone(snapshot), SqlOptions { threads, ..SqlOptions::default() })?;
    // A separate line, so that a comment at the end of the condition hides nothing.
    let sql = format!("SELECT \"row\" FROM \"{name}\" WHERE (\n{condition}\n)");
    let mut rows = Vec::new();
    for batch in runner.run(&sql, cancel).map_err(|error| error.further_up(1))? {
        let batch = batch.map_err(|error| error.further_up(1))?;
        rows.extend_from_slice(batch.column(0).as_primitive::<UInt64Type>().values());
    }
    Ok(RowSet::from_rows(rows))
}

/// Refuses what is not an expression of its own: text that closes the parentheses around it would ask for
/// other rows than it says.
fn check_form(condition: &str) -> Result<(), &'static str> {
    if condition.trim().is_empty() {
        return Err("is empty: write one, such as source = 'scraped'");
    }
    let (mut depth, mut rest) = (0_usize, condition);
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        // To the end of a text, a quoted name or a comment; one that has no end is left to the parser.
        let skipped = match first {
            '\'' | '"' => after.split_once(first),
            '-' if after.starts_with('-') => after.split_once('\n'),
            '/' if after.starts_with('*') => after[1..].split_once("*/"),
            _ => Some(("", after)),
        };
        match first {
            '(' => depth += 1,
            ')' if depth == 0 => return Err("closes a parenthesis that it does not open"),
            ')' => depth -= 1,
            ';' if depth == 0 => return Err("ends at its `;`: leave that out"),
            _ => {}
        }
        let Some((_, after)) = skipped else { break };
        rest = after;
    }
    if depth > 0 { Err("opens a parenthesis that it does not close") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::check_form;

    #[test]
    fn a_condition_is_an_expression_of_its_own() {
        for good in
            ["a = 1", "(a = ')') OR \")\" = 'it''s ('", "a -- )\n = 1", "a /* ) */ = (1)", "f('x', (2))"]
        {
            assert_eq!(check_form(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("1=1) or (1=1", "closes"),
            ("(a = 1", "does not close"),
            ("a = 1; DROP TABLE x", "ends at"),
        ] {
            assert!(check_form(bad).is_err_and(|found| found.contains(why)), "{bad}");
        }
    }
}
