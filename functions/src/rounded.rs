//! Casts to whole numbers that round, as in DuckDB: doubles to the nearest, of two equally near the even one;
//! decimals away from zero there. So are the elements of lists that are cast to lists of whole numbers.
//!
//! The engine cuts off what stands behind the point.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::columnar::of_one;
use super::spelled::innermost;
use super::{casts, elements, narrowed};
use crate::error::FunctionError;
use crate::forward::named_as_argument;
use crate::signatures;

/// Rounds before such casts, and puts those of `casts` and `narrowed` in their place.
pub(super) fn rewrite(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let (of, field, safe) = match expr {
        Expr::Cast(Cast { expr, field }) => (expr, field, false),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
        mut other => {
            let is_back = narrowed::put_back(&mut other, schema);
            return Ok(if is_back { Transformed::yes(other) } else { Transformed::no(other) });
        }
    };
    let rounded = round_cast(of, field.data_type(), schema);
    if let Some(call) = casts::call(&rounded.data, field.data_type(), safe, schema)? {
        return Ok(Transformed::yes(call));
    }
    if let Some(call) = narrowed::call(&rounded.data, field.data_type(), safe, schema) {
        return Ok(Transformed::yes(call));
    }
    Ok(rounded.update_data(|expr| match safe {
        true => Expr::TryCast(TryCast { expr, field }),
        false => Expr::Cast(Cast { expr, field }),
    }))
}

fn round_cast(expr: Box<Expr>, to: &DataType, schema: &DFSchema) -> Transformed<Box<Expr>> {
    let is_rounded = matches!(&*expr, Expr::ScalarFunction(call) if call.func.inner().is::<NearestInteger>());
    let fraction = || expr.get_type(schema).is_ok_and(|of| integer_type(&of).is_some());
    if !innermost(to).is_integer() || is_rounded || !fraction() {
        return Transformed::no(expr);
    }
    Transformed::yes(Box::new(ScalarUDF::from(NearestInteger).call(vec![*expr])))
}

/// The type in which numbers of a type that has fractions, or lists of them, are rounded.
fn integer_type(of: &DataType) -> Option<DataType> {
    // Digits in front of the point, and one more for 9.5.
    let digits = |precision: u8, scale: i8| precision.saturating_sub(scale.unsigned_abs()).saturating_add(1);
    match of {
        DataType::Float32 | DataType::Float64 => Some(of.clone()),
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            Some(DataType::Decimal128(digits(*precision, *scale), 0))
        }
        DataType::Decimal256(precision, scale) if *scale > 0 => {
            Some(DataType::Decimal256(digits(*precision, *scale), 0))
        }
        DataType::List(item) => integer_item(item).map(DataType::List),
        DataType::LargeList(item) => integer_item(item).map(DataType::LargeList),
        DataType::FixedSizeList(item, size) => {
            integer_item(item).map(|item| DataType::FixedSizeList(item, *size))
        }
        _ => None,
    }
}

fn integer_item(item: &FieldRef) -> Option<FieldRef> {
    integer_type(item.data_type()).map(|of| elements::with_type(item, of))
}

/// The nearest whole number. A function, since the engine takes casts of decimals out of comparisons.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NearestInteger;

impl ScalarUDFImpl for NearestInteger {
    fn name(&self) -> &str {
        "nearest_whole"
    }

    named_as_argument!();

    fn signature(&self) -> &Signature {
        signatures::one()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [of] = take_function_args(self.name(), types)?;
        Ok(integer_type(of).ok_or_else(|| FunctionError::internal("type of a number to round"))?)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name(), &args, nearest)
    }
}

fn nearest(values: &ArrayRef) -> DfResult<ArrayRef> {
    if let Some(lists) = elements::changed(values, nearest)? {
        return Ok(lists);
    }
    Ok(match values.data_type() {
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))
        }
        of => {
            let whole =
                integer_type(of).ok_or_else(|| FunctionError::internal("type of a number to round"))?;
            arrow_cast::cast(values, &whole)?
        }
    })
}
