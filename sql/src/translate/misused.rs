//! Errors of expressions in the wrong place: columns outside of a grouping, values of types that a function
//! does not take, expressions in the wrong clause.

use std::collections::BTreeSet;

use gstore_functions::FunctionError;

use super::lists;
use super::text::between;
use crate::arity;
use crate::elements::{NAME, OTHERWISE};
use crate::error::SqlError;
use crate::wording::{
    DISTINCT_ORDER, EXISTS, IN_ROWS, IN_WHERE, JOINED, LIST_FIELDS, NO_ELEMENTS, NO_FIELD, NO_FIELDS,
    NO_VALUE, TEXT_AS_NUMBER, TYPES, no_operation,
};

/// Columns outside of a grouping, and values of types that a function does not take.
pub(super) fn misused(text: &str) -> Option<SqlError> {
    let known: [fn(&str) -> Option<SqlError>; 8] = [
        ungrouped,
        no_signature,
        unreadable,
        no_field,
        outer_element,
        other_element,
        wrong_arguments,
        wrong_clause,
    ];
    known.into_iter().find_map(|known| known(text))
}

fn ungrouped(text: &str) -> Option<SqlError> {
    let column = between(text, "column \"", "\" must appear in the GROUP BY clause")?;
    if column.contains(['(', '[']) {
        let why = "a column of the result is neither in GROUP BY nor in an aggregate function";
        return Some(
            SqlError::invalid(why.into()).hint("add it to GROUP BY, or order by a name given with AS"),
        );
    }
    let column = column.rsplit_once('.').map_or(column, |(_, name)| name);
    let why = format!("column `{column}` is neither in GROUP BY nor in an aggregate function");
    let hint = format!("add it to GROUP BY, write any_value({column}), or GROUP BY ALL");
    Some(SqlError::invalid(why).hint(hint))
}

fn no_signature(text: &str) -> Option<SqlError> {
    let name = between(text, "Function '", "' failed to match any signature")?;
    let call = between(text, "given name and argument types '", "'. ").map(str::to_owned);
    let given = || balanced(between(text, "(DataType: ", ").").unwrap_or(".."));
    Some(wrong_types(name, &call.unwrap_or_else(|| format!("{name}({})", given()))))
}

/// A text that is no number, and one that is no time.
fn unreadable(text: &str) -> Option<SqlError> {
    if let Some((value, to)) =
        text.split_once("Cannot cast string '").and_then(|(_, rest)| rest.split_once("' to value of "))
        && ["Int", "UInt", "Float", "Decimal"].iter().any(|number| to.starts_with(number))
    {
        // A fraction, or more digits than the type has.
        if value.trim().parse::<f64>().is_ok_and(f64::is_finite) {
            let ty = to.split(" type").next().unwrap_or(to);
            let error = SqlError::invalid(format!("'{value}' is not a value of {ty}"));
            return Some(error.hint("CAST(x AS DOUBLE) reads it"));
        }
        return Some(SqlError::no_number(value));
    }
    let time = between(text, "Error parsing timestamp from '", "': ");
    let is_date = time.is_none();
    let value = time.or_else(|| between(text, "Cannot cast string '", "' to value of Date"))?;
    Some(FunctionError::no_time(value, is_date).into())
}

fn no_field(text: &str) -> Option<SqlError> {
    let ty = between(text, ": type ", " is not Struct")
        .filter(|_| text.contains("Cannot access field at argument"));
    if ty.is_some_and(|ty| ty.starts_with("List(") || ty.starts_with("LargeList(")) {
        let hint =
            "x[1].name is a field of the first element, list_transform(x, y -> y.name) has those of all";
        return Some(SqlError::invalid(LIST_FIELDS.into()).hint(hint));
    }
    if let Some(field) = between(text, "Field ", " not found in struct") {
        let [before, behind] = NO_FIELD;
        return Some(
            SqlError::unknown(format!("{before}{field}{behind}"))
                .hint("DESCRIBE has the fields of each column"),
        );
    }
    let of_text = ty.is_some_and(|ty| ty.contains("Utf8"));
    of_text
        .then(|| SqlError::invalid(NO_FIELDS.into()).hint("a key of JSON is read with ->>, as record->>'id'"))
}

