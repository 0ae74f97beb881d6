//! Statements of other databases, by their first words, and their replacements here.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use gstore_core::Remedy;

use super::{refuse, written};
use crate::error::SqlError;

/// Most words that are looked at.
const WORDS: usize = 8;
/// Words that change nothing about what is refused.
const BESIDE: [&str; 7] = ["EXPLAIN", "ANALYZE", "VERBOSE", "OR", "REPLACE", "TEMP", "TEMPORARY"];

/// Refuses a statement that begins with such words.
pub(crate) fn check_begun(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let word = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    };
    let text = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
    let words: Vec<String> = text.map_while(word).take(WORDS).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !BESIDE.contains(word)).collect();
    refused(&words).map_or(Ok(()), Err)
}

fn refused(words: &[&str]) -> Option<SqlError> {
    let (what, hint) = match *words {
        ["COPY", ..] => return Some(written("COPY")),
        ["EXPORT", "DATABASE", ..] => return Some(written("EXPORT DATABASE")),
        ["CREATE", "VIEW", ..] => return Some(refuse("CREATE VIEW")),
        ["CREATE", "TABLE", ref rest @ ..] if rest.contains(&"AS") => {
            let view = Remedy::InsteadOf("CREATE VIEW");
            let hint = format!(
                "WITH x AS (SELECT ..) names a result for one statement; for others {view} does that"
            );
            ("CREATE TABLE", hint)
        }
        ["CREATE", what @ ("MACRO" | "FUNCTION"), ..] => {
            let what = if what == "MACRO" { "CREATE MACRO" } else { "CREATE FUNCTION" };
            (what, "write the expression where it is used, or once as a column of WITH or of a view".into())
        }
        ["SET", "THREADS", ..] | ["SET", "GLOBAL" | "SESSION" | "LOCAL", "THREADS", ..] => {
            let threads = Remedy::Option("threads", "N");
            ("SET", format!("the number of threads is an option of the program that asks: {threads}"))
        }
        ["SET", ..] => return Some(refuse("SET")),
        ["PRAGMA", ..] => {
            ("PRAGMA", "DESCRIBE pool has the columns of a table, SHOW TABLES lists the tables".into())
        }
        ["USE", ..] => ("USE", "there is one store: SHOW TABLES lists its tables".into()),
        [what @ ("ATTACH" | "DETACH"), ..] => {
            (what, format!("a statement reads one store; {} makes a file a table", Remedy::OwnTable))
        }
        [what @ ("INSTALL" | "LOAD"), ..] => {
            (what, "there is nothing to load: all functions are built in".into())
        }
        ["CALL", ..] => ("CALL", "a function that makes a table is written after FROM".into()),
        _ => return None,
    };
    Some(refuse(what).hint(hint))
}

#[cfg(test)]
mod tests {
    #[test]
    fn statements_of_others_have_a_way_here() {
        let said = |sql| crate::dialect::parse(sql).unwrap_err().to_string();
        for (sql, what, hint) in [
            ("EXPORT DATABASE 'x'", "EXPORT DATABASE", "the program"),
            ("create or replace view v AS SELECT 1", "CREATE VIEW", "a job"),
            ("CREATE OR REPLACE TEMP TABLE x AS FROM pool", "CREATE TABLE", "WITH x AS ("),
            ("CREATE TABLE x (a INT)", "CREATE TABLE", "a job"),
            ("CREATE MACRO f(x) AS x + 1", "CREATE MACRO", "write the"),
        ] {
            let (said, says) =
                (said(sql), format!("{what} is not allowed: SQL only reads the store\n  {hint}"));
            assert!(said.contains(&says), "{said}");
        }
        for (sql, says) in [
            ("PRAGMA table_info(pool)", "DESCRIBE pool"),
            ("SET threads = 2", "program that asks: threads=N"),
            ("ATTACH 'x.db'", "ATTACH is not allowed"),
            ("LOAD json", "nothing to load"),
        ] {
            let said = said(sql);
            assert!(said.contains(says), "{said}");
        }
        assert!(said("SET GLOBAL threads TO 2").contains("threads=N"));
        assert_eq!(said("SET x = 1"), "SET is not allowed: SQL only reads the store");
        assert!(crate::dialect::check_condition("load = 1 AND call = 2").is_ok());
    }
}
