//! One NaN for all and one zero, as in DuckDB: each NaN is equal to every other, and larger than any number,
//! and -0.0 is 0.0.
//!
//! The engine sorts, ranks, hashes and looks up numbers by their bits, and there are many NaN: the one that a
//! processor computes has a sign, and would be less than all numbers, and another one than that of a text or
//! a file.
//!
//! Invariants
//! - a column of numbers, also within lists and structs, has no other NaN than [`f64::NAN`] and no -0.0:
//!   tables give no other, aggregates neither, and whatever else may compute one is the argument of a call
//!   that puts it in its place
//! - the call has the name of its argument, so that headings and keys stay what they are
//!
//! Of `a + b / c` only the whole is such an argument: what stands inside arithmetic may have any NaN and any
//! zero. No call stands around a product with a positive constant or a quotient by one, which are -0.0 only
//! of negative numbers that are too small for their type.

mod values;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::{
    Accumulator, BinaryExpr, ColumnarValue, EmitTo, Expr, ExprSchemable, GroupsAccumulator, Operator,
    ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, lit,
};
use datafusion::scalar::ScalarValue;

pub use self::values::canonical;
pub(super) use self::values::canonical_value;
use super::columnar::of_one;
use super::spelled::innermost;
use super::types::is_text;
use crate::forward::{accumulate_in, group_in, named_as_argument, of_its_type};
use crate::signatures;

/// Functions of numbers that give NaN or -0.0 for some that are neither, those in the place of operators
/// among them.
const COMPUTING: [&str; 19] = [
    "acos",
    "acosh",
    "add",
    "arithmetic",
    "asin",
    "atanh",
    "cos",
    "cot",
    "fmod",
    "ln",
    "log",
    "log10",
    "log2",
    "multiply",
    "power",
    "sin",
    "sqrt",
    "subtract",
    "tan",
];

/// The same of others: of lists, of text, and of numbers that may be whole or decimals.
const OF_OTHERS: [&str; 20] = [
    "array_add",
    "array_avg",
    "array_distance",
    "array_normalize",
    "array_product",
    "array_scale",
    "array_subtract",
    "array_sum",
    // The engine makes casts of these later.
    "arrow_cast",
    "arrow_try_cast",
    "cast_to_type",
    "try_cast_to_type",
    "ceil",
    "converted",
    "cosine_distance",
    "floor",
    "inner_product",
    "json_get_float",
    "round",
    "trunc",
];

/// Makes an expression the argument of the call, after those inside it.
pub(super) fn rewrite(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let computes = match &expr {
        Expr::Literal(value @ (ScalarValue::Float32(_) | ScalarValue::Float64(_)), _) => {
            let other = canonical_value(value.clone());
            return Ok(match other == *value {
                true => Transformed::no(expr),
                false => Transformed::yes(lit(other)),
            });
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            op.is_numerical_operators()
                && may_give(left, *op, right)
                && is_float(left, schema)
                && is_float(right, schema)
        }
        Expr::Negative(of) => constant(of).is_none() && is_float(of, schema),
        Expr::ScalarFunction(call) if COMPUTING.contains(&call.func.name()) => {
            call.args.iter().any(|arg| is_float(arg, schema))
        }
        Expr::ScalarFunction(call) if OF_OTHERS.contains(&call.func.name()) => {
            expr.get_type(schema).is_ok_and(|of| innermost(&of).is_floating())
        }
        Expr::Cast(Cast { expr: of, field }) | Expr::TryCast(TryCast { expr: of, field }) => {
            innermost(field.data_type()).is_floating()
                && of.get_type(schema).is_ok_and(|of| is_text(innermost(&of)))
        }
        // Of a statement whose expressions are arguments already.
        Expr::ScalarFunction(call) => is_call(&expr) && call.args.first().is_some_and(is_call),
        _ => false,
    };
    if !computes {
        return Ok(Transformed::no(expr));
    }
    match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
            unwrap_call(left);
            unwrap_call(right);
        }
        Expr::Negative(of) => unwrap_call(of),
        Expr::ScalarFunction(call) => call.args.iter_mut().for_each(unwrap_call),
        _ => {}
    }
    Ok(Transformed::yes(if is_call(&expr) { expr } else { call(expr) }))
}

/// Whether an operation on two numbers may give NaN or -0.0 where neither of them is one.
fn may_give(left: &Expr, op: Operator, right: &Expr) -> bool {
    let is_positive = |side| constant(side).is_some_and(|number| number > 0.0);
    match op {
        Operator::Modulo => true,
        Operator::Multiply => !(is_positive(left) || is_positive(right)),
        Operator::Divide => !is_positive(right),
        _ => constant(left).or_else(|| constant(right)).is_none(),
    }
}

