//! Functions, operators, casts and joins of other databases, rewritten for the engine.

mod functions;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Join, Query, Select, SelectFlavor, SelectItem, TableFactor,
    TypedString, UnaryOperator, VisitorMut, WildcardAdditionalOptions,
};
use gstore_functions::spans;

pub(crate) use self::functions::known;
pub(super) use self::functions::name_aggregates;
use self::functions::{not_distinct, not_of_rows, not_ordered, not_within, renamed, take_null_treatment};
use super::aliases;
use super::by_all;
use super::chained;
use super::compared;
use super::distinct_on;
use super::exprs::{call, nested, number, taken, text, text_of, unnested};
use super::forms;
use super::framed;
use super::frames;
use super::headings;
use super::joins;
use super::lambdas;
use super::lists;
use super::outer_fields;
use super::tuples;
use super::twice;
use super::types;
use crate::error::SqlError;
use crate::walk::{VisitMut, break_on_error, error_of, inner};

/// Puts a statement into the words of the engine.
pub(crate) fn resolve(statement: &mut Statement) -> Result<(), SqlError> {
    let Some(sql) = inner(statement) else { return Ok(()) };
    headings::put(sql);
    aliases::put(sql)?;
    error_of(sql.visit(&mut Words::default()))?;
    lambdas::rename(sql);
    lists::sort(sql);
    outer_fields::bracket_shadowed(sql);
    twice::apart(sql);
    Ok(())
}

/// A text as a statement in these words.
#[cfg(test)]
pub(super) fn rewritten(sql: &str) -> Result<String, String> {
    let mut statement = super::parse(sql).map_err(|error| error.to_string())?;
    resolve(&mut statement).map_err(|error| error.to_string())?;
    Ok(statement.to_string())
}

#[derive(Default)]
struct Words {
    /// Queries that are ordered by all columns, where these are not known.
    by_all: usize,
}

