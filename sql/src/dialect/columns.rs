//! `COLUMNS(*)`, `COLUMNS(* EXCLUDE a)`, `COLUMNS('pattern')`: one expression for each column that is meant, in
//! WHERE a condition on each; and `* RENAME (a AS b)`, which the engine does not have.

use std::fmt::Display;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    RenameSelectItem, Select, SelectItem, SetExpr, Statement as Sql, WildcardAdditionalOptions,
};
use regex::Regex;

use super::exprs::{binary, is_call_of, nested, of_item, text_of};
use super::headings::{heading, is_heading};
use super::merged::of_from;
use super::{Planner, merge, planned};
use crate::error::SqlError;
use crate::expanded::{self, last_name, name};
use crate::guard::MAX_SQL_BYTES;
use crate::translate::no_column;
use crate::virtuals::is_absent;
use crate::walk::{inner, visit_own_expressions, visit_own_expressions_mut};
use crate::wording::NO_RENAME;

/// Most columns of a result that COLUMNS makes.
const MOST_COLUMNS: usize = 1000;

/// Most columns that it stands for in WHERE, each of which is another level of the condition.
const MOST_CONDITIONS: usize = 100;

/// Which columns are meant.
enum ColumnPattern {
    All,
    But(Vec<String>),
    Like(Box<Regex>),
}

impl ColumnPattern {
    /// The columns of these names that are meant by what is written.
    fn of<'a>(&self, names: &'a [String], written: &dyn Display) -> Result<Vec<&'a String>, SqlError> {
        if let Self::But(excluded) = self
            && let Some(unknown) = excluded.iter().find(|column| is_unknown(column, names))
        {
            return Err(no_column(unknown, names));
        }
        let fits = |name: &&String| match self {
            Self::All => true,
            Self::But(excluded) => !excluded.contains(name),
            Self::Like(pattern) => pattern.is_match(name),
        };
        let fitting: Vec<&String> = names.iter().filter(fits).collect();
        let written = written.to_string();
        if fitting.is_empty() {
            return Err(SqlError::unknown(format!("`{written}` matches no column")));
        }
        if written.len().saturating_mul(fitting.len()) > MAX_SQL_BYTES {
            let why = format!("COLUMNS would make more than {MAX_SQL_BYTES} bytes of SQL of one expression");
            return Err(SqlError::refused(why));
        }
        Ok(fitting)
    }

    /// What is written behind AS for a column: `\0` is its name, `\1` the first group of the pattern.
    fn named(&self, alias: &str, name: &str) -> String {
        let named = alias.replace("\\0", name);
        let Self::Like(pattern) = self else { return named };
        let groups = pattern.captures(name);
        groups
            .iter()
            .flat_map(|groups| groups.iter().enumerate().skip(1))
            .fold(named, |named, (at, group)| {
                named.replace(&format!("\\{at}"), group.map_or("", |group| group.as_str()))
            })
    }
}

/// Heads what COLUMNS stands in as it is written, before that is put into other words.
pub(crate) fn head(statement: &mut Statement) {
    let Some(Sql::Query(query)) = inner(statement) else { return };
    let SetExpr::Select(select) = &mut *query.body else { return };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && !is_call_of(expr, "columns")
            && !calls(expr).is_empty()
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: heading(expr) };
        }
    }
}

/// Puts the columns in the place of COLUMNS and of `* RENAME` in the result of the statement.
pub(crate) async fn expand(planner: Planner<'_>, statement: &mut Statement) -> Result<(), SqlError> {
    let Some(Sql::Query(query)) = inner(statement) else { return Ok(()) };
    let SetExpr::Select(select) = &*query.body else { return Ok(()) };
    let is_of_columns = |item: &SelectItem| {
        renames(item).is_some() || of_item(item).is_some_and(|expr| !calls(expr).is_empty())
    };
    let is_condition = select.selection.as_ref().is_some_and(|of| !calls(of).is_empty());
    if !is_condition && !select.projection.iter().any(is_of_columns) {
        return Ok(());
    }
    let mut probe = probe(query, select);
    merge(planner, &mut probe).await?;
    let plan = planned(planner, probe).await?;
    let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    let SetExpr::Select(select) = &mut *query.body else { return Ok(()) };
    let mut made = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        match meant(of_item(&item))? {
            None => match renames(&item) {
                Some((options, rename)) => made.extend(renamed(options, rename, &names)?),
                None => made.push(item),
            },
            Some(meant) => {
                let columns = meant.of(&names, &item)?;
                made.extend(columns.into_iter().map(|name| for_column(&item, name, &meant)));
            }
        }
        if made.len() > MOST_COLUMNS {
            return Err(SqlError::refused(format!("COLUMNS would make more than {MOST_COLUMNS} columns")));
        }
    }
    select.projection = made;
    select.selection.as_mut().map_or(Ok(()), |condition| put_conditions(condition, &names))
}

