//! `(a, b) IN (SELECT x, y ..)` and `NOT IN` in WHERE, which the engine has for single columns: as EXISTS.
//!
//! Invariants
//! - what is true with the one form is with the other: of `IN` a comparison with NULL is as good as false in
//!   WHERE, and `NOT IN` is true only where each comparison is false
//! - so it stands where nothing but AND, OR and a NOT right before it is around it, and is refused elsewhere

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, SelectItem, SetExpr, UnaryOperator};

use super::exprs::{binary, has_unnest, of_item, query, subquery};
use crate::error::SqlError;
use crate::positions::start;
use crate::walk::{inner, visit_expressions, visit_selects_mut};
use crate::wording::columns_of_alias;

/// The name of the subquery's rows: no table has it.
const NAME: &str = "the rows";

/// Puts such comparisons into the words of the engine.
pub(crate) fn compare(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    visit_selects_mut(sql, |select| select.selection.as_mut().map_or(Ok(()), condition))?;
    visit_expressions(&*sql, |expr| match expr {
        Expr::InSubquery { expr: of, .. } if matches!(**of, Expr::Tuple(_)) => {
            let why = "(a, b) IN (SELECT ..) is allowed only in WHERE, alone or with AND and OR";
            let how =
                "elsewhere write a LEFT JOIN with (SELECT DISTINCT x, y FROM ..) u, and u.x IS NOT NULL";
            Err(SqlError::invalid(why.to_owned()).at_start_of(&**of).hint(how))
        }
        _ => Ok(()),
    })
}

/// The error about the columns of a subquery that the text of the statement does not count.
pub(super) fn explain(error: SqlError, statement: &mut Statement) -> SqlError {
    let Some((named, columns)) = columns_of_alias(error.message()) else { return error };
    let place = |expr: &Expr| {
        let Expr::InSubquery { expr: of, subquery, .. } = expr else { return None };
        let is_it = matches!(&**of, Expr::Tuple(values) if values.len() == named);
        (is_it && plain(&subquery.body).is_none()).then(|| start(&**subquery))
    };
    match inner(statement).and_then(|sql| visit_expressions(&*sql, place)) {
        Some(place) => uneven(named, columns).at(place),
        None => error,
    }
}

/// A row that is compared with one of another number of columns.
fn uneven(values: usize, columns: usize) -> SqlError {
    SqlError::invalid(format!("a row of {values} values is compared with one of {columns} in a subquery"))
}

/// Puts in the comparisons of a condition that is true, or false and NULL alike.
fn condition(expr: &mut Expr) -> Result<(), SqlError> {
    match expr {
        Expr::Nested(inner) => condition(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            condition(left)?;
            condition(right)
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr: denied } => {
            if let Some(exists) = exists(denied, true)? {
                *expr = exists;
            }
            Ok(())
        }
        _ => {
            if let Some(exists) = exists(expr, false)? {
                *expr = exists;
            }
            Ok(())
        }
    }
}

/// What such a comparison is as EXISTS, or the opposite of it.
fn exists(expr: &mut Expr, denied: bool) -> Result<Option<Expr>, SqlError> {
    if let Expr::Nested(inner) = expr {
        return exists(inner, denied);
    }
    let Expr::InSubquery { expr: of, subquery, negated } = expr else { return Ok(None) };
    let Expr::Tuple(values) = &mut **of else { return Ok(None) };
    if let Some(columns) = plain(&subquery.body).filter(|columns| *columns != values.len()) {
        return Err(uneven(values.len(), columns).at_start_of(&**subquery));
    }
    let negated = *negated != denied;
    let column = |n: usize| format!("\"column {n}\"");
    let names: Vec<String> = (1..=values.len()).map(column).collect();
    let text = format!("SELECT 1 FROM (SELECT 1) AS \"{NAME}\" ({})", names.join(", "));
    let equal = |(place, value): (usize, Expr)| {
        let column = Ident::with_quote('"', format!("column {}", place + 1));
        let column = Expr::CompoundIdentifier(vec![Ident::with_quote('"', NAME), column]);
        binary(Expr::Nested(Box::new(value)), BinaryOperator::Eq, column)
    };
    let all = std::mem::take(values).into_iter().enumerate().map(equal);
    let Some(all) = all.reduce(|left, right| binary(left, BinaryOperator::And, right)) else {
        return Ok(None);
    };
    let Some(mut outer) = query(&text) else { return Ok(None) };
    let Some(rows) = self::subquery(&mut outer) else { return Ok(None) };
    std::mem::swap(rows, &mut **subquery);
    let SetExpr::Select(select) = &mut *outer.body else { return Ok(None) };
    select.selection = Some(match negated {
        true => Expr::IsNotFalse(Box::new(Expr::Nested(Box::new(all)))),
        false => all,
    });
    Ok(Some(Expr::Exists { subquery: outer, negated }))
}

