//! Functions and operators that the engine does not have, or not as analysts expect them: of JSON, of times,
//! for counting, for numbers.
//!
//! Invariants
//! - what makes more of its arguments than they are has a limit in [`crate::bounds`], but for a few kilobytes
//!   of a bar; what is gathered over rows counts against the memory of the session
//! - results do not depend on the order of rows, nor on the number of threads

mod alike;
mod average;
mod best;
mod casts;
mod clashes;
mod columnar;
mod compared;
mod counts;
mod dates;
mod digests;
mod documents;
mod flags;
mod formatted;
mod input_order;
mod json;
mod kinds;
pub(crate) mod marked;
mod matches;
mod moments;
mod nans;
mod numbers;
mod objects;
mod ordered;
mod parts;
pub(crate) mod path;
mod printf;
mod quantiles;
mod rounded;
mod shape;
mod slices;
mod sliding;
pub(crate) mod spans;
mod spelled;
mod substr;
mod sum;
mod texts;
mod times;
mod whole;
mod written;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::prelude::SessionContext;

pub(crate) use casts::nearest as nearest_whole;
pub(crate) use clashes::no_cast;
pub(crate) use compared::ComparedSpans;
pub(crate) use flags::BooleanTexts;
pub(crate) use input_order::InputOrder;
pub(crate) use kinds::AS_TYPE;
pub(crate) use moments::Moments;
pub(crate) use nans::{CanonicalFloats, canonical};
pub(crate) use numbers::hash;
pub(crate) use objects::{JSON_TAKERS, gives_json, of_json};
pub(crate) use ordered::OrderedLists;
pub(crate) use rounded::RoundedCasts;
pub(crate) use slices::TextSlices;
pub(crate) use times::full_time;
pub(crate) use whole::Arithmetic;
pub(crate) use written::as_written;

use crate::names::own_calls;

/// Makes the functions known to a session.
pub(crate) fn register(context: &SessionContext) {
    scalar().for_each(|function| context.register_udf(function));
    aggregate().for_each(|function| context.register_udaf(function));
}

/// The functions of the values of a row.
fn scalar() -> impl Iterator<Item = ScalarUDF> {
    json::functions()
        .chain(numbers::functions())
        .chain(texts::functions())
        .chain(digests::functions())
        .chain(objects::functions())
        .chain(documents::functions())
        .chain(matches::functions())
        .chain(kinds::functions())
        .chain(printf::functions())
        .chain(alike::functions())
        .chain([dates::function(), formatted::function(), substr::function()])
}

/// Aggregate functions.
fn aggregate() -> impl Iterator<Item = AggregateUDF> {
    best::functions()
        .into_iter()
        .chain(counts::functions())
        .chain(quantiles::functions())
        .chain(shape::functions())
        .chain(sliding::functions())
        .chain([sum::function(), average::function()])
}

/// All names of functions, and of those of this kind that the dialect puts into another form.
fn names_of<'f>(kind: &str, functions: impl Iterator<Item = (&'f str, &'f [String])>) -> HashSet<String> {
    let names = |(name, aliases): (&str, &[String])| [&[name.to_owned()][..], aliases].concat();
    let rewritten = own_calls().filter(|(_, own, _)| *own == kind).map(|(name, ..)| name.to_owned());
    functions.flat_map(names).chain(rewritten).collect()
}

/// Whether a function is one of rows, by a name in lower case that it has here.
pub(crate) fn is_aggregate(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let engine = SessionStateDefaults::default_aggregate_functions();
        let own: Vec<AggregateUDF> = aggregate().collect();
        let all = engine.iter().map(|function| &**function).chain(&own);
        names_of("AGGREGATE", all.map(|function| (function.name(), function.aliases())))
    });
    NAMES.contains(name)
}

/// Whether a function is one of the values of a row, by such a name.
pub(crate) fn is_scalar(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let engine = SessionStateDefaults::default_scalar_functions();
        let own: Vec<ScalarUDF> = scalar().collect();
        let all = engine.iter().map(|function| &**function).chain(&own);
        names_of("SCALAR", all.map(|function| (function.name(), function.aliases())))
    });
    !is_aggregate(name) && NAMES.contains(name)
}

/// What plans call a function, by any of its names in lower case: `power` for `pow`.
pub(crate) fn called(name: &str) -> &str {
    static NAMES: LazyLock<HashMap<String, String>> = LazyLock::new(names);
    NAMES.get(name).map_or(name, String::as_str)
}

/// The names of all functions, each with that in plans; of two of the same name the one that a call finds.
fn names() -> HashMap<String, String> {
    let mut names = HashMap::new();
    let mut add = |name: &str, aliases: &[String]| {
        let all = aliases.iter().map(String::as_str).chain([name]);
        names.extend(all.map(|other| (other.to_owned(), name.to_owned())));
    };
    SessionStateDefaults::default_window_functions().iter().for_each(|f| add(f.name(), f.aliases()));
    SessionStateDefaults::default_aggregate_functions().iter().for_each(|f| add(f.name(), f.aliases()));
    aggregate().for_each(|f| add(f.name(), f.aliases()));
    SessionStateDefaults::default_scalar_functions().iter().for_each(|f| add(f.name(), f.aliases()));
    scalar().for_each(|f| add(f.name(), f.aliases()));
    names
}
