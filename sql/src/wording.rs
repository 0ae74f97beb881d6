//! Messages of the engine about forms of a statement, in the words of gstore.

mod unsupported;

use gstore_core::shortened;

pub(super) use self::unsupported::{beyond_calendar, no_text};
use super::error::SqlError;

/// Most characters of a type in a message.
const SAID: usize = 100;

/// What stands between the parts of a text that is split by a pattern: Unicode keeps it for the use inside of
/// programs, so no text has it.
pub(super) const BETWEEN: &str = "\u{fdd0}";

/// What the error about two columns of one name says.
pub(super) const TWICE: &str = "two columns of one SELECT are ";

/// What is said of a name that two columns of one SELECT have.
pub(super) const OCCURS: &str = " occurs twice: give one of them another name with AS";

/// What the error about a key of a text says, before it is known which.
pub(super) const NO_FIELDS: &str = "a text has no fields";

/// The same of a list.
pub(super) const LIST_FIELDS: &str = "a list has no fields";

/// What stands around the name of a field that a struct does not have.
pub(super) const NO_FIELD: [&str; 2] = ["there is no field `", "` in the struct"];

/// How the error about an element or a slice of a text or a time ends, before it is known which.
pub(super) const NO_ELEMENTS: &str = " has no elements";

/// What stands between a function and the types that it does not take.
pub(super) const TYPES: &str = "() does not take these types: ";

/// What is said of a text that a function does not take, before it is known which.
pub(super) const TEXT_AS_NUMBER: &str =
    "CAST(x AS DOUBLE) makes a number of text, CAST(x AS VARCHAR) text of a number";

/// How the error about an aggregate function in WHERE ends, which begins with its name once that is known.
pub(super) const IN_WHERE: &str = " is not allowed in WHERE, which looks at each row alone";

/// How the guess ends that differs from a name in double quotes in the case of its letters.
pub(super) const AS_WRITTEN: &str = "A name in double quotes is read as it is written";

/// What the error about an order of SELECT DISTINCT says before the name of its column, and behind it.
pub(super) const DISTINCT_ORDER: [&str; 2] =
    ["SELECT DISTINCT is ordered by `", "`, which it does not select"];

/// How the error about a condition on the rows of a subquery ends that stands in the place of a value, after
/// its form.
pub(super) const NO_VALUE: &str = " cannot be used here";

/// Forms of such conditions, of which the last stands for any of them.
pub(super) const EXISTS: &str = "EXISTS";
pub(super) const IN_ROWS: &str = "IN (SELECT ..)";
const OF_ROWS: &str = "a condition on the rows of a subquery";

/// What is written in their place, and in that of `x = ANY (SELECT ..)` and `x > ALL (SELECT ..)`.
pub(super) const JOINED: &str = "it is allowed in SELECT and WHERE; elsewhere, as in FILTER, write a LEFT JOIN with \
                                 (SELECT DISTINCT x FROM ..) u, and u.x IS NOT NULL";
pub(super) const AGGREGATED: &str = "it is allowed in WHERE; elsewhere = ANY is (SELECT count(*) FROM u WHERE u.x = t.x) > 0; \
                                     > ANY and < ALL compare with (SELECT min(x) FROM u), < ANY and > ALL with max(x)";

/// What is said of a row of values that is compared with none.
pub(super) const ROW_ALONE: &str = "a row (a, b) is allowed only in comparisons with another row by = and <>";

/// The error about several conditions on the rows of subqueries, of which one stands in the place of a value.
pub(super) fn of_rows() -> SqlError {
    SqlError::invalid(format!("{OF_ROWS}{NO_VALUE}")).hint(JOINED)
}

/// What stands between a number and the largest of the DECIMAL that has no room for it.
pub(super) const NO_ROOM: &str = " does not fit into a DECIMAL that ends at ";

