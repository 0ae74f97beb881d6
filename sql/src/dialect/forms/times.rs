//! Parts of times, intervals and written times, as the engine has them.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, DateTimeField, Expr, Interval, UnaryOperator, Value,
};
use gstore_functions::{full_time, no_cast};

use crate::dialect::exprs::{binary, call, cast, nested, number, text, text_of};
use crate::error::SqlError;
use crate::expanded::number_of;
use crate::names::PARTS;

/// A part of a time that has another name in the engine.
pub(in crate::dialect) fn part_of(name: &str, time: &Expr) -> Option<Expr> {
    let name = name.to_ascii_lowercase();
    let (_, part) = PARTS.iter().find(|(known, part)| *known == name && *part != name)?;
    Some(call("date_part", vec![text(part), time.clone()]))
}

/// `INTERVAL (n) DAY` of what is no constant, which the engine reads from a text, and `INTERVAL 3 DAY` with
/// the number as one, which is all that it knows in the frame of a window.
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
    if let Some((unit, times)) = in_smaller(unit) {
        let count = text_of(&interval.value).or_else(|| number_of(&interval.value));
        let value = match count.map(|count| count.trim().parse::<i64>()) {
            Some(count) => number(count.ok()?.checked_mul(times)?),
            None => {
                *nested(binary(*nested((*interval.value).clone()), BinaryOperator::Multiply, number(times)))
            }
        };
        let of = Interval { value: Box::new(value), leading_field: Some(unit), ..interval.clone() };
        return Some(self::interval(&of).unwrap_or(Expr::Interval(of)));
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
    if !varies {
        return None;
    }
    let number = cast((*interval.value).clone(), DataType::Varchar(None));
    let written = binary(number, BinaryOperator::StringConcat, text(&format!(" {unit}")));
    Some(cast(written, DataType::Interval { fields: None, precision: None }))
}

/// For a unit that the engine lacks one that it has, and how many of these it is.
fn in_smaller(unit: &DateTimeField) -> Option<(DateTimeField, i64)> {
    match unit {
        DateTimeField::Quarter => Some((DateTimeField::Month, 3)),
        DateTimeField::Millenium | DateTimeField::Millennium => Some((DateTimeField::Year, 1000)),
        _ => None,
    }
}

/// The text of an interval as the engine reads it, if that is another one.
pub(in crate::dialect) fn usual_interval(interval: &str) -> Option<String> {
    let smaller = in_smaller_units(interval);
    without_clock(smaller.as_deref().unwrap_or(interval)).or(smaller)
}

/// The text of an interval with units that the engine lacks: `2 quarters` as `6 months`.
fn in_smaller_units(interval: &str) -> Option<String> {
    let mut parts: Vec<String> = interval.split_whitespace().map(str::to_owned).collect();
    let mut changed = false;
    for at in 1..parts.len() {
        let [count, unit] = parts.get_mut(at - 1..=at)? else { return None };
        let (smaller, times) = match unit.to_ascii_lowercase().as_str() {
            "quarter" | "quarters" => ("months", 3),
            "millennium" | "millenniums" | "millennia" => ("years", 1000),
            _ => continue,
        };
        *count = count.parse::<i64>().ok()?.checked_mul(times)?.to_string();
        smaller.clone_into(unit);
        changed = true;
    }
    changed.then(|| parts.join(" "))
}

/// The text of an interval whose hours, minutes and seconds are written like those of a clock, with their
/// units: `1 day 01:30` as `1 day 01 hours 30 minutes`.
fn without_clock(interval: &str) -> Option<String> {
    let (before, clock) = match interval.trim().rsplit_once(' ') {
        Some((before, clock)) => (format!("{before} "), clock),
        None => (String::new(), interval.trim()),
    };
    let (sign, clock) = match clock.strip_prefix('-') {
        Some(clock) => ("-", clock),
        None => ("", clock),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let is_number =
        |part: &&str| part.starts_with(|c: char| c.is_ascii_digit()) && part.parse::<f64>().is_ok();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(is_number) {
        return None;
    }
    let units = ["hours", "minutes", "seconds"];
    let each = parts.iter().zip(units).map(|(part, unit)| format!("{sign}{part} {unit}"));
    Some(before + &each.collect::<Vec<_>>().join(" "))
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
    fn clocks_in_intervals_have_units() {
        for (written, expected) in [
            ("1 day 01:00:00", Some("1 day 01 hours 00 minutes 00 seconds")),
            ("-1:30", Some("-1 hours -30 minutes")),
            ("2 days 3:4:5.25", Some("2 days 3 hours 4 minutes 5.25 seconds")),
            ("3 days", None),
            ("1 day 5", None),
            ("1:2:3:4", None),
            ("a:b", None),
        ] {
            assert_eq!(without_clock(written).as_deref(), expected);
        }
    }

    #[test]
    fn intervals_have_units_of_the_engine() {
        for (written, expected) in [
            ("1 quarter", Some("3 months")),
            ("-2 Quarters 1 day 01:30", Some("-6 months 1 day 01 hours 30 minutes")),
            ("1 millennium 2 months", Some("1000 years 2 months")),
            ("2 millennia", Some("2000 years")),
            ("half quarter", None),
            ("3 months", None),
        ] {
            assert_eq!(usual_interval(written).as_deref(), expected);
        }
    }

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
