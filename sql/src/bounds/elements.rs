//! A function of each element of a list with a limit on what it computes at once.
//!
//! The engine computes it for all elements of a batch together, and makes a row of each; a list that is the
//! same for all rows is repeated for each of them before.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs,
    HigherOrderSignature, HigherOrderUDF, HigherOrderUDFImpl, LambdaParametersProgress, ValueOrLambda,
};
use gstore_functions::from_engine;

use super::Budget;
use super::sizes;

/// Bytes that the row of an element takes: what the function names, which has a few bytes, and what it makes
/// on the way.
const ROW: u64 = 64;

/// A function of each element that takes the memory of its rows first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BoundedElements {
    engine: Arc<HigherOrderUDF>,
    budget: Arc<Budget>,
}

pub(super) fn limit_elements(engine: Arc<HigherOrderUDF>, budget: &Arc<Budget>) -> HigherOrderUDF {
    HigherOrderUDF::from(BoundedElements { engine, budget: Arc::clone(budget) })
}

impl HigherOrderUDFImpl for BoundedElements {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        signature() -> &HigherOrderSignature;
        coerce_values_for_lambdas(
            types: &[ValueOrLambda<DataType, DataType>]
        ) -> DfResult<Option<Vec<DataType>>>;
        return_field_from_args(args: HigherOrderReturnFieldArgs) -> DfResult<FieldRef>;
        clear_null_values() -> bool;
        short_circuits() -> bool;
        coerce_value_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        documentation() -> Option<&Documentation>;
    }

    fn lambda_parameters(
        &self,
        step: usize,
        fields: &[ValueOrLambda<FieldRef, Option<FieldRef>>],
    ) -> DfResult<LambdaParametersProgress> {
        self.engine.lambda_parameters(step, fields)
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> DfResult<ColumnarValue> {
        // Given back once all elements are computed.
        let _memory = self.budget.reserve(rows_of(&args)?)?;
        self.engine.invoke_with_args(args)
    }
}

/// Bytes of the rows that the elements of a batch become.
fn rows_of(args: &HigherOrderFunctionArgs) -> DfResult<u64> {
    let mut all = 0u64;
    for arg in &args.args {
        let ValueOrLambda::Value(lists) = arg else { continue };
        let (lists, times) = match lists {
            ColumnarValue::Array(lists) => (Arc::clone(lists), 1),
            ColumnarValue::Scalar(list) => (list.to_array()?, args.number_rows as u64),
        };
        let elements = sizes::lengths(&lists).into_iter().fold(0u64, u64::saturating_add);
        let bytes = sizes::value_bytes(&lists).into_iter().fold(0u64, u64::saturating_add);
        let rows = elements.saturating_mul(ROW).saturating_add(bytes);
        all = all.saturating_add(rows.saturating_mul(times));
    }
    Ok(all)
}
