//! `x > ANY (SELECT ..)` and `x > ALL (SELECT ..)`: the column that is compared gets a name of its own. Lists:
//! `x = ANY ([1, 2])` is `x IN (1, 2)`, `a && b` is `list_has_any(a, b)`. `x IN (VALUES ..)` selects these rows,
//! since the engine makes no join with others.
//!
//! The engine makes a filter inside of the subquery of `x` and that column, and takes the two for one column
//! where they have one name.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, UnaryOperator, Value,
};

use super::exprs::{call, unnested, wrap};
use crate::error::SqlError;

/// The name: no column of a table has it.
const NAME: &str = "the compared";

/// Puts the words of the engine in the place of a comparison with ANY or ALL.
pub(super) fn put(expr: &mut Expr) {
    match of_list(expr) {
        Some(other) => *expr = other,
        None => name(expr),
    }
}

/// `= ANY` and `<> ALL` of a list, whose numbers may be of another type than the value.
fn of_list(expr: &Expr) -> Option<Expr> {
    let (left, list, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, &**right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, &**right, true),
        _ => return None,
    };
    match unnested(list) {
        Expr::Array(array) if !array.elem.is_empty() => {
            Some(Expr::InList { expr: left.clone(), list: array.elem.clone(), negated })
        }
        Expr::Subquery(_) => None,
        list if !negated => Some(call("list_contains", vec![list.clone(), (**left).clone()])),
        _ => None,
    }
}

/// Whether two lists have a value in common: `a && b`.
pub(super) fn overlap(left: &Expr, right: &Expr) -> Result<Expr, SqlError> {
    let sides = [unnested(left), unnested(right)];
    if sides.into_iter().any(is_single) {
        let why = "a && b asks whether two lists have a value in common";
        return Err(SqlError::invalid(why.to_owned()).hint("write AND between conditions, & for bits"));
    }
    Ok(call("list_has_any", sides.into_iter().cloned().collect()))
}

/// Whether an expression is a condition or a number, by its form.
fn is_single(expr: &Expr) -> bool {
    use BinaryOperator as Op;
    match expr {
        Expr::BinaryOp { op, .. } => {
            matches!(
                op,
                Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq | Op::And | Op::Or | Op::Plus
            )
        }
        Expr::UnaryOp { op, .. } => *op == UnaryOperator::Not,
        Expr::Value(value) => matches!(value.value, Value::Number(..) | Value::Boolean(_)),
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Between { .. }
        | Expr::InList { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. } => true,
        _ => false,
    }
}

/// Selects the rows of `VALUES` that an expression is looked up in.
pub(super) fn select_values(query: &mut Query) {
    if is_values(&query.body) {
        wrap(query, NAME);
    }
}

fn is_values(body: &SetExpr) -> bool {
    match body {
        SetExpr::Values(_) => true,
        SetExpr::Query(query) => is_values(&query.body),
        _ => false,
    }
}

/// Names the column of the subquery that an expression is compared with.
fn name(expr: &mut Expr) {
    let (Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }) = expr else { return };
    let Expr::Subquery(query) = &mut **right else { return };
    let ordered = query.order_by.is_some();
    if let SetExpr::Select(select) = &mut *query.body
        && renamed(select, ordered)
    {
        return;
    }
    wrap(query, NAME);
}

/// Gives the only item of a SELECT the name; false where it has another that the query may use.
fn renamed(select: &mut Select, ordered: bool) -> bool {
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let used = ordered || grouped || select.having.is_some() || select.qualify.is_some();
    let [item] = select.projection.as_mut_slice() else { return false };
    let expr = match item {
        SelectItem::UnnamedExpr(expr) => expr.clone(),
        SelectItem::ExprWithAlias { expr, .. } if !used => expr.clone(),
        _ => return false,
    };
    *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', NAME) };
    true
}

#[cfg(test)]
mod tests {
    use crate::dialect::calls::rewritten;

    #[test]
    fn the_column_of_a_comparison_has_a_name_of_its_own() {
        for (sql, expected) in [
            ("a > ANY (SELECT a FROM t)", "a > ANY(SELECT a AS \"the compared\" FROM t)"),
            ("a > ALL (SELECT b AS a FROM t)", "a > ALL(SELECT b AS \"the compared\" FROM t)"),
            (
                "a < ANY (SELECT b AS a FROM t ORDER BY a LIMIT 2)",
                "a < ANY(SELECT * FROM (SELECT b AS a FROM t ORDER BY a LIMIT 2) AS \"the compared\")",
            ),
            (
                "a < ALL (SELECT a FROM t UNION SELECT b FROM u)",
                "a < ALL(SELECT * FROM (SELECT a FROM t UNION SELECT b FROM u) AS \"the compared\")",
            ),
            ("a > ANY ([1, 2])", "a > ANY([1, 2])"),
            ("a = ANY ([1, b])", "a IN (1, b)"),
            ("a <> ALL ([1, 2])", "a NOT IN (1, 2)"),
            ("a = ANY (l)", "list_contains(l, a)"),
            ("a <> ALL (l)", "a <> ALL(l)"),
            ("l && ['a']", "list_has_any(l, ['a'])"),
            ("a IN (VALUES (1), (2))", "a IN (SELECT * FROM (VALUES (1), (2)) AS \"the compared\")"),
            (
                "a NOT IN ((VALUES (1)) LIMIT 1)",
                "a NOT IN (SELECT * FROM ((VALUES (1)) LIMIT 1) AS \"the compared\")",
            ),
            ("(a, b) IN (VALUES (1, 2))", "(a, b) IN (VALUES (1, 2))"),
        ] {
            let found = rewritten(&format!("SELECT 1 FROM t WHERE {sql}"));
            assert_eq!(found, Ok(format!("SELECT 1 FROM t WHERE {expected}")));
        }
    }
}