/// Puts a condition on each column in the place of one on COLUMNS, in each part of an AND.
fn put_conditions(condition: &mut Expr, names: &[String]) -> Result<(), SqlError> {
    let (mut parts, mut number) = (vec![condition], 0);
    while let Some(part) = parts.pop() {
        match part {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                parts.extend([&mut **right, &mut **left]);
            }
            Expr::Nested(inner) => parts.push(&mut **inner),
            part => {
                let Some(meant) = meant(Some(&*part))? else { continue };
                let columns = meant.of(names, &*part)?;
                number += columns.len();
                if number > MOST_CONDITIONS {
                    let why = format!("COLUMNS in WHERE would stand for more than {MOST_CONDITIONS} columns");
                    return Err(SqlError::refused(why));
                }
                let each = columns.into_iter().map(|name| *nested(with_column(part, name)));
                if let Some(all) = each.reduce(|all, one| binary(all, BinaryOperator::And, one)) {
                    *part = *nested(all);
                }
            }
        }
    }
    Ok(())
}

/// The same query with nothing but all of its columns.
fn probe(query: &Query, select: &Select) -> Statement {
    let mut probe = query.clone();
    let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
    probe.body = Box::new(SetExpr::Select(Box::new(of_from(select, vec![all]))));
    probe.order_by = None;
    probe.limit_clause = None;
    Statement::Statement(Box::new(Sql::Query(Box::new(probe))))
}

/// The calls of COLUMNS in an expression; those in a subquery mean columns of its own.
fn calls(expr: &Expr) -> Vec<Function> {
    let mut calls = Vec::new();
    visit_own_expressions(expr, |part| match part {
        Expr::Function(function) if is_call_of(part, "columns") => calls.push(function.clone()),
        _ => {}
    });
    calls
}

/// The columns that an expression means by its COLUMNS; `None` without one.
fn meant(of: Option<&Expr>) -> Result<Option<ColumnPattern>, SqlError> {
    let calls = of.map(calls).unwrap_or_default();
    let Some((function, others)) = calls.split_first() else { return Ok(None) };
    let written = function.args.to_string();
    if let Some(other) = others.iter().find(|other| other.args.to_string() != written) {
        let why = format!(
            "`{function}` and `{other}` cannot be in one expression, which is written once for each column"
        );
        return Err(SqlError::invalid(why).hint("write the names of the columns instead of one of them"));
    }
    let wrong = || {
        let name = function.name.0.first().and_then(|part| part.as_ident());
        let error = SqlError::invalid("COLUMNS takes * or a pattern".to_owned());
        let error = name.into_iter().fold(error, SqlError::at_name);
        error.hint("write COLUMNS(*), COLUMNS(* EXCLUDE (a, b)) or COLUMNS('^to.*'), a regular expression")
    };
    let FunctionArguments::List(list) = &function.args else { return Err(wrong()) };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] => Ok(Some(ColumnPattern::All)),
        [FunctionArg::Unnamed(FunctionArgExpr::WildcardWithOptions(options))] => {
            excluded(options).map(|names| Some(ColumnPattern::But(names))).ok_or_else(wrong)
        }
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] => {
            let pattern = text_of(of).ok_or_else(wrong)?;
            let pattern = Regex::new(pattern).map_err(|_| {
                SqlError::invalid(format!("COLUMNS('{pattern}') is not a regular expression"))
                    .hint("any number of any characters is written .*")
            })?;
            Ok(Some(ColumnPattern::Like(Box::new(pattern))))
        }
        _ => Err(wrong()),
    }
}

/// The names that `* EXCLUDE` leaves out, if that is all that stands there.
fn excluded(options: &WildcardAdditionalOptions) -> Option<Vec<String>> {
    options.opt_exclude.as_ref()?;
    let alone = WildcardAdditionalOptions { opt_exclude: None, ..options.clone() };
    (alone == WildcardAdditionalOptions::default()).then(|| names_of(options)).flatten()
}

fn names_of(options: &WildcardAdditionalOptions) -> Option<Vec<String>> {
    expanded::excluded(options).iter().map(last_name).collect()
}

