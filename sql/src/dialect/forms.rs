//! Expressions of DuckDB in the form that they have here: parts of times, intervals of so many days, slices with
//! an open end, the elements of a JSON list.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Interval, LimitClause, Query, Spanned,
    Subscript, UnaryOperator, Value,
};
use regex::Regex;

use super::calls::{call, nested};
use crate::error::SqlError;
use crate::functions::nearest_whole;

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

/// The longest expression that may compute a pattern for whole texts.
const LONGEST_PATTERN: usize = 1000;

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
        ("list_reverse_sort" | "array_reverse_sort", [list]) => Some(sorted(list, text("DESC"))),
        ("list_reverse_sort" | "array_reverse_sort", [list, nulls]) => {
            Some(call("array_sort", vec![list.clone(), text("DESC"), nulls.clone()]))
        }
        ("list_sort" | "array_sort", [list]) => Some(sorted(list, text("ASC"))),
        ("list_sort" | "array_sort", [list, order]) => Some(sorted(list, order.clone())),
        ("regexp_full_match", [of, pattern]) => full_match(of, pattern),
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

/// A sorted list, its NULLs last.
fn sorted(list: &Expr, order: Expr) -> Expr {
    call("array_sort", vec![list.clone(), order, text("NULLS LAST")])
}

/// Whether a pattern matches a whole text. It is put into a group, so it is to be a pattern by itself too: of
/// `a)|(b` two would be made. One that is none stays as it is, for the error that says so.
fn full_match(of: &Expr, pattern: &Expr) -> Option<Expr> {
    if let Some(written) = text_of(pattern) {
        let whole = Regex::new(written).map_or_else(|_| written.to_owned(), |_| format!("^(?:{written})$"));
        return Some(call("regexp_like", vec![of.clone(), text(&whole)]));
    }
    // It stands twice, and so would each that is in another.
    if pattern.to_string().len() > LONGEST_PATTERN {
        return None;
    }
    let joined = |left, right| Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right };
    let opened = joined(Box::new(text("^(?:")), nested(pattern.clone()));
    let whole = joined(Box::new(opened), Box::new(text(")$")));
    // Computed for the error alone: it is null of a pattern that is null.
    let alone = call("regexp_like", vec![text(""), pattern.clone()]);
    let whole = Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: Expr::IsNotNull(Box::new(alone)), result: whole }],
        else_result: None,
    };
    Some(call("regexp_like", vec![of.clone(), whole]))
}

/// `SIMILAR TO`: in DuckDB the match of a whole text with a regular expression.
pub(super) fn similar(of: &Expr, pattern: &Expr, negated: bool) -> Option<Expr> {
    let matches = full_match(of, pattern)?;
    Some(match negated {
        true => *nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) }),
        false => matches,
    })
}

/// The error about `SIMILAR TO` with what it does not take.
pub(super) fn not_similar(of: &Expr) -> SqlError {
    let why = "SIMILAR TO takes a regular expression of at most 1000 characters, without ESCAPE";
    let place = of.span().start;
    SqlError::invalid(why.to_owned()).at(place.line, place.column).hint("LIKE has % and _, and ESCAPE")
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
    text_of(expr).is_some_and(str::is_empty)
}

/// The text that an expression is.
fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
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

/// A written number with a point, which is a decimal, as the nearest whole one where it is cast to such a type;
/// halves go away from zero. With an exponent it is a double, whose casts round by themselves.
pub(super) fn whole(of: &mut Expr, to: &DataType) {
    use DataType as D;
    let is_whole = matches!(
        to,
        D::TinyInt(_)
            | D::SmallInt(_)
            | D::Int2(_)
            | D::Int(_)
            | D::Integer(_)
            | D::Int4(_)
            | D::BigInt(_)
            | D::Int8(_)
            | D::TinyIntUnsigned(_)
            | D::SmallIntUnsigned(_)
            | D::Int2Unsigned(_)
            | D::IntUnsigned(_)
            | D::IntegerUnsigned(_)
            | D::Int4Unsigned(_)
            | D::BigIntUnsigned(_)
            | D::Int8Unsigned(_)
    );
    match of {
        Expr::Nested(inner) => whole(inner, to),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => whole(expr, to),
        Expr::Value(value) if is_whole => {
            if let Value::Number(number, _) = &mut value.value
                && number.contains('.')
                && !number.contains(['e', 'E'])
                && let Some(near) = nearest_whole(number)
            {
                *number = near.to_string();
            }
        }
        _ => {}
    }
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

/// The error about `~x`: it is read as one with the sum that stands behind it elsewhere, but not here.
pub(super) fn complement(of: &Expr) -> SqlError {
    let place = of.span().start;
    let error = SqlError::invalid("~x is written -1 - x".to_owned()).at(place.line, place.column);
    error.hint("of an unsigned number with the largest of its type: xor(x, 255)")
}

/// `FETCH FIRST 3 ROWS ONLY` as `LIMIT 3`; without a number it is one row.
pub(super) fn limit(query: &mut Query) {
    let Query { limit_clause, fetch, .. } = query;
    let Some(rows) = fetch.as_ref().filter(|fetch| !fetch.with_ties && !fetch.percent) else { return };
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    let rows = rows.quantity.clone().unwrap_or_else(one);
    match limit_clause {
        None => {
            let limit = LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: Vec::new() };
            *limit_clause = Some(limit);
        }
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(rows),
        // A limit and FETCH: left to the engine, which refuses it.
        Some(_) => return,
    }
    *fetch = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_for_a_whole_text_is_one_by_itself() {
        let of = |sql: &str| {
            let mut statement = crate::guard::parse(&format!("SELECT {sql}")).unwrap();
            super::super::resolve(&mut statement).unwrap();
            statement.to_string()
        };
        assert_eq!(of("regexp_full_match(a, 'b|c')"), "SELECT regexp_like(a, '^(?:b|c)$')");
        assert_eq!(of("regexp_full_match(a, 'b)|(c')"), "SELECT regexp_like(a, 'b)|(c')");
        assert_eq!(
            of("regexp_full_match(a, p)"),
            "SELECT regexp_like(a, CASE WHEN regexp_like('', p) IS NOT NULL THEN '^(?:' || (p) || ')$' END)"
        );
        let within = (0..20).fold("p".to_owned(), |p, _| format!("regexp_full_match(a, {p})"));
        assert!(of(&within).len() < 10_000);
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