/// What is said of `* RENAME` where its columns are not known.
pub(super) const NO_RENAME: &str =
    "RENAME is allowed only after the * of the outermost SELECT; elsewhere write * EXCLUDE (a), a AS b";

/// The error about numbers of elements.
pub(super) fn no_ordinality() -> SqlError {
    SqlError::invalid("WITH ORDINALITY is not supported".to_owned()).hint(
        "write the numbers of elements as SELECT unnest(x) AS x, unnest(range(1, len(x) + 1)) AS n FROM t, rows by \
         row_number() OVER ()",
    )
}

/// What is said of COLLATE.
pub(super) const NO_COLLATE: &str = "COLLATE is not supported";

/// The error about an alias with names for another number of columns than there are.
pub(super) fn alias_of_columns(named: usize, columns: usize) -> SqlError {
    SqlError::invalid(format!("AS names {named} columns of a table that has {columns}"))
}

/// How many columns are named, and how many there are, by the message of such an error.
pub(super) fn columns_of_alias(message: &str) -> Option<(usize, usize)> {
    let (named, columns) = message.strip_prefix("AS names ")?.split_once(" columns of a table that has ")?;
    Some((named.parse().ok()?, columns.parse().ok()?))
}

/// The error that a message of the engine means, if it is one of these.
pub(super) fn worded(text: &str, tables: &[String]) -> Option<SqlError> {
    if let Some((_, rest)) = text.split_once(" require unique expression names but the expression \"") {
        return Some(twice(rest.split_once("\" at position ").map_or(rest, |(first, _)| first)));
    }
    if let Some((_, rest)) = text.split_once("Source table contains ") {
        let (columns, rest) = rest.split_once(" columns but only ")?;
        let (named, _) = rest.split_once(" names given as column alias")?;
        return Some(alias_of_columns(named.parse().ok()?, columns.parse().ok()?));
    }
    if let Some((name, _)) = text.split_once("' is not a variable which can be viewed with 'SHOW'") {
        return Some(shown(name.trim_start_matches('\''), tables));
    }
    if text.starts_with("unnest() can only be applied to") {
        let hint = "the elements of a JSON list in a text are unnest(json_elements(x))";
        return Some(SqlError::invalid("unnest() takes a list, not a text or a number".into()).hint(hint));
    }
    if text.contains("Scalar subquery returned more than one row") {
        let why = "a subquery that is used as a value gave more than one row";
        return Some(SqlError::invalid(why.into()).hint("write an aggregate in it, as max(x), or LIMIT 1"));
    }
    if text.starts_with("Too many columns! The subquery should only return one column") {
        let why = "a subquery that is used as a value gives more than one column";
        let hint = "compare several by SEMI JOIN u USING (a, b), ANTI JOIN for NOT IN, or by \
                    EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.b = t.b)";
        return Some(SqlError::invalid(why.into()).hint(hint));
    }
    if text.starts_with("In/Exist/SetComparison subquery can only be used in") {
        return Some(of_rows());
    }
    if text.contains("Only identifiers and literals are supported in tuples") {
        let hint = "write a < 1 OR a = 1 AND b < 2 for (a, b) < (1, 2); a struct is {'a': x, 'b': y}";
        return Some(SqlError::invalid(ROW_ALONE.to_owned()).hint(hint));
    }
    if text.starts_with("Conflicting ordering requirements in aggregate functions") {
        let why = "aggregate functions of one SELECT put their rows in different orders";
        let hint = "write array_to_string(list(x ORDER BY y), ',') for string_agg(x, ',' ORDER BY y), and list(x ORDER BY y)[n] \
                    for nth_value(x, n ORDER BY y)";
        return Some(SqlError::invalid(why.into()).hint(hint));
    }
    if let Some((_, types)) = text.split_once("Cannot infer common argument type for operation ")
        && [" @> ", " <@ "].iter().any(|operator| types.contains(operator))
    {
        let why = format!("these types do not go together: {types}");
        let hint = "@> and <@ compare two lists; a list in JSON becomes one by CAST(x AS VARCHAR[]), and whether it has \
                    a value is list_contains(list, x)";
        return Some(SqlError::invalid(why).hint(hint));
    }
    if let Some((before, value)) = text.split_once("Array overflow on abs(") {
        let (_, bits) = before.rsplit_once("Int")?;
        let why = format!("abs({value} does not fit into {bits} bits");
        return Some(SqlError::invalid(why).hint("abs(CAST(x AS DECIMAL(38))) has all digits"));
    }
    if text == "Divide by zero error" {
        let why = "a whole number is divided by 0";
        return Some(
            SqlError::invalid(why.into())
                .hint("with nullif(b, 0) instead of b it is null there; a / b is infinite"),
        );
    }
    if text.ends_with("zero raised to a negative power is undefined") {
        let why = "0 is raised to a negative power";
        return Some(
            SqlError::invalid(why.into()).hint("nullif(x, 0) ^ -n is null there, 1 / x ^ n infinite"),
        );
    }
    if let Some(name) = text.strip_prefix("Invalid qualifier ") {
        let unknown = SqlError::unknown(format!("there is no table `{name}` in this FROM"));
        return Some(unknown.hint(format!(
            "if it is a struct, its fields are {name}.field, each by its name; unnest({name}) is all of them"
        )));
    }
    if let Some((_, rest)) = text.split_once("Cannot create filter with non-boolean predicate '") {
        let (condition, ty) = rest.split_once("' returning ")?;
        let why = format!("WHERE takes a condition that is true or false, and {condition} is {ty}");
        return Some(SqlError::invalid(why).hint("compare it, as x = 1 or x IS NOT NULL"));
    }
    let of_form = || no_form(text).or_else(|| no_operation(text));
    not_a_count(text).or_else(of_form).or_else(|| unsupported::worded(text))
}

