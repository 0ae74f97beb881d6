//! Lists that are made of values, around the function of the engine, which makes one list for all rows of values
//! that are all of the type of NULL.

use std::sync::Arc;

use arrow_array::{ListArray, new_null_array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::forward::from_engine;

pub(super) fn functions() -> [ScalarUDF; 1] {
    [ScalarUDF::from(MadeList { engine: make_array_udf() })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MadeList {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for MadeList {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        signature() -> &Signature;
        coerce_types(types: &[DataType]) -> DfResult<Vec<DataType>>;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match lists_of_nulls(&args, args.args.len())? {
            Some(lists) => Ok(lists),
            None => self.engine.invoke_with_args(args),
        }
    }
}

/// A list of so many NULLs in each row, if all arguments are of their type and one of these is a column.
pub(super) fn lists_of_nulls(args: &ScalarFunctionArgs, each: usize) -> DfResult<Option<ColumnarValue>> {
    let are_nulls = args.args.iter().all(|arg| arg.data_type().is_null());
    let has_column = args.args.iter().any(|arg| matches!(arg, ColumnarValue::Array(_)));
    if !(are_nulls && has_column) {
        return Ok(None);
    }
    let item = Arc::new(Field::new_list_field(DataType::Null, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(each, args.number_rows));
    let nulls = new_null_array(&DataType::Null, each * args.number_rows);
    Ok(Some(ColumnarValue::Array(Arc::new(ListArray::try_new(item, offsets, nulls, None)?))))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, NullArray};
    use datafusion::common::config::ConfigOptions;
    use datafusion::scalar::ScalarValue;

    use super::*;

    #[test]
    fn each_row_has_a_list_of_its_nulls() {
        let [function] = functions();
        for rows in [0, 1, 3] {
            let column = || ColumnarValue::Array(Arc::new(NullArray::new(rows)));
            for args in [vec![column()], vec![column(), ColumnarValue::Scalar(ScalarValue::Null), column()]] {
                let each = args.len();
                let field = |of: DataType| Arc::new(Field::new("", of, true));
                let call = ScalarFunctionArgs {
                    arg_fields: args.iter().map(|_| field(DataType::Null)).collect(),
                    args,
                    number_rows: rows,
                    return_field: field(DataType::new_list(DataType::Null, true)),
                    config_options: Arc::new(ConfigOptions::default()),
                };
                let lists = function.invoke_with_args(call).unwrap().into_array(rows).unwrap();
                assert_eq!(lists.data_type(), &DataType::new_list(DataType::Null, true));
                let lists = lists.as_list::<i32>();
                assert_eq!(lists.len(), rows);
                assert!((0..rows).all(|row| lists.is_valid(row) && lists.value(row).len() == each));
            }
        }
    }
}
