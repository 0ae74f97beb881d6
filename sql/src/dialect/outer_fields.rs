//! Fields of structs of the tables around a subquery, and of those with the names of tables: `t.s.a` as
//! `t.s['a']`.

use datafusion::common::{Column, TableReference};
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Statement as Sql, Subscript};

use super::exprs::text;
use crate::error::SqlError;
use crate::expanded::{self, name};
use crate::walk::{visit_expressions_mut, visit_selects};

/// Start of the engine's error about a field of an outer column; the column follows.
const OF_OUTER: &str = "nested identifiers are not yet supported for OuterReferenceColumn ";

/// Puts the fields of a struct in brackets where a table has its name too: of `x.s.a` the engine makes the
/// column `a` of a table `s`, as if `x` were its schema.
pub(super) fn bracket_shadowed(sql: &mut Sql) {
    let tables = tables(sql);
    let is_table = |part: &Ident| tables.contains(&name(part));
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [table, within @ .., _] = parts.as_slice()
            && is_table(table)
            && within.iter().any(is_table)
            && let [_, of, fields @ ..] = parts.as_slice()
        {
            *expr = in_brackets(table, Some(of), fields);
        }
    });
}

fn tables(sql: &Sql) -> Vec<String> {
    let mut tables: Vec<String> = Vec::new();
    visit_selects(sql, |select| tables.extend(expanded::tables(select)));
    tables
}

/// Puts the fields of a struct that an error of the engine is about in brackets; false if it is about
/// something else.
pub(super) fn bracket_fields(sql: &mut Sql, error: &SqlError) -> bool {
    let Some((_, column)) = error.message().split_once(OF_OUTER) else { return false };
    let column = Column::from_qualified_name(column);
    let is_no_table = !tables(sql).contains(&column.name);
    let mut changed = false;
    visit_expressions_mut(sql, |expr: &mut Expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(field) = bracketed(parts, &column, is_no_table)
        {
            *expr = field;
            changed = true;
        }
    });
    changed
}

/// A name with the fields of this column in brackets, if it has some. Without a table, `s.a` may be a column of
/// a table s, unless there is none.
fn bracketed(parts: &[Ident], column: &Column, is_no_table: bool) -> Option<Expr> {
    let is_table = |part: &Ident| column.relation.as_ref().map(TableReference::table) == Some(&*name(part));
    let (root, within, fields) = match parts {
        [table, of, fields @ ..] if name(of) == column.name && is_table(table) => (table, Some(of), fields),
        [of, fields @ ..] if name(of) == column.name && is_no_table => (of, None, fields),
        _ => return None,
    };
    (!fields.is_empty()).then(|| in_brackets(root, within, fields))
}

/// A name, or a column of the table that it is, with fields of it in brackets.
pub(super) fn in_brackets(root: &Ident, within: Option<&Ident>, fields: &[Ident]) -> Expr {
    let within = within.map(|of| AccessExpr::Dot(Expr::Identifier(of.clone())));
    let key = |field: &Ident| AccessExpr::Subscript(Subscript::Index { index: text(&name(field)) });
    Expr::CompoundFieldAccess {
        root: Box::new(Expr::Identifier(root.clone())),
        access_chain: within.into_iter().chain(fields.iter().map(key)).collect(),
    }
}

/// The error about a field that is not in brackets, since a table is called as its column.
pub(super) fn explain(error: SqlError) -> SqlError {
    let Some((_, column)) = error.message().split_once(OF_OUTER) else { return error };
    let worded =
        format!("`{column}` is a column of a table around the subquery, and a table has its name too");
    let hint = format!("write a field of it as {column}['name']");
    error.worded(worded).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn fields_of_tables_around_a_subquery_stand_in_brackets() {
        let error = |column: &str| SqlError::invalid(format!("not supported: {OF_OUTER}{column}"));
        for (sql, column, expected) in [
            ("SELECT x.s.A.b, y.s.a, s.a, x.s", "x.s", "SELECT x.s['a']['b'], y.s.a, s['a'], x.s"),
            ("SELECT \"X\".s.a, x.s.a", "\"X\".s", "SELECT \"X\".s['a'], x.s.a"),
            ("SELECT s.a.b", "s", "SELECT s['a']['b']"),
            ("SELECT x.s.a, s.a FROM s", "x.s", "SELECT x.s['a'], s.a FROM s"),
        ] {
            let (is_changed, found) = changed(sql, |sql| bracket_fields(sql, &error(column)));
            assert!(is_changed);
            assert_eq!(found, expected);
        }
        assert!(!changed("SELECT x.s.a", |sql| bracket_fields(sql, &SqlError::invalid("x.s".to_owned()))).0);
    }

    #[test]
    fn fields_of_a_column_with_the_name_of_a_table_stand_in_brackets() {
        for (sql, expected) in [
            ("SELECT x.s.A, s.a FROM x, y AS s", "SELECT x.s['a'], s.a FROM x, y AS s"),
            (
                "SELECT x.s.a.b FROM x, UNNEST([1]) AS a (b)",
                "SELECT x.s['a']['b'] FROM x, UNNEST([1]) AS a (b)",
            ),
            ("SELECT (SELECT x.s.a FROM s) FROM t AS x", "SELECT (SELECT x.s['a'] FROM s) FROM t AS x"),
            ("SELECT x.s.a, data.s.a FROM s", "SELECT x.s.a, data.s.a FROM s"),
            ("SELECT x.s.a, x.s FROM x", "SELECT x.s.a, x.s FROM x"),
            ("SELECT x.s.a, x.s FROM x, a", "SELECT x.s.a, x.s FROM x, a"),
        ] {
            assert_eq!(changed(sql, bracket_shadowed).1, expected);
        }
    }
}
