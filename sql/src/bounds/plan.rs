//! Limits of a plan: functions that the planner took past the session's own, wide types, long constants.

use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::function::{Limited, limited};
use super::growth::{self, Growth};
use super::sizes::of_scalar;
use super::{Budget, join};
use crate::error::SqlError;

/// Most bytes that one value of a type may take, whatever it is: a NULL of such a type takes as much.
const MAX_WIDTH: u64 = 1 << 20;
/// Most bytes that the constants of a statement's columns take in a batch.
const MAX_REPEATED: u64 = 256 << 20;

/// Puts limits on what the planner has made of operators and brackets, and refuses types that are too wide.
pub(crate) fn rewrite(plan: LogicalPlan, budget: &Arc<Budget>) -> DfResult<LogicalPlan> {
    plan.transform_down_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let limited = expr.transform_up(|expr| with_limit(expr, budget))?;
            Ok(match limited.transformed {
                true => limited.update_data(|expr| name.restore(expr)),
                false => limited,
            })
        })
    })
    .data()
}

fn with_limit(expr: Expr, budget: &Arc<Budget>) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) => {
            let function = limited(Arc::new(join::function()), Growth::Sum(1), budget);
            let call = ScalarFunction::new_udf(Arc::new(function), vec![*left, *right]);
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        Expr::ScalarFunction(mut call) => match growth::of(call.func.name()) {
            Some(growth) if !call.func.inner().is::<Limited>() => {
                call.func = Arc::new(limited(call.func, growth, budget));
                Ok(Transformed::yes(Expr::ScalarFunction(call)))
            }
            _ => {
                if let ("arrow_cast" | "arrow_try_cast", Some(Expr::Literal(ty, _))) =
                    (call.func.name(), call.args.get(1))
                    && let Some(Ok(ty)) = ty.try_as_str().flatten().map(DataType::from_str)
                {
                    narrow(&ty)?;
                }
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
        },
        Expr::Cast(cast) => {
            narrow(cast.field.data_type())?;
            Ok(Transformed::no(Expr::Cast(cast)))
        }
        Expr::TryCast(cast) => {
            narrow(cast.field.data_type())?;
            Ok(Transformed::no(Expr::TryCast(cast)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Refuses a type of more than [`MAX_WIDTH`] bytes.
fn narrow(ty: &DataType) -> DfResult<()> {
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

/// Refuses long constants as columns of many rows: the engine repeats them for each row of a batch.
pub(crate) fn check_constants(plan: &Arc<dyn ExecutionPlan>, batch: usize) -> DfResult<()> {
    plan.apply(|node| {
        if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let constants = projection.expr().iter().filter_map(|e| e.expr.downcast_ref::<Literal>());
            let bytes: u64 = constants.map(|constant| of_scalar(constant.value())).sum();
            if bytes.saturating_mul(batch as u64) > MAX_REPEATED {
                let input = projection.input().as_ref();
                let statistics = StatisticsContext::new().compute(input, &StatisticsArgs::new())?;
                let most = &statistics.num_rows;
                let rows = most.get_value().filter(|_| most.is_exact() == Some(true));
                let rows = rows.map_or(batch, |rows| batch.min(*rows));
                if bytes.saturating_mul(rows as u64) > MAX_REPEATED {
                    let why =
                        format!("constants of {bytes} bytes would be repeated for each row of the result");
                    return Err(SqlError::refused(why)
                        .hint("select them in a statement of their own")
                        .into());
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(|_| ())
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
            assert_eq!(narrow(&parsed).is_ok(), good, "{ty}");
        }
    }
}
