//! Columns with capitals in their names, found by names without quotes in letters of any case: the engine
//! reads such names in lower case.
//!
//! Invariants
//! - a name that the engine finds stays what it is: another is put into statements that cannot be planned
//! - the column is the only one in its place whose name differs in nothing but the case of letters

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident};

use super::error::SqlError;
use super::quotes::{AmbiguousNames, TextPosition};
use super::walk::{inner, visit_expressions_mut};

/// Puts the name that an error proposes in the place of the one that it is about; false where there is none.
/// An error that does not know its place, or whose place has been put right, is about each such name, if the
/// statement gives none like it.
pub(super) fn respell(statement: &mut Statement, names: &AmbiguousNames, error: &SqlError) -> bool {
    let Some(exact) = error.exact_name() else { return false };
    let Some(sql) = inner(statement) else { return false };
    let mut respell_at = |place: Option<TextPosition>| {
        let mut found = false;
        let _ = visit_expressions_mut(sql, |expr: &mut Expr| {
            let parts = match expr {
                Expr::Identifier(name) => std::slice::from_mut(name),
                Expr::CompoundIdentifier(parts) => parts.as_mut_slice(),
                _ => return ControlFlow::<()>::Continue(()),
            };
            let start = parts.first().map(|first| (first.span.start.line, first.span.start.column));
            if let Some(last) = parts.last_mut()
                && (place.is_none() || place == start)
                && last.quote_style.is_none()
                && last.value.eq_ignore_ascii_case(exact)
            {
                *last = Ident { value: exact.to_owned(), quote_style: Some('"'), span: last.span };
                found = true;
            }
            ControlFlow::Continue(())
        });
        found
    };
    let is_there = error.position().is_some_and(|place| respell_at(Some(place)));
    is_there || (!names.gives(&exact.to_ascii_lowercase()) && respell_at(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;

    #[test]
    fn names_are_put_where_the_error_is() {
        let sql = "SELECT p.TOPIC, topic, \"topic\", topics FROM pool p GROUP BY Topic";
        let error = || SqlError::unknown(String::new()).exactly("Topic".to_owned());
        let respelled = |error: &SqlError| {
            let mut statement = parse(sql).unwrap();
            let names = AmbiguousNames::of(&mut statement);
            respell(&mut statement, &names, error).then(|| statement.to_string())
        };
        let one = "SELECT p.\"Topic\", topic, \"topic\", topics FROM pool p GROUP BY Topic";
        assert_eq!(respelled(&error().at(1, 8)).as_deref(), Some(one));
        let all = "SELECT p.\"Topic\", \"Topic\", \"topic\", topics FROM pool p GROUP BY \"Topic\"";
        assert_eq!(respelled(&error()).as_deref(), Some(all));
        // Of a place that has none such left.
        assert_eq!(respelled(&error().at(1, 9)).as_deref(), Some(all));
        assert_eq!(respelled(&SqlError::unknown(String::new()).at(1, 8)), None);
    }

    #[test]
    fn names_that_the_statement_gives_are_left() {
        let mut statement = parse("SELECT 1 AS topic FROM pool GROUP BY topic").unwrap();
        let names = AmbiguousNames::of(&mut statement);
        let error = SqlError::unknown(String::new()).exactly("Topic".to_owned());
        assert!(!respell(&mut statement, &names, &error));
    }
}
