//! Operators as functions where the engine's rules for constants and equal operands are wrong: to them a decimal
//! `d % 1` is 0, and so is `xor(n, n)` of NULL.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::BinaryExpr;
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr as PhysicalBinaryExpr, Column, Literal};
use datafusion::scalar::ScalarValue;

use crate::signatures;

/// Puts functions in the place of such operators.
pub(super) fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let is_decimal = |of: &Expr| of.get_type(schema).is_ok_and(|of| of.is_decimal());
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op == Operator::BitwiseXor
                || op == Operator::Modulo && is_decimal(&left) && is_one(&right) =>
        {
            Transformed::yes(ScalarUDF::from(KeptOperator { op }).call(vec![*left, *right]))
        }
        other => Transformed::no(other),
    })
}

/// Whether an expression is written as 1.
fn is_one(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_one(&cast.expr),
        Expr::Literal(value, _) => {
            value.cast_to(&DataType::Float64).is_ok_and(|value| value == ScalarValue::Float64(Some(1.0)))
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KeptOperator {
    op: Operator,
}

impl ScalarUDFImpl for KeptOperator {
    fn name(&self) -> &str {
        match self.op {
            Operator::Modulo => "remainder",
            _ => "exclusive_or",
        }
    }

    // The types are those that the engine has given to the operands of the operator.
    fn signature(&self) -> &Signature {
        signatures::two()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [left, right] = take_function_args(self.name(), types)?;
        BinaryTypeCoercer::new(left, &self.op, right).get_result_type()
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [left, right] = take_function_args(self.name(), args.arg_fields)?;
        let of = self.return_type(&[left.data_type().clone(), right.data_type().clone()])?;
        Ok(Arc::new(Field::new(self.name(), of, left.is_nullable() || right.is_nullable())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        let operand = |value: ColumnarValue| -> Arc<dyn PhysicalExpr> {
            match value {
                ColumnarValue::Scalar(value) => Arc::new(Literal::new(value)),
                ColumnarValue::Array(values) => {
                    fields.push(Field::new("", values.data_type().clone(), true));
                    columns.push(values);
                    Arc::new(Column::new("", columns.len() - 1))
                }
            }
        };
        let operands: Vec<Arc<dyn PhysicalExpr>> = args.args.into_iter().map(operand).collect();
        let [left, right] = take_function_args(self.name(), operands)?;
        let rows = RecordBatchOptions::new().with_row_count(Some(args.number_rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &rows)?;
        PhysicalBinaryExpr::new(left, self.op, right).evaluate(&batch)
    }
}
