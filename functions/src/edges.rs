//! Functions of numbers that the engine has wrong where a result lies beyond its type.
//!
//! - `to_timestamp(n)` of a number of seconds that no TIMESTAMP reaches, and of NaN, is an error: of fractions
//!   the engine's gives the last time that there is, and 1970

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_schema::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::functions::datetime;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::{BEYOND, FunctionError};
use crate::forward::from_engine;

pub(super) fn functions() -> [ScalarUDF; 1] {
    [ScalarUDF::from(TimeOfSeconds { engine: datetime::to_timestamp(&ConfigOptions::default()) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeOfSeconds {
    engine: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for TimeOfSeconds {
    from_engine! {
        name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        return_type(types: &[DataType]) -> DfResult<DataType>;
        documentation() -> Option<&Documentation>;
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let [seconds, ..] = args.args.as_slice()
            && seconds.data_type().is_numeric()
        {
            check_seconds(&seconds.to_array(1)?)?;
        }
        self.engine.invoke_with_args(args)
    }
}

/// Refuses seconds of which a TIMESTAMP does not have room for the nanoseconds.
fn check_seconds(seconds: &ArrayRef) -> DfResult<()> {
    // The first that does not fit.
    let end = 9_223_372_036_854_775_808.0;
    let seconds = arrow_cast::cast(seconds, &DataType::Float64)?;
    let mut all = seconds.as_primitive::<Float64Type>().iter().flatten();
    match all.find(|seconds| !(-end..end).contains(&(seconds * 1e9))) {
        None => Ok(()),
        Some(seconds) => {
            let why = format!("the time {seconds:?} seconds after 1970{BEYOND}");
            Err(FunctionError::invalid(why).hint("to_timestamp_seconds(n) reaches further").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array};

    use super::*;

    #[test]
    fn seconds_that_no_timestamp_reaches_are_refused() {
        let fits = |seconds: f64| {
            check_seconds(&(Arc::new(Float64Array::from(vec![None, Some(seconds)])) as ArrayRef)).is_ok()
        };
        for seconds in [0.0, -1.5, 9_223_372_036.0, -9_223_372_036.0] {
            assert!(fits(seconds), "{seconds}");
        }
        for seconds in [1e11, -1e11, 9_223_372_037.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!fits(seconds), "{seconds}");
        }
        assert!(check_seconds(&(Arc::new(Int64Array::from(vec![9_223_372_037])) as ArrayRef)).is_err());
    }
}
