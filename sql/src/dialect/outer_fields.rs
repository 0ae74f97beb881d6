//! Fields of structs of the tables around a subquery: `t.s.a` as `t.s['a']`.

use datafusion::common::{Column, TableReference};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Statement as Sql, Subscript};

use super::exprs::text;
use crate::error::SqlError;
use crate::expanded::name;
use crate::walk::visit_expressions_mut;

/// Start of the engine's error about a field of an outer column; the column follows.
const OF_OUTER: &str = "nested identifiers are not yet supported for OuterReferenceColumn ";

/// Puts the fields of a struct that an error of the engine is about in brackets; false if it is about
/// something else.
pub(super) fn bracket_fields(sql: &mut Sql, error: &SqlError) -> bool {
    let Some((_, column)) = error.message().split_once(OF_OUTER) else { return false };
    let column = Column::from_qualified_name(column);
    let mut changed = false;
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(field) = bracketed(parts, &column)
        {
            *expr = field;
            changed = true;
        }
    });
    changed
}

/// A name with the fields of this column in brackets, if it has some.
fn bracketed(parts: &[Ident], column: &Column) -> Option<Expr> {
    // Without its table, a name of two parts may be a column of a table.
    let [table, of, fields @ ..] = parts else { return None };
    let is_table = column.relation.as_ref().map(TableReference::table) == Some(&*name(table));
    if fields.is_empty() || name(of) != column.name || !is_table {
        return None;
    }
    let within = AccessExpr::Dot(Expr::Identifier(of.clone()));
    let key = |field: &Ident| AccessExpr::Subscript(Subscript::Index { index: text(&name(field)) });
    Some(Expr::CompoundFieldAccess {
        root: Box::new(Expr::Identifier(table.clone())),
        access_chain: std::iter::once(within).chain(fields.iter().map(key)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn fields_of_tables_around_a_subquery_stand_in_brackets() {
        let error = |column: &str| SqlError::invalid(format!("not supported: {OF_OUTER}{column}"));
        for (sql, column, expected) in [
            ("SELECT x.s.A.b, y.s.a, s.a, x.s", "x.s", "SELECT x.s['a']['b'], y.s.a, s.a, x.s"),
            ("SELECT \"X\".s.a, x.s.a", "\"X\".s", "SELECT \"X\".s['a'], x.s.a"),
        ] {
            let (is_changed, found) = changed(sql, |sql| bracket_fields(sql, &error(column)));
            assert!(is_changed);
            assert_eq!(found, expected);
        }
        assert!(!changed("SELECT x.s.a", |sql| bracket_fields(sql, &SqlError::invalid("x.s".to_owned()))).0);
    }
}
