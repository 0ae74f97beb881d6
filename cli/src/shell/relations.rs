//! Tables and table functions of a statement that is being typed, and their columns.

use gstore_sql::{TableFunctionInfo, quoted, virtual_columns};

use super::lexer::{Token, TokenKind, pieces};
use super::words::{CompletionNames, is_keyword, table_function};

/// A relation that the statement names.
pub(super) struct Relation {
    /// Its name, or that of the function.
    pub(super) name: String,
    /// The name that the statement gives it.
    pub(super) alias: Option<String>,
    /// Its columns, as a statement writes them.
    pub(super) columns: Vec<String>,
}

/// The relations of a text: what stands behind FROM and JOIN.
pub(super) fn relations(words: &CompletionNames, line: &str) -> Vec<Relation> {
    let all = pieces(line);
    let texts: Vec<&str> = all.iter().map(|piece| piece.of(line)).collect();
    let mut found = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        if !matches!(text.to_uppercase().as_str(), "FROM" | "JOIN") {
            continue;
        }
        let behind = &texts[i + 1..];
        let function = behind.first().and_then(|name| table_function(name));
        let (relation, mut next) = match (behind, function) {
            ([schema, ".", table, ..], _) => (columns(words, &format!("{schema}.{table}")), i + 4),
            ([_, "(", rest @ ..], Some(function)) => {
                let end = rest.iter().position(|text| *text == ")").unwrap_or(rest.len());
                let pool = rest[..end].iter().find(|text| text.starts_with('\'')).copied();
                (function_columns(words, function, pool), i + 4 + end)
            }
            ([table, ..], _) => (columns(words, table.trim_matches('"')), i + 2),
            ([], _) => continue,
        };
        if texts.get(next).is_some_and(|word| word.eq_ignore_ascii_case("AS")) {
            next += 1;
        }
        let is_alias = |piece: &&Token| match piece.kind {
            TokenKind::Name => piece.closed,
            TokenKind::Word => !is_keyword(piece.of(line)),
            _ => false,
        };
        let alias = all.get(next).filter(is_alias).map(|piece| piece.of(line).trim_matches('"').to_owned());
        found.push(Relation { alias, ..relation });
    }
    found
}

fn columns(words: &CompletionNames, name: &str) -> Relation {
    let table = words.table(name);
    let stored = table.into_iter().flat_map(|table| table.columns.iter().map(|(name, _)| quote_name(name)));
    let made = table.filter(|table| table.is_dataset).map(|_| virtual_columns().map(str::to_owned));
    let columns = stored.chain(made.into_iter().flatten()).collect();
    Relation { name: name.to_owned(), alias: None, columns }
}

pub(super) fn any_column(words: &CompletionNames) -> Vec<String> {
    let tables = words.tables.iter().flat_map(|table| columns(words, &table.name).columns);
    let functions = gstore_sql::table_functions().flat_map(|function| function.columns);
    tables.chain(functions.map(|name| (*name).to_owned())).collect()
}

fn function_columns(words: &CompletionNames, function: TableFunctionInfo, pool: Option<&str>) -> Relation {
    let pool = pool.filter(|_| function.with_pool).unwrap_or_default();
    let of_pool = columns(words, pool.trim_matches('\'')).columns;
    let columns = function.columns.iter().map(|name| (*name).to_owned()).chain(of_pool).collect();
    Relation { name: function.name.to_owned(), alias: None, columns }
}

/// A name as a statement must write it.
fn quote_name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { quoted(name) }
}

/// The name of a table, whose schema stays as it is.
pub(super) fn shown_table(name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!("{schema}.{}", quote_name(table)),
        None => quote_name(name),
    }
}
