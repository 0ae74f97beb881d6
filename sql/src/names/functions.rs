//! Known functions: those of the engine, those of gstore, and those that the dialect rewrites.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults as Defaults;
use datafusion::logical_expr::Volatility;
use gstore_functions::{aggregate, scalar};

use super::calls::calls;

/// Whether a function is one of rows, by a name in lower case that it has here.
pub(crate) fn is_aggregate(name: &str) -> bool {
    known(name).is_some_and(|known| known.kind == "AGGREGATE")
}

/// Whether a function is one of the values of a row, by such a name.
pub(crate) fn is_scalar(name: &str) -> bool {
    known(name).is_some_and(|known| known.kind == "SCALAR")
}

/// Whether a function gives another value each time, by such a name.
pub(crate) fn is_volatile(name: &str) -> bool {
    known(name).is_some_and(|known| known.volatility == Volatility::Volatile)
}

/// What plans call a function, by any of its names in lower case: `power` for `pow`.
pub(crate) fn called(name: &str) -> &str {
    known(name).map_or(name, |known| &known.called)
}

struct KnownFunction {
    kind: &'static str,
    /// Its name in plans.
    called: String,
    volatility: Volatility,
}

fn known(name: &str) -> Option<&'static KnownFunction> {
    static NAMES: LazyLock<HashMap<String, KnownFunction>> = LazyLock::new(names);
    NAMES.get(name)
}

/// The names of all functions; of two of the same name the one that a call finds.
fn names() -> HashMap<String, KnownFunction> {
    let mut names = HashMap::new();
    let mut add = |kind, name: &str, aliases: &[String], volatility| {
        let all = aliases.iter().map(String::as_str).chain([name]);
        let function =
            |other: &str| (other.to_owned(), KnownFunction { kind, called: name.to_owned(), volatility });
        names.extend(all.map(function));
    };
    // What these stand for has nothing that differs each time.
    calls().for_each(|(name, kind, _)| add(kind, name, &[], Volatility::Immutable));
    for f in Defaults::default_window_functions() {
        add("WINDOW", f.name(), f.aliases(), f.signature().volatility);
    }
    for f in Defaults::default_aggregate_functions() {
        add("AGGREGATE", f.name(), f.aliases(), f.signature().volatility);
    }
    aggregate().for_each(|f| add("AGGREGATE", f.name(), f.aliases(), f.signature().volatility));
    for f in Defaults::default_scalar_functions() {
        add("SCALAR", f.name(), f.aliases(), f.signature().volatility);
    }
    scalar().for_each(|f| add("SCALAR", f.name(), f.aliases(), f.signature().volatility));
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
        assert!(is_volatile("random") && is_volatile("uuid") && !is_volatile("now") && !is_volatile("pow"));
    }
}
