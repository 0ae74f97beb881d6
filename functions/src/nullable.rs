//! Values marked as possibly NULL: the engine takes a subquery as never NULL if its column is never NULL, but
//! it is NULL without a row.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The same values, which may be null.
pub fn nullable(of: Expr) -> Expr {
    ScalarUDF::from(Nullable).call(vec![of])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Nullable;

impl ScalarUDFImpl for Nullable {
    fn name(&self) -> &str {
        "nullable"
    }

    fn signature(&self) -> &Signature {
        // Of a function that is immutable the engine makes a constant if its argument is one, which is not null.
        static ONE: LazyLock<Signature> = LazyLock::new(|| Signature::any(1, Volatility::Volatile));
        &ONE
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [of] = take_function_args(self.name(), types)?;
        Ok(of.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [of] = take_function_args(self.name(), args.arg_fields)?;
        Ok(Arc::new(of.as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [of] = take_function_args(self.name(), args.args)?;
        Ok(of)
    }
}
