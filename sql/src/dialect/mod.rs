//! Translation of statements for DuckDB or PostgreSQL into what the engine understands.
//!
//! The parser reads them by a grammar of ours, as far as it asks for one. Other forms that it does not know are
//! changed in the token stream, where each token keeps its place in the text; the rest in the parsed statement,
//! before it is planned. What has no meaning here is refused in one line that says how to write it.

mod aliases;
mod by_all;
mod calls;
mod casts;
mod chained;
mod column_names;
mod columns;
mod compared;
mod distinct_on;
mod exprs;
mod fields;
mod first;
mod forms;
mod framed;
mod frames;
mod free;
mod given;
mod globs;
mod grammar;
mod headings;
mod hidden;
mod joins;
mod lambdas;
mod lists;
mod lookups;
mod merged;
mod named;
mod negated;
mod numbers;
mod ordered;
mod outer_fields;
mod pivot;
mod places;
mod planned;
mod refused;
mod repeated;
mod rows;
mod sample;
mod scopes;
mod statement;
mod summarize;
mod tokens;
mod tuples;
mod twice;
mod types;
mod using;
mod within;

pub(crate) use calls::{known, resolve};
pub(crate) use columns::{expand as expand_columns, head as head_columns};
pub(crate) use fields::{field_key, structs};
pub(crate) use given::names_itself;
pub(crate) use headings::{Headings, renamed};
pub(crate) use lookups::{check_given_keys, columns_around, given_keys};
pub(crate) use merged::merge;
pub(crate) use pivot::{PivotValues, expand as expand_pivots};
pub(crate) use planned::{Planner, check_names, planned};
pub(crate) use sample::sampled;
pub(crate) use scopes::{put_before, rename_hiding, visit_outer_tables_mut};
pub use statement::{check_condition, where_clause};
pub(crate) use statement::{parse, parse_below};
pub(crate) use summarize::expand as expand_summary;
pub use tokens::statements;
pub(crate) use types::ZonedTypes;
pub(crate) use using::constraint as join_constraint;

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    use super::*;
    use crate::walk::inner;

    /// What `change` gives back of a statement, and the statement after it.
    pub(super) fn changed<T>(sql: &str, change: impl FnOnce(&mut Statement) -> T) -> (T, String) {
        let mut statement = parse(sql).unwrap();
        let found = change(inner(&mut statement).unwrap());
        (found, statement.to_string())
    }

    /// An expression in the words of the engine.
    pub(super) fn expression(sql: &str) -> String {
        let found = calls::rewritten(&format!("SELECT {sql} FROM t")).unwrap();
        let of_table = found.strip_prefix("SELECT ").and_then(|rest| rest.strip_suffix(" FROM t"));
        of_table.unwrap_or_else(|| panic!("{found}")).to_owned()
    }
}
