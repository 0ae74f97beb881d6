//! Arithmetic of whole numbers as DuckDB has it: in 64 bits with a sign, and never wrapped around.
//!
//! Invariants
//! - `+`, `-` and `*` of whole numbers of any width, with a sign or without, have the true result or are an
//!   error; so is `-x`, which keeps the width of `x`
//! - `a / b` is a floating-point number, of decimals too; `a // b` is cut off towards zero, so that
//!   `(a // b) * b + a % b` is `a`
//! - `a % b` of a UBIGINT and another whole number has a sign
//!
//! The engine's own operators keep the width of their operands: a difference of unsigned numbers would have
//! no sign, and the remainder of a UBIGINT and a BIGINT would be a decimal.

mod chain;
mod negative;
mod operation;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_cast::CastOptions;
use arrow_schema::{ArrowError, DECIMAL256_MAX_PRECISION, DataType};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDFImpl, Signature, cast,
};
use datafusion::physical_expr_common::datum;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

pub(super) use self::negative::rewrite;
use self::operation::{Computation, Operation, exact, quotients, scale, unsigned};
use crate::error::FunctionError;
use crate::signatures;
use crate::spans::is_span;

/// What puts the functions in the place of operators.
///
/// Types are known by then as far as a statement says them. Those of `CASE` and `UNION` may become fractions
/// later, so the functions take what the engine's operators take.
#[derive(Debug)]
pub struct Arithmetic;

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
            BinaryOperator::Modulo => Some(Operation::Modulo),
            BinaryOperator::Divide => None,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let is = |side: &Expr, kind: fn(&DataType) -> bool| type_of(side, schema).is_some_and(|of| kind(&of));
        let are_whole = is(&expr.left, DataType::is_integer) && is(&expr.right, DataType::is_integer);
        let is_exact = |side: &Expr| is(side, |of| scale(of).is_some());
        let is_unsigned = |side: &Expr| is(side, |of| *of == DataType::UInt64);
        let RawBinaryExpr { op, left, right } = expr;
        let planned = match operation {
            // Other remainders are of the type of an operand.
            Some(Operation::Modulo) if !are_whole || is_unsigned(&left) == is_unsigned(&right) => {
                return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
            }
            Some(operation) if are_whole || operation == Operation::Divide => {
                chain::applied(operation, left, right)
            }
            // So the dialect has `-x` where the engine knows none of the type of `x`.
            Some(Operation::Subtract) if is_zero(&left) && is(&right, is_span) => negative::negated(right),
            // The engine's quotients of decimals are cut off behind a few digits.
            None if is_exact(&left) && is_exact(&right) => {
                cast(left, DataType::Float64) / cast(right, DataType::Float64)
            }
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

fn is_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Int64(Some(0)), _))
}

/// The type of an operand, if it has one by now.
pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    // Of a long chain of operators each has all before it as an operand.
    if let Expr::ScalarFunction(call) = expr
        && call.func.inner().is::<IntegerOperations>()
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

impl Operation {
    /// The types of two operands that it takes in the place of these.
    fn coerced(self, left: &DataType, right: &DataType) -> DfResult<(DataType, DataType)> {
        match (wide_type(left), wide_type(right)) {
            (Some(left), Some(right)) => Ok((left, right)),
            _ => BinaryTypeCoercer::new(left, &self.operator(), right).get_input_types(),
        }
    }

    fn result(self, left: &DataType, right: &DataType) -> DfResult<DataType> {
        if self == Operation::Divide || (left.is_integer() && right.is_integer()) {
            return Ok(DataType::Int64);
        }
        BinaryTypeCoercer::new(left, &self.operator(), right).get_result_type()
    }
}

/// Operators on whole numbers of 64 bits, or on what such became once all types are known: the first between
/// the first two operands, each other between what those before it gave and the next operand.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IntegerOperations {
    operations: Vec<Operation>,
}

impl ScalarUDFImpl for IntegerOperations {
    fn name(&self) -> &str {
        match self.operations.as_slice() {
            [Operation::Add] => "add",
            [Operation::Subtract] => "subtract",
            [Operation::Multiply] => "multiply",
            [Operation::Divide] => "divide",
            [Operation::Modulo] => "modulo",
            _ => "arithmetic",
        }
    }

    // Of the operands' names alone: the engine puts another expression of the same name in an operand's
    // place.
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        chain::name(self, args)
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match (types, self.operations.as_slice()) {
            ([left, right], [operation]) => {
                operation.coerced(left, right).map(|(left, right)| vec![left, right])
            }
            // The others depend on what those before them give.
            _ => Ok(types.iter().map(|of| wide_type(of).unwrap_or_else(|| of.clone())).collect()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let (first, rest) =
            types.split_first().ok_or_else(|| FunctionError::internal("types of operands"))?;
        let mut each = self.operations.iter().zip(rest);
        each.try_fold(first.clone(), |left, (operation, right)| operation.result(&left, right))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let mut values = args.args.into_iter();
        let first = values.next().ok_or_else(|| FunctionError::internal("operands of an operation"))?;
        let mut each = self.operations.iter().zip(values);
        each.try_fold(first, |left, (operation, right)| operation.apply(left, right))
    }
}

impl Operation {
    fn apply(self, left: ColumnarValue, right: ColumnarValue) -> DfResult<ColumnarValue> {
        let (left_of, right_of) = self.coerced(&left.data_type(), &right.data_type())?;
        let (left, right) = (taken_as(left, &left_of)?, taken_as(right, &right_of)?);
        let computed = match (&left_of, &right_of) {
            (DataType::Int64, DataType::Int64) => {
                datum::apply(&left, &right, |left, right| self.compute(left, right))
            }
            (left_of, right_of) if left_of.is_integer() && right_of.is_integer() => {
                self.each(&left, &right, DataType::Decimal128(20, 0), unsigned)
            }
            (left_of, right_of) if self == Operation::Divide => match scale(left_of).zip(scale(right_of)) {
                Some((first, second)) => {
                    let of = DataType::Decimal256(DECIMAL256_MAX_PRECISION, first.max(second));
                    self.each(&left, &right, of, exact)
                }
                None => self.each(&left, &right, DataType::Float64, quotients),
            },
            _ => return datum::apply(&left, &right, |left, right| self.compute(left, right)),
        };
        computed.map_err(|error| self.explain(error))
    }

