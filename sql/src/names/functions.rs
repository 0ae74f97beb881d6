//! Known functions: those of the engine, those of gstore, and those that the dialect rewrites.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults as Defaults;
use gstore_functions::{aggregate, scalar};

use super::calls::calls;

/// Whether a function is one of rows, by a name in lower case that it has here.
pub(crate) fn is_aggregate(name: &str) -> bool {
    known(name).is_some_and(|(kind, _)| *kind == "AGGREGATE")
}

/// Whether a function is one of the values of a row, by such a name.
pub(crate) fn is_scalar(name: &str) -> bool {
    known(name).is_some_and(|(kind, _)| *kind == "SCALAR")
}

/// What plans call a function, by any of its names in lower case: `power` for `pow`.
pub(crate) fn called(name: &str) -> &str {
    known(name).map_or(name, |(_, called)| called)
}

/// The kind of a function, and its name in plans.
fn known(name: &str) -> Option<&'static (&'static str, String)> {
    static NAMES: LazyLock<HashMap<String, (&str, String)>> = LazyLock::new(names);
    NAMES.get(name)
}

/// The names of all functions; of two of the same name the one that a call finds.
fn names() -> HashMap<String, (&'static str, String)> {
    let rewritten = calls().map(|(name, kind, _)| (name.to_owned(), (kind, name.to_owned())));
    let mut names: HashMap<_, _> = rewritten.collect();
    let mut add = |kind, name: &str, aliases: &[String]| {
        let all = aliases.iter().map(String::as_str).chain([name]);
        names.extend(all.map(|other| (other.to_owned(), (kind, name.to_owned()))));
    };
    Defaults::default_window_functions().iter().for_each(|f| add("WINDOW", f.name(), f.aliases()));
    Defaults::default_aggregate_functions().iter().for_each(|f| add("AGGREGATE", f.name(), f.aliases()));
    aggregate().for_each(|f| add("AGGREGATE", f.name(), f.aliases()));
    Defaults::default_scalar_functions().iter().for_each(|f| add("SCALAR", f.name(), f.aliases()));
    scalar().for_each(|f| add("SCALAR", f.name(), f.aliases()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_the_kind_and_the_name_that_a_call_finds() {
        for name in ["count", "count_if", "nth_value", "var_samp"] {
            assert!(is_aggregate(name) && !is_scalar(name), "{name}");
        }
        for name in ["pow", "if", "jaccard"] {
            assert!(is_scalar(name) && !is_aggregate(name), "{name}");
        }
        assert!(!is_scalar("row_number") && !is_aggregate("row_number") && !is_scalar("nothing"));
        assert_eq!(["pow", "count_if", "nothing"].map(called), ["power", "count_if", "nothing"]);
    }
}
