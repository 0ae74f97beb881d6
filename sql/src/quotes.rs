//! Hints for text in double quotes, which in SQL are for names.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, visit_expressions};

use super::error::{SqlError, SqlErrorKind};
use super::parameters::inner;

/// The names of a statement that stand in double quotes.
pub(super) fn quoted(statement: &mut Statement) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(sql) = inner(statement) {
        let _ = visit_expressions(&*sql, |expr: &Expr| {
            if let Expr::Identifier(name) = expr
                && name.quote_style == Some('"')
            {
                found.push(name.value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
    }
    found
}

/// An error about a column that is not there, with a hint where its name was quoted like text.
pub(super) fn explained(error: SqlError, quoted: &[String]) -> SqlError {
    let missing = |name: &&String| error.message() == format!("there is no column `{name}`");
    match quoted.iter().find(missing) {
        Some(name) if error.kind() == SqlErrorKind::Unknown && !error.has_guess() => {
            let text = name.replace('\'', "''");
            error.hint(format!("double quotes are for names; text stands in single quotes: '{text}'"))
        }
        _ => error,
    }
}
