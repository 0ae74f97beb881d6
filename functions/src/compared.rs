//! Intervals compared by their length, as in DuckDB: a month has 30 days there, and a day 24 hours.
//!
//! The engine compares months, then days, then the rest: 25 hours would be less than a day. What else takes
//! intervals in order, or for equal, is refused.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use arrow_array::{ArrayRef, Decimal128Array};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType, IntervalUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Between, BinaryExpr, InList, Sort as SortKey};
use datafusion::logical_expr::{
    ColumnarValue, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::columnar::of_one;
use super::spans::{self, has_intervals};
use crate::error::FunctionError;
use crate::signatures;

/// Aggregate and window functions that carry or add values; but not of rows that are distinct.
const CARRYING: [&str; 10] = [
    "any_value",
    "array_agg",
    "count",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "string_agg",
    "sum",
];

/// Aggregate functions that compare all arguments but the first.
const BY_OTHERS: [&str; 4] = ["max_by", "min_by", "arg_max", "arg_min"];

/// Functions of values that compare them, or the elements of lists.
const COMPARING: [&str; 23] = [
    "array_distinct",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_max",
    "array_min",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_sort",
    "array_union",
    "arrays_overlap",
    "greatest",
    "least",
    "list_unique",
    "nullif",
];

/// Compares intervals by their length.
pub(super) fn rewrite(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let mut changed = false;
    for key in keys(&mut expr).into_iter().filter(|key| is_interval(key, schema)) {
        *key = length(std::mem::take(key));
        changed = true;
    }
    let has_inner = |side: &mut Expr| holds_interval(side, schema) && !is_interval(side, schema);
    if is_ordered(&expr, schema) || sides(&mut expr).into_iter().any(has_inner) {
        return Err(refused().into());
    }
    // All are of one type.
    if sides(&mut expr).first().is_some_and(|side| is_interval(side, schema)) {
        sides(&mut expr).into_iter().for_each(|side| *side = length(std::mem::take(side)));
        changed = true;
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// A node of a plan that sorts intervals by their length.
pub(super) fn sort_by_length(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let is = has_intervals;
    let is_equated = match &plan {
        LogicalPlan::Aggregate(all) => {
            let groups = all.schema.fields().len().saturating_sub(all.aggr_expr.len());
            all.schema.fields().iter().take(groups).any(|field| is(field.data_type()))
        }
        LogicalPlan::Distinct(Distinct::All(rows)) => {
            rows.schema().fields().iter().any(|field| is(field.data_type()))
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            let keys = on.sort_expr.iter().flatten().map(|key| &key.expr);
            on.on_expr.iter().chain(keys).any(|key| holds_interval(key, on.input.schema()))
        }
        LogicalPlan::Join(join) => join.on.iter().any(|(key, _)| holds_interval(key, join.left.schema())),
        LogicalPlan::Sort(sort) => {
            let schema = sort.input.schema();
            let has_inner =
                |key: &SortKey| holds_interval(&key.expr, schema) && !is_interval(&key.expr, schema);
            sort.expr.iter().any(has_inner)
        }
        _ => false,
    };
    if is_equated {
        return Err(refused().into());
    }
    let LogicalPlan::Sort(mut sort) = plan else { return Ok(Transformed::no(plan)) };
    let schema = Arc::clone(sort.input.schema());
    let mut changed = false;
    for SortKey { expr, .. } in &mut sort.expr {
        if is_interval(expr, &schema) {
            *expr = length(std::mem::take(expr));
            changed = true;
        }
    }
    let plan = LogicalPlan::Sort(sort);
    Ok(if changed { Transformed::yes(plan) } else { Transformed::no(plan) })
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|of| matches!(of, DataType::Interval(_)))
}

fn holds_interval(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|of| has_intervals(&of))
}

/// What a window, or the rows of an aggregate, are arranged by.
fn keys(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::AggregateFunction(call) => call.params.order_by.iter_mut().map(|key| &mut key.expr).collect(),
        Expr::WindowFunction(call) => {
            let params = &mut call.params;
            let order = params.order_by.iter_mut().map(|key| &mut key.expr);
            params.partition_by.iter_mut().chain(order).collect()
        }
        _ => Vec::new(),
    }
}