/// The element of a list in a subquery of its lambda.
fn outer_element(text: &str) -> Option<SqlError> {
    let (_, named) = text.split_once("qualifier for lambda variable ")?;
    let element = named.strip_suffix(" not found").unwrap_or(named).trim_start_matches(NAME);
    let why = format!("`{element}`, the element of a list, cannot be used in a subquery");
    Some(SqlError::invalid(why).hint(OTHERWISE))
}

/// An element of lists that got another type after its function was planned.
fn other_element(text: &str) -> Option<SqlError> {
    let (_, fields) = text.split_once("LambdaVariable field and schema field mismatch ")?;
    let element = between(fields, NAME, "\"")?;
    let why = format!("the lists of `{element}` have several types, in CASE or UNION");
    Some(SqlError::invalid(why).hint("cast them to one: list_transform(list::DOUBLE[], x -> x + 1)"))
}

fn wrong_arguments(text: &str) -> Option<SqlError> {
    // What a function of gstore says of its arguments.
    if let Some((_, said)) = text.split_once("user-defined coercion failed with: External error: ") {
        let said = said.split("No function matches").next().unwrap_or(said);
        let mut lines = said.lines().map(|line| line.trim_matches(['.', ' ']).to_owned());
        let why = lines.next().unwrap_or_default();
        return Some(SqlError::invalid(why).maybe_hint(lines.next().filter(|hint| !hint.is_empty())));
    }
    if let Some(error) = wrong_number(text) {
        return Some(error);
    }
    // The types of lists have quotes in them.
    if let Some(call) = between(text, "given name and argument types '", "'. ") {
        return Some(wrong_types(call.split('(').next().unwrap_or(call), call));
    }
    // Where the engine looks at the arguments of a function before it makes their types agree.
    let cause = text.rsplit_once("Error during planning: ").map_or(text, |(_, cause)| cause);
    if let Some((name, ty)) = cause.split_once(" does not support type ")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return Some(wrong_types(name, &format!("{name}({ty})")));
    }
    let name = between(text, "to satisfy a call to '", "' function: coercion from ")?;
    let types = between(text, "' function: coercion from ", " to the signature")?;
    Some(wrong_types(name, &format!("{name}({types})")))
}

/// A call with more or fewer arguments than it takes, of a function that counts them itself.
fn wrong_number(text: &str) -> Option<SqlError> {
    let (before, rest) = text.split_once(" function requires ")?;
    let (wanted, rest) = rest.split_once(" argument")?;
    let (_, given) = rest.split_once(", got ")?;
    let given = given.split(|c: char| !c.is_ascii_digit()).next()?;
    let name = before.rsplit(' ').next()?;
    let wanted = BTreeSet::from([wanted.parse().ok()?]);
    Some(SqlError::invalid(arity::said(name, &wanted, given.parse().ok()?)))
}

/// Aggregates in WHERE, and an order of DISTINCT rows by what is not selected.
fn wrong_clause(text: &str) -> Option<SqlError> {
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return Some(SqlError::invalid(format!("an aggregate function{IN_WHERE}")).hint(
            "write a condition on groups in HAVING, after GROUP BY; one value of all rows is (SELECT avg(x) FROM t)",
        ));
    }
    let key = between(text, "For SELECT DISTINCT, ORDER BY expressions ", " must appear in select list")?;
    let key = key.rsplit_once('.').filter(|_| !key.contains('(')).map_or(key, |(_, name)| name);
    let [before, behind] = DISTINCT_ORDER;
    let hint = format!("which of the rows that are one gives it? write GROUP BY .. ORDER BY min({key})");
    Some(SqlError::invalid(format!("{before}{key}{behind}")).hint(hint))
}

/// A text without the parentheses at its end that nothing in it opens, and with those
/// that it leaves open closed.
fn balanced(mut text: &str) -> String {
    let count = |text: &str, sign: char| text.matches(sign).count();
    while let Some(shorter) = text.strip_suffix(')')
        && count(text, ')') > count(text, '(')
    {
        text = shorter;
    }
    let open = count(text, '(').saturating_sub(count(text, ')'));
    format!("{text}{}", ")".repeat(open))
}