/// Types, parts of times and clauses that the engine does not have.
fn no_form(text: &str) -> Option<SqlError> {
    if text.contains("Unsupported SQL type JSON") {
        let why = "JSON is allowed in a cast only by itself, not inside another type";
        let hint = "CAST(x AS VARCHAR[]) reads a list in JSON, its elements as text";
        return Some(SqlError::invalid(why.to_owned()).hint(hint));
    }
    if let Some((_, ty)) = text.split_once("Unsupported SQL type ") {
        let hint = "types are BOOLEAN, BIGINT, DOUBLE, DECIMAL(9, 2), VARCHAR, BLOB, DATE, TIME, TIMESTAMP, INTERVAL and \
                    lists of them, VARCHAR[]";
        return Some(SqlError::invalid(format!("there is no type {}", shortened(ty, SAID))).hint(hint));
    }
    if let Some((_, list)) = text.split_once("Cannot cast to FixedSizeList(") {
        let (length, rest) = list.split_once("): value at index ")?;
        let (_, has) = rest.split_once(" has length ")?;
        let why = format!("a list of {has} elements is cast to a type of lists of {length}");
        return Some(SqlError::invalid(why).hint("x::INT[] is one of lists of any length"));
    }
    if let Some((_, span)) = text.split_once("Invalid input syntax for type interval: \"") {
        let span = span.split_once("\". Repeated type").map_or(span, |(span, _)| span);
        let why = format!("'{}' is not an INTERVAL", shortened(span.trim_end_matches('"'), SAID));
        return Some(
            SqlError::invalid(why).hint("write a span of time as '2 days', '1 month 3 hours' or '01:30:00'"),
        );
    }
    if let Some((_, rest)) = text.split_once("Unable to represent ")
        && let Some((span, _)) = rest.split_once(" in a signed 32-bit integer")
    {
        let span = span.split_once(" as ").map_or(span, |(span, _)| span);
        let why = format!("an INTERVAL has no room for {span}");
        return Some(SqlError::invalid(why).hint("it has up to 2147483647 months, and as many days"));
    }
    let part = text.strip_prefix("Date part '").and_then(|rest| rest.strip_suffix("' not supported"));
    let cut = text.split_once("Unsupported date_trunc granularity: '");
    if let Some(part) = part.or(cut.and_then(|(_, rest)| Some(rest.split_once("'.")?.0))) {
        return Some(no_part(part));
    }
    if !text.contains("in sqltorel: Collate") {
        return None;
    }
    Some(SqlError::invalid(NO_COLLATE.to_owned()).hint("lower(x) makes texts equal that differ in case"))
}

