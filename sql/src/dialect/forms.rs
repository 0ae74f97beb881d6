//! Expressions of DuckDB in the form that they have here: parts of times, intervals of so many days, slices
//! with an open end, the elements of a JSON list.

mod formats;
mod likes;
mod patterns;
mod shorthand;
mod times;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, GroupByExpr, LimitClause, Query, Statement,
    Subscript, UnaryOperator, Value,
};
use gstore_functions::nearest_whole;

pub(super) use self::likes::{escape, replacement};
use self::patterns::full_match;
pub(super) use self::patterns::{not_similar, similar};
pub(super) use self::times::{interval, number_as_time, part_of, usual_time};
use super::exprs::{binary, call, case, cast, is_null, nested, null, number, taken, text, text_of, unnested};
use crate::error::SqlError;
use crate::expanded::number_of;
use crate::names::PARTS;
use crate::walk::{visit_expressions, visit_expressions_mut};
use crate::wording::BETWEEN;

/// What takes the place of a call of a function that is none here, by its name in lower case.
pub(super) fn written(name: &str, args: &[Expr]) -> Option<Expr> {
    if let Some(expr) = shorthand::written(name, args) {
        return Some(expr);
    }
    match (name, args) {
        ("unnest", [list]) if is_json(list) => {
            Some(call("unnest", vec![call("json_elements", vec![list.clone()])]))
        }
        ("date_trunc" | "datetrunc", [unit, time]) => {
            let unit = singular(text_of(unit)?)?;
            Some(call("date_trunc", vec![text(&unit), time.clone()]))
        }
        ("list_unique" | "array_unique", [list]) => {
            let null = call("make_array", vec![null()]);
            Some(call("len", vec![call("array_except", vec![list.clone(), null])]))
        }
        // The engine's keeps a NULL.
        ("list_distinct" | "array_distinct", [list]) => {
            Some(call("array_compact", vec![call("array_distinct", vec![list.clone()])]))
        }
        // The engine takes a NULL for an element, which is no list.
        ("list_concat" | "list_cat" | "array_concat" | "array_cat", args) if args.iter().any(is_null) => {
            let lists: Vec<Expr> = args.iter().filter(|arg| !is_null(arg)).cloned().collect();
            (!lists.is_empty()).then(|| call("array_concat", lists))
        }
        ("list_reverse_sort" | "array_reverse_sort", [list]) => Some(sorted(list, text("DESC"))),
        ("list_reverse_sort" | "array_reverse_sort", [list, nulls]) => {
            Some(call("array_sort", vec![list.clone(), text("DESC"), nulls.clone()]))
        }
        ("list_sort" | "array_sort", [list]) => Some(sorted(list, text("ASC"))),
        ("list_sort" | "array_sort", [list, order]) => Some(sorted(list, order.clone())),
        ("regexp_full_match", [of, pattern]) => full_match(of, pattern),
        ("date", [time]) => {
            let mut time = time.clone();
            null_of_json(&mut time, &DataType::Date);
            Some(cast(time, DataType::Date))
        }
        // Without the name of an encoding it is UTF-8.
        ("encode", [of]) => Some(cast(of.clone(), DataType::Bytea)),
        ("decode", [of]) => Some(cast(of.clone(), DataType::Varchar(None))),
        // Of characters, as DuckDB takes nothing for what is between them.
        ("split_part", [of, between, place]) if is_empty(between) && is_plain(place) => {
            let all = call("string_to_array", vec![of.clone(), null()]);
            let part = call("array_slice", vec![all, place.clone(), place.clone()]);
            Some(call("array_to_string", vec![part, text("")]))
        }
        // Into characters.
        ("split" | "str_split" | "string_split" | "string_to_array", [of, between]) if is_empty(between) => {
            Some(call("string_to_array", vec![of.clone(), null()]))
        }
        ("if", [condition, then, other]) => Some(case(condition.clone(), then.clone(), Some(other.clone()))),
        ("strftime", [left, right]) => formats::strftime(left, right),
        ("strptime", [of, format]) => formats::strptime(of, format),
        ("dayname", [time]) => Some(call("to_char", vec![time.clone(), text("%A")])),
        ("monthname", [time]) => Some(call("to_char", vec![time.clone(), text("%B")])),
        ("regexp_split_to_array" | "string_split_regex" | "str_split_regex", [of, pattern]) => {
            let args = vec![of.clone(), pattern.clone(), text(BETWEEN), text("g")];
            Some(call("string_to_array", vec![call("regexp_replace", args), text(BETWEEN)]))
        }
        ("date_part" | "datepart", [part, time]) => part_of(text_of(part)?, time),
        ("xor", [left, right]) => {
            let (left, right) = (*nested(left.clone()), *nested(right.clone()));
            Some(*nested(binary(left, BinaryOperator::BitwiseXor, right)))
        }
        (name, [time]) => {
            let (_, part) = PARTS.iter().find(|(known, _)| *known == name)?;
            Some(call("date_part", vec![text(part), time.clone()]))
        }
        _ => None,
    }
}

