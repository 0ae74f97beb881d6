//! Names of functions here and in other databases, of the schema of datasets, and words that name nothing:
//! for the dialect and errors.

mod calls;
mod functions;
mod otherwise;
mod shorthand;

pub(crate) use calls::{PARTS, RENAMED, call_of, calls as own_calls, renamed as renamed_functions};
pub(crate) use functions::{called, is_aggregate, is_scalar};
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

/// Whether a word is one that the parser takes for the beginning of a clause where a name was meant.
pub(crate) fn is_taken(word: &str) -> bool {
    FREE.split(' ').chain(TAKEN).any(|taken| word.eq_ignore_ascii_case(taken))
}

/// Functions in FROM whose column has their name, as in DuckDB; the engine calls it `value`.
pub(crate) const SERIES: [&str; 2] = ["generate_series", "range"];

/// Table functions over a store, and how many of the first arguments of each are datasets.
pub(crate) const TABLE_FUNCTIONS: [(&str, usize); 7] = [
    ("influence", 2),
    ("daunce", 2),
    ("self_influence", 1),
    ("excluded", 2),
    ("nearest", 1),
    ("predicted", 1),
    ("vectors", 1),
];

/// The names of all table functions of a session, those of the engine included.
pub(crate) fn table_functions() -> impl Iterator<Item = &'static str> {
    TABLE_FUNCTIONS.into_iter().map(|(name, _)| name).chain(SERIES)
}
