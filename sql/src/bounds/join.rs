//! The operator `||` as a function, so that it has the limits of functions.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::scalar::ScalarValue;

/// `a || b`, with the types and the nulls of the operator.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ConcatOperator;

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(ConcatOperator)
}

impl ScalarUDFImpl for ConcatOperator {
    fn name(&self) -> &str {
        "||"
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let [left, right] = take_function_args("||", args)?;
        Ok(format!("{} || {}", left.schema_name(), right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        gstore_functions::own_arguments()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let [left, right] = take_function_args("||", types)?;
        BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [left, right] = take_function_args("||", types)?;
        let (left, right) = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let [left, right] = take_function_args("||", args.args)?;
        let schema = Schema::new(vec![
            Field::new("left", left.data_type(), true),
            Field::new("right", right.data_type(), true),
        ]);
        let columns = vec![left.into_array(rows)?, right.into_array(rows)?];
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        let column = |name, place| Arc::new(Column::new(name, place)) as Arc<dyn PhysicalExpr>;
        let operator = BinaryExpr::new(column("left", 0), Operator::StringConcat, column("right", 1));
        let joined = operator.evaluate(&batch)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined.into_array(1)?, 0)?)),
            false => Ok(joined),
        }
    }
}
