//! Names of functions here and in other databases, and words that name nothing: tables for the dialect and for what
//! errors suggest.

mod calls;
mod otherwise;
mod words;

pub(crate) use calls::{PARTS, RENAMED, call_of, calls as own_calls, renamed as renamed_functions};
pub(crate) use otherwise::{nearly_written_otherwise, written_otherwise};
pub(crate) use words::{FREE, is_taken};

/// Functions in FROM whose column has their name, as in DuckDB; the engine calls it `value`.
pub(crate) const SERIES: [&str; 2] = ["generate_series", "range"];

/// Table functions of a session, those of the engine included.
pub(crate) const TABLE_FUNCTIONS: [&str; 9] = [
    "influence",
    "daunce",
    "self_influence",
    "excluded",
    "nearest",
    "predicted",
    "vectors",
    "generate_series",
    "range",
];