    /// Computes with operands of another type.
    fn each(
        self,
        left: &ColumnarValue,
        right: &ColumnarValue,
        of: DataType,
        compute: Computation,
    ) -> DfResult<ColumnarValue> {
        let is_scalar = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let sides = ColumnarValue::values_to_arrays(&[left.clone(), right.clone()])?;
        // What does not fit is an error, and not null.
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let cast = |side: &ArrayRef| arrow_cast::cast_with_options(side, &of, &options);
        let sides: Vec<ArrayRef> = sides.iter().map(cast).collect::<Result<_, _>>()?;
        let [left, right] = take_function_args(self.sign(), &sides)?;
        let found = compute(self, left, right)?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            false => ColumnarValue::Array(Arc::new(found)),
        })
    }

    fn explain(self, error: DataFusionError) -> DataFusionError {
        let too_large = matches!(&error, DataFusionError::ArrowError(inner, _)
            if matches!(**inner, ArrowError::ArithmeticOverflow(_)));
        if !too_large {
            return error;
        }
        let sign = self.sign();
        let error = FunctionError::invalid(format!("a result of a {sign} b does not fit into 64 bits"));
        let hint = match self {
            Operation::Divide => "a / b is a floating-point number".to_owned(),
            _ => format!(
                "CAST(a AS DECIMAL(38)) {sign} b has all digits, CAST(a AS DOUBLE) {sign} b the first fifteen"
            ),
        };
        error.hint(hint).into()
    }
}

fn taken_as(value: ColumnarValue, of: &DataType) -> DfResult<ColumnarValue> {
    if value.data_type() == *of { Ok(value) } else { value.cast_to(of, None) }
}

/// The type that a whole number is taken as: signed, but for what may not fit.
fn wide_type(of: &DataType) -> Option<DataType> {
    match of {
        DataType::UInt64 => Some(DataType::UInt64),
        of if of.is_integer() => Some(DataType::Int64),
        _ => None,
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
            ("CAST(x AS INT) + 1", "add(CAST(t.x AS Int32), Int64(1))"),
            ("x / 2", "CAST(t.x AS Float64) / CAST(Int64(2) AS Float64)"),
            ("x + y", "t.x + t.y"),
            ("y / 2", "t.y / Int64(2)"),
            (
                "CAST(x AS DECIMAL(5, 2)) / 2",
                "CAST(CAST(t.x AS Decimal128(5, 2)) AS Float64) / CAST(Int64(2) AS Float64)",
            ),
            ("sum(x) * 2", "multiply(sum(t.x), Int64(2))"),
            ("x % 2", "t.x % Int64(2)"),
            ("CAST(x AS BIGINT UNSIGNED) % 2", "modulo(CAST(t.x AS UInt64), Int64(2))"),
            (
                "CAST(x AS BIGINT UNSIGNED) % CAST(x AS BIGINT UNSIGNED)",
                "CAST(t.x AS UInt64) % CAST(t.x AS UInt64)",
            ),
        ] {
            let plan = logical(&format!("SELECT {expr} FROM {rows}")).await;
            assert!(plan.contains(function), "{expr}: {plan}");
        }
        let using = "SELECT k + 1 FROM (VALUES (1)) AS a(k) JOIN (VALUES (1)) AS b(k) USING (k)";
        assert!(logical(using).await.contains("add("));
    }

    #[tokio::test]
    async fn names_stay_where_a_part_is_computed_once_for_several() {
        let mut context = SessionContext::new();
        context.register_expr_planner(Arc::new(Arithmetic)).unwrap();
        let rows = "(VALUES (1), (2)) AS t(x)";
        for (items, name) in [
            ("x * 2 + 1, (x * 2 + 1) * 10", "((t.x * Int64(2)) + Int64(1)) * Int64(10)"),
            ("x * 2, x * 2 + 1, (x * 2 + 1) * 10", "((t.x * Int64(2)) + Int64(1)) * Int64(10)"),
            ("abs(x - 7), abs(x - 7) * 3, x - 7", "abs(t.x - Int64(7)) * Int64(3)"),
            (
                "(1.5 * x) // 2 + (1.5 * x) // 2",
                "((Float64(1.5) * t.x) // Int64(2)) + ((Float64(1.5) * t.x) // Int64(2))",
            ),
        ] {
            let of =
                context.sql(&format!("SELECT {items} FROM {rows} WHERE x > 0 ORDER BY 1")).await.unwrap();
            let plan = of.into_optimized_plan().unwrap();
            let names: Vec<&str> = plan.schema().fields().iter().map(|field| field.name().as_str()).collect();
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
