//! A boolean compared with a text, which is read as a boolean, as in DuckDB: `flag = 'true'`.

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::types::is_text;
use super::whole::type_of;

/// What makes booleans of texts where the two are compared.
#[derive(Debug)]
pub struct BooleanTexts;

impl ExprPlanner for BooleanTexts {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        let RawBinaryExpr { op, mut left, mut right } = expr;
        if matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq) {
            let is =
                |side: &Expr, kind: fn(&DataType) -> bool| type_of(side, schema).is_some_and(|of| kind(&of));
            if is(&right, is_text) && is(&left, is_flag) {
                right = cast(right, DataType::Boolean);
            } else if is(&right, is_flag) && is(&left, is_text) {
                left = cast(left, DataType::Boolean);
            }
        }
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn is_flag(of: &DataType) -> bool {
    *of == DataType::Boolean
}
