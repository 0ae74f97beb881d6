//! A date and an interval together as a timestamp, as in DuckDB.
//!
//! The engine's result is a date again, without the hours of the interval.

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::spans::is_span;
use super::whole::type_of;

/// What makes timestamps of dates where an interval is added or taken away.
#[derive(Debug)]
pub struct Moments;

impl ExprPlanner for Moments {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, mut left, mut right } = expr;
        if matches!(op, BinaryOperator::Plus | BinaryOperator::Minus) {
            let is =
                |side: &Expr, kind: fn(&DataType) -> bool| type_of(side, schema).is_some_and(|of| kind(&of));
            // The right side first: of a long chain of operators it is the short one.
            if is(&right, is_span) && is(&left, is_date) {
                left = moment(left);
            } else if op == BinaryOperator::Plus && is(&right, is_date) && is(&left, is_span) {
                right = moment(right);
            }
        }
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn is_date(of: &DataType) -> bool {
    matches!(of, DataType::Date32 | DataType::Date64)
}

/// The beginning of a day; in microseconds, so that years up to 9999 have one.
fn moment(date: Expr) -> Expr {
    cast(date, DataType::Timestamp(TimeUnit::Microsecond, None))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::FunctionRegistry;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn dates_are_timestamps_where_intervals_are_added() {
        let mut context = SessionContext::new();
        context.register_expr_planner(Arc::new(Moments)).unwrap();
        let rows = "(SELECT CAST('2024-01-31' AS DATE) AS d, INTERVAL '36 hours' AS i, CAST('2024-01-01' AS TIMESTAMP) AS t)";
        for (expr, is_timestamp) in [
            ("d + i", true),
            ("i + d", true),
            ("d - INTERVAL '90 minutes'", true),
            ("d + (t - t)", true),
            ("t + i", true),
            ("d + 1", false),
            ("d - d", false),
        ] {
            let sql = format!("SELECT {expr} AS x FROM {rows}");
            let plan = context.state().create_logical_plan(&sql).await.unwrap();
            let of = plan.schema().field(0).data_type().clone();
            assert_eq!(matches!(of, DataType::Timestamp(..)), is_timestamp, "{expr}: {of}");
        }
    }
}
