//! Arithmetic of whole numbers as DuckDB has it: in 64 bits with a sign, and never wrapped around.
//!
//! Invariants
//! - `+`, `-` and `*` of whole numbers of any width, with a sign or without, have the true result or are an
//!   error
//! - `a / b` is a floating-point number; `a // b` is cut off towards zero, so that `(a // b) * b + a % b` is
//!   `a`
//!
//! The engine's own operators keep the width of their operands: a difference of unsigned numbers would have
//! no sign.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, Field, FieldRef};
use datafusion::arrow::array::Datum;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions::math;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast, lit,
};
use datafusion::physical_expr_common::datum;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::error::SqlError;

/// What puts the functions in the place of operators.
#[derive(Debug)]
pub(crate) struct Arithmetic;

impl ExprPlanner for Arithmetic {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let operation = match &expr.op {
            BinaryOperator::Plus => Some(Operation::Add),
            BinaryOperator::Minus => Some(Operation::Subtract),
            BinaryOperator::Multiply => Some(Operation::Multiply),
            BinaryOperator::DuckIntegerDivide => Some(Operation::Divide),
            BinaryOperator::Divide => None,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let whole = |side: &Expr| type_of(side, schema).filter(DataType::is_integer);
        let types = whole(&expr.left).zip(whole(&expr.right));
        let RawBinaryExpr { op, left, right } = expr;
        let planned = match (operation, types) {
            (Some(operation), Some((of_left, of_right))) => {
                let wide = |side: Expr, ty: DataType| match ty {
                    DataType::Int64 => side,
                    _ => cast(side, DataType::Int64),
                };
                let function = Arc::new(operation.function());
                let args = vec![wide(left, of_left), wide(right, of_right)];
                Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
            }
            (None, Some(_)) => cast(left, DataType::Float64) / cast(right, DataType::Float64),
            (Some(Operation::Divide), None) => {
                let quotient = lit(1.0f64) * left / right;
                cast(math::trunc().call(vec![quotient]), DataType::Int64)
            }
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

/// The type of an operand, if it has one by now.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    // Of a long chain of operators each has all before it as an operand.
    if let Expr::ScalarFunction(call) = expr
        && call.func.inner().is::<Whole>()
    {
        return Some(DataType::Int64);
    }
    let ty = expr.get_type(schema).ok();
    ty.or_else(|| {
        // A column of USING is there on both sides.
        let one_side = expr.clone().transform(|part| {
            let first = match &part {
                Expr::Column(column) if column.relation.is_none() => {
                    schema.columns_with_unqualified_name(&column.name).into_iter().next()
                }
                _ => None,
            };
            Ok(match first {
                Some(column) => Transformed::yes(Expr::Column(column)),
                None => Transformed::no(part),
            })
        });
        one_side.data().ok()?.get_type(schema).ok()
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    /// To a whole number, cut off towards zero.
    Divide,
}

impl Operation {
    fn function(self) -> ScalarUDF {
        let types = vec![DataType::Int64, DataType::Int64];
        ScalarUDF::from(Whole { operation: self, signature: Signature::exact(types, Volatility::Immutable) })
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "//",
        }
    }

    fn compute(self, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Add => numeric::add(left, right),
            Self::Subtract => numeric::sub(left, right),
            Self::Multiply => numeric::mul(left, right),
            Self::Divide => numeric::div(left, right),
        }
    }
}

/// An operator on whole numbers of 64 bits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Whole {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Whole {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "add",
            Operation::Subtract => "subtract",
            Operation::Multiply => "multiply",
            Operation::Divide => "divide",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let side = |side: &Expr| match side {
            Expr::BinaryExpr(_) => format!("({})", side.schema_name()),
            Expr::ScalarFunction(call) if call.func.inner().is::<Self>() => {
                format!("({})", side.schema_name())
            }
            _ => side.schema_name().to_string(),
        };
        let [left, right] = take_function_args(self.name(), args)?;
        Ok(format!("{} {} {}", side(left), self.operation.sign(), side(right)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), DataType::Int64, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [left, right] = take_function_args(self.name(), args.args)?;
        datum::apply(&left, &right, |left, right| self.operation.compute(left, right))
            .map_err(|error| self.explain(error))
    }
}

impl Whole {
    fn explain(&self, error: DataFusionError) -> DataFusionError {
        let too_large = matches!(&error, DataFusionError::ArrowError(inner, _)
            if matches!(**inner, ArrowError::ArithmeticOverflow(_)));
        if !too_large {
            return error;
        }
        let sign = self.operation.sign();
        SqlError::invalid(format!("a result of a {sign} b does not fit into 64 bits"))
            .hint(format!(
                "CAST(a AS DECIMAL(38)) {sign} b has all digits, CAST(a AS DOUBLE) {sign} b the first fifteen"
            ))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::FunctionRegistry;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn logical(sql: &str) -> String {
        let mut context = SessionContext::new();
        context.register_expr_planner(Arc::new(Arithmetic)).unwrap();
        context.state().create_logical_plan(sql).await.unwrap().to_string()
    }

    #[tokio::test]
    async fn operators_on_whole_numbers_have_functions_in_their_place() {
        let rows = "(VALUES (1, 2.5)) AS t(x, y)";
        for (expr, function) in [
            ("x + 1", "add(t.x, Int64(1))"),
            ("x * x - 1", "subtract(multiply(t.x, t.x), Int64(1))"),
            ("x // 2", "divide(t.x, Int64(2))"),
            ("CAST(x AS INT) + 1", "add(CAST(CAST(t.x AS Int32) AS Int64), Int64(1))"),
            ("x / 2", "CAST(t.x AS Float64) / CAST(Int64(2) AS Float64)"),
            ("x + y", "t.x + t.y"),
            ("y / 2", "t.y / Int64(2)"),
            ("sum(x) * 2", "multiply(sum(t.x), Int64(2))"),
        ] {
            let plan = logical(&format!("SELECT {expr} FROM {rows}")).await;
            assert!(plan.contains(function), "{expr}: {plan}");
        }
        let using = "SELECT k + 1 FROM (VALUES (1)) AS a(k) JOIN (VALUES (1)) AS b(k) USING (k)";
        assert!(logical(using).await.contains("add("));
    }
}
