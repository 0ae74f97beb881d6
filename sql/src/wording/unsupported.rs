//! Errors about what the engine does not support, with replacements.

use gstore_functions::BEYOND;

use super::{NO_RENAME, NO_ROOM, no_ordinality};
use crate::error::SqlError;

/// Parts of messages of the engine, what is said in their place, and what to write.
const UNSUPPORTED: [(&str, &str, &str); 8] = [
    (
        "null_aware anti join only supports single column join key",
        "NOT IN takes no grouped or limited subquery that names columns of the statement around it",
        "write NOT EXISTS (SELECT 1 FROM (SELECT k, max(x) AS x FROM u GROUP BY k) u WHERE u.k = t.k AND u.x = t.x), \
         or ANTI JOIN, which keep rows with NULL",
    ),
    (
        "upport for 'approx_distinct' for data type",
        "approx_count_distinct() does not take fractions",
        "write count(DISTINCT x), or approx_count_distinct(x::VARCHAR)",
    ),
    (
        "Encountered non UTF-8 data",
        "bytes that are not UTF-8 cannot be cast to text",
        "hex(x) is their digits, TRY_CAST(x AS VARCHAR) is null for them",
    ),
    ("in sqltorel: Convert", "there is no CONVERT", "write CAST(x AS INT), or x::INT"),
    (
        "ANY in LIKE expression",
        "LIKE ANY is not supported",
        "write x LIKE 'a%' OR x LIKE 'b%', or x ~ '^(a|b)'",
    ),
    (
        "only support Literal types for field",
        "an argument of a window function is not a constant",
        "lag(x, n, y), lead(x, n, y) and ntile(n) take an n and a y that are the same for all rows",
    ),
    (
        "Granularity of `date_trunc` must be ",
        "the part of date_trunc() is not a constant, or it is NULL",
        "write CASE x WHEN 'day' THEN date_trunc('day', t) WHEN 'month' THEN date_trunc('month', t) END",
    ),
    (
        "Cast error: Format error",
        "the format of a time has a letter without a meaning",
        "a format is '%Y-%m-%d %H:%M:%S', for example, and %% is a percent sign",
    ),
];

/// The error that a message of the engine means, if it is one of these.
pub(super) fn worded(text: &str) -> Option<SqlError> {
    if let Some((_, call)) = text.split_once("`retract_batch` is not implemented: ") {
        return Some(sliding(call.split('(').next().unwrap_or(call)));
    }
    if let Some((_, call)) =
        text.split_once("FILTER clause can only be used with aggregate window functions. Found in '")
    {
        return Some(unfiltered(call.split('(').next().unwrap_or(call)));
    }
    if let Some(error) = no_value(text).or_else(|| wrong_argument(text)) {
        return Some(error);
    }
    if text.contains("UNNEST with ordinality") {
        return Some(no_ordinality());
    }
    if text.contains("ildcard * with RENAME not supported") {
        return Some(SqlError::invalid(NO_RENAME.to_owned()));
    }
    let (_, why, hint) = UNSUPPORTED.into_iter().find(|(part, ..)| text.contains(*part))?;
    Some(SqlError::invalid(why.to_owned()).hint(hint))
}

/// The error about a date or time that has a number and no text.
pub(crate) fn beyond_calendar(text: &str) -> Option<SqlError> {
    let (_, value) = text.split_once("Failed to convert ")?;
    let (number, ty) =
        value.split_once(" to temporal for ").or_else(|| value.split_once(" to datetime for "))?;
    Some(no_text(&format!("the {ty} with the number {number}"), ty.starts_with("Date")))
}

/// The error about such a date or time, which the engine names only where it stands in no list or struct.
pub(crate) fn no_text(which: &str, is_date: bool) -> SqlError {
    let why = format!("{which} is beyond the calendar, which has the years from -262143 to 262142");
    // A TIMESTAMP is compared with what a TIMESTAMP reaches.
    let hint = match is_date {
        true => "leave it out with a condition: x BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'",
        false => "leave it out with a condition: x BETWEEN TIMESTAMP '1678-01-01' AND TIMESTAMP '2262-01-01'",
    };
    SqlError::invalid(why).hint(hint)
}

