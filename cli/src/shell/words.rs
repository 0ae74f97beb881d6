//! The words that completion offers: keywords and functions of SQL, and the names of a snapshot: of tables,
//! columns, functions, features, checkpoints and runs.

use gstore_sql::TableFunctionInfo;

/// Keywords that are offered and coloured.
#[rustfmt::skip]
pub const KEYWORDS: &[&str] = &[
    "ALL", "AND", "ANTI", "AS", "ASC", "BETWEEN", "BY", "CASE", "CAST", "CROSS", "DESC", "DESCRIBE", "DISTINCT", "ELSE",
    "END", "EXCEPT", "EXCLUDE", "EXISTS", "EXPLAIN", "FALSE", "FILTER", "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN",
    "INNER", "INTERSECT", "IS", "JOIN", "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "NULLS", "OFFSET", "ON", "OR", "ORDER",
    "OUTER", "OVER", "PARTITION", "QUALIFY", "RECURSIVE", "RIGHT", "ROLLUP", "SELECT", "SEMI", "SHOW", "TABLES", "THEN",
    "TRUE", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WINDOW", "WITH",
];

/// Whether a word is a keyword, in upper or lower case.
pub fn is_keyword(word: &str) -> bool {
    is_one_of(word, KEYWORDS)
}

/// Whether a word is one of these keywords, in upper or lower case.
pub fn is_one_of(word: &str, keywords: &[&str]) -> bool {
    keywords.contains(&word.to_uppercase().as_str())
}

/// The function of this name that gives a table.
pub fn table_function(name: &str) -> Option<TableFunctionInfo> {
    gstore_sql::table_functions().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// The names of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompletionNames {
    /// Tables, those of the datasets by their names alone.
    pub tables: Vec<CompletionTable>,
    /// Functions of one value or of an aggregate.
    pub functions: Vec<String>,
    /// Dataset and label of each feature.
    pub features: Vec<(String, String)>,
    pub checkpoints: Vec<String>,
    pub runs: Vec<String>,
}

/// A table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionTable {
    /// Its name as a statement has it.
    pub name: String,
    /// Whether it holds samples.
    pub is_dataset: bool,
    /// Names and types of its columns.
    pub columns: Vec<(String, String)>,
}

impl CompletionNames {
    pub fn table(&self, name: &str) -> Option<&CompletionTable> {
        self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
    }

    pub fn datasets(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().filter(|table| table.is_dataset).map(|table| table.name.as_str())
    }
}
