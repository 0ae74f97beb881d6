//! Columns that a SELECT has twice: the engine has each name once, so the second `cost` is `cost_1` in it.
//!
//! Invariants
//! - the heading of a result is the one that is written: only subqueries and table expressions have `cost_1`
//! - the names are given from the left: a later column that is called `cost_1` itself is then `cost_1_1`
//! - no other column changes its name, and none that another clause may mean: there the engine refuses both

mod all;
mod casts;
mod column;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::tokenizer::Span;

use self::all::StarColumns;
use self::casts::Casts;
pub(super) use self::casts::{cast_of, column_name};
pub(super) use self::column::key;
use self::column::{EarlierColumns, ResultColumn};
use super::column_names::{FreeNames, with_clauses, with_order};
use super::headings::is_heading;
use crate::error::SqlError;
use crate::expanded::name;
use crate::walk::visit_queries_mut;
use crate::wording::{OCCURS, TWICE};

/// Most columns of a SELECT that get such a name.
const MOST: usize = 1000;

/// Gives such columns names of their own.
pub(super) fn apart(sql: &mut Statement) {
    Twice::default().visit(sql);
}

/// Does so with a name that `*` has too, as an error of the engine says; false if it is not clear which is
/// meant. Headings in several SELECTs all get numbers.
pub(super) fn beside_all(sql: &mut Statement, error: &SqlError) -> bool {
    let message = error.message();
    let in_tables = message.strip_prefix("column `").and_then(|rest| rest.strip_suffix(OCCURS));
    let column = in_tables.or_else(|| {
        let of_select = message.strip_prefix(TWICE)?;
        of_select.strip_prefix("called `").or_else(|| of_select.strip_prefix("the same: `"))
    });
    let Some(column) = column.and_then(|rest| rest.strip_suffix('`')) else { return false };
    let mut changed = sql.clone();
    let mut twice = Twice { only: Some(column.to_owned()), ..Twice::default() };
    twice.visit(&mut changed);
    let is_clear = twice.renamed == 1 || (twice.renamed > 1 && twice.given == 0);
    if is_clear {
        *sql = changed;
    }
    is_clear
}

/// Whether the statement calls a column so: a name that was made here is none of its own.
pub(super) fn is_given(alias: &Ident, column: &str) -> bool {
    let is_made = alias.quote_style.is_some() && alias.span == Span::empty();
    if !is_made {
        return name(alias) == column;
    }
    if is_heading(alias) {
        return false;
    }
    let number = alias.value.strip_prefix(column).and_then(|rest| rest.strip_prefix('_'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[derive(Default)]
struct Twice {
    /// The name that is looked for next to `*`.
    only: Option<String>,
    renamed: usize,
    /// Those of them that the statement gives with AS.
    given: usize,
    /// Queries in parentheses, by where they are, and the names that clauses around them have.
    around: Vec<(*const Query, HashSet<String>)>,
}

impl Twice {
    fn visit(&mut self, sql: &mut Statement) {
        visit_queries_mut(sql, |query| {
            let this = std::ptr::from_ref(&*query);
            let around = self.around.iter().position(|(known, _)| std::ptr::eq(*known, this));
            let names = around.map(|at| self.around.swap_remove(at).1).unwrap_or_default();
            let ordered = with_order(names, query);
            self.body(&mut query.body, &ordered);
        });
    }

    fn body(&mut self, body: &mut SetExpr, ordered: &HashSet<String>) {
        match body {
            SetExpr::Select(select) => {
                let used = with_clauses(ordered.clone(), select);
                match &self.only {
                    None => rename(select, &used),
                    Some(column) => {
                        if let Some(is_given) = rename_beside_all(select, column, &used) {
                            self.renamed += 1;
                            self.given += usize::from(is_given);
                        }
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
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let (expr, alias) = (expr.clone(), free.next(&column.name));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias, .. } => *alias = numbered(alias, free.next(&column.name)),
            _ => {}
        }
    }
}

/// The name with a number in the place of another: of a heading it is none that is given either.
fn numbered(before: &Ident, name: Ident) -> Ident {
    match is_heading(before) {
        true => Ident { quote_style: before.quote_style, ..name },
        false => name,
    }
}

/// Renames the only column of this name next to a `*`, and says whether the statement gives it with AS;
/// `None` if there is none.
fn rename_beside_all(select: &mut Select, column: &str, used: &HashSet<String>) -> Option<bool> {
    let is_all =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(is_all) || used.contains(column) {
        return None;
    }
    let all = StarColumns::of(select);
    let columns = select.projection.iter().filter_map(|item| ResultColumn::of(item, &all));
    let mut free = FreeNames::of(columns.map(|column| column.name).chain(used.iter().cloned()).collect());
    let mut called = select.projection.iter_mut().filter(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => name(alias) == column,
        SelectItem::UnnamedExpr(expr) => {
            !matches!(expr, Expr::Identifier(_)) && expr.to_string().eq_ignore_ascii_case(column)
        }
        _ => false,
    });
    let (Some(item), None) = (called.next(), called.next()) else { return None };
    let next = free.next(column);
    match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            let is_given = !is_heading(alias);
            *alias = numbered(alias, next);
            Some(is_given)
        }
        SelectItem::UnnamedExpr(expr) => {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: next };
            Some(false)
        }
        _ => None,
    }
}
