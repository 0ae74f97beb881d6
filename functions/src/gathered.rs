//! Aggregate functions of the elements of one list: `list_median(list)`, `list_stddev_pop(list)`, and
//! `list_sum(list)`, which has all digits of whole numbers and of decimals.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, new_empty_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionStateDefaults;
use datafusion::functions_nested::array_sum::array_sum_udf;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;

use super::columnar::of_one;
use super::{lists, sum};
use crate::error::FunctionError;
use crate::forward::from_engine;
use crate::signatures;

/// The functions of lists, and the aggregate function of each.
const FUNCTIONS: [(&str, &str); 18] = [
    ("list_approx_count_distinct", "approx_distinct"),
    ("list_bit_and", "bit_and"),
    ("list_bit_or", "bit_or"),
    ("list_bit_xor", "bit_xor"),
    ("list_bool_and", "bool_and"),
    ("list_bool_or", "bool_or"),
    ("list_entropy", "entropy"),
    ("list_histogram", "histogram"),
    ("list_kurtosis", "kurtosis"),
    ("list_mad", "mad"),
    ("list_median", "median"),
    ("list_mode", "mode"),
    ("list_sem", "sem"),
    ("list_skewness", "skewness"),
    ("list_stddev_pop", "stddev_pop"),
    ("list_stddev_samp", "stddev"),
    ("list_var_pop", "var_pop"),
    ("list_var_samp", "var"),
];

pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    let engine = SessionStateDefaults::default_aggregate_functions();
    let exact = ListAggregate { name: "list_sum", aggregate: Arc::new(sum::function()) };
    let list_sum = ScalarUDF::from(ListSum { engine: array_sum_udf(), exact });
    // Of two of one name the first is that of a statement.
    let all: Vec<Arc<AggregateUDF>> = crate::aggregate().map(Arc::new).chain(engine).collect();
    let others = FUNCTIONS.into_iter().filter_map(move |(name, of)| {
        let aggregate = all.iter().find(|aggregate| aggregate.name() == of)?;
        Some(ScalarUDF::from(ListAggregate { name, aggregate: Arc::clone(aggregate) }))
    });
    others.chain([list_sum])
}

/// Whether a function has this name.
pub fn is_of_elements(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListAggregate {
    name: &'static str,
    aggregate: Arc<AggregateUDF>,
}

impl ScalarUDFImpl for ListAggregate {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let of = match types {
            [of @ DataType::Null] => Some(of),
            [list] => lists::element(list),
            _ => None,
        };
        let Some(of) = of else {
            let error = FunctionError::invalid(format!("{}() takes a list", self.name));
            return Err(error.hint(format!("of a column write {}(x)", self.aggregate.name())).into());
        };
        let fields = match of {
            // Of nothing but NULLs: as numbers, or as what else the function takes.
            DataType::Null => self.taken(&DataType::Int64).or_else(|_| self.taken(&DataType::Boolean)),
            of => self.taken(of),
        };
        let [taken] = take_function_args(self.name, fields?)?;
        Ok(vec![DataType::new_list(taken.data_type().clone(), true)])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [list] = take_function_args(self.name, types)?;
        match list {
            DataType::List(of) => Ok(self.result(&element(of.data_type()))?.data_type().clone()),
            _ => Err(FunctionError::internal("a list").into()),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        of_one(self.name, &args, |lists| {
            let lists = lists.as_list_opt::<i32>().ok_or_else(|| FunctionError::internal("a list"))?;
            let field = element(&lists.value_type());
            let result = self.result(&field)?;
            if lists.is_empty() {
                return Ok(new_empty_array(result.data_type()));
            }
            let each = (0..lists.len()).map(|row| match lists.is_valid(row) {
                true => self.of_elements(lists.value(row), &field, &result),
                false => ScalarValue::try_from(result.data_type()),
            });
            ScalarValue::iter_to_array(each.collect::<DfResult<Vec<_>>>()?)
        })
    }
}

impl ListAggregate {
    /// What the aggregate function takes in the place of an element of this type.
    fn taken(&self, of: &DataType) -> DfResult<Vec<FieldRef>> {
        fields_with_udf(&[element(of)], &*self.aggregate)
    }

    fn result(&self, element: &FieldRef) -> DfResult<FieldRef> {
        self.aggregate.return_field(std::slice::from_ref(element))
    }

    fn of_elements(&self, elements: ArrayRef, field: &FieldRef, result: &FieldRef) -> DfResult<ScalarValue> {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), 0));
        let mut gathered = self.aggregate.accumulator(AccumulatorArgs {
            return_field: Arc::clone(result),
            schema: &Schema::new(vec![Arc::clone(field)]),
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: self.name,
            is_distinct: false,
            exprs: &[column],
            expr_fields: std::slice::from_ref(field),
        })?;
        gathered.update_batch(&[elements])?;
        gathered.evaluate()
    }
}

/// The sum of the elements of a list, which the engine computes as a double.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ListSum {
    engine: Arc<ScalarUDF>,
    exact: ListAggregate,
}

impl ScalarUDFImpl for ListSum {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        signatures::own()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if is_exact(types) { self.exact.coerce_types(types) } else { self.engine.coerce_types(types) }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        if is_exact(types) { self.exact.return_type(types) } else { self.engine.return_type(types) }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        match is_exact(&types) {
            true => self.exact.invoke_with_args(args),
            false => self.engine.invoke_with_args(args),
        }
    }
}

/// Whether the argument is a list of numbers that have all their digits.
fn is_exact(types: &[DataType]) -> bool {
    let has_digits = |of: &DataType| of.is_integer() || of.is_decimal();
    matches!(types, [list] if lists::element(list).is_some_and(has_digits))
}

fn element(of: &DataType) -> FieldRef {
    Arc::new(Field::new("element", of.clone(), true))
}
