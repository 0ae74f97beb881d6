//! `typeof(x)`: the name that a type has in SQL.

use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::error::SqlError;
use crate::types;

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Kind { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    signature: Signature,
}

impl ScalarUDFImpl for Kind {
    fn name(&self) -> &str {
        "typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let of = args.arg_fields.first().ok_or_else(|| SqlError::internal("no value"))?;
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(types::name(of.data_type())))))
    }
}