/// Values that have no place in the type of a cast.
fn no_value(text: &str) -> Option<SqlError> {
    if let Some(error) = beyond_calendar(text) {
        return Some(error);
    }
    let texts = [
        ("nsupported CAST from Struct(", "a struct cannot be cast to text", "to_json(x)"),
        ("nsupported CAST from Map(", "a map cannot be cast to text", "to_json(map_entries(x))"),
    ];
    let is_cast = |(from, ..): &(&str, &str, &str)| text.contains(*from) && text.contains(" to Utf8");
    if let Some((_, why, instead)) = texts.into_iter().find(is_cast) {
        return Some(SqlError::invalid(why.to_owned()).hint(format!("{instead} is its text, as JSON")));
    }
    let is_beyond = text.ends_with("converted value exceeds the representable i64 range")
        || text.starts_with("The dates that can be represented as nanoseconds")
        || text.starts_with("Timestamp ") && text.ends_with(" out of range");
    if is_beyond {
        let hint = "a DATE reaches further: x::DATE reads one, make_date(year(d), month(d), 1) is the first of its month";
        return Some(SqlError::invalid(format!("a time{BEYOND}")).hint(hint));
    }
    let cast = text.split_once("Can't cast value ").and_then(|(_, rest)| rest.split_once(" to type "));
    let overflow =
        text.split_once("Cannot cast to ").and_then(|(_, rest)| rest.split_once(". Overflowing on "));
    if let Some((value, ty)) = cast.or(overflow.map(|(ty, value)| (value, ty))) {
        let why = format!("{value} is not a value of {ty}");
        return Some(SqlError::invalid(why).hint("TRY_CAST is null for it, and DOUBLE has room for more"));
    }
    let bounds = [
        (" is too large to store in a Decimal", " Max is "),
        (" is too small to store in a Decimal", " Min is "),
    ];
    if let Some((before, rest, end)) =
        bounds.into_iter().find_map(|(of, end)| text.split_once(of).map(|(before, rest)| (before, rest, end)))
    {
        let value = before.rsplit(' ').next().unwrap_or(before);
        let (_, end) = rest.split_once(end)?;
        let why = format!("{value}{NO_ROOM}{end}");
        let digits = value.trim_start_matches('-').split('.').next().map_or(0, str::len);
        let wider = if digits <= 36 { "DECIMAL(38, 2)" } else { "DOUBLE" };
        let hint = format!("TRY_CAST is null for it, and {wider} has room for more");
        return Some(SqlError::invalid(why).hint(hint));
    }
    let (_, rest) = text.split_once("Cannot cast value '")?;
    let (value, _) = rest.split_once("' to value of Boolean type")?;
    let hint = "TRY_CAST(x AS BOOLEAN) is null for such a text";
    Some(SqlError::invalid(format!("'{value}' is neither true nor false")).hint(hint))
}

/// Arguments that a function does not take.
fn wrong_argument(text: &str) -> Option<SqlError> {
    let (why, hint) = if let Some((_, length)) = text.split_once("negative count not allowed: ") {
        let why = format!("substr() is asked for {length} characters");
        (why, "write substr(x, from, greatest(length, 0))".to_owned())
    } else if let Some((_, separator)) = text.split_once("SEPARATOR not supported in function arguments: ") {
        ("SEPARATOR is not supported".to_owned(), format!("write string_agg(x, {separator})"))
    } else if let Some((_, ty)) = text.split_once(" expected a list as first argument, got ") {
        let why = format!("list_transform() and list_filter() take a list, not {ty}");
        (why, "a list in JSON becomes one by CAST(x AS VARCHAR[])".to_owned())
    } else if let Some((_, ty)) = text.split_once("array_filter lambda must return boolean, got ") {
        let why = format!("list_filter() takes a condition on each element, not {ty}");
        (why, "write list_filter(list, x -> x > 1)".to_owned())
    } else if text.starts_with("unnest() requires exactly one argument") {
        let hint =
            "unnest(x) alone takes a list or a struct apart; of lists of lists write unnest(flatten(x))";
        ("unnest() takes one list or struct".to_owned(), hint.to_owned())
    } else {
        return None;
    };
    Some(SqlError::invalid(why).hint(hint))
}

/// A function over a window whose rows leave it again.
fn sliding(name: &str) -> SqlError {
    let why = format!("{name}() has no value in a window whose first row moves along");
    let hint = match name {
        "string_agg" => "write array_to_string(list(x) OVER (..), ',')",
        "any_value" => "write first_value(x) OVER (..)",
        "max_by" | "min_by" => {
            "write list(x) OVER (..), or a join with the rows of each window, a.row BETWEEN b.row - 1 AND b.row, \
             and GROUP BY b.row"
        }
        _ => {
            "write a join with the rows of each window, a.row BETWEEN b.row - 1 AND b.row, and GROUP BY b.row"
        }
    };
    SqlError::invalid(why).hint(hint)
}

