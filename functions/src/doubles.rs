//! Functions of one number that give a DOUBLE, also of a REAL, as in DuckDB: the engine computes those of a
//! REAL in 32 bits.

use std::sync::{Arc, LazyLock};

use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::functions::math;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::forward::from_engine;

const FUNCTIONS: [&str; 20] = [
    "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cos", "cosh", "cot", "degrees", "exp", "ln",
    "log10", "log2", "radians", "sin", "sinh", "tan", "tanh",
];

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    let engine = math::functions().into_iter().filter(|engine| FUNCTIONS.contains(&engine.name()));
    engine.map(|engine| ScalarUDF::from(OfDouble { engine }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfDouble {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for OfDouble {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        return_type(types: &[DataType]) -> DfResult<DataType>;
        invoke_with_args(args: ScalarFunctionArgs) -> DfResult<ColumnarValue>;
        output_ordering(inputs: &[ExprProperties]) -> DfResult<SortProperties>;
        evaluate_bounds(inputs: &[&Interval]) -> DfResult<Interval>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        static DOUBLE: LazyLock<Signature> =
            LazyLock::new(|| Signature::exact(vec![DataType::Float64], Volatility::Immutable));
        &DOUBLE
    }
}
