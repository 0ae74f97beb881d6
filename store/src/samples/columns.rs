//! Columns of samples: names and types of metadata, and the changes that an append may make.

use super::value::MetaValue;
use crate::error::AppendError;
use crate::manifest::{ColumnDef, ColumnType, DatasetPart};
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt64Array, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Column names that mean something else in a dataset's table; metadata of such a name gets the suffix `_`.
const RESERVED: [&str; 5] = ["row", "id", "record", "score", "tokens"];

/// A metadata column of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Key in the records.
    pub key: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether the user asked for this type. Only then does text replace another type of a column that
    /// exists, and only then are its integers rounded where they become floats.
    pub declared: bool,
}

impl ColumnSpec {
    /// A column whose type follows from its values.
    pub fn inferred(key: impl Into<String>, ty: ColumnType) -> Self {
        ColumnSpec { key: key.into(), ty, declared: false }
    }

    /// A column whose type the user asked for.
    pub fn declared(key: impl Into<String>, ty: ColumnType) -> Self {
        ColumnSpec { key: key.into(), ty, declared: true }
    }
}

/// The columns of a dataset after an append with these columns, and for each of them its
/// place among the result.
pub(crate) fn merge(
    part: &DatasetPart,
    specs: &[ColumnSpec],
) -> Result<(Vec<ColumnDef>, Vec<usize>), AppendError> {
    let mut columns = part.columns.clone();
    let mut places = Vec::with_capacity(specs.len());
    let mut seen = HashSet::new();
    for spec in specs {
        if !seen.insert(spec.key.as_str()) {
            return Err(AppendError::DuplicateColumn(spec.key.clone()));
        }
        let place = match columns.iter().position(|c| c.key == spec.key) {
            None => {
                let name = free_name(&spec.key, &columns);
                columns.push(ColumnDef { name, key: spec.key.clone(), ty: spec.ty });
                columns.len() - 1
            }
            Some(place) => {
                if let Some(column) = columns.get_mut(place) {
                    column.ty = merged_type(column, spec).ok_or_else(|| AppendError::ColumnType {
                        dataset: part.name.clone(),
                        column: spec.key.clone(),
                        expected: column.ty.to_string(),
                        found: spec.ty.to_string(),
                    })?;
                }
                place
            }
        };
        places.push(place);
    }
    Ok((columns, places))
}

fn merged_type(column: &ColumnDef, spec: &ColumnSpec) -> Option<ColumnType> {
    match (column.ty, spec.ty) {
        (old, new) if old == new => Some(old),
        (ColumnType::Text, _) => Some(ColumnType::Text),
        (ColumnType::Float, ColumnType::Int) | (ColumnType::Int, ColumnType::Float) => {
            Some(ColumnType::Float)
        }
        (_, ColumnType::Text) if spec.declared => Some(ColumnType::Text),
        _ => None,
    }
}

fn free_name(key: &str, columns: &[ColumnDef]) -> String {
    let mut name = key.to_owned();
    while RESERVED.contains(&name.as_str()) || columns.iter().any(|c| c.name == name) {
        name.push('_');
    }
    name
}

/// The columns `row`, `id` and `record` of a batch of samples; none where it lacks one of them.
pub fn record_columns(batch: &RecordBatch) -> Option<(&UInt64Array, &StringArray, &BinaryArray)> {
    let rows = batch.column_by_name("row")?.as_primitive_opt::<UInt64Type>()?;
    let ids = batch.column_by_name("id")?.as_string_opt::<i32>()?;
    Some((rows, ids, batch.column_by_name("record")?.as_binary_opt::<i32>()?))
}

impl ColumnType {
    /// The Arrow type of a column of this type.
    pub fn arrow_type(self) -> DataType {
        match self {
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Int => DataType::Int64,
            ColumnType::Float => DataType::Float64,
            ColumnType::Text => DataType::Utf8,
        }
    }

    /// The type of a column that some datasets have with this type and others with another: numbers become
    /// floats, everything else text.
    pub fn joined(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (ColumnType::Int, ColumnType::Float) | (ColumnType::Float, ColumnType::Int) => ColumnType::Float,
            _ => ColumnType::Text,
        }
    }
}

/// The schema of a dataset's samples.
pub(crate) fn schema(columns: &[ColumnDef]) -> SchemaRef {
    let mut fields = vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("id", DataType::Utf8, false),
        Field::new("record", DataType::Binary, true),
    ];
    fields.extend(columns.iter().map(|c| Field::new(&c.name, c.ty.arrow_type(), true)));
    Arc::new(Schema::new(fields))
}