/// Whether no column has a name that is left out, as one should.
fn is_unknown(column: &str, names: &[String]) -> bool {
    !names.iter().any(|name| name == column) && !is_absent(column, names.iter())
}

/// The options of an item that is `* RENAME`, and what it renames.
fn renames(item: &SelectItem) -> Option<(&WildcardAdditionalOptions, &RenameSelectItem)> {
    match item {
        SelectItem::Wildcard(options) => options.opt_rename.as_ref().map(|rename| (options, rename)),
        _ => None,
    }
}

/// The items for `* RENAME`, each column in its place, next to EXCLUDE and REPLACE too.
fn renamed(
    options: &WildcardAdditionalOptions,
    rename: &RenameSelectItem,
    names: &[String],
) -> Result<Vec<SelectItem>, SqlError> {
    let alone = WildcardAdditionalOptions {
        opt_exclude: None,
        opt_replace: None,
        opt_rename: None,
        ..options.clone()
    };
    if alone != WildcardAdditionalOptions::default() {
        return Err(SqlError::invalid(NO_RENAME.to_owned()));
    }
    let renamed = match rename {
        RenameSelectItem::Single(one) => std::slice::from_ref(one),
        RenameSelectItem::Multiple(all) => all.as_slice(),
    };
    let excluded = names_of(options).unwrap_or_default();
    let replaced = options.opt_replace.iter().flat_map(|replace| &replace.items);
    let replaced: Vec<(String, &Expr)> = replaced.map(|item| (name(&item.column_name), &item.expr)).collect();
    let changed = replaced.iter().map(|(column, _)| column.clone()).chain(excluded.iter().cloned());
    let changed: Vec<String> = changed.collect();
    for one in renamed {
        let column = name(&one.ident);
        if changed.contains(&column) {
            let why = format!("`{column}` is in RENAME, and in EXCLUDE or REPLACE too");
            return Err(SqlError::invalid(why).at_name(&one.ident));
        }
        if !names.contains(&column) {
            return Err(no_column(&column, names).at_name(&one.ident));
        }
    }
    let is_replaced = |column: &String| replaced.iter().any(|(other, _)| other == column);
    let is_wrong = |column: &&String| {
        if is_replaced(column) { !names.contains(column) } else { is_unknown(column, names) }
    };
    if let Some(unknown) = changed.iter().find(is_wrong) {
        return Err(no_column(unknown, names));
    }
    let item = |column: &String| {
        let own = Ident::with_quote('"', column);
        let rename = renamed.iter().rfind(|one| name(&one.ident) == *column);
        let replace = replaced.iter().find(|(other, _)| other == column);
        match (rename, replace) {
            (Some(one), _) => {
                SelectItem::ExprWithAlias { expr: Expr::Identifier(own), alias: one.alias.clone() }
            }
            (None, Some((_, expr))) => SelectItem::ExprWithAlias { expr: (*expr).clone(), alias: own },
            (None, None) => SelectItem::UnnamedExpr(Expr::Identifier(own)),
        }
    };
    Ok(names.iter().filter(|column| !excluded.contains(column)).map(item).collect())
}

/// An expression with a column in the place of its COLUMNS.
fn with_column(of: &Expr, name: &str) -> Expr {
    let mut expr = of.clone();
    visit_own_expressions_mut(&mut expr, |part| {
        if is_call_of(part, "columns") {
            *part = Expr::Identifier(Ident::with_quote('"', name));
        }
    });
    expr
}

/// The item for one column, under the name that the expression has with it.
fn for_column(item: &SelectItem, name: &str, meant: &ColumnPattern) -> SelectItem {
    match item {
        SelectItem::UnnamedExpr(expr) => SelectItem::UnnamedExpr(with_column(expr, name)),
        SelectItem::ExprWithAlias { expr, alias } if is_heading(alias) => {
            let put = |heading: String, call: &Function| heading.replace(&call.to_string(), name);
            let heading = calls(expr).iter().fold(alias.value.clone(), put);
            SelectItem::ExprWithAlias {
                expr: with_column(expr, name),
                alias: Ident::with_quote('"', heading),
            }
        }
        SelectItem::ExprWithAlias { expr, alias } => {
            // With its place: it is given in the statement.
            let value = meant.named(&alias.value, name);
            let alias = Ident { value, quote_style: Some('"'), span: alias.span };
            SelectItem::ExprWithAlias { expr: with_column(expr, name), alias }
        }
        other => other.clone(),
    }
}
