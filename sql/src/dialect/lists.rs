//! Lists in several orders in one SELECT: `list(x ORDER BY x), list(x ORDER BY x DESC)`.
//!
//! The engine puts the rows of all aggregate functions of a SELECT in one order. A list in the order of its
//! own values needs none: it is sorted when it is made.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderByExpr, Select, Statement,
};

use super::exprs::{call, order_of, text};
use crate::walk::{visit_own_expressions_mut, visit_selects_mut};

/// Sorts such lists where a SELECT has aggregate functions in several orders.
pub(super) fn sort(sql: &mut Statement) {
    visit_selects_mut(sql, |select| {
        let mut orders = HashSet::new();
        replace_calls(select, |function| {
            let keys = order(function)?.iter().map(ToString::to_string).collect::<Vec<_>>();
            orders.insert(keys.join(", ").to_lowercase());
            None
        });
        if orders.len() > 1 {
            replace_calls(select, sorted);
        }
    });
}

/// Puts what `other` gives in the place of the functions of a SELECT without its subqueries.
fn replace_calls(select: &mut Select, mut other: impl FnMut(&Function) -> Option<Expr>) {
    let mut put = |expr: &mut Expr| {
        if let Expr::Function(function) = expr
            && let Some(other) = other(function)
        {
            *expr = other;
        }
    };
    visit_own_expressions_mut(&mut select.projection, &mut put);
    visit_own_expressions_mut(&mut select.having, &mut put);
    visit_own_expressions_mut(&mut select.qualify, put);
}

/// The order of the rows of an aggregate function.
fn order(function: &Function) -> Option<&[OrderByExpr]> {
    order_of(function).filter(|_| function.over.is_none())
}

/// A list in the order of its own values, as one that is sorted.
fn sorted(function: &Function) -> Option<Expr> {
    let [key] = order(function)? else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] = list.args.as_slice() else { return None };
    let is_list = function.name.to_string().eq_ignore_ascii_case("array_agg");
    if !is_list || list.clauses.len() > 1 || of.to_string() != key.expr.to_string() {
        return None;
    }
    let mut unsorted = function.clone();
    if let FunctionArguments::List(list) = &mut unsorted.args {
        list.clauses.clear();
    }
    let order = if key.options.asc == Some(false) { "DESC" } else { "ASC" };
    let nulls = if key.options.nulls_first == Some(true) { "NULLS FIRST" } else { "NULLS LAST" };
    Some(call("array_sort", vec![Expr::Function(unsorted), text(order), text(nulls)]))
}

#[cfg(test)]
mod tests {
    use crate::dialect::calls::rewritten;

    #[test]
    fn lists_in_the_order_of_their_values_are_sorted() {
        for (sql, expected) in [
            (
                "SELECT list(x ORDER BY x)[1], list(DISTINCT x ORDER BY x DESC NULLS FIRST) FILTER (WHERE y) FROM t",
                "SELECT array_sort(array_agg(x), 'ASC', 'NULLS LAST')[1], array_sort(array_agg(DISTINCT x) FILTER (WHERE y), 'DESC', 'NULLS FIRST') FROM t",
            ),
            (
                "SELECT list(x ORDER BY x), list(x ORDER BY y) FROM t",
                "SELECT array_sort(array_agg(x), 'ASC', 'NULLS LAST'), array_agg(x ORDER BY y) FROM t",
            ),
            (
                "SELECT list(x ORDER BY x), (SELECT list(z ORDER BY z DESC) FROM u) FROM t",
                "SELECT array_agg(x ORDER BY x), (SELECT array_agg(z ORDER BY z DESC) FROM u) FROM t",
            ),
        ] {
            assert_eq!(rewritten(sql).as_deref(), Ok(expected));
        }
    }
}
