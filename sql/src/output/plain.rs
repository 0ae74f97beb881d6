//! Values in the place of dictionaries: not all clients read these, and in a file of Arrow IPC a column has
//! one for all batches.
//!
//! Invariants
//! - nothing but dictionaries changes its type: an answer has the types of the rows, at any depth
//! - what is announced and what is sent come from the same function of the type

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_schema::{ArrowError, DataType, Fields, Schema, SchemaRef};
use arrow_select::take::take;

use crate::types::{field_with_leaves, with_leaves};

/// The columns with values in the place of dictionaries, at any depth.
pub fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(|field| field_with_leaves(field, plain_leaf)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_leaf(of: &DataType) -> DataType {
    match of {
        DataType::Dictionary(_, values) => with_leaves(values, plain_leaf),
        DataType::Union(fields, mode) => {
            let plain = fields.iter().map(|(id, field)| (id, field_with_leaves(field, plain_leaf)));
            DataType::Union(plain.collect(), *mode)
        }
        other => other.clone(),
    }
}

/// A batch with the columns of [`plain_schema`].
///
/// # Errors
/// More bytes of text in a column than its type can count.
pub fn plain_batch(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = plain_schema(batch.schema_ref());
    if schema == *batch.schema_ref() {
        return Ok(batch);
    }
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain_values).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn plain_values(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let plain = with_leaves(array.data_type(), plain_leaf);
    if plain == *array.data_type() {
        return Ok(Arc::clone(array));
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = plain_values(dictionary.values())?;
        return take(&values, dictionary.keys(), None);
    }
    // The dictionary is further inside: lengths, nulls and offsets stay.
    let data = array.to_data();
    let inside = data.child_data().iter().map(|child| plain_values(&make_array(child.clone())));
    let inside: Vec<ArrayRef> = inside.collect::<Result<_, _>>()?;
    let inside = inside.iter().map(|child| child.to_data()).collect();
    Ok(make_array(data.into_builder().data_type(plain).child_data(inside).build()?))
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Int8Type, Int32Type};
    use arrow_array::{
        DictionaryArray, FixedSizeListArray, Int8Array, Int32Array, LargeListArray, LargeListViewArray,
        ListArray, ListViewArray, MapArray, RunArray, StringArray, StructArray, UnionArray,
    };
    use arrow_cast::pretty::pretty_format_batches;
    use arrow_schema::{Field, UnionFields};
    use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    /// Three values, in columns that hold them in all ways.
    fn columns(values: &ArrayRef) -> Vec<ArrayRef> {
        let item = || Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let inner = || Arc::new(Field::new("v", values.data_type().clone(), true));
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["k", "l", "m"]));
        let entries = StructArray::from(vec![
            (Arc::new(Field::new("key", DataType::Utf8, false)), keys),
            (Arc::new(Field::new("value", values.data_type().clone(), true)), Arc::clone(values)),
        ]);
        let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
        let lengths = [2, 0, 1];
        let nulls = || Some(NullBuffer::from(vec![true, true, false]));
        let large = OffsetBuffer::<i64>::from_lengths(lengths);
        let union = UnionFields::from_fields(vec![Field::new("v", values.data_type().clone(), true)]);
        vec![
            Arc::clone(values),
            Arc::new(ListArray::new(
                item(),
                OffsetBuffer::from_lengths(lengths),
                Arc::clone(values),
                nulls(),
            )),
            Arc::new(LargeListArray::new(item(), large, Arc::clone(values), nulls())),
            Arc::new(ListViewArray::new(
                item(),
                vec![2, 0, 1].into(),
                vec![1, 2, 0].into(),
                Arc::clone(values),
                None,
            )),
            Arc::new(LargeListViewArray::new(
                item(),
                vec![2, 0, 1].into(),
                vec![1, 2, 0].into(),
                Arc::clone(values),
                None,
            )),
            Arc::new(FixedSizeListArray::new(item(), 1, Arc::clone(values), nulls())),
            Arc::new(StructArray::new(vec![inner()].into(), vec![Arc::clone(values)], nulls())),
            Arc::new(MapArray::new(entry, OffsetBuffer::from_lengths(lengths), entries, None, false)),
            Arc::new(
                UnionArray::try_new(union, vec![0, 0, 0].into(), None, vec![Arc::clone(values)]).unwrap(),
            ),
            Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2, 3]), values).unwrap()),
        ]
    }

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let named = columns.into_iter().enumerate().map(|(i, column)| (format!("c{i}"), column, true));
        RecordBatch::try_from_iter_with_nullable(named).unwrap()
    }

    #[test]
    fn only_dictionaries_change_their_type_at_any_depth() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
        let words: DictionaryArray<Int8Type> = [Some("a"), None, Some("b")].into_iter().collect();
        let words: ArrayRef = Arc::new(words);
        let keys = Int8Array::from(vec![Some(0), None, Some(1)]);
        let twice: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::clone(&words)));
        let nested = |values: &ArrayRef| batch(columns(values).iter().flat_map(columns).collect());
        let plain = nested(&texts);
        assert_eq!(plain_batch(plain.clone()).unwrap().schema(), plain.schema());
        for values in [&words, &twice] {
            let whole = nested(values);
            assert_eq!(plain_schema(&whole.schema()), plain.schema());
            for given in [whole.clone(), whole.slice(1, 2), whole.slice(0, 0)] {
                let made = plain_batch(given.clone()).unwrap();
                assert_eq!(made.schema(), plain.schema());
                let shown = |batch: &RecordBatch| {
                    pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
                };
                assert_eq!(shown(&made), shown(&given));
            }
        }
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        assert_eq!(plain_batch(none).unwrap().num_rows(), 3);
    }
}
