//! Bounds of windows, which the engine takes as written numbers and intervals only: `ROWS 1 + 1 PRECEDING` as
//! `ROWS 2 PRECEDING`.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, ExactNumberInfo, Expr, Function, NamedWindowDefinition, NamedWindowExpr,
    Select, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};
use gstore_core::shortened;

use super::exprs::number;
use crate::error::SqlError;
use crate::expanded::number_of;

/// Most characters of a bound in a message.
const SAID: usize = 100;

/// Puts numbers in the place of the bounds of a function's window.
///
/// # Errors
/// A bound that is no such number and no interval.
pub(super) fn of_function(function: &mut Function) -> Result<(), SqlError> {
    match &mut function.over {
        Some(WindowType::WindowSpec(window)) => of_window(window),
        _ => Ok(()),
    }
}

pub(super) fn of_select(select: &mut Select) -> Result<(), SqlError> {
    select.named_window.iter_mut().try_for_each(|NamedWindowDefinition(_, window)| match window {
        NamedWindowExpr::WindowSpec(window) => of_window(window),
        NamedWindowExpr::NamedWindow(_) => Ok(()),
    })
}

fn of_window(window: &mut WindowSpec) -> Result<(), SqlError> {
    let Some(WindowFrame { units, start_bound, end_bound }) = &mut window.window_frame else { return Ok(()) };
    std::iter::once(start_bound).chain(end_bound).try_for_each(|bound| match bound {
        WindowFrameBound::Preceding(Some(bound)) | WindowFrameBound::Following(Some(bound)) => {
            put(*units, bound)
        }
        _ => Ok(()),
    })
}

fn put(units: WindowFrameUnits, bound: &mut Expr) -> Result<(), SqlError> {
    let is_left = match bound {
        Expr::Interval(interval) => {
            if let Some(written) = written(&interval.value).filter(|number| !number.starts_with('-')) {
                *interval.value = number(written);
            }
            matches!(&*interval.value, Expr::Value(_))
        }
        // A parameter has no value where a statement is only described.
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        _ => false,
    };
    if is_left {
        return Ok(());
    }
    let is_range = units == WindowFrameUnits::Range;
    let fits = |number: &String| match is_range {
        true => !number.starts_with('-'),
        false => number.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let Some(written) = written(bound).filter(fits) else {
        let what = if is_range { "a number from 0 on or an INTERVAL" } else { "a whole number from 0 on" };
        let said = shortened(&bound.to_string(), SAID);
        let error = SqlError::invalid(format!("{units} takes {what}, not {said}")).at_start_of(bound);
        return Err(error.hint(
            "a bound is written in the statement, as in ROWS 2 PRECEDING and RANGE INTERVAL 1 DAY PRECEDING",
        ));
    };
    *bound = number(written);
    Ok(())
}

/// The number that an expression of written ones is.
fn written(of: &Expr) -> Option<String> {
    match of {
        Expr::Nested(inner) => written(inner),
        Expr::Cast { expr, data_type, .. } => written(expr).filter(|number| keeps(data_type, number)),
        Expr::BinaryOp { left, op, right } => {
            let whole = |side: &Expr| written(side)?.parse::<i64>().ok();
            let (left, right) = (whole(left)?, whole(right)?);
            let result = match op {
                BinaryOperator::Plus => left.checked_add(right),
                BinaryOperator::Minus => left.checked_sub(right),
                BinaryOperator::Multiply => left.checked_mul(right),
                _ => None,
            };
            Some(result?.to_string())
        }
        other => number_of(other).map(str::to_owned),
    }
}

/// Whether a written number is the same one as a value of a type.
fn keeps(ty: &DataType, number: &str) -> bool {
    use DataType as D;
    // An exponent moves the point.
    if number.contains(['e', 'E']) {
        return matches!(ty, D::Double(_) | D::DoublePrecision | D::Float8);
    }
    let behind = number.split_once('.').map_or(0, |(_, behind)| behind.len());
    match ty {
        D::SmallInt(None) | D::Int(None) | D::Integer(None) | D::BigInt(None) => behind == 0,
        D::Decimal(digits) | D::Numeric(digits) | D::Dec(digits) => match digits {
            ExactNumberInfo::PrecisionAndScale(_, scale) => {
                usize::try_from(*scale).is_ok_and(|scale| behind <= scale)
            }
            _ => behind == 0,
        },
        D::Double(_) | D::DoublePrecision | D::Float8 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::dialect::calls::rewritten;

    #[test]
    fn bounds_of_written_numbers_are_numbers() {
        for (frame, expected) in [
            ("ROWS 1 + 1 PRECEDING", "ROWS 2 PRECEDING"),
            ("GROUPS (3) PRECEDING", "GROUPS 3 PRECEDING"),
            (
                "ROWS BETWEEN 2::INT PRECEDING AND 2 * (3 - 1) FOLLOWING",
                "ROWS BETWEEN 2 PRECEDING AND 4 FOLLOWING",
            ),
            ("RANGE 1.5::DECIMAL(5,2) PRECEDING", "RANGE 1.5 PRECEDING"),
            ("RANGE INTERVAL '2 days' PRECEDING", "RANGE INTERVAL '2 days' PRECEDING"),
            ("RANGE INTERVAL (1 + 1) DAY PRECEDING", "RANGE INTERVAL '2' DAY PRECEDING"),
            ("ROWS UNBOUNDED PRECEDING", "ROWS UNBOUNDED PRECEDING"),
        ] {
            let sql = |frame: &str| format!("SELECT sum(x) OVER (ORDER BY y {frame}) FROM t");
            assert_eq!(rewritten(&sql(frame)), Ok(sql(expected)));
            let sql = |frame: &str| format!("SELECT sum(x) OVER w FROM t WINDOW w AS (ORDER BY y {frame})");
            assert_eq!(rewritten(&sql(frame)), Ok(sql(expected)));
        }
        for (frame, says) in [
            ("ROWS k PRECEDING", "ROWS takes a whole number from 0 on, not k"),
            ("ROWS 1.5 PRECEDING", "ROWS takes a whole number from 0 on, not 1.5"),
            ("GROUPS 1 - 2 PRECEDING", "GROUPS takes a whole number from 0 on, not 1 - 2"),
            ("RANGE 1.555::DECIMAL(5,2) PRECEDING", "RANGE takes a number from 0 on or an INTERVAL, not"),
            ("RANGE k + 1 PRECEDING", "RANGE takes a number from 0 on or an INTERVAL, not k + 1"),
            ("RANGE INTERVAL (k) DAY PRECEDING", "RANGE takes a number from 0 on or an INTERVAL, not"),
        ] {
            let sql = format!("SELECT sum(x) OVER (ORDER BY y {frame}) FROM t");
            let refused = rewritten(&sql).unwrap_err();
            assert!(refused.starts_with(says), "{refused}");
        }
    }
}