/// The error about an element or a slice of what is no list but a text or a time.
fn no_elements(call: &str) -> Option<SqlError> {
    let (_, types) = call.split_once('(')?;
    let (what, hint) = if types.starts_with("Utf8") {
        ("a text", "an element of a JSON list is x->0, the first; x->>'$' is the text of a JSON string")
    } else if types.starts_with("Timestamp(") || types.starts_with("Date") {
        (
            "a time",
            "parts of a time are year(t), month(t), t::DATE; its text is to_char(t, '%Y-%m') or t::VARCHAR",
        )
    } else {
        return None;
    };
    Some(SqlError::invalid(format!("{what}{NO_ELEMENTS}")).hint(hint))
}

/// The functions of operators of integers, with these.
const OPERATORS: [(&str, &str); 5] =
    [("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/"), ("modulo", "%")];

/// The engine's message about an operator between these types, from the call of the function behind it.
fn of_operator(name: &str, call: &str) -> Option<String> {
    let (_, sign) = OPERATORS.iter().find(|(function, _)| *function == name)?;
    let types = call.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
    let (left, right) = types.split_once(", ").filter(|(_, right)| !right.contains(", "))?;
    Some(format!("Cannot coerce arithmetic expression {left} {sign} {right} to valid types"))
}

/// A call with values of types that the function does not take.
fn wrong_types(name: &str, call: &str) -> SqlError {
    if let Some(error) = of_operator(name, call).and_then(|text| no_operation(&text)) {
        return error;
    }
    let several = call.contains(", ");
    let is_time = call.contains("Timestamp(") || call.contains("(Date");
    if matches!(name, "array_element" | "array_slice")
        && let Some(error) = no_elements(call)
    {
        return error;
    }
    let how = match name {
        "max" if several => {
            Some("the largest of several values is greatest(a, b); the n of max(x, n) is a number")
        }
        "min" if several => {
            Some("the smallest of several values is least(a, b); the n of min(x, n) is a number")
        }
        "percentile_cont" | "approx_percentile_cont" if call.contains("List(") => {
            Some("write several shares as a constant list: quantile_cont(x, [0.1, 0.9])")
        }
        "histogram" if several => {
            Some("it counts each value; ranges are SELECT floor(x / 10) * 10 AS x, count(*) .. GROUP BY ALL")
        }
        "map_keys" | "map_values" | "map_entries" if call.contains("Struct(") => {
            Some("histogram(x) is a list of structs: unnest(histogram(x)) has their fields value and count")
        }
        "date_part" if call.contains("List(") => {
            Some("it takes one part: write year(t), month(t), or a call for each")
        }
        "octet_length" if call.contains("Binary") => Some("the bytes of a BLOB are length(x)"),
        "to_char" => {
            Some("it takes a time: x::TIMESTAMP reads a text as one, to_timestamp(n) a number of seconds")
        }
        "avg" if is_time => Some("the mean of times is to_timestamp(avg(epoch(x)))"),
        _ if is_time && ["median", "quantile", "percentile"].iter().any(|kind| name.contains(kind)) => {
            Some("median(x) and quantile_cont(x, 0.5) are of times too")
        }
        _ if call.contains("Utf8") => Some(TEXT_AS_NUMBER),
        _ => None,
    };
    let how = lists::of_plain(name, call).or_else(|| how.map(str::to_owned));
    SqlError::invalid(format!("{name}{TYPES}{call}")).maybe_hint(how)
}

/// Expressions that are known, but not where they stand.
pub(super) fn misplaced(text: &str) -> Option<SqlError> {
    let rest = text.split_once("does not support logical expression ")?.1;
    let (why, hint) = match rest.split('(').next()? {
        "Exists" => {
            let hint = "write (SELECT count(*) FROM u WHERE u.x = t.x) > 0, or EXISTS in WHERE";
            (format!("{EXISTS}{NO_VALUE}"), hint)
        }
        "InSubquery" => (format!("{IN_ROWS}{NO_VALUE}"), JOINED),
        "AggregateFunction" => (
            "aggregate functions are not allowed in ON, VALUES and GROUP BY".to_owned(),
            "compute them in WITH or a subquery: SELECT .. FROM (SELECT k, count(*) AS n FROM t GROUP BY k)",
        ),
        "WindowFunction" => (
            "window functions are not allowed in WHERE and GROUP BY".to_owned(),
            "write QUALIFY, or a subquery around the statement that has it",
        ),
        _ => return None,
    };
    Some(SqlError::invalid(why).hint(hint))
}
