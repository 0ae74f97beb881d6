//! Parts of times, intervals and written times, as the engine has them.

use datafusion::sql::sqlparser::ast::{DataType, DateTimeField, Expr, Interval, UnaryOperator, Value};
use gstore_functions::spans::{multiplied, usual_interval};
use gstore_functions::{full_time, no_cast};

use crate::dialect::exprs::{call, nested, text, text_of, unnested};
use crate::error::SqlError;
use crate::expanded::number_of;
use crate::names::PARTS;

/// A part of a time that has another name in the engine.
pub(in crate::dialect) fn part_of(name: &str, time: &Expr) -> Option<Expr> {
    let name = name.to_ascii_lowercase();
    let (_, part) = PARTS.iter().find(|(known, part)| *known == name && *part != name)?;
    Some(call("date_part", vec![text(part), time.clone()]))
}

/// `INTERVAL (n) DAY` of what is no constant as `to_days(n)`, and `INTERVAL 3 DAY` with the number as a text,
/// which is all that the engine knows in the frame of a window.
pub(in crate::dialect) fn interval(interval: &Interval) -> Option<Expr> {
    if let Some(written) = text_of(&interval.value).filter(|_| interval.leading_field.is_none()) {
        let value = Box::new(text(&usual_interval(written)?));
        return Some(Expr::Interval(Interval { value, ..interval.clone() }));
    }
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: of } = &*interval.value
        && text_of(of).is_some()
    {
        // The engine would put the minus before the first part of the text alone.
        let of = Interval { value: of.clone(), ..interval.clone() };
        let of = self::interval(&of).unwrap_or(Expr::Interval(of));
        return Some(*nested(Expr::UnaryOp { op: UnaryOperator::Minus, expr: nested(of) }));
    }
    let unit = interval.leading_field.as_ref().filter(|_| interval.last_field.is_none())?;
    let smaller = in_smaller(unit);
    if let Some(count) = text_of(&interval.value).or_else(|| number_of(&interval.value))
        && let Some((unit, times)) = &smaller
    {
        let value = Box::new(text(&multiplied(count.trim(), *times)?));
        let leading_field = Some(unit.clone());
        return Some(Expr::Interval(Interval { value, leading_field, ..interval.clone() }));
    }
    if let Some(number) = number_of(&interval.value) {
        let value = Box::new(text(number));
        return Some(Expr::Interval(Interval { value, ..interval.clone() }));
    }
    let varies = matches!(
        &*interval.value,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Nested(_)
            | Expr::Function(_)
            | Expr::Cast { .. }
    );
    if !varies && smaller.is_none() {
        return None;
    }
    Some(call(counted(unit)?, vec![unnested(&interval.value).clone()]))
}

/// The function that makes an interval of a number of units.
fn counted(unit: &DateTimeField) -> Option<&'static str> {
    let unit = unit.to_string().to_ascii_lowercase();
    Some(match unit.strip_suffix('s').unwrap_or(&unit) {
        "millenium" | "millennium" | "millennia" => "to_millennia",
        "century" | "centurie" => "to_centuries",
        "decade" => "to_decades",
        "year" => "to_years",
        "quarter" => "to_quarters",
        "month" => "to_months",
        "week" => "to_weeks",
        "day" => "to_days",
        "hour" => "to_hours",
        "minute" => "to_minutes",
        "second" => "to_seconds",
        "millisecond" => "to_milliseconds",
        "microsecond" => "to_microseconds",
        "nanosecond" => "to_nanoseconds",
        _ => return None,
    })
}

/// For a unit that the engine lacks one that it has, and how many of these it is.
fn in_smaller(unit: &DateTimeField) -> Option<(DateTimeField, i32)> {
    match unit {
        DateTimeField::Quarter => Some((DateTimeField::Month, 3)),
        DateTimeField::Millenium | DateTimeField::Millennium => Some((DateTimeField::Year, 1000)),
        _ => None,
    }
}

/// A written time as [`full_time`] has it.
pub(in crate::dialect) fn usual_time(time: &mut Value) {
    if let Value::SingleQuotedString(text) = time
        && let Some(full) = full_time(text)
    {
        *text = full;
    }
}

/// The error about a written number that is cast to a time, where it stands.
pub(in crate::dialect) fn number_as_time(of: &Expr, to: &DataType) -> Option<SqlError> {
    let is_time = matches!(to, DataType::Timestamp(..) | DataType::Date | DataType::Time(..));
    let number = number_of(of)?;
    is_time.then(|| SqlError::from(no_cast(number, &to.to_string(), true)).at_start_of(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_digits_and_seconds() {
        for (written, usual) in [
            ("2024-01-02 3:04:05", "2024-01-02 03:04:05"),
            ("2024-1-2 3:04", "2024-01-02 03:04:00"),
            ("2024-01-02T10:30", "2024-01-02 10:30:00"),
            ("2024-1-2 3:4", "2024-01-02 03:04:00"),
            ("2024-01-02 03:04:5", "2024-01-02 03:04:05"),
            ("2024-01-02 3:4:5.25Z", "2024-01-02 03:04:05.25Z"),
            ("2024-01-02 3:04 +01:00", "2024-01-02 03:04:00+01:00"),
            ("2024-01-02T10:00Z", "2024-01-02 10:00:00Z"),
            ("2024/1/02", "2024-01-02"),
            (" 2024-1-2 ", "2024-01-02"),
            ("2024-01-02 3:04:05.25Z", "2024-01-02 03:04:05.25Z"),
            ("02.01.2024 3:04", "02.01.2024 3:04"),
            ("2024-01-02 noon", "2024-01-02 noon"),
            ("now", "now"),
            ("2024-1-2 3:04:05 europe/berlin", "2024-01-02 03:04:05 Europe/Berlin"),
            ("2024-01-02 03:04:05 UTC", "2024-01-02 03:04:05 UTC"),
            ("2024-01-02 03:04:05 nowhere", "2024-01-02 03:04:05 nowhere"),
        ] {
            let mut value = Value::SingleQuotedString(written.to_owned());
            usual_time(&mut value);
            assert_eq!(value, Value::SingleQuotedString(usual.to_owned()));
        }
    }
}
