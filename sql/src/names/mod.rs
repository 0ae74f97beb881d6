//! Names of functions here and in other databases, of the schema of datasets, and words that name nothing:
//! for the dialect and errors.

mod calls;
mod functions;
mod otherwise;
mod shorthand;

pub(crate) use calls::{PARTS, RENAMED, call_of, calls as own_calls, renamed as renamed_functions};
pub(crate) use functions::{called, is_aggregate, is_scalar, is_volatile};
pub(crate) use otherwise::{catalog_otherwise, nearly_written_otherwise, written_otherwise};
pub(crate) use shorthand::SHORTHANDS;

/// The one catalog.
pub const CATALOG: &str = "store";
/// The schema of the dataset tables and views, which needs not be written.
pub const DATA: &str = "data";

/// Words that begin a clause of the parser, and stand behind a value or a table without AS, as its name.
pub(crate) const FREE: &str = "CLUSTER CONNECT DISTRIBUTE EXPLAIN FORMAT GLOBAL MATCH_CONDITION \
    MATCH_RECOGNIZE MINUS OPEN OUTPUT PARTITION PREWHERE SAMPLE SET SETTINGS SORT START VALUES VIEW";

/// Words that name nothing without AS and double quotes; DuckDB has some of them as names.
const TAKEN: [&str; 4] = ["ANALYZE", "EXCLUDE", "LATERAL", "RETURNING"];

/// A name as a statement takes it literally, in double quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a word is one that the parser takes for the beginning of a clause where a name was meant.
pub(crate) fn is_taken(word: &str) -> bool {
    FREE.split(' ').chain(TAKEN).any(|taken| word.eq_ignore_ascii_case(taken))
}

/// Functions in FROM whose column has their name, as in DuckDB; the engine calls it `value`.
pub(crate) const SERIES: [&str; 2] = ["generate_series", "range"];

/// A table function over a store.
#[derive(Debug, Clone, Copy)]
pub struct TableFunctionInfo {
    /// Its name.
    pub name: &'static str,
    /// How many of its first arguments are datasets.
    pub datasets: usize,
    /// The columns that it always gives, besides those of its pool.
    pub columns: &'static [&'static str],
    /// Whether it gives those of its pool.
    pub with_pool: bool,
}

const fn table_function(
    name: &'static str,
    datasets: usize,
    columns: &'static [&'static str],
    with_pool: bool,
) -> TableFunctionInfo {
    TableFunctionInfo { name, datasets, columns, with_pool }
}

/// The table functions over a store.
pub(crate) const TABLE_FUNCTIONS: [TableFunctionInfo; 7] = [
    table_function("influence", 2, &["score", "subtask"], true),
    table_function("daunce", 2, &["score", "subtask", "se", "z", "noise_floor", "models"], true),
    table_function("self_influence", 1, &["score"], true),
    table_function("excluded", 2, &["dataset", "row", "id", "reason"], false),
    table_function("nearest", 1, &["similarity"], true),
    table_function("predicted", 1, &["row", "id", "score", "target", "kept"], false),
    table_function("vectors", 1, &["row", "id", "vector", "flags", "norm"], false),
];

/// The names of all table functions of a session, those of the engine included.
pub(crate) fn table_functions() -> impl Iterator<Item = &'static str> {
    TABLE_FUNCTIONS.into_iter().map(|function| function.name).chain(SERIES)
}
