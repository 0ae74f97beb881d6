//! Aggregates and windows that depend on the order of their rows, over a subquery with ORDER BY: `SELECT
//! list(id) FROM (SELECT id FROM t ORDER BY score DESC)` gives the list in that order, as in DuckDB.
//!
//! The engine sorts only by the ORDER BY in the brackets of an aggregate or of OVER, and drops a sort below
//! one without. So the keys of the sort below are put into the brackets. Keys that projections between the
//! two leave out go along as columns without a place in the result.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, Sort as SortKey};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, Filter, Limit, LogicalPlan, Projection, SubqueryAlias, Window,
    WindowFrameUnits, WindowFunctionDefinition,
};

/// Aggregates whose value is another one if the rows come in another order.
pub(super) const BY_ORDER: [&str; 6] =
    ["any_value", "array_agg", "first_value", "last_value", "nth_value", "string_agg"];

/// Functions of windows that are of all rows with the same keys: without keys these are all rows.
const BY_PEERS: [&str; 4] = ["cume_dist", "dense_rank", "percent_rank", "rank"];

/// Orders the rows of an aggregate or a window as the subquery that it reads.
pub(super) fn order(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Window(window) => of_window(window),
        other => Ok(Transformed::no(other)),
    }
}

fn of_aggregate(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    if !aggregate.aggr_expr.iter().any(is_by_order) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Some((input, keys)) = with_keys(&aggregate.input)? else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let Aggregate { group_expr, aggr_expr, schema, .. } = aggregate;
    let names = NamePreserver::new_for_projection();
    let aggr_expr = aggr_expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform(|expr| Ok(ordered_by(expr, &keys)))?.data;
        Ok(name.restore(expr))
    });
    let aggr_expr = aggr_expr.collect::<DfResult<Vec<Expr>>>()?;
    let aggregate = Aggregate::try_new_with_schema(Arc::new(input), group_expr, aggr_expr, schema)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn of_window(window: Window) -> DfResult<Transformed<LogicalPlan>> {
    if !window.window_expr.iter().any(is_window_by_order) {
        // A window below it may have more columns than before.
        let window = Window::try_new(window.window_expr, window.input)?;
        return Ok(Transformed::yes(LogicalPlan::Window(window)));
    }
    let Some((mut input, keys)) = with_keys(&window.input)? else {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    };
    // All functions of one step have one order.
    let (by_order, others): (Vec<Expr>, Vec<Expr>) =
        window.window_expr.into_iter().partition(is_window_by_order);
    if !others.is_empty() {
        input = LogicalPlan::Window(Window::try_new(others, Arc::new(input))?);
    }
    let names = NamePreserver::new_for_projection();
    let by_order = by_order.into_iter().map(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform(|expr| {
            Ok(match expr {
                Expr::WindowFunction(mut call) => {
                    call.params.order_by = keys.clone();
                    Transformed::yes(Expr::WindowFunction(call))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(name.restore(expr.data))
    });
    let by_order = by_order.collect::<DfResult<Vec<Expr>>>()?;
    Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(by_order, Arc::new(input))?)))
}

/// Whether an expression is a function of a window without an order, with another value if the rows come in
/// another order.
fn is_window_by_order(expr: &Expr) -> bool {
    let call = match expr {
        Expr::Alias(alias) => return is_window_by_order(&alias.expr),
        Expr::WindowFunction(call) => call,
        _ => return false,
    };
    let (params, frame) = (&call.params, &call.params.window_frame);
    let is_whole = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
    let is_by_order = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(of) => !is_whole || BY_ORDER.contains(&of.name()),
        WindowFunctionDefinition::WindowUDF(of) => !BY_PEERS.contains(&of.name()),
    };
    is_by_order && frame.units == WindowFrameUnits::Rows && params.order_by.is_empty() && !params.distinct
}

/// Whether an expression is such an aggregate without an order of its own. The values of DISTINCT have none.
fn is_by_order(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_by_order(&alias.expr),
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            BY_ORDER.contains(&func.name()) && params.order_by.is_empty() && !params.distinct
        }
        _ => false,
    }
}

fn ordered_by(expr: Expr, keys: &[SortKey]) -> Transformed<Expr> {
    if !is_by_order(&expr) {
        return Transformed::no(expr);
    }
    let Expr::AggregateFunction(AggregateFunction { mut func, mut params }) = expr else {
        return Transformed::no(expr);
    };
    params.order_by = keys.to_vec();
    if func.name() == "any_value" {
        func = first_value_udaf();
        params.null_treatment = Some(NullTreatment::IgnoreNulls);
    }
    Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
}

