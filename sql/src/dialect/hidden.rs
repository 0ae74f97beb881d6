//! Tables around a subquery whose name is that of a column in it: `FROM t AS ok WHERE EXISTS (SELECT 1 FROM u
//! WHERE u.id = ok.id)`, where `u` has a column `ok`.
//!
//! The engine reads `ok.id` as a field of that column. Where the column has no fields, the table gets a name
//! that no column has.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow_schema::DataType;
use datafusion::common::ExprSchema;
use datafusion::logical_expr::{Expr as Planned, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectNamePart, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    Statement, TableAlias, TableFactor, Visitor,
};

use crate::error::SqlError;
use crate::expanded::{self, name};
use crate::plans::has_expr;
use crate::walk::{Visit, visit_expressions_mut, visit_selects_mut, visit_tables_mut};
use crate::wording::{LIST_FIELDS, NO_FIELDS};

/// The tables of a statement that subqueries name which do not have them.
pub(super) fn tables(sql: &Statement) -> HashSet<String> {
    let mut outer = OuterTables::default();
    let _ = Visit::visit(sql, &mut outer);
    outer.named
}

/// Whether a plan reads a field of a column that has one of these names, and no fields; or was refused for
/// that.
pub(super) fn are_read(tables: &HashSet<String>, planned: &Result<LogicalPlan, SqlError>) -> bool {
    if tables.is_empty() {
        return false;
    }
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            let message = error.message();
            return [NO_FIELDS, LIST_FIELDS].contains(&message)
                || message.starts_with("Cannot access field at argument");
        }
    };
    has_expr(plan, |node, part| field_of(part, node).is_some_and(|column| tables.contains(column)))
        .unwrap_or(false)
}

/// The column without fields that an expression reads a field of.
fn field_of<'a>(expr: &'a Planned, node: &LogicalPlan) -> Option<&'a str> {
    let Planned::ScalarFunction(call) = expr else { return None };
    let Some(Planned::Column(column)) = call.args.first().filter(|_| call.func.name() == "get_field") else {
        return None;
    };
    let input = |input: &&LogicalPlan| input.schema().field_from_column(column).ok().cloned();
    let field = node.inputs().iter().find_map(input)?;
    let has_fields = matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..) | DataType::Null);
    (!has_fields).then_some(column.name.as_str())
}

/// Gives these tables names that no column has.
pub(super) fn rename(sql: &mut Statement, tables: &HashSet<String>) {
    let put = |table: &mut Ident| {
        if tables.contains(&name(table)) {
            table.value = format!("table {}", name(table));
            table.quote_style = Some('"');
        }
    };
    visit_tables_mut(sql, |factor| match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. }
        | TableFactor::NestedJoin { alias: Some(alias), .. }
        | TableFactor::Pivot { alias: Some(alias), .. }
        | TableFactor::Unpivot { alias: Some(alias), .. } => put(&mut alias.name),
        TableFactor::Table { name: table, alias, .. } => {
            let last = table.0.last().and_then(|part| part.as_ident());
            if let Some(last) = last.filter(|last| tables.contains(&name(last))) {
                let mut last = last.clone();
                put(&mut last);
                *alias = Some(TableAlias { explicit: true, name: last, columns: Vec::new(), at: None });
            }
        }
        _ => {}
    });
    visit_selects_mut(sql, |select| {
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), _) = item
                && let [ObjectNamePart::Identifier(only)] = table.0.as_mut_slice()
            {
                put(only);
            }
        }
    });
    visit_expressions_mut(sql, |expr| match expr {
        Expr::CompoundIdentifier(parts) => {
            if let [table, _, ..] = parts.as_mut_slice() {
                put(table);
            }
        }
        // `t.list[1]`
        Expr::CompoundFieldAccess { root, access_chain } => {
            if let (Expr::Identifier(table), Some(AccessExpr::Dot(_))) = (&mut **root, access_chain.first()) {
                put(table);
            }
        }
        _ => {}
    });
}

/// The tables of the queries around a place, and those that are named from within.
#[derive(Default)]
struct OuterTables {
    around: Vec<HashSet<String>>,
    named: HashSet<String>,
}

impl Visitor for OuterTables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.around.push(match &*query.body {
            SetExpr::Select(select) => expanded::tables(select).into_iter().collect(),
            _ => HashSet::new(),
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.around.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let (Expr::CompoundIdentifier(parts), Some((own, around))) = (expr, self.around.split_last())
            && let [table, _] = parts.as_slice()
        {
            let table = name(table);
            if !own.contains(&table) && around.iter().any(|tables| tables.contains(&table)) {
                self.named.insert(table);
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;

    #[test]
    fn tables_that_subqueries_name_have_names_of_their_own() {
        let rename = |sql: &mut Statement| {
            let tables = tables(sql);
            rename(sql, &tables);
        };
        for (sql, expected) in [
            (
                "SELECT ok.*, id FROM t AS ok WHERE EXISTS (SELECT 1 FROM u WHERE u.id = ok.id)",
                r#"SELECT "table ok".*, id FROM t AS "table ok" WHERE EXISTS (SELECT 1 FROM u WHERE u.id = "table ok".id)"#,
            ),
            (
                "SELECT (SELECT max(x) FROM u WHERE u.id = t.id) FROM t JOIN v ON t.id = v.id",
                r#"SELECT (SELECT max(x) FROM u WHERE u.id = "table t".id) FROM t AS "table t" JOIN v ON "table t".id = v.id"#,
            ),
            (
                "SELECT (SELECT max(x) FROM u WHERE u.id = t.id) FROM UNNEST([1]) AS t (id)",
                r#"SELECT (SELECT max(x) FROM u WHERE u.id = "table t".id) FROM UNNEST([1]) AS "table t" (id)"#,
            ),
        ] {
            assert_eq!(changed(sql, rename).1, expected);
        }
        let sql = "SELECT t.l[1], t.s.a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)";
        let expected = r#"SELECT "table t".l[1], "table t".s.a FROM t AS "table t" WHERE EXISTS (SELECT 1 FROM u WHERE u.id = "table t".id)"#;
        assert_eq!(changed(sql, rename).1, expected);
        let sql = "SELECT t.id FROM t WHERE id IN (SELECT t.id FROM t)";
        assert_eq!(changed(sql, rename).1, sql);
    }
}
