//! Words with which the parser begins a clause.

/// Words that stand behind a value or a table without AS, as its name.
pub(crate) const FREE: &str = "CLUSTER CONNECT DISTRIBUTE EXPLAIN FORMAT GLOBAL MATCH_CONDITION \
    MATCH_RECOGNIZE MINUS OPEN OUTPUT PARTITION PREWHERE SAMPLE SET SETTINGS SORT START VALUES VIEW";

/// Words that name nothing without AS and double quotes; DuckDB has some of them as names.
const TAKEN: [&str; 4] = ["ANALYZE", "EXCLUDE", "LATERAL", "RETURNING"];

/// Whether a word is one that the parser takes for the beginning of a clause where a name was meant.
pub(crate) fn is_taken(word: &str) -> bool {
    FREE.split(' ').chain(TAKEN).any(|taken| word.eq_ignore_ascii_case(taken))
}
