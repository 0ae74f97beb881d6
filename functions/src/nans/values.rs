//! Values with one NaN and one zero for all.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, GenericListArray, OffsetSizeTrait, StructArray,
};
use arrow_schema::DataType;
use datafusion::scalar::ScalarValue;
use half::f16;

/// The same column, with one NaN and one zero for all, also within lists and structs; of what has no
/// floating-point numbers the same as it is.
pub fn canonical(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float16 => replace_numbers::<Float16Type>(values, |number| {
            let is_negative = number.to_bits() == f16::NEG_ZERO.to_bits();
            if number.is_nan() { Some(f16::NAN) } else { is_negative.then_some(f16::ZERO) }
        }),
        DataType::Float32 => replace_numbers::<Float32Type>(values, |number| {
            if number.is_nan() { Some(f32::NAN) } else { (number.to_bits() == NEGATIVE_32).then_some(0.0) }
        }),
        DataType::Float64 => replace_numbers::<Float64Type>(values, |number| {
            if number.is_nan() { Some(f64::NAN) } else { (number.to_bits() == NEGATIVE_64).then_some(0.0) }
        }),
        DataType::List(_) => canonical_lists::<i32>(values),
        DataType::LargeList(_) => canonical_lists::<i64>(values),
        DataType::FixedSizeList(..) => {
            let lists = values.as_fixed_size_list();
            let items = canonical(lists.values());
            if Arc::ptr_eq(&items, lists.values()) {
                return Arc::clone(values);
            }
            let (field, size, _, nulls) = lists.clone().into_parts();
            Arc::new(FixedSizeListArray::new(field, size, items, nulls))
        }
        DataType::Struct(_) => {
            let structs = values.as_struct();
            let columns: Vec<ArrayRef> = structs.columns().iter().map(canonical).collect();
            if columns.iter().zip(structs.columns()).all(|(new, old)| Arc::ptr_eq(new, old)) {
                return Arc::clone(values);
            }
            let (fields, _, nulls) = structs.clone().into_parts();
            Arc::new(StructArray::new(fields, columns, nulls))
        }
        _ => Arc::clone(values),
    }
}

/// The bits of -0.0.
const NEGATIVE_32: u32 = (-0.0f32).to_bits();
const NEGATIVE_64: u64 = (-0.0f64).to_bits();

fn canonical_lists<O: OffsetSizeTrait>(values: &ArrayRef) -> ArrayRef {
    let lists = values.as_list::<O>();
    let items = canonical(lists.values());
    if Arc::ptr_eq(&items, lists.values()) {
        return Arc::clone(values);
    }
    let (field, offsets, _, nulls) = lists.clone().into_parts();
    Arc::new(GenericListArray::new(field, offsets, items, nulls))
}

/// A column in which each number is the one that `other` has for it.
fn replace_numbers<T: ArrowPrimitiveType>(
    values: &ArrayRef,
    other: impl Fn(T::Native) -> Option<T::Native>,
) -> ArrayRef {
    let numbers = values.as_primitive::<T>();
    match numbers.values().iter().any(|number| other(*number).is_some()) {
        true => Arc::new(numbers.unary::<_, T>(|number| other(number).unwrap_or(number))),
        false => Arc::clone(values),
    }
}

pub(crate) fn canonical_value(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float32(Some(number)) if number.is_nan() => ScalarValue::Float32(Some(f32::NAN)),
        ScalarValue::Float64(Some(number)) if number.is_nan() => ScalarValue::Float64(Some(f64::NAN)),
        // Adding zero turns -0.0 into 0.0.
        ScalarValue::Float32(Some(number)) => ScalarValue::Float32(Some(number + 0.0)),
        ScalarValue::Float64(Some(number)) => ScalarValue::Float64(Some(number + 0.0)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float16Array, Float32Array, Float64Array, Int64Array, ListArray};
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn all_nan_become_one_and_so_do_both_zeros() {
        let column = |numbers: Vec<Option<f64>>| Arc::new(Float64Array::from(numbers)) as ArrayRef;
        let mixed = column(vec![Some(-f64::NAN), None, Some(-0.0), Some(f64::NAN), Some(f64::NEG_INFINITY)]);
        let found = canonical(&mixed);
        let bits = |array: &ArrayRef| -> Vec<Option<u64>> {
            array.as_primitive::<Float64Type>().iter().map(|number| number.map(f64::to_bits)).collect()
        };
        let wanted = column(vec![Some(f64::NAN), None, Some(0.0), Some(f64::NAN), Some(f64::NEG_INFINITY)]);
        assert_eq!(bits(&found), bits(&wanted));
        let plain = column(vec![Some(1.0), None]);
        assert!(Arc::ptr_eq(&canonical(&plain), &plain), "nothing to replace");
        let whole = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        assert!(Arc::ptr_eq(&canonical(&whole), &whole));
        let short = canonical(&(Arc::new(Float32Array::from(vec![-f32::NAN, -0.0])) as ArrayRef));
        let bits: Vec<u32> =
            short.as_primitive::<Float32Type>().values().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [f32::NAN.to_bits(), 0]);
        let half = canonical(&(Arc::new(Float16Array::from(vec![-f16::NAN, f16::NEG_ZERO])) as ArrayRef));
        let bits: Vec<u16> =
            half.as_primitive::<Float16Type>().values().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [f16::NAN.to_bits(), 0]);
    }

    #[test]
    fn numbers_within_lists_and_structs_are_those_of_columns() {
        let lists = |numbers: [f64; 3]| -> ArrayRef {
            let lists = [Some(numbers[..2].iter().map(|x| Some(*x)).collect::<Vec<_>>()), None];
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
        };
        let vectors = |numbers: [f64; 3]| -> ArrayRef {
            let vectors = numbers.map(|x| Some([Some(x)]));
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(vectors, 1))
        };
        let structs = |numbers: [f64; 3]| -> ArrayRef {
            let lists = lists(numbers);
            let field = Arc::new(Field::new("l", lists.data_type().clone(), true));
            Arc::new(StructArray::from(vec![(field, lists)]))
        };
        let makes: [&dyn Fn([f64; 3]) -> ArrayRef; 3] = [&lists, &vectors, &structs];
        for make in makes {
            let found = canonical(&make([-f64::NAN, -0.0, 1.0]));
            // Equal by bits.
            assert_eq!(&found, &make([f64::NAN, 0.0, 1.0]), "{}", found.data_type());
            let plain = make([0.0, 1.0, 2.0]);
            assert!(Arc::ptr_eq(&canonical(&plain), &plain), "{}", plain.data_type());
        }
    }
}
