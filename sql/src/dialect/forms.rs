//! Expressions of DuckDB in the form that they have here: parts of times, intervals of so many days, slices with
//! an open end, the elements of a JSON list.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DataType, Expr, Interval, Subscript, UnaryOperator, Value,
};

use super::calls::{call, nested};

/// Functions of a time, and the parts of it that they give.
const PARTS: &[(&str, &str)] = &[
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofweek", "dow"),
    ("dayofyear", "doy"),
    ("epoch", "epoch"),
    ("hour", "hour"),
    ("isodow", "isodow"),
    ("isoyear", "isoyear"),
    ("microsecond", "microsecond"),
    ("millisecond", "millisecond"),
    ("minute", "minute"),
    ("month", "month"),
    ("quarter", "quarter"),
    ("second", "second"),
    ("week", "week"),
    ("weekday", "dow"),
    ("weekofyear", "week"),
    ("year", "year"),
];

/// What stands between the parts of a text that is split by a pattern: Unicode keeps it for the use inside of
/// programs, so no text has it.
const BETWEEN: &str = "\u{fdd0}";

/// What takes the place of a call of a function that is none here, by its name in lower case.
pub(super) fn written(name: &str, args: &[Expr]) -> Option<Expr> {
    match (name, args) {
        ("unnest", [list]) if is_json(list) => {
            Some(call("unnest", vec![call("json_elements", vec![list.clone()])]))
        }
        ("list_unique" | "array_unique", [list]) => {
            let null = call("make_array", vec![Expr::value(Value::Null)]);
            Some(call("len", vec![call("array_except", vec![list.clone(), null])]))
        }
        // Into characters.
        ("split" | "str_split" | "string_split" | "string_to_array", [of, between]) if is_empty(between) => {
            Some(call("string_to_array", vec![of.clone(), Expr::value(Value::Null)]))
        }
        ("dayname", [time]) => Some(call("to_char", vec![time.clone(), text("%A")])),
        ("monthname", [time]) => Some(call("to_char", vec![time.clone(), text("%B")])),
        ("regexp_split_to_array" | "string_split_regex" | "str_split_regex", [of, pattern]) => {
            let args = vec![of.clone(), pattern.clone(), text(BETWEEN), text("g")];
            Some(call("string_to_array", vec![call("regexp_replace", args), text(BETWEEN)]))
        }
        ("date_part" | "datepart", [Expr::Value(part), time]) => match &part.value {
            Value::SingleQuotedString(part) => part_of(part, time),
            _ => None,
        },
        ("xor", [left, right]) => {
            let (left, right) = (nested(left.clone()), nested(right.clone()));
            Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::BitwiseXor, right })))
        }
        (name, [time]) => {
            let (_, part) = PARTS.iter().find(|(known, _)| *known == name)?;
            Some(call("date_part", vec![text(part), time.clone()]))
        }
        _ => None,
    }
}

/// A part of a time that has another name in the engine.
pub(super) fn part_of(name: &str, time: &Expr) -> Option<Expr> {
    let name = name.to_ascii_lowercase();
    let (_, part) = PARTS.iter().find(|(known, part)| *known == name && *part != name)?;
    Some(call("date_part", vec![text(part), time.clone()]))
}

/// Whether an expression gives JSON, as far as its form says it.
fn is_json(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_json(inner),
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            name.starts_with("json_extract") || matches!(name.as_str(), "json_get" | "json_get_json")
        }
        _ => false,
    }
}

fn is_empty(expr: &Expr) -> bool {
    let Expr::Value(value) = expr else { return false };
    matches!(&value.value, Value::SingleQuotedString(text) if text.is_empty())
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// `INTERVAL (n) DAY` of what is no constant, which the engine reads from a text, and `INTERVAL 3 DAY` with
/// the number as one, which is all that it knows in the frame of a window.
pub(super) fn interval(interval: &Interval) -> Option<Expr> {
    let unit = interval.leading_field.as_ref().filter(|_| interval.last_field.is_none())?;
    if let Expr::Value(value) = &*interval.value
        && let Value::Number(number, _) = &value.value
    {
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
    let op = BinaryOperator::StringConcat;
    let written = Expr::BinaryOp { left: Box::new(number), op, right: Box::new(text(&format!(" {unit}"))) };
    Some(cast(written, DataType::Interval { fields: None, precision: None }))
}

/// A written time as [`full_time`] has it.
pub(super) fn usual_time(time: &mut Value) {
    if let Value::SingleQuotedString(text) = time
        && let Some(full) = full_time(text)
    {
        *text = full;
    }
}

/// The text of a time with two digits for each part and with seconds: the engine reads no other. So
/// `2024-1-2 3:4` is `2024-01-02 03:04:00`. `None` for text that is no time, as far as its form says it.
pub(crate) fn full_time(text: &str) -> Option<String> {
    let (date, clock) = match text.trim().split_once([' ', 'T']) {
        Some((date, clock)) => (date, Some(clock.trim_start())),
        None => (text.trim(), None),
    };
    let of_digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { return None };
    if !(of_digits(year, 4) && of_digits(month, 2) && of_digits(day, 2)) {
        return None;
    }
    let date = format!("{year}-{month:0>2}-{day:0>2}");
    let Some(clock) = clock else { return Some(date) };
    let (hour, rest) = clock.split_once(':')?;
    if !of_digits(hour, 2) {
        return None;
    }
    let clock = match rest.split_once(':') {
        Some((minute, second)) if of_digits(minute, 2) => {
            let digits = second.bytes().take_while(u8::is_ascii_digit).count();
            let zero = if digits == 1 { "0" } else { "" };
            format!("{minute:0>2}:{zero}{second}")
        }
        None if of_digits(rest, 2) => format!("{rest:0>2}:00"),
        _ => rest.to_owned(),
    };
    Some(format!("{date} {hour:0>2}:{clock}"))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `list[:2]` as `list[1:2]`, and `list[2:]` as `list[2:-1]`.
pub(super) fn close(access: &mut [AccessExpr]) {
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    for access in access {
        if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access {
            lower_bound.get_or_insert_with(one);
            let last = || Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(one()) };
            upper_bound.get_or_insert_with(last);
        }
    }
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
            ("2024-01-02 3:04+01:00", "2024-01-02 03:04+01:00"),
            (" 2024-1-2 ", "2024-01-02"),
            ("2024-01-02 3:04:05.25Z", "2024-01-02 03:04:05.25Z"),
            ("02.01.2024 3:04", "02.01.2024 3:04"),
            ("2024-01-02 noon", "2024-01-02 noon"),
            ("now", "now"),
        ] {
            let mut value = Value::SingleQuotedString(written.to_owned());
            usual_time(&mut value);
            assert_eq!(value, Value::SingleQuotedString(usual.to_owned()));
        }
    }
}
