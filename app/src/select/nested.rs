//! Types of metadata that is lists and objects in records, so that a table has it as lists and structs.
//!
//! Invariants
//! - a column has the values of its records and no others: what one type does not hold (values of different
//!   types, an integer that a float would round, an object without keys) stays JSON text
//! - an object that lacks keys that others have is a struct with nulls, which are left out where it is added
//!   again

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use serde_json::{Number, Value};

/// Keys of an object with more of which nothing says that they are those of all.
const KEYS: usize = 100;

/// The power of two up to which each integer is a float.
const EXACT: u32 = f64::MANTISSA_DIGITS;

/// What the values have in common that were seen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NestedShape {
    /// None but null.
    Null,
    Bool,
    /// Integers; whether floats may be among them.
    Int {
        exact: bool,
    },
    Float,
    Text,
    List(Box<Self>),
    Struct(Vec<(String, Self)>),
}

impl NestedShape {
    /// The shape of these values and one more; none if they have no type in common.
    pub(super) fn with(self, value: &Value) -> Option<Self> {
        match (self, value) {
            (seen, Value::Null) => Some(seen),
            (Self::Null, Value::Array(_)) => Self::List(Box::new(Self::Null)).with(value),
            (Self::List(item), Value::Array(values)) => {
                let item = values.iter().try_fold(*item, Self::with)?;
                Some(Self::List(Box::new(item)))
            }
            (Self::Null, Value::Object(_)) => Self::Struct(Vec::new()).with(value),
            (Self::Struct(mut fields), Value::Object(object)) => {
                for (key, value) in object {
                    match fields.iter().position(|(known, _)| known == key) {
                        Some(at) => {
                            let seen = &mut fields[at].1;
                            *seen = std::mem::replace(seen, Self::Null).with(value)?;
                        }
                        None if fields.len() < KEYS => fields.push((key.clone(), Self::Null.with(value)?)),
                        None => return None,
                    }
                }
                Some(Self::Struct(fields))
            }
            (Self::Null | Self::Bool, Value::Bool(_)) => Some(Self::Bool),
            (Self::Null | Self::Text, Value::String(_)) => Some(Self::Text),
            (seen, Value::Number(number)) => seen.with_number(number),
            _ => None,
        }
    }

    fn with_number(self, number: &Number) -> Option<Self> {
        let found = match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Self::Int { exact: integer.unsigned_abs() <= 1 << EXACT },
            // An integer of more than 64 bits is read as a float without its last digits.
            (None, Some(float))
                if number.is_f64() && (float.fract() != 0.0 || float.abs() <= (1_u64 << EXACT) as f64) =>
            {
                Self::Float
            }
            _ => return None,
        };
        match (self, found) {
            (Self::Null, found) => Some(found),
            (Self::Int { exact: a }, Self::Int { exact: b }) => Some(Self::Int { exact: a && b }),
            (Self::Float | Self::Int { exact: true }, Self::Float)
            | (Self::Float, Self::Int { exact: true }) => Some(Self::Float),
            _ => None,
        }
    }

    /// Its type; none where a table has none.
    fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Self::Bool => DataType::Boolean,
            Self::Int { .. } => DataType::Int64,
            Self::Float => DataType::Float64,
            // There is no value whose type it would be.
            Self::Null | Self::Text => DataType::Utf8,
            Self::List(item) => DataType::List(Arc::new(Field::new("item", item.data_type()?, true))),
            Self::Struct(fields) if fields.is_empty() => return None,
            Self::Struct(fields) => {
                let field = |(key, shape): &(String, Self)| Some(Field::new(key, shape.data_type()?, true));
                DataType::Struct(fields.iter().map(field).collect::<Option<Fields>>()?)
            }
        })
    }

    /// The type of a column of lists or objects of this shape; none where it stays JSON text.
    pub(super) fn nested(&self) -> Option<DataType> {
        matches!(self, Self::List(_) | Self::Struct(_)).then(|| self.data_type()).flatten()
    }
}

