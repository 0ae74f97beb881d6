//! Functions of the values of a row as functions of whole columns.

use arrow_array::ArrayRef;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use datafusion::scalar::ScalarValue;

/// What `compute` makes of the columns of the arguments and the number of their rows. Of constants alone it
/// is computed for one row, and is a constant as well.
pub(super) fn by_column(
    args: ScalarFunctionArgs,
    compute: impl FnOnce(&[ArrayRef], usize) -> DfResult<ArrayRef>,
) -> DfResult<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let arrays = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<DfResult<Vec<_>>>()?;
    let made = compute(&arrays, rows)?;
    Ok(match constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
        false => ColumnarValue::Array(made),
    })
}

/// The same of a function of one argument.
pub(super) fn of_one(
    name: &str,
    args: ScalarFunctionArgs,
    compute: impl FnOnce(&ArrayRef) -> DfResult<ArrayRef>,
) -> DfResult<ColumnarValue> {
    by_column(args, |arrays, _| {
        let [values] = take_function_args(name, arrays)?;
        compute(values)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Array, Int64Array};
    use arrow_schema::{DataType, Field};
    use datafusion::common::config::ConfigOptions;

    use super::*;

    fn called(args: Vec<ColumnarValue>, number_rows: usize) -> DfResult<ColumnarValue> {
        let fields = args.iter().map(|arg| Arc::new(Field::new("x", arg.data_type(), true))).collect();
        let args = ScalarFunctionArgs {
            args,
            arg_fields: fields,
            number_rows,
            return_field: Arc::new(Field::new("y", DataType::Int64, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        of_one("twice", args, |values| {
            Ok(Arc::new(values.as_primitive::<Int64Type>().unary::<_, Int64Type>(|x| 2 * x)))
        })
    }

    #[test]
    fn a_function_of_constants_gives_a_constant() {
        let constant = || ColumnarValue::Scalar(ScalarValue::Int64(Some(3)));
        let made = called(vec![constant()], 5).unwrap();
        assert!(matches!(made, ColumnarValue::Scalar(ScalarValue::Int64(Some(6)))));
        let column = ColumnarValue::Array(Arc::new(Int64Array::from(vec![Some(1), None])));
        let ColumnarValue::Array(made) = called(vec![column], 2).unwrap() else { panic!("a column") };
        assert_eq!(made.as_primitive::<Int64Type>(), &Int64Array::from(vec![Some(2), None]));
        assert_eq!(made.len(), 2);
        assert!(called(vec![constant(), constant()], 5).is_err());
    }
}
