//! `ORDER BY #2`: the number of a column of the result.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByKind, Query, Value, VisitorMut};

use crate::error::SqlError;
use crate::walk::{VisitMut, error_of, inner};

/// Puts plain numbers in the place of such numbers.
///
/// # Errors
/// One elsewhere, where DuckDB means a column of the tables.
pub(super) fn put(statement: &mut Statement) -> Result<(), SqlError> {
    inner(statement).map_or(Ok(()), |sql| error_of(sql.visit(&mut Places)))
}

/// The digits of such a number.
fn number(name: &Ident) -> Option<&str> {
    let digits = name.value.strip_prefix('#').filter(|_| name.quote_style.is_none())?;
    digits.parse::<u32>().is_ok().then_some(digits)
}

struct Places;

impl VisitorMut for Places {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order.kind
        {
            for key in keys {
                if let Expr::Identifier(name) = &key.expr
                    && let Some(digits) = number(name)
                {
                    let place = Value::Number(digits.to_owned(), false).with_span(name.span);
                    key.expr = Expr::Value(place);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Identifier(name) = expr
            && number(name).is_some()
        {
            let why = "#1 is the first column of the result in ORDER BY alone";
            let error = SqlError::invalid(why.to_owned()).at_name(name);
            let hint =
                "GROUP BY 1 is by the first column of the result; elsewhere write the name of the column";
            return ControlFlow::Break(Box::new(error.hint(hint)));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::parse;

    #[test]
    fn numbers_of_columns_are_plain_ones_in_the_order_of_a_query() {
        let parsed = parse("SELECT * FROM (SELECT a, b FROM t ORDER BY #2 DESC) ORDER BY #1, a").unwrap();
        let expected = "SELECT * FROM (SELECT a, b FROM t ORDER BY 2 DESC) ORDER BY 1, a";
        assert_eq!(parsed.to_string(), expected);
        for sql in
            ["SELECT #1 FROM t", "SELECT a FROM t GROUP BY #1", "SELECT sum(a) OVER (ORDER BY #1) FROM t"]
        {
            let error = parse(sql).unwrap_err().to_string();
            assert!(error.contains("in ORDER BY alone"), "{error}");
        }
        assert!(parse("SELECT \"#1\", #a FROM t").is_ok());
    }
}