/// What is compared in an expression.
pub(super) fn sides(expr: &mut Expr) -> Vec<&mut Expr> {
    use Operator as O;
    match expr {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op:
                O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom,
            right,
        }) => vec![&mut **left, &mut **right],
        Expr::Between(Between { expr: of, low, high, .. }) => vec![&mut **of, &mut **low, &mut **high],
        Expr::InList(InList { expr: of, list, .. }) => std::iter::once(&mut **of).chain(list).collect(),
        Expr::Case(case) => {
            let when = case.when_then_expr.iter_mut().map(|(when, _)| &mut **when);
            case.expr.iter_mut().map(|of| &mut **of).chain(when).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an expression takes intervals in order, or for equal, in a way that is not by their length.
fn is_ordered(expr: &Expr, schema: &DFSchema) -> bool {
    let any = |all: &[Expr]| all.iter().any(|expr| holds_interval(expr, schema));
    let any_key = |keys: &[SortKey]| keys.iter().any(|key| holds_interval(&key.expr, schema));
    let compares = |name: &str, is_distinct: bool, all: &[Expr]| match name {
        _ if is_distinct => any(all),
        _ if CARRYING.contains(&name) => false,
        _ if BY_OTHERS.contains(&name) => any(all.get(1..).unwrap_or_default()),
        _ => any(all),
    };
    match expr {
        Expr::InSubquery(list) => holds_interval(&list.expr, schema),
        Expr::SetComparison(compared) => holds_interval(&compared.expr, schema),
        Expr::AggregateFunction(call) => {
            let params = &call.params;
            any_key(&params.order_by) || compares(call.func.name(), params.distinct, &params.args)
        }
        Expr::WindowFunction(call) => {
            let params = &call.params;
            any_key(&params.order_by)
                || any(&params.partition_by)
                || compares(call.fun.name(), params.distinct, &params.args)
        }
        Expr::ScalarFunction(call) => COMPARING.contains(&call.func.name()) && any(&call.args),
        _ => false,
    }
}

fn refused() -> FunctionError {
    let why = "intervals are compared by =, <, BETWEEN, IN (..), ORDER BY and PARTITION BY only";
    FunctionError::invalid(why.to_owned())
        .hint("epoch(x) is one in seconds, as in max(epoch(x)) or GROUP BY epoch(x)")
}

fn length(of: Expr) -> Expr {
    ScalarUDF::from(IntervalLength).call(vec![of])
}

/// Nanoseconds of an interval: a number that all intervals fit into.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IntervalLength;

impl ScalarUDFImpl for IntervalLength {
    fn name(&self) -> &str {
        "length_of_interval"
    }

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, |values| Ok(Arc::new(lengths(values)?)))
    }
}

pub(super) fn nanoseconds(span: IntervalMonthDayNano) -> i128 {
    (30 * i128::from(span.months) + i128::from(span.days)) * spans::DAY + i128::from(span.nanoseconds)
}

fn lengths(intervals: &ArrayRef) -> DfResult<Decimal128Array> {
    let of = DataType::Interval(IntervalUnit::MonthDayNano);
    let intervals = arrow_cast::cast(intervals, &of)?;
    let lengths =
        intervals.as_primitive::<IntervalMonthDayNanoType>().unary::<_, Decimal128Type>(nanoseconds);
    Ok(lengths.with_precision_and_scale(DECIMAL128_MAX_PRECISION, 0)?)
}

#[cfg(test)]
mod tests {
    use arrow_array::IntervalMonthDayNanoArray;

    use super::*;

    #[test]
    fn a_month_has_30_days_of_24_hours() {
        let span = IntervalMonthDayNano::new;
        let spans = [span(1, 0, 0), span(0, 30, 0), span(0, 29, 86_400_000_000_001), span(i32::MAX, 0, 0)];
        let spans: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(spans.to_vec()));
        let found = lengths(&spans).unwrap();
        let month = 2_592_000_000_000_000_i128;
        assert_eq!(found.values().to_vec(), [month, month, month + 1, 2_147_483_647 * month]);
    }
}
