//! List functions as DuckDB has them, around those of the engine.
//!
//! - the list and the element may have numbers of different types: `list_contains([1, 2], row)`. The engine
//!   finds the type that holds both, and then takes no numbers of 64 bits for it
//! - `list_contains(list, x)` of a constant list with a NULL is false or true, as that of a column
//! - `list_has_any(a, b)` and `list_has_all(a, b)` do not look for the NULLs of `b`, and are NULL where one of
//!   the two is

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, ListArray};
use arrow_schema::{DataType, Field, FieldRef};
use arrow_select::take::take;
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::all_default_nested_functions;
use datafusion::logical_expr::binary::type_union_resolution;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, lit,
};
use datafusion::scalar::ScalarValue;

use super::composed::lists_of_nulls;
use super::spelled::item;
use crate::forward::from_engine;
use crate::signatures;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Takes {
    /// The first so many are a list and elements; what follows are numbers of places.
    Elements(usize),
    Lists,
}

const FUNCTIONS: [(&str, Takes); 13] = [
    ("array_append", Takes::Elements(2)),
    ("array_has", Takes::Elements(2)),
    ("array_has_all", Takes::Lists),
    ("array_has_any", Takes::Lists),
    ("array_position", Takes::Elements(2)),
    ("array_positions", Takes::Elements(2)),
    ("array_prepend", Takes::Elements(2)),
    ("array_remove", Takes::Elements(2)),
    ("array_remove_all", Takes::Elements(2)),
    ("array_remove_n", Takes::Elements(2)),
    ("array_replace", Takes::Elements(3)),
    ("array_replace_all", Takes::Elements(3)),
    ("array_replace_n", Takes::Elements(3)),
];

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    all_default_nested_functions().into_iter().filter_map(|engine| {
        let (_, takes) = FUNCTIONS.into_iter().find(|(name, _)| *name == engine.name())?;
        Some(ScalarUDF::from(ListFunction { engine, takes }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListFunction {
    engine: Arc<ScalarUDF>,
    takes: Takes,
}

impl ScalarUDFImpl for ListFunction {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let given = match self.takes {
            Takes::Lists => null_as_list(types),
            Takes::Elements(_) => types.to_vec(),
        };
        engine_types(&self.engine, &given).or_else(|error| match self.in_common(&given) {
            Some(common) => engine_types(&self.engine, &common),
            None => Err(error),
        })
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        Ok(match self.engine.simplify(args, info)? {
            ExprSimplifyResult::Simplified(Expr::InList(of)) => {
                ExprSimplifyResult::Simplified(among_known(of))
            }
            other => other,
        })
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.takes == Takes::Lists {
            let is_null = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Scalar(of) if of.is_null());
            if args.args.iter().any(is_null) {
                return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
            }
            if let Some(wanted) = args.args.get_mut(1) {
                *wanted = without_nulls(wanted)?;
            }
            let (nulls, rows) = (nulls_of_any(&args.args), args.number_rows);
            return Ok(match (self.engine.invoke_with_args(args)?, nulls) {
                // Of an empty constant the engine's answer is one for all rows.
                (found, Some(nulls)) => ColumnarValue::Array(with_nulls(&found.into_array(rows)?, &nulls)),
                (found, None) => found,
            });
        }
        if matches!(self.name(), "array_append" | "array_prepend")
            && let Some(lists) = lists_of_nulls(&args, 1)?
        {
            return Ok(lists);
        }
        self.engine.invoke_with_args(args)
    }
}

impl ListFunction {
    /// The types with one type of numbers in the place of several.
    fn in_common(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        let Takes::Elements(count) = self.takes else { return None };
        let (own, places) = types.split_at_checked(count)?;
        let elements: Vec<DataType> = own.iter().map(|of| element(of).unwrap_or(of).clone()).collect();
        let common =
            type_union_resolution(&elements).filter(|_| elements.iter().all(DataType::is_numeric))?;
        let put = |of: &DataType| match element(of) {
            Some(_) => DataType::new_list(common.clone(), true),
            None => common.clone(),
        };
        Some(own.iter().map(put).chain(places.iter().cloned()).collect())
    }
}

/// The types that a function of the engine takes in the place of these.
pub(super) fn engine_types(engine: &ScalarUDF, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let field = |of: &DataType| Arc::new(Field::new("", of.clone(), true));
    let fields: Vec<FieldRef> = types.iter().map(field).collect();
    let fields = fields_with_udf(&fields, engine)?;
    Ok(fields.iter().map(|field| field.data_type().clone()).collect())
}

/// Whether a constant list has a value, as the function says it of a column: a NULL in the list is no answer.
fn among_known(mut of: InList) -> Expr {
    let is_known = |element: &Expr| !element.as_literal().is_some_and(ScalarValue::is_null);
    if !of.list.is_empty() && !of.list.iter().any(is_known) {
        return of.expr.is_null().and(lit(ScalarValue::Boolean(None)));
    }
    of.list.retain(is_known);
    Expr::InList(of)
}

pub(super) fn element(list: &DataType) -> Option<&DataType> {
    item(list).map(|item| item.data_type())
}

/// NULL with the type of the other list.
fn null_as_list(types: &[DataType]) -> Vec<DataType> {
    let list = types.iter().find(|of| element(of).is_some());
    let put = |of: &DataType| match list {
        Some(list) if of.is_null() => list.clone(),
        _ => of.clone(),
    };
    types.iter().map(put).collect()
}

fn nulls_of_any(args: &[ColumnarValue]) -> Option<NullBuffer> {
    let nulls = args.iter().filter_map(|arg| match arg {
        ColumnarValue::Array(lists) => lists.logical_nulls(),
        ColumnarValue::Scalar(_) => None,
    });
    nulls.reduce(|all, one| NullBuffer::union(Some(&all), Some(&one)).unwrap_or(all))
}

/// The same with these NULLs, which the engine forgets where all that is looked for in a batch is empty.
fn with_nulls(found: &ArrayRef, nulls: &NullBuffer) -> ArrayRef {
    match found.as_boolean_opt() {
        Some(found) => {
            let nulls = NullBuffer::union(found.nulls(), Some(nulls));
            Arc::new(BooleanArray::new(found.values().clone(), nulls))
        }
        None => Arc::clone(found),
    }
}

fn without_nulls(lists: &ColumnarValue) -> DfResult<ColumnarValue> {
    Ok(match lists {
        ColumnarValue::Scalar(ScalarValue::List(list)) => {
            ColumnarValue::Scalar(ScalarValue::List(Arc::new(compacted(list)?)))
        }
        ColumnarValue::Array(lists) => match lists.as_list_opt::<i32>() {
            Some(lists) => ColumnarValue::Array(Arc::new(compacted(lists)?)),
            None => ColumnarValue::Array(Arc::clone(lists)),
        },
        ColumnarValue::Scalar(_) => lists.clone(),
    })
}

/// Lists without the NULLs in them.
fn compacted(lists: &ListArray) -> DfResult<ListArray> {
    let (DataType::List(field), Some(nulls)) = (lists.data_type(), lists.values().logical_nulls()) else {
        return Ok(lists.clone());
    };
    let (mut lengths, mut kept) = (Vec::with_capacity(lists.len()), Vec::new());
    let offsets = lists.value_offsets();
    for (start, end) in offsets.iter().zip(offsets.iter().skip(1)) {
        let before = kept.len();
        let is_known = |place: &i32| usize::try_from(*place).is_ok_and(|place| nulls.is_valid(place));
        kept.extend((*start..*end).filter(is_known));
        lengths.push(kept.len() - before);
    }
    let values = take(lists.values(), &Int32Array::from(kept), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(ListArray::try_new(Arc::clone(field), offsets, values, lists.nulls().cloned())?)
}
