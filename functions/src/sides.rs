//! Operators of which one side is cast to another type, as in DuckDB.
//!
//! - a date and an interval together are a timestamp: the engine's result is a date again, without the hours
//!   of the interval
//! - a text that is compared with a boolean is read as a boolean: `flag = 'true'`

use arrow_schema::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::spans::is_span;
use super::types::is_text;
use super::whole::type_of;

/// What casts such sides.
#[derive(Debug)]
pub struct CastSides;

impl ExprPlanner for CastSides {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let RawBinaryExpr { op, mut left, mut right } = expr;
        let is = |side: &Expr, kind: fn(&DataType) -> bool| type_of(side, schema).is_some_and(|of| kind(&of));
        // The right side first: of a long chain of operators it is the short one.
        match op {
            Op::Plus | Op::Minus if is(&right, is_span) && is(&left, is_date) => left = moment(left),
            Op::Plus if is(&right, is_date) && is(&left, is_span) => right = moment(right),
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
                if is(&right, is_text) && is(&left, is_flag) {
                    right = cast(right, DataType::Boolean);
                } else if is(&right, is_flag) && is(&left, is_text) {
                    left = cast(left, DataType::Boolean);
                }
            }
            _ => {}
        }
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn is_date(of: &DataType) -> bool {
    matches!(of, DataType::Date32 | DataType::Date64)
}

fn is_flag(of: &DataType) -> bool {
    *of == DataType::Boolean
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
        context.register_expr_planner(Arc::new(CastSides)).unwrap();
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
