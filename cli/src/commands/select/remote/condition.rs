//! What a selection that a server makes takes its rows from: the relation of the scores, and of it the rows
//! for which a condition is true of the pools' own tables.
//!
//! That relation has the pools' columns too, but under other names where it has such a column itself: there
//! `subtask` is the target's, and `score` the influence.
//!
//! Invariants
//! - a condition sees the columns of the pools' own tables, under their names, and no others
//! - where these columns are the same ones, the condition chooses what is scored

use std::sync::Arc;

use anyhow::{Result, bail};
use arrow_schema::{FieldRef, SchemaRef};
use gstore::FindError;
use gstore_core::Cancel;
use gstore_server::Remote;
use gstore_sql::{Parameters, SqlError};

use crate::failure::{condition_error, refuse};

/// Columns of each pool's table that the relation has under the same names.
const SAME: [&str; 3] = ["row", "id", "record"];
/// Those that it always has, and the table of a pool with a single encoding.
const COUNTS: [&str; 3] = ["tokens", "scored_tokens", "truncated"];
/// Those that each reads from a feature by a rule of its own.
const MEASURED: [&str; 3] = ["loss", "entropy", "norm"];

/// What stands after FROM, and how the columns of the ranking are called there.
pub(super) struct RankedRows {
    from: String,
    /// Whether its own columns have names that no pool's column has.
    renamed: bool,
    /// What decides between rows with one score, where the relation does not.
    ties: &'static str,
}

impl RankedRows {
    /// All rows of the call.
    pub(super) fn all(call: String) -> Self {
        Self { from: call, renamed: false, ties: "" }
    }

    /// Those for which the condition is true; `results`: the columns of the call that are wanted.
    pub(super) fn when(
        condition: &str,
        (call, results): (&str, &[&str]),
        pools: &[String],
        (server, values, cancel): (&Remote, &Parameters, &Cancel),
    ) -> Result<Self> {
        gstore_sql::check_condition(condition)?;
        let schema = |sql: &str, values: &Parameters| -> Result<SchemaRef, SqlError> {
            Ok(Arc::clone(server.run(sql, values, cancel)?.schema()))
        };
        let relation = schema(&format!("SELECT * FROM {call} LIMIT 0"), values)?;
        let mut tables = Vec::with_capacity(pools.len());
        for pool in pools {
            // With the computed columns that the condition names; what it says wrong is said of this table.
            let table =
                schema(&format!("SELECT * {} LIMIT 0", rows_of(pool, condition)), &Parameters::default());
            tables.push(table.map_err(|error| condition_error(FindError::Condition(error.further_up(1))))?);
        }
        let ranked = results.iter().filter(|name| !SAME.contains(name));
        let ranked = ranked.map(|name| format!("{} AS {}", quoted(name), hidden(name)));
        let named = |column: &FieldRef| MEASURED.contains(&column.name().as_str());
        if tables.iter().flat_map(computed).any(named) {
            let [pool] = pools else {
                refuse!(
                    "--where: a server compares `loss`, `entropy` and `norm` of one --pool at a time; select from each of these"
                );
            };
            let list: Vec<String> = SAME.map(quoted).into_iter().chain(ranked).collect();
            let rows = format!("SELECT \"row\" {}", rows_of(pool, condition));
            let from = format!("(SELECT {} FROM {call} WHERE \"row\" IN ({rows}))", list.join(", "));
            return Ok(Self { from, renamed: true, ties: ", \"row\"" });
        }
        let own = OwnColumns::new(&relation, &tables)?;
        own.check(condition)?;
        let list: Vec<String> = own.list().chain(ranked).collect();
        let table = pools.first().filter(|_| pools.len() == 1).map_or("pools", String::as_str);
        let from =
            format!("(SELECT {} FROM {call}) AS {} WHERE (\n{condition}\n)", list.join(", "), quoted(table));
        Ok(Self { from, renamed: true, ties: "" })
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
        format!(" ORDER BY {score}{}{}", if worst { "" } else { " DESC" }, self.ties)
    }
}

/// The pools' own columns in the relation.
struct OwnColumns {
    /// What all pools have alike: the name in their own tables, and the relation's.
    pairs: Vec<(String, String)>,
    /// What all have, and not alike.
    apart: Vec<String>,
}

impl OwnColumns {
    fn new(relation: &SchemaRef, tables: &[SchemaRef]) -> Result<Self> {
        let mut metadata: Vec<&FieldRef> = Vec::new();
        for column in tables.iter().flat_map(metadata_of) {
            if !metadata.iter().any(|known| known.name() == column.name()) {
                metadata.push(column);
            }
        }
        // The pools' metadata stands before the counts and the record, in order of first appearance.
        let fields = relation.fields();
        let end = fields.len().saturating_sub(COUNTS.len() + 1);
        let shown = &fields[end.saturating_sub(metadata.len())..end];
        let stem = |field: &FieldRef| field.name().trim_end_matches('_').to_owned();
        let stems = shown.iter().map(stem);
        if !stems.eq(metadata.iter().map(|column| stem(column))) {
            bail!("the server's relation of scores does not have the columns of its pools");
        }
        let (mut pairs, mut apart) = (Vec::new(), Vec::new());
        for (own, shown) in metadata.iter().zip(shown) {
            if tables.iter().all(|table| metadata_of(table).any(|column| is_like(column, own))) {
                pairs.push((own.name().clone(), shown.name().clone()));
            } else if tables.iter().all(|table| table.field_with_name(own.name()).is_ok()) {
                apart.push(own.name().clone());
            }
        }
        let all_count = |name: &&str| tables.iter().all(|table| table.field_with_name(name).is_ok());
        let same = SAME.into_iter().chain(COUNTS.into_iter().filter(all_count)).map(str::to_owned);
        let in_all =
            |own: &&FieldRef| tables.iter().all(|table| computed(table).any(|column| is_like(column, own)));
        let computed = tables.iter().take(1).flat_map(computed).filter(in_all);
        pairs.extend(same.chain(computed.map(|own| own.name().clone())).map(|name| (name.clone(), name)));
        Ok(Self { pairs, apart })
    }

    /// Refuses a condition on what is not one column in the relation.
    fn check(&self, condition: &str) -> Result<()> {
        let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.find_map(|word| self.apart.iter().find(|name| name.eq_ignore_ascii_case(word)));
        match named {
            Some(name) => refuse!(
                "--where: `{name}` is not of one type in these pools, and a server would compare it as one; select from each of them"
            ),
            None => Ok(()),
        }
    }

    fn list(&self) -> impl Iterator<Item = String> {
        // A computed column is none where a name is given with AS.
        self.pairs.iter().map(|(own, shown)| match own == shown {
            true => quoted(own),
            false => format!("{} AS {}", quoted(shown), quoted(own)),
        })
    }
}

fn is_like(column: &FieldRef, other: &FieldRef) -> bool {
    column.name() == other.name() && column.data_type() == other.data_type()
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

/// The rows of a pool for which the condition is true. It has lines of its own, so that a comment at its end
/// hides nothing.
fn rows_of(pool: &str, condition: &str) -> String {
    format!("FROM {} WHERE (\n{condition}\n)", quoted(pool))
}

/// What a column of the ranking is called next to the pools' own.
fn hidden(name: &str) -> String {
    quoted(&format!("{name} of the ranking"))
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
