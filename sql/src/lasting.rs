//! Statements whose answer stays the same as long as the snapshot does: they read no clock, draw no numbers,
//! and name no table whose rows are those of the moment.

use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;

use super::catalog::Tables;
use super::dialect;

/// Whether the answer of a statement stays the same, by its words, and those of all views where it names one:
/// a column that has the name of a function or table that would change it counts as one.
pub(super) fn is_lasting(sql: &str, state: &SessionState, tables: &Tables) -> bool {
    let passes = |word: &str| {
        let word = word.to_ascii_lowercase();
        let function = state.scalar_functions().get(dialect::known(&word));
        function.is_some_and(|function| function.signature().volatility != Volatility::Immutable)
            || tables.live.iter().any(|table| table.name() == word)
    };
    let views = tables.snapshot.views();
    let is_view = |word: &str| views.iter().any(|view| view.name.eq_ignore_ascii_case(word));
    let viewed = words(sql).any(is_view) && views.iter().any(|view| words(&view.sql).any(passes));
    tables.own.is_empty() && !viewed && !words(sql).any(passes)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}
