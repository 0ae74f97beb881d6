//! `to_char(time, format)` of one time by the formats of a column: the engine takes the first of them for all
//! rows.

use std::sync::Arc;

use crate::forward::from_engine;
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::functions::datetime;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(FormatFunction { engine: datetime::to_char() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FormatFunction {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for FormatFunction {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        documentation() -> Option<&Documentation>;
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let [time @ ColumnarValue::Scalar(_), ColumnarValue::Array(_)] = args.args.as_mut_slice() {
            *time = ColumnarValue::Array(time.to_array(args.number_rows)?);
        }
        self.engine.invoke_with_args(args)
    }
}
