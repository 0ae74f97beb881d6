//! Numbers as the bounds of a window that is ordered by dates or times: `RANGE BETWEEN 1 PRECEDING AND ..`.
//!
//! They are days of a date, and refused of a time. To the engine they are months.

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, WindowFrameBound, WindowFrameUnits};
use datafusion::scalar::ScalarValue;

use super::times::is_time;
use super::whole::type_of;
use crate::error::FunctionError;

/// Makes days of the numbers of such a window; says whether there were any.
///
/// # Errors
/// Numbers for times, and fractions of a day.
pub(super) fn in_days(expr: &mut Expr, schema: &DFSchema) -> DfResult<bool> {
    let Expr::WindowFunction(call) = expr else { return Ok(false) };
    let params = &mut call.params;
    let frame = &mut params.window_frame;
    if frame.units != WindowFrameUnits::Range {
        return Ok(false);
    }
    let bounds = [&mut frame.start_bound, &mut frame.end_bound];
    let numbers: Vec<&mut String> = bounds.into_iter().filter_map(number).collect();
    if numbers.is_empty() {
        return Ok(false);
    }
    let key = params.order_by.first();
    let Some(of) = key.and_then(|key| type_of(&key.expr, schema)).filter(is_time) else { return Ok(false) };
    let is_date = matches!(of, DataType::Date32 | DataType::Date64);
    for number in numbers {
        if !(is_date && number.bytes().all(|byte| byte.is_ascii_digit())) {
            let kind = if is_date { "dates takes whole days or" } else { "times takes" };
            let why = format!("RANGE over {kind} an INTERVAL, not {number}");
            let hint = "write RANGE BETWEEN INTERVAL 1 HOUR PRECEDING AND CURRENT ROW";
            return Err(FunctionError::invalid(why).hint(hint).into());
        }
        number.push_str(" days");
    }
    Ok(true)
}

/// The number that a bound is written as.
fn number(bound: &mut WindowFrameBound) -> Option<&mut String> {
    let (WindowFrameBound::Preceding(ScalarValue::Utf8(Some(text)))
    | WindowFrameBound::Following(ScalarValue::Utf8(Some(text)))) = bound
    else {
        return None;
    };
    text.parse::<f64>().is_ok().then_some(text)
}