/// Rows of samples of which nothing is left but their numbers.
pub(crate) fn shell_batch(schema: &SchemaRef, rows: Range<u64>) -> Result<RecordBatch, ArrowError> {
    let n = (rows.end - rows.start) as usize;
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            "row" => Arc::new(UInt64Array::from_iter_values(rows.clone())),
            "id" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n("", n))),
            _ => new_null_array(field.data_type(), n),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect())
}

/// Collects the values of one column.
pub(crate) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
}

impl ColumnBuilder {
    pub(crate) fn new(ty: ColumnType) -> Self {
        match ty {
            ColumnType::Bool => ColumnBuilder::Bool(BooleanBuilder::new()),
            ColumnType::Int => ColumnBuilder::Int(Int64Builder::new()),
            ColumnType::Float => ColumnBuilder::Float(Float64Builder::new()),
            ColumnType::Text => ColumnBuilder::Text(StringBuilder::new()),
        }
    }

    /// Adds a value that fits the column; what does not is a null.
    pub(crate) fn push(&mut self, value: &MetaValue) {
        match (self, value) {
            (ColumnBuilder::Bool(b), MetaValue::Bool(v)) => b.append_value(*v),
            (ColumnBuilder::Bool(b), _) => b.append_null(),
            (ColumnBuilder::Int(b), MetaValue::Int(v)) => b.append_value(*v),
            (ColumnBuilder::Int(b), _) => b.append_null(),
            (ColumnBuilder::Float(b), MetaValue::Float(v)) => b.append_value(*v),
            (ColumnBuilder::Float(b), _) => b.append_null(),
            (ColumnBuilder::Text(b), MetaValue::Text(v)) => b.append_value(v),
            (ColumnBuilder::Text(b), _) => b.append_null(),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Bool(b) => Arc::new(b.finish()),
            ColumnBuilder::Int(b) => Arc::new(b.finish()),
            ColumnBuilder::Float(b) => Arc::new(b.finish()),
            ColumnBuilder::Text(b) => Arc::new(b.finish()),
        }
    }
}

/// The value at a place of a column.
pub(crate) fn value_at(column: &dyn Array, i: usize) -> MetaValue {
    if i >= column.len() || column.is_null(i) {
        return MetaValue::Null;
    }
    let any = column.as_any();
    if let Some(a) = any.downcast_ref::<BooleanArray>() {
        MetaValue::Bool(a.value(i))
    } else if let Some(a) = any.downcast_ref::<Int64Array>() {
        MetaValue::Int(a.value(i))
    } else if let Some(a) = any.downcast_ref::<Float64Array>() {
        MetaValue::Float(a.value(i))
    } else if let Some(a) = any.downcast_ref::<StringArray>() {
        MetaValue::Text(a.value(i).to_owned())
    } else {
        MetaValue::Null
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(columns: &[(&str, ColumnType)]) -> DatasetPart {
        let mut part = DatasetPart::new("pool", 1);
        part.columns = columns
            .iter()
            .map(|(k, ty)| ColumnDef { name: (*k).into(), key: (*k).into(), ty: *ty })
            .collect();
        part
    }

    #[test]
    fn clashing_names_get_a_suffix() {
        let specs = ["row", "row_", "subtask", "Row"].map(|k| ColumnSpec::inferred(k, ColumnType::Int));
        let (columns, places) = merge(&part(&[]), &specs).unwrap();
        let names: Vec<_> = columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["row_", "row__", "subtask", "Row"]);
        assert_eq!(places, [0, 1, 2, 3]);
    }

    #[test]
    fn types_conflict_unless_text_is_asked_for_or_both_are_numbers() {
        let p = part(&[("x", ColumnType::Int), ("f", ColumnType::Float)]);
        let e = merge(&p, &[ColumnSpec::inferred("x", ColumnType::Text)]).unwrap_err();
        assert!(e.to_string().contains("column=x:utf8"), "{e}");
        let (columns, _) = merge(&p, &[ColumnSpec::declared("x", ColumnType::Text)]).unwrap();
        assert_eq!(columns[0].ty, ColumnType::Text);
        let (columns, places) = merge(&p, &[ColumnSpec::inferred("f", ColumnType::Int)]).unwrap();
        assert_eq!((columns[1].ty, places[0]), (ColumnType::Float, 1));
        let (columns, _) = merge(&p, &[ColumnSpec::inferred("x", ColumnType::Float)]).unwrap();
        assert_eq!(columns[0].ty, ColumnType::Float);
    }
}
