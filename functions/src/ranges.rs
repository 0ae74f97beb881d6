//! Keys by which the engine can tell that rows are in order: `ORDER BY length(x) > 4`.
//!
//! It derives the range of the values of each part of a key, and takes a key in which that fails for one that
//! no rows are sorted by, also above a sort by that very key. It fails in comparisons and negations of what
//! has no range of its type: of functions and most operators. So these stand in a function that gives back
//! its argument, in the same order, and has all values of a type as its range. It also fails in functions such
//! as `abs` and `ln` unless it knows that their argument is where they ascend; there nothing is known instead.
//!
//! Keys of ordered aggregates that come again are left out: the engine leaves them out of the order of the
//! rows, and counts on their values in each row (DataFusion #25398).

use std::collections::HashSet;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, SortOptions};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Sort as SortKey};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::forward::{from_engine, of_its_type};
use crate::signatures;

/// An optimised plan whose sorts, windows and ordered aggregates have keys with ranges.
pub fn with_ranges(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Sort(_) => {
            let schema = merge_schema(&node.inputs());
            node.map_expressions(|key| ranged(key, &schema))
        }
        LogicalPlan::Window(_) | LogicalPlan::Aggregate(_) => {
            let (schema, names) = (merge_schema(&node.inputs()), NamePreserver::new(&node));
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|part| of_call(part, &schema))?;
                Ok(match changed.transformed {
                    true => changed.update_data(|expr| name.restore(expr)),
                    false => changed,
                })
            })
        }
        _ => Ok(Transformed::no(node)),
    });
    plan.data()
}

/// The call of an aggregate or window function with such keys.
fn of_call(mut expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let mut changed = false;
    let keys: Vec<&mut Expr> = match &mut expr {
        Expr::WindowFunction(call) => {
            let order = call.params.order_by.iter_mut().map(|key| &mut key.expr);
            call.params.partition_by.iter_mut().chain(order).collect()
        }
        Expr::AggregateFunction(call) => {
            let keys = &mut call.params.order_by;
            changed = leave_out_repeated(keys);
            keys.iter_mut().map(|key| &mut key.expr).collect()
        }
        _ => Vec::new(),
    };
    for key in keys {
        let with_range = ranged(std::mem::take(key), schema)?;
        changed |= with_range.transformed;
        *key = with_range.data;
    }
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Leaves out all but the first of equal keys, whatever their directions; whether there were any. They decide
/// nothing about rows in which the first is equal.
fn leave_out_repeated(keys: &mut Vec<SortKey>) -> bool {
    let number = keys.len();
    let mut known: HashSet<Expr> = HashSet::with_capacity(number);
    keys.retain(|key| known.insert(key.expr.clone()));
    keys.len() < number
}

/// A key of which all parts have ranges.
fn ranged(key: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    use Operator as O;
    key.transform_up(|mut expr| {
        let of_times = expr.get_type(schema).is_ok_and(|of| of.is_temporal());
        let parts: Vec<&mut Expr> = match &mut expr {
            Expr::BinaryExpr(BinaryExpr { left, op: O::Lt | O::LtEq | O::Gt | O::GtEq, right }) => {
                vec![&mut **left, &mut **right]
            }
            Expr::Between(Between { expr: of, low, high, .. }) => {
                vec![&mut **of, &mut **low, &mut **high]
            }
            Expr::BinaryExpr(BinaryExpr { left, op: O::Plus | O::Minus, right }) if of_times => {
                vec![&mut **left, &mut **right]
            }
            Expr::Negative(of) => vec![&mut **of],
            _ => Vec::new(),
        };
        let mut changed = false;
        for part in parts.into_iter().filter(|part| !has_range(part)) {
            if let Ok(of) = part.get_type(schema) {
                *part = ScalarUDF::from(Ranged { of }).call(vec![std::mem::take(part)]);
                changed = true;
            }
        }
        let of = expr.get_type(schema);
        if let (Expr::ScalarFunction(call), Ok(of)) = (&mut expr, of)
            && fails(&call.func, &call.args, schema)
        {
            let engine = Arc::clone(&call.func);
            call.func = Arc::new(ScalarUDF::from(KeyFunction { engine, of }));
            changed = true;
        }
        Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
    })
}

/// Whether the engine's answers about the order or the range of a function may be errors.
fn fails(function: &ScalarUDF, args: &[Expr], schema: &DFSchema) -> bool {
    let unknown = || Interval::make_unbounded(&DataType::Null);
    let of_type = |arg: &Expr| Interval::make_unbounded(&arg.get_type(schema)?);
    let given = |has_type: bool| -> DfResult<Vec<ExprProperties>> {
        let given = args.iter().map(|arg| {
            let (order, range) = match arg {
                Expr::Literal(value, _) => {
                    (SortProperties::Singleton, Interval::try_new(value.clone(), value.clone()))
                }
                _ if has_type || has_range(arg) => {
                    (SortProperties::Ordered(SortOptions::default()), of_type(arg))
                }
                _ => (SortProperties::Ordered(SortOptions::default()), unknown()),
            };
            Ok(ExprProperties::new_unknown().with_order(order).with_range(range.or_else(|_| unknown())?))
        });
        given.collect()
    };
    [true, false].into_iter().any(|has_type| {
        let Ok(given) = given(has_type) else { return true };
        let ranges: Vec<&Interval> = given.iter().map(|of| &of.range).collect();
        function.output_ordering(&given).is_err() || function.evaluate_bounds(&ranges).is_err()
    })
}

/// Whether the engine knows a range of an expression that is of its type.
fn has_range(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_) | Expr::Literal(..))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ranged {
    of: DataType,
}

impl ScalarUDFImpl for Ranged {
    /// None: a plan shows the argument in brackets, as it is written. It has no name in errors of the engine
    /// either.
    fn name(&self) -> &str {
        ""
    }

    of_its_type!();

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        Ok(inputs.first().map(|of| of.sort_properties).unwrap_or_default())
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        Ok(inputs.first().is_some_and(|of| of.strictly_order_preserving))
    }

    fn evaluate_bounds(&self, _: &[&Interval]) -> DfResult<Interval> {
        Interval::make_unbounded(&self.of)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [of] = take_function_args(self.name(), args.args)?;
        Ok(of)
    }
}

/// A function in a key, of whose order and range nothing is known where the engine's answer is an error.
#[derive(Debug, PartialEq, Eq, Hash)]
struct KeyFunction {
    engine: Arc<ScalarUDF>,
    /// Type of its values.
    of: DataType,
}

impl ScalarUDFImpl for KeyFunction {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        signature() -> &Signature;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        is_strict() -> bool;
        short_circuits() -> bool;
        invoke_with_args(args: ScalarFunctionArgs) -> DfResult<ColumnarValue>;
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        Ok(self.engine.output_ordering(inputs).unwrap_or_default())
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        Ok(self.engine.inner().strictly_order_preserving(inputs).unwrap_or_default())
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        let known = self.engine.evaluate_bounds(inputs).ok().filter(|range| range.data_type() == self.of);
        known.map_or_else(|| Interval::make_unbounded(&self.of), Ok)
    }
}
