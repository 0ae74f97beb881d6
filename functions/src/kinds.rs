//! `typeof(x)`, the name of a type in SQL; and a function that names the type of a cast in its heading.

use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::error::FunctionError;
use crate::types;

/// The function that gives its first argument back; the second is the name of its type.
pub const AS_TYPE: &str = "as_type";

pub(super) fn functions() -> [ScalarUDF; 2] {
    [(TypeResult::Name, 1), (TypeResult::Value, 2)].map(|(gives, args)| {
        ScalarUDF::from(TypeFunction { gives, signature: Signature::any(args, Volatility::Immutable) })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum TypeResult {
    Name,
    Value,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeFunction {
    gives: TypeResult,
    signature: Signature,
}

impl ScalarUDFImpl for TypeFunction {
    fn name(&self) -> &str {
        match self.gives {
            TypeResult::Name => "typeof",
            TypeResult::Value => AS_TYPE,
        }
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        if let (TypeResult::Value, [of, Expr::Literal(ty, _)]) = (self.gives, args) {
            let ty = ty.try_as_str().flatten().unwrap_or_default();
            return Ok(format!("CAST({} AS {ty})", of.schema_name()));
        }
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({})", self.name(), args.join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match self.gives {
            TypeResult::Name => Ok(DataType::Utf8),
            TypeResult::Value => Ok(types.first().cloned().ok_or_else(no_value)?),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.gives == TypeResult::Value {
            return Ok(args.args.into_iter().next().ok_or_else(no_value)?);
        }
        let of = args.arg_fields.first().ok_or_else(no_value)?;
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(types::name(of.data_type())))))
    }
}

fn no_value() -> FunctionError {
    FunctionError::internal("no value")
}
