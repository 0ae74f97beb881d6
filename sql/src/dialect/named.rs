//! `WITH t(a, b) AS (SELECT 1, 1)`: the columns of a SELECT under the names that stand beside its table.
//!
//! The engine gives them these names only after it has refused two that are written alike.

use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Query, Select, SelectItem, SetExpr, SetQuantifier, TableAlias,
};

/// Gives the columns of a query the names of its table, if two of them are written alike.
pub(super) fn columns(query: &mut Query, table: &TableAlias) {
    // What is ordered or grouped may mean a column of the tables by such a name.
    if query.order_by.is_some() || table.columns.is_empty() {
        return;
    }
    let Some(select) = first(&mut query.body) else { return };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let clauses = grouped || select.having.is_some() || select.qualify.is_some();
    if clauses || select.projection.len() != table.columns.len() || !is_alike(&select.projection) {
        return;
    }
    for (item, column) in select.projection.iter_mut().zip(&table.columns) {
        if let SelectItem::UnnamedExpr(expr) = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name.clone() };
        }
    }
}

/// The SELECT whose columns are those of a query.
fn first(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation {
            left,
            set_quantifier: SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None,
            ..
        } => first(left),
        _ => None,
    }
}

/// Whether two columns of a SELECT are written alike.
fn is_alike(items: &[SelectItem]) -> bool {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    let plain = items.iter().all(|item| matches!(item, SelectItem::UnnamedExpr(_)));
    plain && texts.iter().enumerate().any(|(i, text)| texts.iter().take(i).any(|before| before == text))
}

#[cfg(test)]
mod tests {
    use super::super::resolve;

    #[test]
    fn columns_that_are_written_alike_have_the_names_of_their_table() {
        for (sql, expected) in [
            (
                "WITH RECURSIVE f(a, b) AS (SELECT 1, 1 UNION ALL SELECT b, a + b FROM f) SELECT a FROM f",
                "WITH RECURSIVE f (a, b) AS (SELECT 1 AS a, 1 AS b UNION ALL SELECT b, a + b FROM f) SELECT a FROM f",
            ),
            (
                "SELECT * FROM (SELECT x, x FROM u) AS t(a, b)",
                "SELECT * FROM (SELECT x AS a, x AS b FROM u) AS t (a, b)",
            ),
            (
                "SELECT * FROM (SELECT x, y FROM u) AS t(a, b)",
                "SELECT * FROM (SELECT x, y FROM u) AS t (a, b)",
            ),
        ] {
            let mut statement = crate::guard::parse(sql).unwrap();
            resolve(&mut statement);
            assert_eq!(statement.to_string(), expected);
        }
    }
}
