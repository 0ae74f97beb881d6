//! Lists with other elements in the places of theirs.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;

/// The lists with what `change` makes of all their elements; `None` of what are no lists.
pub(super) fn changed(
    values: &ArrayRef,
    change: impl Fn(&ArrayRef) -> DfResult<ArrayRef>,
) -> DfResult<Option<ArrayRef>> {
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
