//! Lists and joined texts in the order that is asked for, of windows and of distinct values; and other
//! aggregates without one.
//!
//! For windows of opposite orders the engine sorts once, and computes those of the second order backwards. It
//! takes each list and each joined text to be the same backwards, and would give them in the other order. So
//! it does with those of distinct values, where its rows come in the opposite order already.
//!
//! In groups it gives the keys of an order as further arguments to every aggregate, also to one that takes
//! none (DataFusion #25401). Most have the same value in any order, and need no keys.

use std::sync::Arc;

use crate::forward::from_engine;
use crate::input_order::BY_ORDER;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ReversedUDAF, Signature, WindowFunctionDefinition,
};
use datafusion::scalar::ScalarValue;

/// Puts `ForwardOnly` around the aggregates that the engine would compute backwards as they are, and leaves
/// out orders that values do not depend on.
pub(super) fn rewrite(expr: Expr, _: &DFSchema) -> DfResult<Transformed<Expr>> {
    Ok(match expr {
        Expr::AggregateFunction(AggregateFunction { func, mut params })
            if !params.order_by.is_empty() && !is_by_order(&func) =>
        {
            params.order_by.clear();
            Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        Expr::WindowFunction(call) => match call.fun {
            WindowFunctionDefinition::AggregateUDF(engine) if is_its_own_reverse(&engine) => {
                let fun = WindowFunctionDefinition::AggregateUDF(forward_only(engine));
                Transformed::yes(Expr::from(WindowFunction { fun, ..*call }))
            }
            _ => Transformed::no(Expr::WindowFunction(call)),
        },
        Expr::AggregateFunction(AggregateFunction { func, params })
            if params.distinct && !params.order_by.is_empty() && is_its_own_reverse(&func) =>
        {
            let func = forward_only(func);
            Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
        }
        other => Transformed::no(other),
    })
}

/// Whether the value of an aggregate depends on its order. The key of a quantile is what it is of.
fn is_by_order(function: &AggregateUDF) -> bool {
    BY_ORDER.contains(&function.name()) || function.supports_within_group_clause()
}

/// Whether the engine computes a function over rows in the opposite order by the function itself, though the
/// order matters to it.
fn is_its_own_reverse(function: &AggregateUDF) -> bool {
    matches!(function.reverse_udf(), ReversedUDAF::Reversed(other) if other.name() == function.name())
}

fn forward_only(engine: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(ForwardOnly { engine }))
}

/// An aggregate that is never computed over rows in the opposite order.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ForwardOnly {
    engine: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for ForwardOnly {
    from_engine! {
        name() -> &str;
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field(fields: &[FieldRef]) -> DfResult<FieldRef>;
        is_nullable() -> bool;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>>;
        create_sliding_accumulator(args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>>;
        state_fields(args: StateFieldsArgs) -> DfResult<Vec<FieldRef>>;
        default_value(of: &DataType) -> DfResult<ScalarValue>;
        supports_null_handling_clause() -> bool;
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }
}
