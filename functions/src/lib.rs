//! Functions and operators that the engine does not have, or not as analysts expect them: of JSON, of times,
//! for counting, for numbers. They run over rows, and so are compiled apart from what plans statements.
//!
//! - [`register`]: all functions for a session; beside them the rules and planners that put the functions in
//!   the place of operators, casts and calls
//! - [`marked`]: which texts are JSON, by their types
//! - [`record_texts`]: prompts, completions and whole texts of training records
//! - [`spans`]: intervals as text
//! - [`FunctionError`]: why a function gives no value
//!
//! Invariants
//! - what makes more of its arguments than they are has a limit in the `bounds` of gstore-sql, but for a few
//!   kilobytes of a bar; what is gathered over rows counts against the memory of the session
//! - results do not depend on the order of rows, nor on the number of threads

#![forbid(unsafe_code)]

mod alike;
mod average;
mod best;
mod bits;
mod branches;
mod casts;
mod clashes;
mod columnar;
mod compared;
mod composed;
mod counts;
mod dates;
mod digests;
mod doubles;
mod edges;
mod elements;
mod error;
mod extremes;
mod formatted;
mod forward;
mod framed;
mod gathered;
mod in_lists;
mod input_order;
mod json;
mod kinds;
mod leads;
mod lengths;
mod lists;
pub mod marked;
mod matches;
mod nans;
mod narrowed;
mod nullable;
mod numbers;
mod objects;
mod operators;
mod ordered;
mod partitions;
mod parts;
mod patterns;
mod printf;
mod quantiles;
mod ranges;
mod records;
mod rewrites;
mod round;
mod rounded;
mod shape;
mod shifts;
mod sides;
mod signatures;
mod slices;
mod sliding;
pub mod spans;
mod spelled;
mod strptime;
mod substr;
mod sum;
mod texts;
mod times;
mod types;
mod units;
mod unnested;
mod whole;
mod written;
mod years;
mod zones;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub use casts::nearest as nearest_whole;
pub use clashes::no_cast;
pub use composed::NullLists;
pub use error::{BEYOND, FunctionError, FunctionErrorKind, NO_TIMES, TIMES};
pub use gathered::is_of_elements;
pub use kinds::AS_TYPE;
pub use nans::canonical;
pub use nullable::nullable;
pub use numbers::hash;
pub use objects::{JSON_TAKERS, gives_json, of_json};
pub use printf::MAX_PRINTED;
pub use ranges::with_ranges;
pub use records::{RecordPart, record_texts};
pub use rewrites::TypedPlans;
pub use sides::CastSides;
pub use signatures::own as own_arguments;
pub use slices::TextSlices;
pub use strptime::{engine_format, has_zone};
pub use times::{full_time, read as read_times};
pub use types::name as type_name;
pub use unnested::{KEPT, with_plain_columns, without_unnested_keys};
pub use whole::Arithmetic;
pub use written::as_written;
pub use zones::UTC;

/// Makes the functions known to a session.
pub fn register(context: &SessionContext) {
    scalar().for_each(|function| context.register_udf(function));
    aggregate().for_each(|function| context.register_udaf(function));
    leads::functions().into_iter().for_each(|function| context.register_udwf(function));
}

/// The functions of the values of a row.
pub fn scalar() -> impl Iterator<Item = ScalarUDF> {
    json::functions()
        .chain(numbers::functions())
        .chain(texts::functions())
        .chain(digests::functions())
        .chain(objects::functions())
        .chain(matches::functions())
        .chain(kinds::functions())
        .chain(lists::functions())
        .chain(composed::functions())
        .chain(lengths::functions())
        .chain(gathered::functions())
        .chain(printf::functions())
        .chain(alike::functions())
        .chain(formatted::functions())
        .chain(edges::functions())
        .chain(doubles::functions())
        .chain(zones::functions())
        .chain(units::functions())
        .chain([dates::function(), strptime::function(), substr::function()])
}

/// Aggregate functions.
pub fn aggregate() -> impl Iterator<Item = AggregateUDF> {
    best::functions()
        .into_iter()
        .chain(counts::functions())
        .chain(extremes::functions())
        .chain(quantiles::functions())
        .chain(shape::functions())
        .chain(sliding::functions())
        .chain(bits::functions())
        .chain([sum::function(), average::function()])
}
