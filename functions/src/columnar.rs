//! Functions of the values of a row as functions of whole columns.

use std::hash::{Hash, Hasher};

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::signatures;

/// The types to which the arguments of a function of this name are cast.
pub(super) type Coercion = fn(&str, &[DataType]) -> DfResult<Vec<DataType>>;
/// What a function makes of the columns of its arguments.
pub(super) type Compute = fn(&[ArrayRef]) -> DfResult<ArrayRef>;

/// A function whose result has one type, whatever its arguments.
#[derive(Debug)]
struct ColumnFunction {
    name: &'static str,
    signature: Signature,
    coerced: Coercion,
    gives: DataType,
    compute: Compute,
}

// Each has a name of its own.
impl PartialEq for ColumnFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ColumnFunction {}

impl Hash for ColumnFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ColumnFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.gives.clone())
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        (self.coerced)(self.name, types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        by_column(&args, self.compute)
    }
}

/// A function whose arguments the engine casts.
pub(super) fn function(
    name: &'static str,
    takes: TypeSignature,
    gives: DataType,
    compute: Compute,
) -> ScalarUDF {
    let signature = Signature::new(takes, Volatility::Immutable);
    let coerced: Coercion = |_, types| Ok(types.to_vec());
    ScalarUDF::from(ColumnFunction { name, signature, coerced, gives, compute })
}

/// A function that checks the types of its arguments itself.
pub(super) fn checked(name: &'static str, coerced: Coercion, gives: DataType, compute: Compute) -> ScalarUDF {
    ScalarUDF::from(ColumnFunction { name, signature: signatures::own().clone(), coerced, gives, compute })
}

/// What `compute` makes of the columns of the arguments. Of constants alone it is computed for one row, and is
/// a constant as well.
pub(super) fn by_column(
    args: &ScalarFunctionArgs,
    compute: impl Fn(&[ArrayRef]) -> DfResult<ArrayRef>,
) -> DfResult<ColumnarValue> {
    make_scalar_function(compute, Vec::new())(&args.args)
}

/// The same of a function of one argument.
pub(super) fn of_one(
    name: &str,
    args: &ScalarFunctionArgs,
    compute: impl Fn(&ArrayRef) -> DfResult<ArrayRef>,
) -> DfResult<ColumnarValue> {
    by_column(args, |arrays| {
        let [values] = take_function_args(name, arrays)?;
        compute(values)
    })
}