/// What `unnest()` takes apart in FROM: of JSON its elements.
pub(super) fn elements(list: &mut Expr) {
    if is_json(list) {
        *list = call("json_elements", vec![list.clone()]);
    }
}

/// Writes lists that have columns in them as calls: between brackets the engine finds none of the tables
/// around a subquery, nor of those before it in FROM.
pub(super) fn lists(sql: &mut Statement) {
    visit_expressions_mut(sql, |part: &mut Expr| {
        let is_column = |part: &Expr| matches!(part, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        if let Expr::Array(array) = part
            && visit_expressions(&array.elem, is_column)
        {
            *part = call("make_array", std::mem::take(&mut array.elem));
        }
    });
}

/// The unit of a time that is written in the plural, which the engine does not cut a time to.
fn singular(unit: &str) -> Option<String> {
    let unit = unit.trim().to_ascii_lowercase();
    let one = unit.strip_suffix('s')?;
    PARTS.iter().any(|(known, part)| known == part && *known == one).then(|| one.to_owned())
}

/// A sorted list, its NULLs last.
fn sorted(list: &Expr, order: Expr) -> Expr {
    call("array_sort", vec![list.clone(), order, text("NULLS LAST")])
}

/// Whether an expression gives JSON, as far as its form says it.
fn is_json(expr: &Expr) -> bool {
    let Expr::Function(function) = unnested(expr) else { return false };
    let name = function.name.to_string().to_ascii_lowercase();
    name.starts_with("json_extract") || matches!(name.as_str(), "json_get" | "json_get_json")
}

/// NULL for a JSON null that is cast to what is no text and no list.
pub(super) fn null_of_json(of: &mut Expr, to: &DataType) {
    use DataType as D;
    let keeps_null = matches!(
        to,
        D::Varchar(_)
            | D::Text
            | D::String(_)
            | D::Char(_)
            | D::Array(_)
            | D::JSON
            | D::JSONB
            | D::Custom(..)
    );
    if !keeps_null && is_part(of) {
        *of = call("nullif", vec![taken(of), text("null")]);
    }
}

/// Whether an expression gives JSON, and not the text of its values.
fn is_part(expr: &Expr) -> bool {
    let Expr::Function(function) = unnested(expr) else { return false };
    matches!(
        function.name.to_string().to_ascii_lowercase().as_str(),
        "json_extract" | "json_extract_path" | "json_get" | "json_get_json" | "as_json" | "try_as_json"
    )
}

/// Whether an expression is a value or a column, which can be repeated.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => matches!(**expr, Expr::Value(_)),
        _ => matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
    }
}

fn is_empty(expr: &Expr) -> bool {
    text_of(expr).is_some_and(str::is_empty)
}

/// A written number with a point, which is a decimal, as the nearest whole one where it is cast to such a
/// type, also in a list; halves go away from zero. With an exponent it is a double, whose casts round by
/// themselves.
pub(super) fn whole(of: &mut Expr, to: &DataType) {
    use {ArrayElemTypeDef as Of, DataType as D};
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
        Expr::Array(list) => {
            if let D::Array(Of::AngleBracket(to) | Of::SquareBracket(to, _) | Of::Parenthesis(to)) = to {
                list.elem.iter_mut().for_each(|element| whole(element, to));
            }
        }
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

/// A written number with a point, or with more digits than 64 bits have, as a text where it is cast to a
/// decimal: as a double it would not be what is written.
pub(super) fn exact(of: &mut Expr, to: &DataType) {
    if matches!(to, DataType::Decimal(_) | DataType::Numeric(_) | DataType::Dec(_))
        && let Some(digits) = digits(of)
    {
        *of = text(&digits);
    }
}

/// The digits of such a number, with its sign.
fn digits(of: &Expr) -> Option<String> {
    match of {
        Expr::Nested(inner) => digits(inner),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => digits(expr),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            let digits = digits(expr)?;
            Some(digits.strip_prefix('-').map_or_else(|| format!("-{digits}"), str::to_owned))
        }
        other => {
            let number = number_of(other).filter(|number| !number.contains(['e', 'E']))?;
            (number.contains('.') || number.len() > 18).then(|| number.to_owned())
        }
    }
}

