//! `round(x, n)` of a type that stays what it is: of a decimal it depends on n, which is a constant or not.
//!
//! To the engine a literal n is a constant, and while it is cast to another width none: a rounded decimal
//! would be of one type where comparisons are planned, and of another where they run.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::scalar::ScalarValue;

use crate::forward::from_engine;

/// The same call with the type that it has by its n as it is written; `None` of what is no such call.
pub(super) fn as_written(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let [_, digits] = args.as_slice() else { return None };
    if func.name() != "round" || func.inner().is::<Rounded>() {
        return None;
    }
    let digits = match digits {
        Expr::Literal(digits, _) => Some(digits.clone()),
        _ => None,
    };
    let rounded = ScalarUDF::from(Rounded { engine: Arc::clone(func), digits });
    Some(rounded.call(args.clone()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounded {
    engine: Arc<ScalarUDF>,
    /// The n, if it is written as a constant.
    digits: Option<ScalarValue>,
}

impl ScalarUDFImpl for Rounded {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        invoke_with_args(args: ScalarFunctionArgs) -> DfResult<ColumnarValue>;
        output_ordering(inputs: &[ExprProperties]) -> DfResult<SortProperties>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let scalar_arguments = &[None, self.digits.as_ref()];
        self.engine.return_field_from_args(ReturnFieldArgs { scalar_arguments, ..args })
    }
}
