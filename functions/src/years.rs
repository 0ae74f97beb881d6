//! `date_part('year', t)` compared with years in which a time of its type cannot lie.
//!
//! The engine makes a comparison of t with the first moment of the year and of the next one. In nanoseconds
//! there is none before 1677 and after 2262: the moment is NULL then, and with it the comparison.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::forward::from_engine;

/// The same call with a comparison of times in its place only where there are such moments; `None` of what is
/// no such call.
pub(super) fn as_written(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    if func.name() != "date_part" || func.inner().is::<CheckedYears>() {
        return None;
    }
    Some(ScalarUDF::from(CheckedYears { engine: Arc::clone(func) }).call(args.clone()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedYears {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for CheckedYears {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        return_field_from_args(args: ReturnFieldArgs) -> DfResult<FieldRef>;
        invoke_with_args(args: ScalarFunctionArgs) -> DfResult<ColumnarValue>;
        documentation() -> Option<&Documentation>;
    }

    fn preimage(&self, args: &[Expr], year: &Expr, context: &SimplifyContext) -> DfResult<PreimageResult> {
        let times = self.engine.preimage(args, year, context)?;
        let lacks_bound = matches!(&times, PreimageResult::Range { interval, .. }
            if interval.lower().is_null() || interval.upper().is_null());
        Ok(if lacks_bound { PreimageResult::None } else { times })
    }
}
