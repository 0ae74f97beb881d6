//! Search of a statement for the names that its errors are explained by, with their places.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, TrimWhereField, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{AmbiguousNames, TextPosition};
use crate::dialect;
use crate::expanded::{self, name, number_of, single_keys};
use crate::positions::{begin, place, start};
use crate::walk::visit_expressions;
use crate::wording::{EXISTS, IN_ROWS};

/// The name of a column of a result where the statement says it, in its place.
fn named(item: &SelectItem) -> Option<(String, TextPosition)> {
    let ident = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => name,
        SelectItem::UnnamedExpr(expr) => return Some((expr.to_string(), start(expr))),
        _ => return None,
    };
    Some((name(ident), place(ident)))
}

/// A name without quotes and without a table.
fn bare(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) if name.quote_style.is_none() => Some(name.value.clone()),
        _ => None,
    }
}

/// The name of a column, without its table, and its place.
fn column(expr: &Expr) -> Option<(String, TextPosition)> {
    Some((name(expanded::column(expr)?), begin(expr)?))
}

/// The only argument of a function, if that is a column.
fn only_column(function: &Function) -> Option<String> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(
                argument @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
            )),
        ] => Some(argument.to_string()),
        _ => None,
    }
}

/// How many arguments a call has, if all of them stand in its parentheses.
fn number_of_args(function: &Function) -> Option<usize> {
    match &function.args {
        FunctionArguments::List(list) if function.within_group.is_empty() => Some(list.args.len()),
        _ => None,
    }
}

/// Whether an expression is more than a column or a value.
fn is_computed(expr: &Expr) -> bool {
    !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_))
}

/// A number that stands for a column of the result, as it is written, with its place.
fn number(key: &Expr) -> Option<(String, TextPosition)> {
    Some((number_of(key)?.to_owned(), start(key)))
}

/// The columns that the `*` of a SELECT leaves out, with their places.
fn excluded(item: &SelectItem) -> Vec<(String, TextPosition)> {
    let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item else {
        return Vec::new();
    };
    let names = expanded::excluded(options).iter().filter_map(|excluded| excluded.0.last()?.as_ident());
    names.map(|column| (name(column), place(column))).collect()
}

/// The form of a condition on the rows of a subquery.
fn of_rows(expr: &Expr) -> Option<String> {
    let (op, which, of) = match expr {
        Expr::InSubquery { .. } => return Some(IN_ROWS.to_owned()),
        Expr::Exists { .. } => return Some(EXISTS.to_owned()),
        Expr::AnyOp { compare_op, right, .. } => (compare_op, "ANY", right),
        Expr::AllOp { compare_op, right, .. } => (compare_op, "ALL", right),
        _ => return None,
    };
    matches!(**of, Expr::Subquery(_)).then(|| format!("{op} {which} (SELECT ..)"))
}

/// The keys that are read like fields behind a column, each with what it is a field of.
fn keys(column: &Ident, chain: &[AccessExpr]) -> Vec<(String, String, TextPosition)> {
    let (mut of, mut keys) = (Some(column.value.as_str()), Vec::new());
    for access in chain {
        let key = dialect::field_key(access);
        if let (Some(of), Some(key)) = (of, key) {
            keys.push((of.to_owned(), key.to_owned(), place(column)));
        }
        of = match access {
            AccessExpr::Dot(Expr::Identifier(name)) => Some(name.value.as_str()),
            _ => key,
        };
    }
    keys
}

impl Visitor for AmbiguousNames {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.of_rows.extend(of_rows(expr).map(|form| (form, start(expr))));
        match expr {
            Expr::Identifier(name) if name.quote_style == Some('"') => self.quoted.push(name.value.clone()),
            Expr::CompoundIdentifier(parts) => {
                if let [.., column, key] = parts.as_slice() {
                    let is_json = column.value.eq_ignore_ascii_case("record");
                    let of = if is_json { &mut self.fields } else { &mut self.dotted };
                    of.push((column.value.clone(), key.value.clone(), place(column)));
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                let keys = match &**root {
                    Expr::Identifier(column) => keys(column, access_chain),
                    _ => Vec::new(),
                };
                if keys.is_empty() {
                    self.listed.push((expr.to_string(), start(&**root)));
                }
                self.fields.extend(keys);
            }
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(|part| part.as_ident());
                self.called
                    .extend(name.map(|name| (name.value.clone(), place(name), number_of_args(function))));
                self.arguments.extend(name.map(place).zip(only_column(function)));
            }
            Expr::Trim { trim_where: None | Some(TrimWhereField::Both), .. } => {
                self.called.push(("trim".to_owned(), start(expr), None));
            }
            Expr::BinaryOp { op: BinaryOperator::StringConcat, .. } => {
                self.joined.push(start(expr));
            }
            Expr::Tuple(values) if values.first().is_some_and(is_computed) => self.rows.push(start(expr)),
            Expr::BinaryOp { op: BinaryOperator::Eq | BinaryOperator::NotEq, right, .. } => {
                self.bare.extend(bare(right));
            }
            Expr::InList { list, .. } => self.bare.extend(list.iter().filter_map(bare)),
            Expr::Collate { collation, .. } => {
                self.collated.extend(collation.0.first().and_then(|part| part.as_ident()).map(place));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &query.order_by else {
            return ControlFlow::Continue(());
        };
        let is_distinct = matches!(&*query.body, SetExpr::Select(select) if select.distinct.is_some());
        for key in keys {
            self.numbers.extend(number(&key.expr));
            visit_expressions(&key.expr, |part: &Expr| {
                let named = column(part);
                self.ordered.extend(named.clone().filter(|_| is_distinct));
                self.unplaced.extend(named);
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let Some(condition) = &select.selection {
            let Span { start, end } = condition.span();
            self.filters.push(((start.line, start.column), (end.line, end.column)));
        }
        let mut names = HashSet::new();
        for (name, place) in select.projection.iter().filter_map(named) {
            if !names.insert(name) {
                self.twice.push(place);
            }
        }
        let is_star =
            |item: &&SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        if let Some(second) = select.projection.iter().filter(is_star).nth(1) {
            self.stars.push(start(second));
        }
        for item in &select.projection {
            self.unplaced.extend(excluded(item));
            if let SelectItem::UnnamedExpr(expr @ Expr::Subquery(_)) = item {
                self.unnamed.push(start(expr));
            }
        }
        if let GroupByExpr::Expressions(keys, _) = &select.group_by {
            self.numbers.extend(keys.iter().flat_map(single_keys).filter_map(number));
        }
        for item in &select.projection {
            // What names itself has a column in it that there is not.
            if let SelectItem::ExprWithAlias { expr, alias } = item
                && !dialect::names_itself(expr, alias)
            {
                self.given.push(name(alias));
            }
        }
        ControlFlow::Continue(())
    }
}
