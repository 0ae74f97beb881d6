//! Numbers as the bounds of a window that is ordered by dates, times or whole numbers:
//! `RANGE BETWEEN 1 PRECEDING AND ..`.
//!
//! They are days of a date, and refused of a time; to the engine they are months. Of whole numbers they are
//! the next whole one within the window; the engine refuses fractions. Where there is none between them, a
//! window has only rows that have no number to be ordered by, which have each other.
//!
//! An interval below zero is refused, as it is for a number where the statement is read: the engine would count
//! rows of a window that ends before it begins (its issue 24902).
//!
//! A window that is ordered by what has no distance to the engine, such as a TIME, is one of GROUPS where it
//! ends at the row's peers, which is the same.

use arrow_schema::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, when,
};
use datafusion::scalar::ScalarValue;

use super::compared::nanoseconds;
use super::spans::written;
use super::times::is_time;
use super::whole::type_of;
use crate::error::FunctionError;
use crate::types;

/// Functions of a value of a row of the window, beside aggregates; others do not look at its bounds.
const OF_ROWS: [&str; 3] = ["first_value", "last_value", "nth_value"];

/// Makes days or whole numbers of the numbers of such a window; says whether there were any.
///
/// # Errors
/// Numbers for times, fractions of a day, and intervals below zero.
pub(super) fn in_units(expr: &mut Expr, schema: &DFSchema) -> DfResult<bool> {
    let Expr::WindowFunction(call) = expr else { return Ok(false) };
    let is_aggregate = matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_));
    let is_of_rows = OF_ROWS.contains(&call.fun.name());
    let params = &mut call.params;
    let frame = &mut params.window_frame;
    if frame.units != WindowFrameUnits::Range {
        return Ok(false);
    }
    for bound in [&frame.start_bound, &frame.end_bound] {
        not_below_zero(bound)?;
    }
    let of = params.order_by.first().and_then(|key| type_of(&key.expr, schema));
    if let Some(of) = of.as_ref().filter(|of| has_no_distance(of)) {
        *frame = in_groups(frame, of)?;
        return Ok(true);
    }
    let is_number = |bound: &mut WindowFrameBound| number(bound).is_some();
    if !is_number(&mut frame.start_bound) && !is_number(&mut frame.end_bound) {
        return Ok(false);
    }
    let (Some(key), Some(of)) = (params.order_by.first(), of) else { return Ok(false) };
    if of.is_integer() && is_between_whole(frame) {
        // Whole bounds would be the wrong way round, which the engine refuses.
        let (peer, no_number) = (WindowFrameBound::CurrentRow, key.expr.clone().is_null());
        *frame = WindowFrame::new_bounds(WindowFrameUnits::Range, peer.clone(), peer);
        if is_aggregate {
            params.filter = Some(Box::new(match params.filter.take() {
                Some(filter) => filter.and(no_number),
                None => no_number,
            }));
        } else if let Some(value) = params.args.first_mut().filter(|_| is_of_rows) {
            *value = when(no_number, std::mem::take(value)).end()?;
        }
        return Ok(true);
    }
    if of.is_integer() {
        return Ok(make_whole(&mut frame.start_bound, true) | make_whole(&mut frame.end_bound, false));
    }
    if !is_time(&of) {
        return Ok(false);
    }
    let is_date = matches!(of, DataType::Date32 | DataType::Date64);
    for number in [&mut frame.start_bound, &mut frame.end_bound].into_iter().filter_map(number) {
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

/// Whether the engine has no RANGE over a type that it can order by.
fn has_no_distance(of: &DataType) -> bool {
    use DataType as D;
    let is_such = matches!(of, D::Time32(_) | D::Time64(_) | D::Interval(_) | D::Duration(_) | D::Struct(_));
    is_such || types::is_binary(of)
}

/// The same frame of GROUPS.
///
/// # Errors
/// A frame with a distance.
fn in_groups(frame: &WindowFrame, of: &DataType) -> Result<WindowFrame, FunctionError> {
    let (start, end) = (&frame.start_bound, &frame.end_bound);
    let is_free = |bound: &WindowFrameBound| bound.is_unbounded() || *bound == WindowFrameBound::CurrentRow;
    if is_free(start) && is_free(end) {
        return Ok(WindowFrame::new_bounds(WindowFrameUnits::Groups, start.clone(), end.clone()));
    }
    let why = format!("RANGE over {} takes no distance", types::name(of));
    Err(FunctionError::invalid(why)
        .hint("of times of the day and intervals write ORDER BY epoch(x) RANGE 3600 PRECEDING, in seconds"))
}

/// # Errors
/// An interval whose length is below zero.
fn not_below_zero(bound: &WindowFrameBound) -> Result<(), FunctionError> {
    let (WindowFrameBound::Preceding(ScalarValue::Utf8(Some(text)))
    | WindowFrameBound::Following(ScalarValue::Utf8(Some(text)))) = bound
    else {
        return Ok(());
    };
    // One that is no interval is left to the engine.
    let Some(span) = written(text) else { return Ok(()) };
    if nanoseconds(span) >= 0 {
        return Ok(());
    }
    let why = format!("RANGE takes an INTERVAL from 0 on, not '{text}'");
    let hint =
        "what follows is FOLLOWING: RANGE BETWEEN INTERVAL 1 DAY FOLLOWING AND INTERVAL 2 DAYS FOLLOWING";
    Err(FunctionError::invalid(why).hint(hint))
}

/// Whether no whole number lies between the bounds, which are in their order.
fn is_between_whole(frame: &mut WindowFrame) -> bool {
    let offset = |bound: &mut WindowFrameBound| {
        let sign = if matches!(bound, WindowFrameBound::Preceding(_)) { -1.0 } else { 1.0 };
        Some(sign * number(bound)?.parse::<f64>().ok()?)
    };
    let (start, end) = (offset(&mut frame.start_bound), offset(&mut frame.end_bound));
    start.zip(end).is_some_and(|(start, end)| start <= end && start.ceil() > end.floor())
}

/// Makes the next whole number within the window of a fraction; says whether it was one.
fn make_whole(bound: &mut WindowFrameBound, is_start: bool) -> bool {
    let is_preceding = matches!(bound, WindowFrameBound::Preceding(_));
    let Some(number) = number(bound).filter(|number| number.parse::<u64>().is_err()) else { return false };
    let Ok(fraction) = number.parse::<f64>() else { return false };
    let whole = if is_start == is_preceding { fraction.floor() } else { fraction.ceil() };
    *number = whole.to_string();
    true
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
