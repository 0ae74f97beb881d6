//! Lists that are made of values and of other lists, around the functions of the engine.
//!
//! - `[x]` is a list in each row also where all values are of the type of NULL: the engine makes one for all
//!   rows
//! - in `list_concat(a, b)` and `a || b`, `[]` and `[NULL]` are lists of the type of the other one: to the
//!   engine they would be an element of a list of lists

use std::sync::Arc;

use arrow_array::{ListArray, new_null_array};
use arrow_schema::{DataType, Field};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::common::DFSchema;
use datafusion::common::utils::list_ndims;
use datafusion::error::Result as DfResult;
use datafusion::functions_nested::concat::array_concat_udf;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::columnar::around;
use super::whole::type_of;

pub(super) fn functions() -> [ScalarUDF; 2] {
    [around(make_array_udf(), None, made_list), joined_lists()]
}

fn joined_lists() -> ScalarUDF {
    around(array_concat_udf(), Some(joined_types), joined)
}

fn made_list(engine: &ScalarUDF, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    match lists_of_nulls(&args, args.args.len())? {
        Some(lists) => Ok(lists),
        None => engine.invoke_with_args(args),
    }
}

/// A list of so many NULLs in each row, if all arguments are of their type and one of these is a column.
pub(super) fn lists_of_nulls(args: &ScalarFunctionArgs, each: usize) -> DfResult<Option<ColumnarValue>> {
    let are_nulls = args.args.iter().all(|arg| arg.data_type().is_null());
    let has_column = args.args.iter().any(|arg| matches!(arg, ColumnarValue::Array(_)));
    if !(are_nulls && has_column) {
        return Ok(None);
    }
    let item = Arc::new(Field::new_list_field(DataType::Null, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(each, args.number_rows));
    let nulls = new_null_array(&DataType::Null, each * args.number_rows);
    Ok(Some(ColumnarValue::Array(Arc::new(ListArray::try_new(item, offsets, nulls, None)?))))
}

fn joined_types(engine: &ScalarUDF, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let deepest = types.iter().max_by_key(|of| list_ndims(of));
    let given = types.iter().map(|of| match deepest {
        Some(deepest) if is_of_nulls(of) => deepest.clone(),
        _ => of.clone(),
    });
    engine.coerce_types(&given.collect::<Vec<_>>())
}

/// Lists are joined, and come out, with the type that the plan says: in their own ones elements may be called
/// otherwise, which of lists of lists the engine does not join.
fn joined(engine: &ScalarUDF, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
    let to = args.return_type().clone();
    for (list, field) in args.args.iter_mut().zip(&mut args.arg_fields) {
        if list_ndims(&list.data_type()) == list_ndims(&to) {
            *list = list.cast_to(&to, None)?;
            *field = Arc::new(field.as_ref().clone().with_data_type(to.clone()));
        }
    }
    engine.invoke_with_args(args)?.cast_to(&to, None)
}

/// Whether a type is that of `[]` and of `[NULL]`.
fn is_of_nulls(of: &DataType) -> bool {
    matches!(of, DataType::List(item) if item.data_type().is_null())
}

/// A planner that joins `[]` and `[NULL]` with lists of lists: the engine's, which it stands before, takes the
/// list with fewer levels for an element.
#[derive(Debug)]
pub struct NullLists;

impl ExprPlanner for NullLists {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        let is_deep = |of: &DataType| list_ndims(of) > 1;
        let is_left =
            |kind: &dyn Fn(&DataType) -> bool| type_of(&expr.left, schema).is_some_and(|of| kind(&of));
        // The right side first: of a long chain of operators it is the short one.
        let is_joined = expr.op == BinaryOperator::StringConcat
            && match type_of(&expr.right, schema) {
                Some(right) if is_of_nulls(&right) => is_left(&is_deep),
                Some(right) if is_deep(&right) => is_left(&is_of_nulls),
                _ => false,
            };
        Ok(match is_joined {
            true => PlannerResult::Planned(joined_lists().call(vec![expr.left, expr.right])),
            false => PlannerResult::Original(expr),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, NullArray};
    use datafusion::common::config::ConfigOptions;
    use datafusion::scalar::ScalarValue;

    use super::*;

    fn called(function: &ScalarUDF, args: Vec<ColumnarValue>, rows: usize, gives: DataType) -> ColumnarValue {
        let field = |of: DataType| Arc::new(Field::new("", of, true));
        let call = ScalarFunctionArgs {
            arg_fields: args.iter().map(|arg| field(arg.data_type())).collect(),
            args,
            number_rows: rows,
            return_field: field(gives),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(call).unwrap()
    }

    #[test]
    fn joined_lists_have_the_type_of_the_plan() {
        let of = DataType::List(Arc::new(Field::new("element", DataType::Int64, true)));
        let nulls = ColumnarValue::Array(new_null_array(&of, 2));
        let gives = DataType::new_list(DataType::Int64, true);
        let joined = called(&joined_lists(), vec![nulls.clone(), nulls], 2, gives.clone());
        assert_eq!(joined.data_type(), gives);
    }

    #[test]
    fn each_row_has_a_list_of_its_nulls() {
        let [function, _] = functions();
        let gives = DataType::new_list(DataType::Null, true);
        for rows in [0, 1, 3] {
            let column = || ColumnarValue::Array(Arc::new(NullArray::new(rows)));
            for args in [vec![column()], vec![column(), ColumnarValue::Scalar(ScalarValue::Null), column()]] {
                let each = args.len();
                let lists = called(&function, args, rows, gives.clone()).into_array(rows).unwrap();
                assert_eq!(lists.data_type(), &gives);
                let lists = lists.as_list::<i32>();
                assert_eq!(lists.len(), rows);
                assert!((0..rows).all(|row| lists.is_valid(row) && lists.value(row).len() == each));
            }
        }
    }
}
