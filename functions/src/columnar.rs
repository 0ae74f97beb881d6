//! Functions of the values of a row as functions of whole columns, and functions around those of the engine.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::utils::take_function_args;
use datafusion::error::Result as DfResult;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature, Volatility,
};

use crate::forward::from_engine;
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

/// The types to which the arguments of a function around this one of the engine are cast.
pub(super) type CoercionAround = fn(&ScalarUDF, &[DataType]) -> DfResult<Vec<DataType>>;
/// What a function around this one of the engine gives.
pub(super) type InvokeAround = fn(&ScalarUDF, ScalarFunctionArgs) -> DfResult<ColumnarValue>;

/// A function in the place of one of the engine, which it calls.
#[derive(Debug)]
struct FunctionAround {
    engine: Arc<ScalarUDF>,
    coerced: Option<CoercionAround>,
    invoke: InvokeAround,
}

// There is one around each.
impl PartialEq for FunctionAround {
    fn eq(&self, other: &Self) -> bool {
        self.engine == other.engine
    }
}

impl Eq for FunctionAround {}

impl Hash for FunctionAround {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.engine.hash(state);
    }
}

impl ScalarUDFImpl for FunctionAround {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        schema_name(args: &[Expr]) -> DfResult<String>;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        output_ordering(inputs: &[ExprProperties]) -> DfResult<SortProperties>;
        is_strict() -> bool;
        documentation() -> Option<&Documentation>;
    }

    fn signature(&self) -> &Signature {
        self.coerced.map_or_else(|| self.engine.signature(), |_| signatures::own())
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match self.coerced {
            Some(coerced) => coerced(&self.engine, types),
            None => self.engine.coerce_types(types),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        (self.invoke)(&self.engine, args)
    }
}

/// A function in the place of one of the engine, with the types of its result. The engine casts the arguments
/// where `coerced` does not.
pub(super) fn around(
    engine: Arc<ScalarUDF>,
    coerced: Option<CoercionAround>,
    invoke: InvokeAround,
) -> ScalarUDF {
    ScalarUDF::from(FunctionAround { engine, coerced, invoke })
}

/// What `compute` makes of the columns of the arguments. Of constants alone it is computed for one row, and is
/// a constant as well.
pub(super) fn by_column(
    args: &ScalarFunctionArgs,
    compute: impl Fn(&[ArrayRef]) -> DfResult<ArrayRef>,
) -> DfResult<ColumnarValue> {
    make_scalar_function(compute, Vec::new())(&args.args)
}

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
