//! Names of functions here and in other databases, and words that name nothing: for the dialect and errors.

mod calls;
mod functions;
mod otherwise;
mod shorthand;
mod words;

pub(crate) use calls::{PARTS, RENAMED, call_of, calls as own_calls, renamed as renamed_functions};
pub(crate) use functions::{called, is_aggregate, is_scalar};
pub(crate) use otherwise::{catalog_otherwise, nearly_written_otherwise, written_otherwise};
pub(crate) use shorthand::SHORTHANDS;
pub(crate) use words::{FREE, is_taken};

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
