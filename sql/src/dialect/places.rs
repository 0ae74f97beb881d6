//! `ORDER BY #2`: the number of a column of the result.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByKind, Value};

use crate::error::SqlError;
use crate::walk::{inner, visit_expressions, visit_queries_mut};

/// Puts plain numbers in the place of such numbers.
///
/// # Errors
/// One elsewhere, where DuckDB means a column of the tables.
pub(super) fn put(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    visit_queries_mut(sql, |query| {
        let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind)
        else {
            return;
        };
        for key in keys {
            if let Expr::Identifier(name) = &key.expr
                && let Some(digits) = number(name)
            {
                key.expr = Expr::Value(Value::Number(digits.to_owned(), false).with_span(name.span));
            }
        }
    });
    visit_expressions(&*sql, |expr| match expr {
        Expr::Identifier(name) if number(name).is_some() => {
            let why = "#1 is the first column of the result only in ORDER BY";
            let hint =
                "GROUP BY 1 is by the first column of the result; elsewhere write the name of the column";
            Err(SqlError::invalid(why.to_owned()).at_name(name).hint(hint))
        }
        _ => Ok(()),
    })
}

fn number(name: &Ident) -> Option<&str> {
    let digits = name.value.strip_prefix('#').filter(|_| name.quote_style.is_none())?;
    digits.parse::<u32>().is_ok().then_some(digits)
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
            assert!(error.contains("only in ORDER BY"), "{error}");
        }
        assert!(parse("SELECT \"#1\", #a FROM t").is_ok());
    }
}
