//! Source of the rows of a selection on a server: the relation of the scores, or its rows for which a
//! condition on the pools' own tables is true.
//!
//! That relation has the pools' columns too, but under other names where it has such a column itself: there
//! `subtask` is the target's. So a condition is asked of the relation under the names of the tables, and
//! still chooses what is scored.

use std::sync::Arc;

use anyhow::{Error, Result, bail};
use arrow_schema::{FieldRef, SchemaRef};
use gstore::{FindError, check_form};
use gstore_core::Cancel;
use gstore_server::Remote;
use gstore_sql::{Parameters, SqlError};

use crate::failure::{condition_error, refuse};

/// Columns of each pool's table that the relation has under the same names.
const SAME: [&str; 3] = ["row", "id", "record"];
/// Those that it always has, and the table of a pool with a single encoding.
const COUNTS: [&str; 3] = ["tokens", "scored_tokens", "truncated"];
/// Those that a table has of its newest checkpoint, and the relation of the checkpoints of the question.
const MEASURED: [&str; 3] = ["loss", "entropy", "norm"];

/// What stands after FROM, and how the columns of the ranking are called there.
pub(super) struct RankedRows {
    from: String,
    /// Whether its own columns have names that no pool's column has.
    renamed: bool,
}

impl RankedRows {
    /// All rows of the call.
    pub(super) fn all(call: String) -> Self {
        Self { from: call, renamed: false }
    }

    /// Those for which the condition is true; `results`: the columns of the call that are wanted.
    pub(super) fn when(
        condition: &str,
        (call, results): (&str, &[&str]),
        pools: &[String],
        (server, values, cancel): (&Remote, &Parameters, &Cancel),
    ) -> Result<Self> {
        check_form(condition).map_err(|why| condition_error(FindError::Form(why)))?;
        gstore_sql::check_condition(condition).map_err(|error| condition_error(error.into()))?;
        let schema = |sql: &str, values: &Parameters| -> Result<SchemaRef, SqlError> {
            Ok(Arc::clone(server.run(sql, values, cancel)?.schema()))
        };
        let relation = schema(&format!("SELECT * FROM {call} LIMIT 0"), values).map_err(statement_error)?;
        let mut tables = Vec::with_capacity(pools.len());
        for pool in pools {
            // With the computed columns that the condition names; what it says wrong is said of this table.
            // It has lines of its own, so that a comment at its end hides nothing.
            let sql = format!("SELECT * FROM {} WHERE (\n{condition}\n) LIMIT 0", quoted(pool));
            let table = schema(&sql, &Parameters::default());
            tables.push(table.map_err(|error| condition_error(placed(error).into()))?);
        }
        let Some((table, others)) = tables.split_first() else { return Ok(Self::all(call.to_owned())) };
        if others.iter().any(|other| other.fields() != table.fields()) {
            refuse!(
                "--where: a server takes one condition for pools with the same columns; select from each of these"
            );
        }
        if computed(table).any(|column| MEASURED.contains(&column.name().as_str())) {
            refuse!(
                "--where: a server compares `loss`, `entropy` and `norm` of the question's checkpoints, by `gstore query --remote`"
            );
        }
        let own = own_columns(&relation, table)?;
        let ranked = results.iter().filter(|name| !SAME.contains(name));
        let ranked = ranked.map(|name| format!("{} AS {}", quoted(name), hidden(name)));
        let list: Vec<String> = own.into_iter().chain(ranked).collect();
        let name = if others.is_empty() { pools.first().map_or("", String::as_str) } else { "pools" };
        let (list, name) = (list.join(", "), quoted(name));
        let from = format!("(SELECT {list} FROM {call}) AS {name} WHERE (\n{condition}\n)");
        Ok(Self { from, renamed: true })
    }

    /// The statement that lists these columns of the ranking.
    pub(super) fn select(&self, columns: &[&str]) -> String {
        let shown = columns.iter().map(|name| match self.renamed && !SAME.contains(name) {
            true => format!("{} AS {}", hidden(name), quoted(name)),
            false => (*name).to_owned(),
        });
        format!("SELECT {} FROM {}", shown.collect::<Vec<_>>().join(", "), self.from)
    }

    /// What puts it in the order of the scores.
    pub(super) fn order(&self, worst: bool) -> String {
        let score = if self.renamed { hidden("score") } else { "score".to_owned() };
        format!(" ORDER BY {score}{}", if worst { "" } else { " DESC" })
    }
}

/// An error of a statement that the command has made, for those who have not read it.
pub(super) fn statement_error(error: SqlError) -> Error {
    let error = placed(error);
    match error.position() {
        Some(_) => condition_error(error.into()),
        None => error.into(),
    }
}

/// The error with its place in the condition, whose lines are all but the first and the last of a statement;
/// without one that is elsewhere.
fn placed(error: SqlError) -> SqlError {
    match error.position() {
        Some((line, _)) if line > 1 => error.further_up(1),
        _ => error.nowhere(),
    }
}

/// The columns of a pool's table as they are taken from the relation.
fn own_columns(relation: &SchemaRef, table: &SchemaRef) -> Result<Vec<String>> {
    let metadata: Vec<&FieldRef> = metadata_of(table).collect();
    // The pools' metadata stands before the counts and the record, in its order.
    let fields = relation.fields();
    let end = fields.len().saturating_sub(COUNTS.len() + 1);
    let shown = &fields[end.saturating_sub(metadata.len())..end];
    let stem = |field: &FieldRef| field.name().trim_end_matches('_').to_owned();
    if !shown.iter().map(stem).eq(metadata.iter().map(|own| stem(own))) {
        bail!("the server's relation of scores does not have the columns of its pools");
    }
    let renamed = metadata.iter().zip(shown).map(|(own, shown)| match own.name() == shown.name() {
        true => quoted(own.name()),
        // A computed column is none where a name is given with AS.
        false => format!("{} AS {}", quoted(shown.name()), quoted(own.name())),
    });
    let counts = COUNTS.into_iter().filter(|name| table.field_with_name(name).is_ok());
    let same = SAME.into_iter().chain(counts).map(quoted);
    Ok(renamed.chain(same).chain(computed(table).map(|column| quoted(column.name()))).collect())
}

/// The columns of a pool's table that are keys of its records.
fn metadata_of(table: &SchemaRef) -> impl Iterator<Item = &FieldRef> {
    let before = table.fields().iter().take_while(|column| column.name() != "record");
    before.filter(|column| {
        let name = column.name().as_str();
        !SAME.contains(&name) && !COUNTS.contains(&name)
    })
}

/// Those that were computed because the statement names them: they stand behind the record.
fn computed(table: &SchemaRef) -> impl Iterator<Item = &FieldRef> {
    table.fields().iter().skip_while(|column| column.name() != "record").skip(1)
}

/// What a column of the ranking is called next to the pools' own.
fn hidden(name: &str) -> String {
    quoted(&format!("{name} of the ranking"))
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use gstore_sql::SqlErrorKind;

    use super::*;

    #[test]
    fn places_are_those_of_the_condition() {
        for (said, shown) in [
            ("no column (line 1, column 70)\n  a hint", "no column\n  a hint"),
            ("no column (line 3, column 7)", "--where: no column (line 2, column 7)"),
            ("no column", "no column"),
        ] {
            let error = statement_error(SqlError::shown(SqlErrorKind::Unknown, said));
            assert_eq!(format!("{error:#}"), shown);
        }
    }
}