/// A column of values of such a type; what is not there is null.
pub(super) fn column(ty: &DataType, values: &[Option<&Value>]) -> Result<ArrayRef, ArrowError> {
    let each = values.iter().copied();
    Ok(match ty {
        DataType::Boolean => Arc::new(each.map(|v| v?.as_bool()).collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(each.map(|v| v?.as_i64()).collect::<Int64Array>()),
        DataType::Float64 => Arc::new(each.map(|v| v?.as_f64()).collect::<Float64Array>()),
        DataType::List(item) => {
            let lists: Vec<Option<&Vec<Value>>> = each.map(|v| v?.as_array()).collect();
            let lengths = || lists.iter().map(|list| list.map_or(0, Vec::len));
            let total: usize = lengths().sum();
            i32::try_from(total).map_err(|_| ArrowError::OffsetOverflowError(total))?;
            let offsets = OffsetBuffer::from_lengths(lengths());
            let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
            let items: Vec<Option<&Value>> = lists.into_iter().flatten().flatten().map(Some).collect();
            let items = column(item.data_type(), &items)?;
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, Some(nulls))?)
        }
        DataType::Struct(fields) => {
            let of_field = |field: &Arc<Field>| {
                let values: Vec<Option<&Value>> = each.clone().map(|v| v?.get(field.name())).collect();
                column(field.data_type(), &values)
            };
            let columns = fields.iter().map(of_field).collect::<Result<Vec<_>, _>>()?;
            let nulls: NullBuffer = each.clone().map(|v| v.is_some_and(Value::is_object)).collect();
            Arc::new(StructArray::try_new(fields.clone(), columns, Some(nulls))?)
        }
        _ => Arc::new(each.map(|v| v?.as_str()).collect::<StringArray>()),
    })
}

#[cfg(test)]
mod tests {
    use arrow_cast::display::array_value_to_string;
    use serde_json::json;

    use super::*;

    /// The type of a column of these values, and its cells.
    fn typed(values: &[Value]) -> Option<(String, Vec<String>)> {
        let shape = values.iter().try_fold(NestedShape::Null, NestedShape::with)?;
        let ty = shape.nested()?;
        let cells: Vec<Option<&Value>> = values.iter().map(Some).collect();
        let made = column(&ty, &cells).unwrap();
        let cells = (0..values.len()).map(|i| array_value_to_string(&made, i).unwrap()).collect();
        Some((ty.to_string(), cells))
    }

    #[test]
    fn values_that_agree_are_lists_and_structs() {
        let (ty, cells) = typed(&[json!(["a", null]), json!([]), json!(null), json!(["b"])]).unwrap();
        assert!(ty.starts_with("List(") && ty.contains("Utf8"), "{ty}");
        assert_eq!(cells, ["[a, ]", "[]", "", "[b]"]);
        let (ty, cells) = typed(&[json!([1, 2.5]), json!([3])]).unwrap();
        assert!(ty.contains("Float64"), "{ty}");
        assert_eq!(cells, ["[1.0, 2.5]", "[3.0]"]);
        let (ty, cells) = typed(&[
            json!({"score": 1, "tags": [{"of": true}]}),
            json!({"score": null}),
            json!({"tags": [], "note": "x"}),
        ])
        .unwrap();
        assert!(ty.contains("Int64") && ty.contains("Boolean"), "{ty}");
        assert_eq!(
            cells,
            [
                "{score: 1, tags: [{of: true}], note: }",
                "{score: , tags: , note: }",
                "{score: , tags: [], note: x}"
            ]
        );
    }

    #[test]
    fn values_of_no_common_type_stay_text() {
        for values in [
            vec![json!(["a"]), json!([1])],
            vec![json!(["a"]), json!({"a": 1})],
            vec![json!([[1], "a"])],
            vec![json!({})],
            vec![json!([1.5, 9_007_199_254_740_993_i64])],
            vec![json!([18_446_744_073_709_551_615_u64])],
            vec![serde_json::from_str("[123456789012345678901234567890]").unwrap()],
            vec![json!((0..=KEYS).map(|i| (i.to_string(), json!(i))).collect::<serde_json::Map<_, _>>())],
            // Not nested.
            vec![json!("a")],
        ] {
            assert_eq!(typed(&values), None, "{values:?}");
        }
    }
}
