//! `length(x)` of a list, which is how many elements it has, and `reverse(x)`, which takes no list: the
//! engine's would read the text of the list.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::unicode;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::columnar::{around, by_column};
use super::lists::{element, engine_types};
use super::numbers::lengths;
use crate::error::FunctionError;
use crate::forward::from_engine;
use crate::signatures;

pub(super) fn functions() -> [ScalarUDF; 2] {
    [
        ScalarUDF::from(Length { engine: unicode::character_length() }),
        around(unicode::reverse(), Some(types_of_reverse), ScalarUDF::invoke_with_args),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Length {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [of] = take_function_args(self.name(), types)?;
        match (element(of), of) {
            (Some(_), _) => Ok(types.to_vec()),
            (None, DataType::Struct(_) | DataType::Map(..)) => {
                Err(FunctionError::invalid("length() takes a text or a list".to_owned()).into())
            }
            (None, _) => engine_types(&self.engine, types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [of] if element(of).is_some() => Ok(DataType::Int64),
            _ => self.engine.return_type(types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.as_slice() {
            [of] if element(&of.data_type()).is_some() => by_column(&args, lengths),
            _ => self.engine.invoke_with_args(args),
        }
    }
}

fn types_of_reverse(engine: &ScalarUDF, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let [of] = take_function_args(engine.name(), types)?;
    let refused = || FunctionError::invalid("reverse() takes a text".to_owned());
    match (element(of), of) {
        (Some(_), _) => {
            let hint = "list_reverse(list) has the elements of a list from the last on";
            Err(refused().hint(hint).into())
        }
        (None, DataType::Struct(_) | DataType::Map(..)) => Err(refused().into()),
        (None, _) => engine_types(engine, types),
    }
}