/// How many columns a query has, if its text says so.
fn plain(body: &SetExpr) -> Option<usize> {
    match body {
        SetExpr::Select(select) => {
            let is_one = |item: &SelectItem| of_item(item).is_some_and(|expr| !has_unnest(expr));
            select.projection.iter().all(is_one).then_some(select.projection.len())
        }
        SetExpr::Query(query) => plain(&query.body),
        SetExpr::SetOperation { left, .. } => plain(left),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;
    use crate::wording::alias_of_columns;

    fn compared(condition: &str) -> Result<String, SqlError> {
        let mut statement = parse(&format!("SELECT 1 FROM t WHERE {condition}")).unwrap();
        compare(&mut statement).map(|()| statement.to_string().replace("SELECT 1 FROM t WHERE ", ""))
    }

    #[test]
    fn rows_are_compared_by_exists() {
        let rows = "(SELECT 1 FROM (SELECT x, y FROM u) AS \"the rows\" (\"column 1\", \"column 2\") WHERE ";
        let equal = "(a) = \"the rows\".\"column 1\" AND (b + 1) = \"the rows\".\"column 2\"";
        for (condition, expected) in [
            ("(a, b + 1) IN (SELECT x, y FROM u)", format!("EXISTS {rows}{equal})")),
            ("(a, b + 1) NOT IN (SELECT x, y FROM u)", format!("NOT EXISTS {rows}({equal}) IS NOT FALSE)")),
            ("NOT ((a, b + 1) IN (SELECT x, y FROM u))", format!("NOT EXISTS {rows}({equal}) IS NOT FALSE)")),
            (
                "c OR (d AND NOT (a, b + 1) NOT IN (SELECT x, y FROM u))",
                format!("c OR (d AND EXISTS {rows}{equal}))"),
            ),
            ("a IN (SELECT x FROM u)", "a IN (SELECT x FROM u)".to_owned()),
        ] {
            assert_eq!(compared(condition).unwrap(), expected);
        }
    }

    #[test]
    fn where_null_is_not_false_rows_are_refused() {
        for condition in [
            "((a, b) IN (SELECT x, y FROM u)) IS NULL",
            "NOT (c OR (a, b) IN (SELECT x, y FROM u))",
            "CASE WHEN (a, b) IN (SELECT x, y FROM u) THEN 1 END = 1",
        ] {
            let error = compared(condition).unwrap_err().to_string();
            assert!(error.contains("is allowed only in WHERE"), "{error}");
        }
        let error = compared("(a, b) IN (SELECT x FROM u)").unwrap_err().to_string();
        assert!(error.contains("a row of 2 values is compared with one of 1 "), "{error}");
        let mut statement = parse("SELECT 1 FROM t WHERE (a, b) IN (SELECT x, u.* FROM u)").unwrap();
        let found = explain(alias_of_columns(2, 3), &mut statement).to_string();
        assert!(
            found.starts_with("a row of 2 values is compared with one of 3 in a subquery (line 1"),
            "{found}"
        );
        assert!(explain(alias_of_columns(4, 3), &mut statement).to_string().starts_with("AS names 4 "));
    }
}
