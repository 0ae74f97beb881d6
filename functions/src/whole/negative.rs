//! Checked negation of whole numbers: the engine's gives the smallest number of a type back, which has no
//! negative in that type.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, FieldRef};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::take_function_args;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::columnar::of_one;
use crate::error::FunctionError;
use crate::forward::of_its_type;
use crate::signatures;

/// Puts the function in the place of the operator.
pub(crate) fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    Ok(match expr {
        Expr::Negative(of) if of.get_type(schema).is_ok_and(|of| of.is_signed_integer()) => {
            Transformed::yes(negated(*of))
        }
        other => Transformed::no(other),
    })
}

/// `-x` of a whole number or of a span of time.
pub(super) fn negated(of: Expr) -> Expr {
    ScalarUDF::from(Negative).call(vec![of])
}

/// The negative of a whole number or of a span of time, in its type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Negative;

impl ScalarUDFImpl for Negative {
    fn name(&self) -> &str {
        "negative"
    }

    // That of the operator: the engine puts another expression of the same name in its place.
    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let [of] = take_function_args(self.name(), args)?;
        Ok(format!("(- {})", of.schema_name()))
    }

    of_its_type!();

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, negative)
    }
}

fn negative(values: &ArrayRef) -> DfResult<ArrayRef> {
    numeric::neg(values).map_err(|error| match error {
        ArrowError::ArithmeticOverflow(_) if values.data_type().is_integer() => beyond(values.data_type()),
        other => other.into(),
    })
}

/// The error about the smallest number of a type, which alone has no negative.
fn beyond(of: &DataType) -> DataFusionError {
    let bits = 8 * of.primitive_width().unwrap_or(size_of::<i64>());
    let smallest = i64::MIN >> (64 - bits);
    let error = FunctionError::invalid(format!("-({smallest}) does not fit into {bits} bits"));
    error.hint("-CAST(x AS DECIMAL(38)) has all digits").into()
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int8Array, Int32Array, Int64Array};

    use super::*;

    #[test]
    fn the_smallest_number_of_a_type_has_no_negative() {
        let numbers = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let found = negative(&numbers(vec![Some(i64::MAX), None, Some(-1)])).unwrap();
        let expected = Int64Array::from(vec![Some(-i64::MAX), None, Some(1)]);
        assert_eq!(found.as_primitive::<Int64Type>(), &expected);
        for (values, says) in [
            (numbers(vec![Some(i64::MIN)]), "-(-9223372036854775808) does not fit into 64 bits"),
            (
                Arc::new(Int32Array::from(vec![i32::MIN])) as ArrayRef,
                "-(-2147483648) does not fit into 32 bits",
            ),
            (Arc::new(Int8Array::from(vec![i8::MIN])) as ArrayRef, "-(-128) does not fit into 8 bits"),
        ] {
            let error = negative(&values).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