/// What LIMIT and OFFSET do not take.
fn not_a_count(text: &str) -> Option<SqlError> {
    let given = |clause: &str| {
        let (_, rest) = text.split_once(&format!("{clause} must be >="))?;
        rest.trim_start().strip_prefix("0, '")?.strip_suffix("' was provided")
    };
    let (clause, given) = match text.strip_prefix("Expected ") {
        Some(rest) => rest.split_once(" to be an integer or null, but got ")?,
        None => ["LIMIT", "OFFSET"].into_iter().find_map(|clause| Some((clause, given(clause)?)))?,
    };
    Some(SqlError::invalid(format!("{clause} takes a whole number of at least 0, not {given}")))
}

/// The error about a part of a time that there is not.
pub(super) fn no_part(part: &str) -> SqlError {
    let hint =
        "parts are year, quarter, month, week, day, hour, minute, second, epoch; year(t) // 10 is the decade";
    SqlError::invalid(format!("a time has no part `{}` here", part.to_lowercase())).hint(hint)
}

/// Values of types that have nothing in common.
pub(super) fn no_operation(text: &str) -> Option<SqlError> {
    let is_time = text.starts_with("Cannot get result type for temporal operation ");
    let types = [
        ("Cannot coerce arithmetic expression ", " to valid types"),
        ("Cannot infer common argument type for comparison operation ", ""),
        ("Cannot infer common argument type for logical boolean operation ", ""),
        ("Cannot infer common argument type for regex operation ", ""),
        ("Cannot infer common type for bitwise operation ", ""),
        ("Cannot infer common string type for string concat operation ", ""),
        ("Cannot get result type for temporal operation ", ": "),
        ("Can not find compatible types to compare ", ""),
        ("There isn't a common type to coerce ", " expression"),
        ("Failed to coerce then ", " to common types in CASE WHEN expression"),
    ];
    let types = types.into_iter().find_map(|(before, after)| {
        let (_, rest) = text.split_once(before)?;
        Some(if after.is_empty() { rest } else { rest.split_once(after)?.0 })
    })?;
    let is_list_within = types
        .split_once(" with [")
        .is_some_and(|(value, values)| values.contains("List(") && !value.contains("List("));
    let error = SqlError::invalid(format!("these types do not go together: {types}"));
    Some(error.hint(match is_time {
        _ if is_list_within => "write a list after IN without parentheses: x IN $list, x IN [1, 2]",
        _ if types.contains(" || ") => "|| joins texts, and concat(a, b) any values: write a::VARCHAR || b",
        true => "write n days as INTERVAL (n) DAY; the days between two times are date_diff('day', a, b)",
        false if types.contains("Interval(") && types.contains("Utf8") => {
            "a text is not a time: write x::DATE or x::TIMESTAMP, as in x::DATE + INTERVAL 1 DAY"
        }
        false if types.contains(" - Utf8") && types.starts_with("Utf8") => {
            "between times in texts write date_diff('day', a::DATE, b::DATE); CAST(x AS DOUBLE) makes a number of text"
        }
        false if types.contains("Boolean") && types.contains("Utf8") && !types.contains(" AND ") => {
            "write x for what is true, and NOT x; x::BOOLEAN reads a text"
        }
        false if types.contains("Boolean") && !types.contains(" AND ") && !types.contains(" OR ") => {
            "x::INT makes 1 of what is true and 0 of what is false"
        }
        false => "CAST(x AS VARCHAR) makes text of a value, CAST(x AS DOUBLE) a number of text",
    }))
}

