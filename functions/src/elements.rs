//! Lists whose elements are replaced, with the lengths and NULLs that they have.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, UInt64Array};
use arrow_schema::{DataType, FieldRef};
use arrow_select::take::take;
use datafusion::error::Result as DfResult;

/// The lists with what `change` makes of all their elements; `None` of what are no lists.
///
/// It gets no hidden elements, which are in none of these lists or in one that is NULL: there it may fail.
pub(super) fn changed(
    values: &ArrayRef,
    change: impl Fn(&ArrayRef) -> DfResult<ArrayRef>,
) -> DfResult<Option<ArrayRef>> {
    let values = &without_hidden(values)?;
    let lists: ArrayRef = match values.data_type() {
        DataType::List(_) => in_lists::<i32>(values, change)?,
        DataType::LargeList(_) => in_lists::<i64>(values, change)?,
        DataType::FixedSizeList(..) => {
            let (field, size, elements, nulls) = values.as_fixed_size_list().clone().into_parts();
            let elements = change(&elements)?;
            let field = with_type(&field, elements.data_type().clone());
            Arc::new(FixedSizeListArray::try_new_with_length(field, size, elements, nulls, values.len())?)
        }
        _ => return Ok(None),
    };
    Ok(Some(lists))
}

/// The lists without hidden elements; those of NULL lists of a fixed size are NULL.
fn without_hidden(lists: &ArrayRef) -> DfResult<ArrayRef> {
    let has_hidden = match lists.data_type() {
        DataType::List(_) => hides::<i32>(lists),
        DataType::LargeList(_) => hides::<i64>(lists),
        DataType::FixedSizeList(..) => lists.null_count() > 0,
        _ => false,
    };
    if !has_hidden {
        return Ok(Arc::clone(lists));
    }
    let place = |row: usize| lists.is_valid(row).then_some(row as u64);
    let places: UInt64Array = (0..lists.len()).map(place).collect();
    Ok(take(lists, &places, None)?)
}

fn hides<O: OffsetSizeTrait>(lists: &ArrayRef) -> bool {
    let lists = lists.as_list::<O>();
    let valid = (0..lists.len()).filter(|row| lists.is_valid(*row));
    valid.map(|row| lists.value_length(row).as_usize()).sum::<usize>() < lists.values().len()
}

fn in_lists<O: OffsetSizeTrait>(
    values: &ArrayRef,
    change: impl Fn(&ArrayRef) -> DfResult<ArrayRef>,
) -> DfResult<ArrayRef> {
    let (field, offsets, elements, nulls) = values.as_list::<O>().clone().into_parts();
    let elements = change(&elements)?;
    let field = with_type(&field, elements.data_type().clone());
    Ok(Arc::new(GenericListArray::<O>::try_new(field, offsets, elements, nulls)?))
}

/// The field of elements of another type, any of which may be NULL.
pub(super) fn with_type(field: &FieldRef, of: DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(of).with_nullable(true))
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{Int32Array, ListArray};
    use arrow_schema::Field;
    use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    #[test]
    fn hidden_elements_are_not_changed() {
        let item = Arc::new(Field::new_list_field(DataType::Int32, true));
        let elements: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let nulls = Some(NullBuffer::from(vec![true, false, true]));
        let offsets = OffsetBuffer::from_lengths([1, 1, 1]);
        let lists = ListArray::new(Arc::clone(&item), offsets, Arc::clone(&elements), nulls.clone());
        let fixed = FixedSizeListArray::new(item, 1, elements, nulls);
        let (lists, fixed): (ArrayRef, ArrayRef) = (Arc::new(lists), Arc::new(fixed));
        for (lists, shown) in [
            (lists.slice(0, 3), vec![Some(1), Some(3)]),
            (lists.slice(2, 1), vec![Some(3)]),
            (lists.slice(1, 1), vec![]),
            (fixed.slice(0, 3), vec![Some(1), None, Some(3)]),
            (fixed.slice(2, 1), vec![Some(3)]),
        ] {
            let same = changed(&lists, |elements| {
                assert_eq!(elements.as_primitive::<Int32Type>(), &Int32Array::from(shown.clone()));
                Ok(Arc::clone(elements))
            });
            assert_eq!(&same.unwrap().unwrap(), &lists);
        }
    }
}
