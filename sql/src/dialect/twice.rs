//! Columns that a SELECT has twice: the engine has each name once, so the second `cost` is `cost_1` in it.
//!
//! Invariants
//! - the heading of a result is the one that is written: only subqueries and table expressions have `cost_1`
//! - the names are given from the left: a later column that is called `cost_1` itself is then `cost_1_1`
//! - no other column changes its name, and none that another clause may mean: there the engine refuses both

mod all;
mod casts;
mod column;
mod names;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use self::all::StarColumns;
use self::casts::Casts;
pub(super) use self::casts::{cast_of, column_name};
pub(super) use self::column::key;
use self::column::{EarlierColumns, ResultColumn};
use self::names::{FreeNames, UnqualifiedNames};
use crate::error::SqlError;
use crate::expanded::name;
use crate::walk::{Visit, VisitMut};
use crate::wording::OCCURS;

/// Most columns of a SELECT that get such a name.
const MOST: usize = 1000;

/// Gives such columns names of their own.
pub(super) fn apart(sql: &mut Statement) {
    let _ = VisitMut::visit(sql, &mut Twice::default());
}

/// Does so with a name that `*` has too, as an error of the engine says; false if it is not clear which is
/// meant.
pub(super) fn beside_all(sql: &mut Statement, error: &SqlError) -> bool {
    let message = error.message().strip_prefix("column `").and_then(|rest| rest.strip_suffix(OCCURS));
    let Some(column) = message.and_then(|rest| rest.strip_suffix('`')) else { return false };
    let mut changed = sql.clone();
    let mut twice = Twice { only: Some(column.to_owned()), ..Twice::default() };
    let _ = VisitMut::visit(&mut changed, &mut twice);
    if twice.renamed == 1 {
        *sql = changed;
    }
    twice.renamed == 1
}

/// Whether the statement calls a column so: a name that was made here is none of its own.
pub(super) fn is_given(alias: &Ident, column: &str) -> bool {
    let is_made = alias.quote_style.is_some() && alias.span == Span::empty();
    if !is_made {
        return name(alias) == column;
    }
    let number = alias.value.strip_prefix(column).and_then(|rest| rest.strip_prefix('_'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[derive(Default)]
struct Twice {
    /// The name that is looked for next to `*`.
    only: Option<String>,
    renamed: usize,
    /// Queries in parentheses, by where they are, and the names that clauses around them have.
    around: Vec<(*const Query, HashSet<String>)>,
}

impl Twice {
    fn body(&mut self, body: &mut SetExpr, ordered: &HashSet<String>) {
        match body {
            SetExpr::Select(select) => {
                let mut used = UnqualifiedNames::beside(ordered.clone());
                used.clauses(select);
                match &self.only {
                    None => rename(select, &used.names),
                    Some(column) => {
                        self.renamed += usize::from(rename_beside_all(select, column, &used.names));
                    }
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, ordered);
                self.body(right, ordered);
            }
            SetExpr::Query(query) => self.around.push((std::ptr::from_ref(&**query), ordered.clone())),
            _ => {}
        }
    }
}

impl VisitorMut for Twice {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let this = std::ptr::from_ref(&*query);
        let around = self.around.iter().position(|(known, _)| std::ptr::eq(*known, this));
        let names = around.map(|at| self.around.swap_remove(at).1).unwrap_or_default();
        let mut ordered = UnqualifiedNames::beside(names);
        if let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind) {
            let _ = keys.visit(&mut ordered);
        }
        self.body(&mut query.body, &ordered.names);
        ControlFlow::Continue(())
    }
}

/// `used` are the names that other clauses have.
fn rename(select: &mut Select, used: &HashSet<String>) {
    let all = StarColumns::of(select);
    let in_all: Vec<bool> = select.projection.iter().map(|item| all.has(item)).collect();
    let (mut free, mut before, mut renamed) = (FreeNames::of(used.clone()), EarlierColumns::default(), 0);
    let mut casts = Casts::of(select);
    for (item, in_all) in select.projection.iter_mut().zip(in_all) {
        let Some(column) = ResultColumn::of(item, &all) else { continue };
        let is_made = free.made.contains(&column.name);
        free.taken.insert(column.name.clone());
        let is_cast = casts.has(item);
        if !in_all && !is_made && !is_cast && !before.has(&column) {
            before.add(&column);
            continue;
        }
        // It is not clear which of them the other clause means.
        if used.contains(&column.name) && before.has_other(&column) {
            continue;
        }
        renamed += 1;
        if renamed > MOST {
            return;
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let (expr, alias) = (expr.clone(), free.next(&column.name));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// Renames the only column of this name next to a `*`; false if there is none.
fn rename_beside_all(select: &mut Select, column: &str, used: &HashSet<String>) -> bool {
    let is_all =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(is_all) || used.contains(column) {
        return false;
    }
    let all = StarColumns::of(select);
    let columns = select.projection.iter().filter_map(|item| ResultColumn::of(item, &all));
    let mut free = FreeNames::of(columns.map(|column| column.name).chain(used.iter().cloned()).collect());
    let mut named = select.projection.iter_mut().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } if name(alias) == column => Some(alias),
        _ => None,
    });
    match (named.next(), named.next()) {
        (Some(alias), None) => {
            *alias = free.next(column);
            true
        }
        _ => false,
    }
}
