//! `x > ANY (SELECT ..)` and `x > ALL (SELECT ..)`: the column that is compared gets a name of its own.
//!
//! The engine makes a filter inside of the subquery of `x` and that column, and takes the two for one column
//! where they have one name.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr};

use super::exprs::{query, subquery};

/// The name: no column of a table has it.
const NAME: &str = "the compared";

/// Names the column of the subquery that an expression is compared with.
pub(super) fn name(expr: &mut Expr) {
    let (Expr::AnyOp { right, .. } | Expr::AllOp { right, .. }) = expr else { return };
    let Expr::Subquery(query) = &mut **right else { return };
    let ordered = query.order_by.is_some();
    if let SetExpr::Select(select) = &mut *query.body
        && renamed(select, ordered)
    {
        return;
    }
    if let Some(outer) = wrapped(query) {
        *query = outer;
    }
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

/// A query as a table of that name.
fn wrapped(inner: &Query) -> Option<Box<Query>> {
    let mut outer = query(&format!("SELECT * FROM (SELECT 1) AS \"{NAME}\""))?;
    *subquery(&mut outer)? = inner.clone();
    Some(outer)
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
        ] {
            let found = rewritten(&format!("SELECT 1 FROM t WHERE {sql}"));
            assert_eq!(found, Ok(format!("SELECT 1 FROM t WHERE {expected}")));
        }
    }
}