/// `list[:2]` as `list[1:2]`, and `list[2:]` as `list[2:-1]`.
pub(super) fn close(access: &mut [AccessExpr]) {
    for access in access {
        if let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access {
            lower_bound.get_or_insert_with(|| number(1));
            let last = || Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(1)) };
            upper_bound.get_or_insert_with(last);
        }
    }
}

/// The error about `~x`: it is read as one with the sum that stands behind it elsewhere, but not here.
pub(super) fn complement(of: &Expr) -> SqlError {
    let error = SqlError::invalid("~x is not supported: write -1 - x".to_owned()).at_start_of(of);
    error.hint("of an unsigned number with the largest of its type: xor(x, 255)")
}

/// `GROUP BY ()`, one group of all rows, as the set of no keys that the engine knows.
pub(super) fn no_keys(by: &mut GroupByExpr) {
    if let GroupByExpr::Expressions(keys, _) = by {
        let is_empty = |key: &&mut Expr| matches!(key, Expr::Tuple(parts) if parts.is_empty());
        keys.iter_mut().filter(is_empty).for_each(|key| *key = Expr::GroupingSets(vec![Vec::new()]));
    }
}

/// `ROLLUP ((a, b), c)` and `CUBE ((a, b), c)`, whose columns in parentheses stand together, as the sets of
/// columns that they are.
pub(super) fn column_sets(by: &mut GroupByExpr) {
    let GroupByExpr::Expressions(keys, _) = by else { return };
    let has_several = |parts: &[Vec<Expr>]| parts.iter().any(|part| part.len() != 1);
    for key in keys {
        let sets: Vec<Vec<Expr>> = match &*key {
            Expr::Rollup(parts) if has_several(parts) => {
                (0..=parts.len()).rev().map(|n| columns(parts.iter().take(n))).collect()
            }
            // The number of its sets is limited before.
            Expr::Cube(parts) if has_several(parts) => {
                let chosen = |set: usize| parts.iter().enumerate().filter(move |(n, _)| (set >> n) & 1 == 1);
                let sets = u32::try_from(parts.len()).ok().and_then(|n| 1usize.checked_shl(n)).unwrap_or(0);
                (0..sets).rev().map(|set| columns(chosen(set).map(|(_, part)| part))).collect()
            }
            _ => continue,
        };
        *key = Expr::GroupingSets(sets);
    }
}

/// The columns of these parts, each once.
fn columns<'a>(parts: impl Iterator<Item = &'a Vec<Expr>>) -> Vec<Expr> {
    let mut all: Vec<Expr> = Vec::new();
    for column in parts.flatten() {
        if !all.contains(column) {
            all.push(column.clone());
        }
    }
    all
}

/// The error about a number of rows that a subquery gives: the engine knows it before it reads anything.
pub(super) fn not_counted(query: &Query) -> Option<SqlError> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause else { return None };
    let mut counts = limit.iter().chain(offset.iter().map(|offset| &offset.value));
    let count = counts.find(|count| matches!(unnested(count), Expr::Subquery(_)))?;
    let error = SqlError::invalid("LIMIT and OFFSET take a number, not a subquery".to_owned());
    let hint = "ask for the number first, and give it as a parameter: LIMIT $1";
    Some(error.at_start_of(count).hint(hint))
}

/// `FETCH FIRST 3 ROWS ONLY` as `LIMIT 3`; without a number it is one row.
pub(super) fn limit(query: &mut Query) {
    let Query { limit_clause, fetch, .. } = query;
    let Some(rows) = fetch.as_ref().filter(|fetch| !fetch.with_ties && !fetch.percent) else { return };
    let rows = rows.quantity.clone().unwrap_or_else(|| number(1));
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