/// A function of windows alone with FILTER.
fn unfiltered(name: &str) -> SqlError {
    let why = format!("{name}() takes no FILTER, which goes with aggregate functions");
    let hint = match name {
        "first_value" | "last_value" | "nth_value" | "lag" | "lead" => {
            format!("write {name}(CASE WHEN ok THEN x END) IGNORE NULLS OVER (..)")
        }
        "row_number" => "write count(*) FILTER (WHERE ok) OVER (ORDER BY x)".to_owned(),
        _ => format!("write {name}() OVER (..) in a SELECT whose WHERE has the condition"),
    };
    SqlError::invalid(why).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::worded;

    #[test]
    fn what_the_engine_does_not_do_has_a_form() {
        for (text, says) in [
            (
                "aggregate can not be used as a sliding accumulator because `retract_batch` is not implemented: string_agg(t.g, Utf8(\",\")) ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
                "string_agg() has no value in a window whose first row moves along\n  write array_to_string(",
            ),
            ("null_aware anti join only supports single column join key, got 2 columns", "write NOT EXISTS"),
            (
                "Cast error: Can't cast value 3000000000 to type Int32",
                "3000000000 is not a value of Int32\n  TRY_CAST",
            ),
            (
                "Cast error: Cannot cast to Decimal128(38, 0). Overflowing on 1e40",
                "1e40 is not a value of Decimal128(38, 0)\n  TRY_CAST is null for it, and DOUBLE has",
            ),
            (
                "Invalid argument error: 100000000000000000000000000000000000000 is too large to store in a \
                 Decimal128 of precision 38. Max is 99999999999999999999999999999999999999",
                "\n  TRY_CAST is null for it, and DOUBLE has room",
            ),
            (
                "Error during planning: FILTER clause can only be used with aggregate window functions. Found in 'lag(t.v) FILTER (WHERE t.v > 1)'",
                "lag() takes no FILTER, which goes with aggregate functions\n  write lag(CASE WHEN ok",
            ),
            ("unnest() requires exactly one argument", "unnest() takes one list or struct\n"),
            ("UNNEST with ordinality is not supported yet", "unnest(range(1, len(x) + 1)) AS n"),
            (
                "array_filter expected a list as first argument, got Utf8",
                "not Utf8\n  a list in JSON becomes",
            ),
            (
                "Execution error: array_filter lambda must return boolean, got Null",
                "a condition on each element",
            ),
            ("Execution error: negative count not allowed: -1", "asked for -1 characters\n  write substr("),
            (
                "This feature is not implemented: Support for 'approx_distinct' for data type Float64 is not implemented",
                "count(DISTINCT x)",
            ),
            ("This feature is not implemented: ANY in LIKE expression", "x ~ '^(a|b)'"),
            (
                "This feature is not implemented: There is only support Literal types for field at idx: 2 in Window Function",
                "not a constant\n  lag(x, n, y)",
            ),
            (
                "This feature is not implemented: Unsupported ast node in sqltorel: Convert { is_try: false }",
                "there is no CONVERT\n  write CAST(x AS INT)",
            ),
            (
                "Calling string_agg: SEPARATOR not supported in function arguments: ';'",
                "write string_agg(x, ';')",
            ),
            (
                "This feature is not implemented: wildcard * with RENAME not supported ",
                "* EXCLUDE (a), a AS b",
            ),
            (
                "Invalid argument error: 12345.68 is too large to store in a Decimal128 of precision 6. Max is 9999.99",
                "12345.68 does not fit into a DECIMAL that ends at 9999.99\n",
            ),
            (
                "Cannot cast Date32 value -171664 to Timestamp(ns): converted value exceeds the representable i64 range",
                "a time is beyond what a TIMESTAMP reaches, from 1677 to 2262\n  a DATE reaches",
            ),
            ("Timestamp -14831769600 out of range", "a time is beyond what"),
            (
                "Cast error: Failed to convert 2147483647 to temporal for Date32",
                "the Date32 with the number 2147483647 is beyond the calendar, which has the years from -262143 to \
                 262142\n  leave it out with a condition: x BETWEEN DATE '0001-01-01'",
            ),
            (
                "Cast error: Failed to convert 9223372036854775807 to datetime for Timestamp(s)",
                "which has the years from -262143 to 262142\n  leave it out with a condition: x BETWEEN TIMESTAMP '1678",
            ),
            (
                "Granularity of `date_trunc` must be non-null scalar VARCHAR",
                "is not a constant, or it is NULL\n  write CASE x",
            ),
            ("Cast error: Format error", "a letter without a meaning\n"),
            ("Unsupported CAST from Struct(\"a\": Int64) to Utf8View", "to_json(x)"),
            (
                "Unsupported CAST from Map(\"entries\": non-null Struct(\"key\": non-null Utf8, \"value\": Int64), unsorted) to Utf8",
                "a map cannot be cast to text\n  to_json(map_entries(x))",
            ),
            (
                "Invalid argument error: Encountered non UTF-8 data: invalid utf-8 sequence of 1 bytes from index 0",
                "bytes that are not UTF-8 cannot be cast to text\n  hex(x)",
            ),
            (
                "Cast error: Cannot cast value 'abc' to value of Boolean type",
                "'abc' is neither true nor false\n",
            ),
        ] {
            let said = worded(text).map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(says), "{said}");
        }
        assert!(worded("Unsupported CAST from Struct(\"a\": Int64) to Int64").is_none());
    }
}
