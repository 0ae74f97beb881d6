//! Limits of a plan: functions that the planner took past the session's own, wide types, types of many parts.

use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::function::{BoundedFunction, limit_function};
use super::growth::{self, Growth};
use super::{Budget, join};
use crate::error::SqlError;

/// Most bytes that one value of a type may take, whatever it is: a NULL of such a type takes as much.
const MAX_WIDTH: u64 = 1 << 20;
/// Most types that a type is composed of.
const MAX_PARTS: usize = 2000;

/// What the planner makes of brackets and of operators of lists: always the engine's functions.
const OF_LISTS: [&str; 5] = ["array_append", "array_concat", "array_has_all", "array_prepend", "make_array"];

/// Puts limits on what the planner has made of operators and brackets, in the place of which come the
/// functions that the session has by these names, and refuses types that are too wide.
pub(crate) fn rewrite(
    plan: LogicalPlan,
    state: &SessionState,
    budget: &Arc<Budget>,
) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        // Types are shared while a statement is read, and walked by all that comes after.
        if !matches!(node, LogicalPlan::TableScan(_)) {
            node.schema().fields().iter().try_for_each(|field| check_part_count(field.data_type()))?;
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let limited = expr.transform_up(|expr| with_limit(expr, state, budget))?;
            Ok(match limited.transformed {
                true => limited.update_data(|expr| name.restore(expr)),
                false => limited,
            })
        })
    })
    .data()
}

fn with_limit(expr: Expr, state: &SessionState, budget: &Arc<Budget>) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            let function = limit_function(Arc::new(join::function()), Growth::Sum(1), budget);
            Ok(Transformed::yes(function.call(vec![*left, *right])))
        }
        Expr::ScalarFunction(mut call) => match growth::of(call.func.name()) {
            Some(growth) => {
                budget.has(growth);
                let is_limited = call.func.inner().is::<BoundedFunction>();
                if !is_limited {
                    let name = call.func.name();
                    let own = OF_LISTS.contains(&name).then(|| state.scalar_functions().get(name)).flatten();
                    call.func = match own {
                        Some(own) => Arc::clone(own),
                        None => Arc::new(limit_function(call.func, growth, budget)),
                    };
                }
                Ok(Transformed::new_transformed(Expr::ScalarFunction(call), !is_limited))
            }
            None => {
                if let ("arrow_cast" | "arrow_try_cast", Some(Expr::Literal(ty, _))) =
                    (call.func.name(), call.args.get(1))
                    && let Some(Ok(ty)) = ty.try_as_str().flatten().map(DataType::from_str)
                {
                    check_width(&ty)?;
                }
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
        },
        Expr::Cast(Cast { ref field, .. }) | Expr::TryCast(TryCast { ref field, .. }) => {
            check_width(field.data_type())?;
            Ok(Transformed::no(expr))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses a type of more than [`MAX_PARTS`] types. Twenty lines that double a type make a million of it.
pub(crate) fn check_part_count(ty: &DataType) -> DfResult<()> {
    fn counted(ty: &DataType, left: &mut usize) -> bool {
        let Some(rest) = left.checked_sub(1) else { return false };
        *left = rest;
        match ty {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => counted(field.data_type(), left),
            DataType::Struct(fields) => fields.iter().all(|field| counted(field.data_type(), left)),
            DataType::Union(fields, _) => fields.iter().all(|(_, field)| counted(field.data_type(), left)),
            DataType::Dictionary(_, values) => counted(values, left),
            DataType::RunEndEncoded(_, values) => counted(values.data_type(), left),
            _ => true,
        }
    }
    let mut left = MAX_PARTS;
    match counted(ty, &mut left) {
        true => Ok(()),
        false => Err(SqlError::refused(format!("a type of more than {MAX_PARTS} parts")).into()),
    }
}

/// Refuses a type of more than [`MAX_WIDTH`] bytes.
fn check_width(ty: &DataType) -> DfResult<()> {
    check_part_count(ty)?;
    match width(ty) {
        wide if wide > MAX_WIDTH => {
            let why =
                format!("each value of the type {ty} has {wide} bytes, more than {} MiB", MAX_WIDTH >> 20);
            Err(SqlError::refused(why).into())
        }
        _ => Ok(()),
    }
}

/// Bytes that each value of a type takes at least.
fn width(ty: &DataType) -> u64 {
    let bytes = |n: i32| u64::try_from(n).unwrap_or(0);
    match ty {
        DataType::FixedSizeBinary(n) => bytes(*n),
        DataType::FixedSizeList(element, n) => width(element.data_type()).saturating_mul(bytes(*n)),
        DataType::List(element) | DataType::LargeList(element) => width(element.data_type()),
        DataType::Struct(fields) => {
            fields.iter().fold(0, |sum, field| width(field.data_type()).saturating_add(sum))
        }
        other => other.primitive_width().unwrap_or(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_take_much_for_a_null_are_refused() {
        for (ty, good) in [
            ("Utf8", true),
            ("FixedSizeList(65536 x Float32)", true),
            ("FixedSizeBinary(1048577)", false),
            ("FixedSizeList(1048577 x Boolean)", false),
            ("List(FixedSizeBinary(2000000))", false),
        ] {
            let Ok(parsed) = DataType::from_str(ty) else { panic!("{ty}") };
            assert_eq!(check_width(&parsed).is_ok(), good, "{ty}");
        }
    }
}
