//! The columns of `USING` as the SQL standard has them: one for all tables of the join, which is written
//! without a table.
//!
//! Invariants
//! - such a column has a value wherever one of the joined rows has: of `RIGHT JOIN` it is that of the table
//!   on the right, of `FULL JOIN` the first that is there
//! - a name is put into other words only where each table of its `FROM` has it by `USING`: else it might be a
//!   column of another; it is left to the engine, and refused where the engine would have the wrong value
//! - the values of all names together are limited like the expressions of table expressions

mod excluded;
mod natural;
mod probe;
mod put;
mod wildcard;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    VisitorMut,
};

pub(super) use self::probe::of_from;
use self::put::{Written, meant, put};
use self::wildcard::{Options, all, named};
use super::exprs::alias;
use super::planned::Planner;
use super::using::UsingJoins;
use crate::error::{SqlError, SqlErrorKind};
use crate::expanded::{column, name};
use crate::walk::{VisitMut, break_on_error, error_of, inner};

/// Puts columns of tables in the place of those of `USING`.
pub(crate) async fn merge(planner: Planner<'_>, statement: &mut Statement) -> Result<Keys, SqlError> {
    let natural = excluded::expand(planner, statement).await?;
    let mut keys = merge_names(statement)?;
    keys.0.extend(natural.0);
    Ok(keys)
}

/// The same for a statement whose `*` have none but keys behind them.
fn merge_names(statement: &mut Statement) -> Result<Keys, SqlError> {
    let mut selects = Selects::default();
    inner(statement).map_or(Ok(()), |sql| error_of(sql.visit(&mut selects)))?;
    Ok(selects.keys)
}

/// Columns of `USING` of a statement, and how each is written with its table.
#[derive(Default)]
pub(crate) struct Keys(Vec<(String, String)>);

impl Keys {
    /// The error about a name that is not known, where a table lacks it or a subquery may
    /// mean the column around it.
    pub(crate) fn explain(&self, error: SqlError) -> SqlError {
        if error.kind() != SqlErrorKind::Unknown {
            return error;
        }
        let missing = |(key, _): &&(String, String)| error.missing_column() == Some(key.as_str());
        match self.0.iter().find(missing) {
            // The engine names no place where USING itself is to blame.
            Some((key, _)) if error.position().is_none() => of_using(error, key),
            Some((_, written)) => error.hint(format!("in a subquery write {written}, with its table")),
            None => error,
        }
    }
}

/// The error about a column of `USING` that one of its tables does not have, with what it was meant to be.
fn of_using(error: SqlError, key: &str) -> SqlError {
    let guess = error.guess().map(|guess| format!("; {guess}")).unwrap_or_default();
    error.hint(format!("USING takes columns that both tables have, and one has no `{key}`{guess}"))
}

#[derive(Default)]
struct Selects {
    keys: Keys,
    written: Written,
}

impl Selects {
    /// A column of the result goes before one of the tables.
    fn order(&mut self, query: &mut Query) -> Result<(), SqlError> {
        let Query { body, order_by: Some(order), .. } = query else { return Ok(()) };
        let SetExpr::Select(select) = &**body else { return Ok(()) };
        let Some(merged) = UsingJoins::of(select) else { return Ok(()) };
        self.order_by(order, select, &merged)
    }

    fn order_by(
        &mut self,
        order: &mut OrderBy,
        select: &Select,
        merged: &UsingJoins,
    ) -> Result<(), SqlError> {
        let OrderByKind::Expressions(by) = &mut order.kind else { return Ok(()) };
        let outputs: Vec<String> = select.projection.iter().flat_map(|item| outputs(item, merged)).collect();
        by.iter_mut().try_for_each(|by| put(&mut by.expr, merged, &outputs, &mut self.written))
    }

    fn resolve(&mut self, select: &mut Select) -> Result<(), SqlError> {
        match UsingJoins::of(select) {
            Some(merged) => self.put(select, &merged, &[]),
            None => Ok(()),
        }
    }

    /// `columns` are those of all tables by the names of both, or none where they are not known.
    fn put(
        &mut self,
        select: &mut Select,
        merged: &UsingJoins,
        columns: &[(String, String)],
    ) -> Result<(), SqlError> {
        let written = &mut self.written;
        written.add(merged.join(select)?)?;
        let keys = merged.keys.iter().filter(|key| key.is_known());
        self.keys.0.extend(keys.map(|key| (key.name.clone(), key.written())));
        let aliases: Vec<String> = select.projection.iter().filter_map(alias).collect();
        let named = named(&select.projection);
        for item in std::mem::take(&mut select.projection) {
            of_item(item, merged, (columns, named.as_slice()), &mut select.projection, written)?;
        }
        if let Some(condition) = &mut select.selection {
            put(condition, merged, &[], written)?;
        }
        for condition in select.having.iter_mut().chain(&mut select.qualify) {
            put(condition, merged, &aliases, written)?;
        }
        put(&mut select.group_by, merged, &[], written)?;
        put(&mut select.distinct, merged, &[], written)?;
        put(&mut select.named_window, merged, &[], written)
    }
}

impl VisitorMut for Selects {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        break_on_error(self.order(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        break_on_error(self.resolve(select))
    }
}

/// Names of an item of the result, of `*` those of keys.
fn outputs(item: &SelectItem, merged: &UsingJoins) -> Vec<String> {
    let (of, options) = match item {
        SelectItem::UnnamedExpr(expr) => return column(expr).map(name).into_iter().collect(),
        SelectItem::ExprWithAlias { alias, .. } => return vec![name(alias)],
        SelectItem::Wildcard(options) => (None, options),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(table), options) => {
            (Some(table), options)
        }
        _ => return Vec::new(),
    };
    let options = Options::of(options).unwrap_or_default();
    let keys = merged.keys.iter().filter(|key| of.is_none_or(|table| merged.is_of(key, table)));
    keys.filter(|key| !options.excludes(&key.name)).map(|key| key.name.clone()).collect()
}

/// Adds what an item of the result is in the words of the engine.
fn of_item(
    mut item: SelectItem,
    merged: &UsingJoins,
    (columns, named): (&[(String, String)], &[Vec<String>]),
    made: &mut Vec<SelectItem>,
    written: &mut Written,
) -> Result<(), SqlError> {
    match &mut item {
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => {
            if let Some(value) = meant(merged, &name(column), written)? {
                item = result(value, column.clone());
            }
        }
        SelectItem::Wildcard(options) => {
            let is_known = |options: &Options| !columns.is_empty() || options.of_tables(merged).is_empty();
            let known = Options::of(options).filter(is_known);
            if let Some(options) = known.filter(|_| merged.is_whole()) {
                for mut of_table in all(merged, &options, columns, named, written)? {
                    put(&mut of_table, merged, &[], written)?;
                    made.push(of_table);
                }
                return Ok(());
            }
            if merged.is_outer() || merged.is_whole() && merged.tables.len() > 2 {
                let why = "the columns of * are not known where other joins are next to outer ones by USING";
                return Err(SqlError::invalid(why.to_owned())
                    .hint("write a.*, b.* EXCLUDE (k), and coalesce(a.k, b.k) AS k"));
            }
        }
        item => put(item, merged, &[], written)?,
    }
    made.push(item);
    Ok(())
}

/// An item of the result under the name of a column.
fn result(value: Expr, column: Ident) -> SelectItem {
    match value {
        Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(value),
        expr => SelectItem::ExprWithAlias { expr, alias: column },
    }
}

#[cfg(test)]
mod tests;