/// Two columns with the name of this expression, as the engine writes it.
fn twice(expr: &str) -> SqlError {
    // `CAST(x AS Int32)` has no name of its own.
    let is_name = |name: &&str| name.matches('(').count() == name.matches(')').count();
    let named = expr.rsplit_once(" AS ").map(|(_, name)| name).filter(is_name);
    match named.or_else(|| column(expr)) {
        Some(name) => {
            SqlError::invalid(format!("{TWICE}called `{name}`")).hint("give one of them another name with AS")
        }
        None => SqlError::invalid(format!("{TWICE}the same: `{}`", shortened(expr, SAID)))
            .hint("give one of them a name with AS"),
    }
}

/// The name of a column of a table, as the engine writes it.
fn column(expr: &str) -> Option<&str> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '$');
    let (_, name) = expr.rsplit_once('.').filter(|_| expr.chars().all(is_name))?;
    Some(name.trim_matches('"'))
}

/// `SHOW name` of what is no setting.
fn shown(name: &str, tables: &[String]) -> SqlError {
    let unknown = SqlError::unknown(format!("there is no setting `{name}` to show"));
    match tables.iter().any(|table| table == name) {
        true => unknown.hint(format!("FROM {name} shows its rows, and DESCRIBE {name} its columns")),
        false => unknown.hint("SHOW TABLES lists the tables"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_engine_are_put_into_plain_words() {
        let tables = ["pool".to_owned()];
        for (text, says) in [
            (
                "Projections require unique expression names but the expression \"CAST(Float64(2.5) AS Int32)\" at position 0 and \"CAST(Float64(2.5) AS Int32)\" at position 1 have the same name.",
                "two columns of one SELECT are the same: `CAST(",
            ),
            (
                "Source table contains 3 columns but only 2 names given as column alias",
                "AS names 2 columns of a table that has 3",
            ),
            ("'poll' is not a variable which can be viewed with 'SHOW'", "SHOW TABLES"),
            (
                "Too many columns! The subquery should only return one column: t.a, t.b",
                "SEMI JOIN u USING (a, b)",
            ),
            (
                "Conflicting ordering requirements in aggregate functions is not supported",
                "array_to_string(list(x ORDER BY y), ',')",
            ),
            (
                "Cannot coerce arithmetic expression Utf8 - Utf8View to valid types",
                "date_diff('day', a::DATE",
            ),
            ("Cannot coerce arithmetic expression Boolean + Int64 to valid types", "x::INT makes 1"),
            (
                "Cannot infer common string type for string concat operation Int64 || Int64",
                "Int64 || Int64\n  || joins texts",
            ),
            ("Can not find compatible types to compare Boolean with [Utf8]", "NOT x"),
            ("Can not find compatible types to compare Int64 with [Int64, List(Int64)]", "x IN $list"),
            (
                "There isn't a common type to coerce UInt64 and Utf8 in LIKE expression",
                "UInt64 and Utf8 in LIKE",
            ),
            (
                "Compute error: Int32Array overflow on abs(-2147483648)",
                "abs(-2147483648) does not fit into 32 bits\n",
            ),
            (
                "Parser error: Invalid input syntax for type interval: \"1 day 2 days\". Repeated type 'days'",
                "'1 day 2 days' is not an INTERVAL\n",
            ),
            (
                "Parser error: Unable to represent 3000000000 years as months in a signed 32-bit integer",
                "no room for 3000000000 years\n",
            ),
            (
                "Cannot create filter with non-boolean predicate 'pool.row' returning UInt64",
                "pool.row is UInt64",
            ),
        ] {
            let said = worded(text, &tables).map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(says), "{said}");
        }
        assert!(worded("anything else", &tables).is_none());
    }
}