/// A plan whose rows are ordered, with the keys of their order as expressions of its columns; the plan may
/// have more columns than before. `None` if its rows have no order.
fn with_keys(plan: &LogicalPlan) -> DfResult<Option<(LogicalPlan, Vec<SortKey>)>> {
    let input = match plan {
        LogicalPlan::Sort(sort) => {
            // A key such as random() has other values the second time.
            let is_fixed = sort.expr.iter().all(|key| !key.expr.is_volatile());
            return Ok(is_fixed.then(|| (plan.clone(), sort.expr.clone())));
        }
        LogicalPlan::Distinct(Distinct::On(distinct)) => return of_distinct(distinct),
        LogicalPlan::Limit(limit) => &limit.input,
        LogicalPlan::Filter(filter) => &filter.input,
        LogicalPlan::Window(window) => &window.input,
        LogicalPlan::SubqueryAlias(named) => &named.input,
        LogicalPlan::Projection(projection) => &projection.input,
        _ => return Ok(None),
    };
    let Some((input, keys)) = with_keys(input)? else { return Ok(None) };
    let input = Arc::new(input);
    Ok(Some(match plan {
        LogicalPlan::Limit(limit) => (LogicalPlan::Limit(Limit { input, ..limit.clone() }), keys),
        LogicalPlan::Filter(filter) => {
            (LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input)?), keys)
        }
        LogicalPlan::Window(window) => {
            (LogicalPlan::Window(Window::try_new(window.window_expr.clone(), input)?), keys)
        }
        LogicalPlan::SubqueryAlias(named) => return of_alias(input, &keys, &named.alias),
        // A projection that has the keys as columns, too.
        LogicalPlan::Projection(projection) => {
            let (selected, keys) = selected_with(&projection.expr, keys);
            (LogicalPlan::Projection(Projection::try_new(selected, input)?), keys)
        }
        _ => return Ok(None),
    }))
}

/// A subquery under its name, if the keys are plain columns or expressions of columns with different names.
fn of_alias(
    input: Arc<LogicalPlan>,
    keys: &[SortKey],
    alias: &TableReference,
) -> DfResult<Option<(LogicalPlan, Vec<SortKey>)>> {
    let schema = Arc::clone(input.schema());
    let named = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input, alias.clone())?);
    let is_unique = |column: &Column| schema.qualified_fields_with_unqualified_name(&column.name).len() == 1;
    let mut requalified = Vec::with_capacity(keys.len());
    for key in keys {
        if !key.expr.column_refs().into_iter().all(is_unique) {
            return Ok(None);
        }
        let expr = key.expr.clone().transform(|expr| {
            Ok(match expr {
                Expr::Column(column) => {
                    Transformed::yes(Expr::Column(Column::new(Some(alias.clone()), column.name)))
                }
                other => Transformed::no(other),
            })
        })?;
        requalified.push(SortKey { expr: expr.data, ..key.clone() });
    }
    Ok(Some((named, requalified)))
}

/// The first row of each group, which come in the order of what they are grouped by.
fn of_distinct(distinct: &DistinctOn) -> DfResult<Option<(LogicalPlan, Vec<SortKey>)>> {
    let Some(sorted) = &distinct.sort_expr else { return Ok(None) };
    let keys = sorted.iter().take(distinct.on_expr.len()).cloned().collect();
    let (selected, keys) = selected_with(&distinct.select_expr, keys);
    let (on, input) = (distinct.on_expr.clone(), Arc::clone(&distinct.input));
    let distinct = DistinctOn::try_new(on, selected, Some(sorted.clone()), input)?;
    Ok(Some((LogicalPlan::Distinct(Distinct::On(distinct)), keys)))
}

/// What is selected and the keys, and the keys as columns of it.
fn selected_with(selected: &[Expr], keys: Vec<SortKey>) -> (Vec<Expr>, Vec<SortKey>) {
    let mut selected = selected.to_vec();
    let keys = keys.into_iter().enumerate().map(|(place, key)| {
        let kept = selected.iter().find(|expr| **expr == key.expr && matches!(expr, Expr::Column(_)));
        let expr = match kept {
            Some(column) => column.clone(),
            None => {
                let name = format!("order of rows {place}");
                let named = key.expr.clone().alias(name.clone());
                // There already where two functions read the same subquery.
                if !selected.contains(&named) {
                    selected.push(named);
                }
                Expr::Column(Column::new_unqualified(name))
            }
        };
        SortKey { expr, ..key }
    });
    let keys = keys.collect();
    (selected, keys)
}