impl VisitorMut for Words {
    type Break = Box<SqlError>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        chained::apart(expr);
        match expr {
            Expr::Function(function) => {
                take_null_treatment(function);
                break_on_error(frames::of_function(function))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        break_on_error(match expr {
            Expr::Cast { .. } | Expr::TypedString(_) => put_cast(expr),
            _ => put_expr(expr),
        })
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        // The engine plans a query without columns as one that has none: `UNION ALL BY NAME FROM t`.
        if matches!(select.flavor, SelectFlavor::FromFirstNoSelect) && select.projection.is_empty() {
            select.projection.push(SelectItem::Wildcard(WildcardAdditionalOptions::default()));
        }
        forms::no_keys(&mut select.group_by);
        forms::column_sets(&mut select.group_by);
        break_on_error(frames::of_select(select))?;
        resolved(select.from.iter_mut().flat_map(|table| &mut table.joins))
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = table {
            return resolved(&mut table_with_joins.joins);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::UNNEST { array_exprs, .. } = table {
            array_exprs.iter_mut().for_each(forms::elements);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if let Some(error) = forms::not_counted(query) {
            return ControlFlow::Break(Box::new(error));
        }
        forms::limit(query);
        distinct_on::keys_once(query);
        by_all::place(query, &mut self.by_all);
        ControlFlow::Continue(())
    }
}

/// Puts a cast, or a literal with its type before it, into the words of the engine.
fn put_cast(expr: &mut Expr) -> Result<(), SqlError> {
    if let Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) = expr {
        types::rename(data_type);
    }
    if let Expr::Cast { expr: of, data_type, .. } = expr {
        if let Some(error) = forms::number_as_time(of, data_type) {
            return Err(error);
        }
        forms::null_of_json(of, data_type);
    }
    match expr {
        Expr::TypedString(TypedString { data_type: DataType::JSON | DataType::JSONB, value, .. }) => {
            *expr = call("as_json", vec![Expr::Value(value.clone())]);
        }
        Expr::Cast { kind, expr: of, data_type: DataType::JSON | DataType::JSONB, .. } => {
            let is_safe = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
            let name = if is_safe { "try_as_json" } else { "as_json" };
            *expr = call(name, vec![(**of).clone()]);
        }
        Expr::TypedString(TypedString {
            data_type: DataType::Timestamp(..) | DataType::Date, value, ..
        }) => {
            forms::usual_time(&mut value.value);
        }
        Expr::Cast { expr: of, data_type: DataType::Timestamp(..) | DataType::Date, .. } => {
            if let Expr::Value(value) = &mut **of {
                forms::usual_time(&mut value.value);
            }
        }
        Expr::Cast { expr: of, data_type: DataType::Interval { .. }, .. } => {
            if let Some(usual) = text_of(of).and_then(spans::usual_interval) {
                **of = text(&usual);
            }
        }
        Expr::Cast { expr: of, data_type, .. } => {
            forms::whole(of, data_type);
            forms::exact(of, data_type);
        }
        _ => {}
    }
    Ok(())
}

/// Puts an expression that is no cast into the words of the engine.
fn put_expr(expr: &mut Expr) -> Result<(), SqlError> {
    match expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::Arrow | BinaryOperator::LongArrow), right } => {
            let name = if *op == BinaryOperator::Arrow { "json_extract" } else { "json_extract_string" };
            *expr = call(name, vec![(**left).clone(), (**right).clone()]);
        }
        Expr::BinaryOp { left, op: BinaryOperator::BitwiseXor, right } => {
            *expr = call("power", vec![taken(left), taken(right)]);
        }
        Expr::BinaryOp { left, op: BinaryOperator::PGStartsWith, right } => {
            *expr = call("starts_with", vec![unnested(left).clone(), unnested(right).clone()]);
        }
        Expr::BinaryOp { left, op: BinaryOperator::PGOverlap, right } => {
            *expr = compared::overlap(left, right)?;
        }
        Expr::Substring { expr: of, substring_from: from, substring_for: length, .. }
            if from.is_some() || length.is_some() =>
        {
            let mut args = vec![(**of).clone(), from.as_deref().cloned().unwrap_or_else(|| number(1))];
            args.extend(length.as_deref().cloned());
            *expr = call("substr", args);
        }
        Expr::Function(function) => {
            let refused = not_ordered(function).or_else(|| not_within(function));
            let refused = refused.or_else(|| not_distinct(function));
            if let Some(error) = refused.or_else(|| not_of_rows(function)) {
                return Err(error);
            }
            match renamed(function) {
                Some(other) => *expr = other,
                None => framed::order(function)?,
            }
        }
        Expr::Extract { field, expr: time, .. } => {
            if let Some(other) = forms::part_of(&field.to_string(), time) {
                *expr = other;
            }
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            *expr = call("timezone", vec![unnested(time_zone).clone(), taken(timestamp)]);
        }
        Expr::Interval(interval) => {
            if let Some(other) = forms::interval(interval) {
                *expr = other;
            }
        }
        // The engine would put the minus before the first part of the interval alone.
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } if matches!(**of, Expr::Interval(_)) => {
            *of = nested(taken(of));
        }
        Expr::CompoundFieldAccess { access_chain, .. } => forms::close(access_chain),
        Expr::UnaryOp { op: UnaryOperator::BitwiseNot, expr: of } => return Err(forms::complement(of)),
        Expr::AnyOp { .. } | Expr::AllOp { .. } => compared::put(expr),
        Expr::InSubquery { expr: of, subquery, .. } if !matches!(**of, Expr::Tuple(_)) => {
            compared::select_values(subquery);
        }
        Expr::BinaryOp { op: BinaryOperator::Eq | BinaryOperator::NotEq, .. } => tuples::apart(expr)?,
        Expr::Like { pattern, escape_char, any: false, .. }
        | Expr::ILike { pattern, escape_char, any: false, .. } => forms::escape(pattern, escape_char)?,
        Expr::SimilarTo { negated, expr: of, pattern, escape_char } => {
            match forms::similar(of, pattern, *negated).filter(|_| escape_char.is_none()) {
                Some(other) => *expr = other,
                None => return Err(forms::not_similar(of)),
            }
        }
        _ => {}
    }
    Ok(())
}

fn resolved<'a>(all: impl IntoIterator<Item = &'a mut Join>) -> ControlFlow<Box<SqlError>> {
    break_on_error(all.into_iter().try_for_each(joins::resolve))
}