/// A number with which arithmetic gives no NaN but for NaN: one that is neither 0 nor infinite.
fn constant(expr: &Expr) -> Option<f32> {
    let value = match expr {
        Expr::Literal(value, _) => value,
        Expr::Cast(Cast { expr, .. }) => match &**expr {
            Expr::Literal(value, _) => value,
            _ => return None,
        },
        _ => return None,
    };
    if !value.data_type().is_numeric() {
        return None;
    }
    // In 32 bits, in which it may be computed.
    match value.cast_to(&DataType::Float32) {
        Ok(ScalarValue::Float32(number)) => number.filter(|number| number.is_finite() && *number != 0.0),
        _ => None,
    }
}

/// Whether an operand is a floating-point number. The type of what may be long is not asked for: an operand
/// that computes floating-point numbers is a call by now, or has a constant.
fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.is_numerical_operators() => {
            is_float(left, schema) && is_float(right, schema)
        }
        Expr::Negative(of) => is_float(of, schema),
        Expr::ScalarFunction(call) if COMPUTING.contains(&call.func.name()) => false,
        // Whole numbers.
        Expr::ScalarFunction(call) if call.func.name() == "divide" => false,
        _ => is_call(expr) || expr.get_type(schema).is_ok_and(|of| of.is_floating()),
    }
}

fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<CanonicalFloat>())
}

fn unwrap_call(expr: &mut Expr) {
    let is_call = is_call(expr);
    if let Expr::ScalarFunction(call) = expr
        && is_call
        && let Some(of) = call.args.pop()
    {
        *expr = of;
    }
}

fn call(of: Expr) -> Expr {
    ScalarUDF::from(CanonicalFloat).call(vec![of])
}

/// The same number, with one NaN and one zero for all.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CanonicalFloat;

impl ScalarUDFImpl for CanonicalFloat {
    fn name(&self) -> &str {
        "canonical_float"
    }

    named_as_argument!();

    of_its_type!();

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, |values| Ok(canonical(values)))
    }
}

/// An aggregate that gives no other NaN and no -0.0.
pub(super) fn accumulator(of: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
    Box::new(CanonicalAccumulator(of))
}

pub(super) fn groups(of: Box<dyn GroupsAccumulator>) -> Box<dyn GroupsAccumulator> {
    Box::new(CanonicalGroups(of))
}

#[derive(Debug)]
struct CanonicalAccumulator(Box<dyn Accumulator>);

impl Accumulator for CanonicalAccumulator {
    accumulate_in!(0, |self, values| values);

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.0.evaluate().map(canonical_value)
    }
}

struct CanonicalGroups(Box<dyn GroupsAccumulator>);

impl GroupsAccumulator for CanonicalGroups {
    group_in!(0, |values| values);

    fn evaluate(&mut self, emit: EmitTo) -> DfResult<ArrayRef> {
        Ok(canonical(&self.0.evaluate(emit)?))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionState;
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::logical_expr::LogicalPlan;

    use super::*;

    fn analyzed(state: &SessionState, plan: LogicalPlan) -> LogicalPlan {
        state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}).unwrap()
    }

    #[tokio::test]
    async fn a_call_stands_around_the_whole_of_what_may_give_nan() {
        let rule = crate::rewrites::rule(&[rewrite]);
        let state =
            SessionStateBuilder::new().with_default_features().with_analyzer_rule(Arc::new(rule)).build();
        let rows = "(VALUES (1.5, 2.5, 3, 'a')) AS t(x, y, k, s)";
        for (expr, calls) in [
            ("x / y", 1),
            ("(x / y + x) * y - x % y", 1),
            ("x * 2.5 + y", 1),
            ("abs(x / y)", 1),
            ("ln(x) + power(y, x)", 1),
            ("x - y > 1 AND x * y < 2", 2),
            ("-x", 1),
            ("x % 2", 1),
            ("x / 0", 1),
            ("CAST(s AS DOUBLE)", 1),
            ("(x / y) * 2", 1),
            ("x * 2", 0),
            ("x / 1000.0 + 1", 0),
            ("-1.5", 0),
            ("x * -2", 1),
            ("x / -2.5", 1),
            ("1 / x", 1),
            ("round(x, 1) > floor(x)", 2),
            ("round(x, 1) + floor(x)", 1),
            ("CAST(make_array(s) AS DOUBLE[])", 1),
            ("arrow_cast(s, 'Float64')", 1),
            ("arrow_try_cast(x, 'Float32')", 1),
            ("arrow_cast(make_array(s), 'List(Float64)')", 1),
            ("arrow_cast(x, 'Int64')", 0),
            ("try_cast_to_type(s, x)", 1),
            ("k + k * k", 0),
            ("-k", 0),
            ("CAST(k AS DOUBLE)", 0),
            ("s", 0),
        ] {
            let plan = state.create_logical_plan(&format!("SELECT {expr} FROM {rows}")).await.unwrap();
            let named = |plan: &LogicalPlan| plan.schema().field(0).name().clone();
            let name = named(&plan);
            let once = analyzed(&state, plan);
            assert_eq!(once.to_string().matches("canonical_float(").count(), calls, "{expr}: {once}");
            assert_eq!(named(&once), name);
            let twice = analyzed(&state, once.clone());
            assert_eq!(twice.to_string(), once.to_string());
        }
    }
}
