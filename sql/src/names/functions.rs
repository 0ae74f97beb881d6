//! Known functions: those of the engine, those of gstore, and those that the dialect rewrites.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use gstore_functions::{aggregate, scalar};

use super::calls::calls;

/// All names of functions, and of those of this kind that the dialect puts into another form.
fn names_of<'f>(kind: &str, functions: impl Iterator<Item = (&'f str, &'f [String])>) -> HashSet<String> {
    let names = |(name, aliases): (&str, &[String])| [&[name.to_owned()][..], aliases].concat();
    let rewritten = calls().filter(|(_, own, _)| *own == kind).map(|(name, ..)| name.to_owned());
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
